//! What files say about themselves. The files are written by tools/golden/make_decode.py.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bt_picture::{Metadata, metadata};

fn of(name: &str) -> Metadata {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/decode");
    metadata(&fs_err::read(folder.join(name)).unwrap())
}

/// What the EXIF block says that all four files hold.
fn check_exif(name: &str, found: &Metadata) {
    assert_eq!(
        found.taken.unwrap().to_string(),
        "2024-05-17T18:30:05",
        "{name}"
    );
    assert_eq!(found.camera.as_deref(), Some("NIKON Z 6"), "{name}");
    assert_eq!(
        found.lens.as_deref(),
        Some("NIKKOR Z 24-70mm f/4 S"),
        "{name}"
    );
    let (latitude, longitude) = found.gps.unwrap();
    assert!((latitude + 33.858_333).abs() < 1e-5, "{name}: {latitude}");
    assert!((longitude - 151.21).abs() < 1e-5, "{name}: {longitude}");
}

#[test]
fn exif_and_xmp_are_read_from_every_container() {
    for name in [
        "metadata/all.jpg",
        "metadata/all.png",
        "metadata/all.webp",
        "metadata/all.tif",
    ] {
        let found = of(name);
        check_exif(name, &found);
        assert_eq!(found.captions[0], "Ships & gulls", "{name}");
        assert!(
            found.captions.contains(&"Harbour at dusk".into()),
            "{name}: {:?}",
            found.captions
        );
        assert!(
            found.captions.contains(&"A gull".into()),
            "{name}: {:?}",
            found.captions
        );
        assert!(
            found
                .keywords
                .starts_with(&["harbour".into(), "Sea".into()]),
            "{name}"
        );
        // `sea` of XPKeywords is `Sea` of XMP.
        assert!(
            found
                .keywords
                .ends_with(&["ship".into(), "caf\u{e9}".into()]),
            "{name}: {:?}",
            found.keywords
        );
        assert_eq!(
            found
                .keywords
                .iter()
                .filter(|word| word.to_lowercase() == "sea")
                .count(),
            1
        );
    }
}

#[test]
fn iptc_is_read_from_jpeg_and_texts_from_png() {
    let found = of("metadata/all.jpg");
    assert_eq!(
        found.captions,
        [
            "Ships & gulls",
            "M\u{f6}wen",
            "Harbour at dusk",
            "A gull",
            "Evening",
            "Title"
        ]
    );
    assert_eq!(
        found.keywords,
        ["harbour", "Sea", "pier", "ship", "caf\u{e9}"]
    );
    assert!(
        of("metadata/all.png")
            .captions
            .contains(&"Seen from the pier".into())
    );
}

#[test]
fn files_without_metadata_and_other_files_have_none() {
    assert_eq!(of("files/rgb.png"), Metadata::default());
    assert_eq!(of("files/rgb.qoi"), Metadata::default());
    assert_eq!(metadata(b"hello"), Metadata::default());
    assert_eq!(metadata(b""), Metadata::default());
}
