//! One small index of each released format, kept as it was written, still opens and says the same.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use bt_store::{
    About, Change, Collection, ContentHash, Header, Location, ModelId, ModelRef, Reader, Record,
    Writer, verify,
};

fn kept(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/v{version}"))
}

fn header() -> Header {
    let model = |spec: &str| ModelRef {
        spec: spec.into(),
        fit: "patch".into(),
        id: ModelId(format!("fingerprint of {spec}")),
    };
    Header {
        model: model("mini"),
        rerank: Some(model("base-itm-mlm")),
        dim: 4,
        aligned_with_text: true,
    }
}

fn record(content: &str, paths: &[&str]) -> Record {
    Record {
        id: ContentHash::of(content.as_bytes()),
        locations: paths
            .iter()
            .map(|path| Location {
                path: PathBuf::from(path),
                size: 12_345,
                mtime_ns: 1_700_000_000_123_456_789,
            })
            .collect(),
        about: About {
            width: 640,
            height: 480,
            format: "jpeg".into(),
            taken: Some(1_600_000_000),
            camera: Some("Canon EOS R5".into()),
            lens: Some("RF 50mm".into()),
            gps: Some((47.376_886_1, -8.541_694)),
            captions: vec!["a cat on a couch".into()],
            keywords: vec!["猫".into()],
            damaged: Some("half of it is missing".into()),
            ..About::default()
        },
    }
}

fn history() -> [Vec<Change>; 3] {
    let put = |content, paths: &[&str], embedding: [f32; 4]| Change::Put {
        record: record(content, paths),
        embedding: embedding.to_vec(),
    };
    [
        vec![
            put("cat", &["/a/cat.jpg", "/b/ü.jpg"], [0.6, 0.8, 0.0, 0.0]),
            put("dog", &["/a/dog.jpg"], [0.0, 0.0, 1.0, 0.0]),
        ],
        vec![Change::Update(record("dog", &["/c/dog.jpg"]))],
        vec![
            put("owl", &["/a/cat.jpg"], [0.5, -0.5, 0.5, -0.5]),
            put("fox", &["/fox.jpg"], [0.0, 0.0, 0.0, 1.0]),
            Change::Remove(ContentHash::of(b"fox")),
        ],
    ]
}

/// Writes the index that is kept; run by hand when there is a new format, never for an old one.
#[test]
#[ignore = "writes into the source tree"]
fn write_the_index_of_this_format() {
    let index = kept(1);
    assert!(
        !index.exists(),
        "an index of a released format stays as it is"
    );
    let mut writer = Writer::create_or_open(&index, &header()).unwrap();
    for changes in history() {
        writer.commit(&changes).unwrap();
    }
    drop(writer);
    fs_err::remove_dir_all(index.join("catalog")).unwrap();
    fs_err::remove_file(index.join("lock")).unwrap();
}

#[test]
fn an_index_of_format_1_opens_and_says_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path();
    fs_err::create_dir(index.join("segments")).unwrap();
    for name in ["index.json", "segments/current", "segments/00000001.seg"] {
        fs_err::copy(kept(1).join(name), index.join(name)).unwrap();
    }
    let expected = [
        Some(record("cat", &["/b/ü.jpg"])),
        Some(record("dog", &["/c/dog.jpg"])),
        Some(record("owl", &["/a/cat.jpg"])),
        None,
    ];
    let ids = ["cat", "dog", "owl", "fox"].map(|name| ContentHash::of(name.as_bytes()));
    let reader = Reader::open(index).unwrap();
    assert_eq!(reader.facts().header, header());
    assert_eq!(reader.fetch(&ids).unwrap(), expected);
    let vectors = reader.embeddings(&ids).unwrap();
    assert_eq!(vectors[2], Some(vec![0.5, -0.5, 0.5, -0.5]));
    drop(reader);
    let writer = Writer::create_or_open(index, &header()).unwrap();
    assert_eq!(writer.warnings(), &[] as &[String]);
    for (id, record) in ids.iter().zip(expected) {
        assert_eq!(writer.get(id).unwrap(), record);
    }
    drop(writer);
    assert_eq!(verify(index).unwrap(), vec![]);
}
