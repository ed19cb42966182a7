//! Pictures over the network: records, thumbnails, files and their parts, browsing, archives, heat maps; and
//! what is not given out.

use bt_store::Record;
use serde_json::{Value, json};

use crate::harness::TestEnv;
use crate::harness::server::{Ask, Response, Server};
use crate::{drawn, samples};

fn of(record: &Record, what: &str) -> String {
    format!("/v1/pictures/{}{what}", record.id)
}

#[track_caller]
fn decoded(response: &Response) -> image::RgbImage {
    let jpeg = image::load_from_memory_with_format(&response.body, image::ImageFormat::Jpeg);
    jpeg.unwrap_or_else(|error| panic!("{error}: {response}"))
        .into_rgb8()
}

/// The picture number `seed`, taken with this camera.
fn taken_with(env: &TestEnv, name: &str, seed: u64, camera: &str) {
    let mut jpeg = std::io::Cursor::new(Vec::new());
    crate::harness::picture(seed)
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    // A TIFF directory with one entry: the model, as text, which follows.
    let length = u32::try_from(camera.len() + 1).unwrap();
    let exif = [
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x10\x01\x02\0",
        &length.to_le_bytes()[..],
        b"\x1a\0\0\0\0\0\0\0",
        camera.as_bytes(),
        b"\0",
    ]
    .concat();
    let size = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    let (begin, rest) = jpeg.get_ref().split_at(2);
    env.write(name, [begin, b"\xff\xe1", &size, &exif, rest].concat());
}

#[test]
fn a_camera_is_counted_as_often_as_the_filter_of_its_name_finds_it() {
    let env = TestEnv::new();
    for (seed, camera) in [
        (1, "Canon EOS 5D"),
        (2, "Canon EOS 5D Mark II"),
        (3, "Canon EOS 5D Mark II"),
        (4, "Nikon D70"),
    ] {
        taken_with(&env, &format!("album/{seed}.jpg"), seed, camera);
    }
    env.bt_index(&["album", "--quiet"]).expect(0);
    let server = Server::start(&env, &[]);
    let facets = server.get("/v1/facets").expect(200).json();
    assert_eq!(
        facets["cameras"],
        json!([
            { "camera": "Canon EOS 5D", "count": 3 },
            { "camera": "Canon EOS 5D Mark II", "count": 2 },
            { "camera": "Nikon D70", "count": 1 },
        ])
    );
    for camera in facets["cameras"].as_array().unwrap() {
        let name = camera["camera"].as_str().unwrap().replace(' ', "%20");
        let left = server.get(&format!("/v1/browse?camera={name}"));
        assert_eq!(left.expect(200).json()["total"], camera["count"], "{name}");
    }
}

#[test]
fn a_picture_is_shown_by_its_id() {
    let env = TestEnv::new();
    let wide = image::RgbImage::from_fn(800, 400, |x, y| {
        image::Rgb([(x / 4) as u8, (y / 2) as u8, 9])
    });
    let path = env.path("album/wide one.png");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    wide.save(&path).unwrap();
    env.bt_index(&["album"]).expect(0);
    let record = env.record_at("album/wide one.png");
    let server = Server::start(&env, &[]);

    let picture = server.get(&of(&record, "")).expect(200).json();
    assert_eq!(picture["id"], record.id.to_string());
    assert_eq!(picture["path"], path.to_str().unwrap());
    assert_eq!(
        (&picture["width"], &picture["height"]),
        (&json!(800), &json!(400))
    );

    // The links in a record lead somewhere.
    for link in ["thumbnail", "file"] {
        server.get(picture[link].as_str().unwrap()).expect(200);
    }
    for (w, size) in [
        ("", (320, 160)),
        ("?w=64", (160, 80)),
        ("?w=640", (640, 320)),
        ("?w=1024", (800, 400)),
    ] {
        let thumbnail = server
            .get(&of(&record, &format!("/thumbnail{w}")))
            .expect(200);
        assert_eq!(thumbnail.header("content-type"), Some("image/jpeg"));
        assert!(
            thumbnail
                .header("cache-control")
                .unwrap()
                .contains("immutable")
        );
        assert_eq!(decoded(&thumbnail).dimensions(), size, "{w}");
        let tag = thumbnail.header("etag").unwrap();
        let again =
            Ask::new("GET", &of(&record, &format!("/thumbnail{w}"))).header("If-None-Match", tag);
        assert!(server.send(&again).expect(304).body.is_empty());
    }
    for w in ["0", "63", "1025", "-1", "x", "99999999999999999999"] {
        server
            .get(&of(&record, &format!("/thumbnail?w={w}")))
            .problem(400, "bad-request");
    }

    let file = server.get(&of(&record, "/file")).expect(200);
    assert_eq!(file.body, fs_err::read(&path).unwrap());
    assert_eq!(file.header("content-type"), Some("image/png"));
    assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        file.header("content-security-policy"),
        Some("default-src 'none'; sandbox")
    );
    assert!(
        file.header("content-disposition")
            .unwrap()
            .starts_with("inline;"),
        "{file}"
    );
    let saved = server.get(&of(&record, "/file?download=1")).expect(200);
    let disposition = saved.header("content-disposition").unwrap();
    assert!(
        disposition.contains("attachment; filename=\"wide one.png\""),
        "{disposition}"
    );
    let head = server
        .send(&Ask::new("HEAD", &of(&record, "/file")))
        .expect(200);
    assert_eq!(
        head.header("content-length"),
        Some(file.body.len().to_string().as_str())
    );
    let tag = file.header("etag").unwrap();
    server
        .send(&Ask::new("GET", &of(&record, "/file")).header("If-None-Match", tag))
        .expect(304);
}

#[test]
fn a_part_of_a_file_is_served_by_range() {
    let (env, server) = drawn(1, &[]);
    let record = env.record_at("album/00001.png");
    let whole = fs_err::read(env.path("album/00001.png")).unwrap();
    let (len, path) = (whole.len(), of(&record, "/file"));
    let ask = |range: &str| server.send(&Ask::new("GET", &path).header("Range", range));
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=10-19".to_owned(), 10, 20),
        ("bytes=10-".to_owned(), 10, len),
        ("bytes=-10".to_owned(), len - 10, len),
        (format!("bytes=0-{}", u64::MAX), 0, len),
        (format!("bytes={}-{}", len - 1, len + 5), len - 1, len),
    ] {
        let part = ask(&range).expect(206);
        assert_eq!(part.body, whole[from..to], "{range}");
        let expected = format!("bytes {from}-{}/{len}", to - 1);
        assert_eq!(
            part.header("content-range"),
            Some(expected.as_str()),
            "{range}"
        );
    }
    for range in [
        format!("bytes={len}-"),
        "bytes=-0".to_owned(),
        format!("bytes={}0-", u64::MAX),
    ] {
        let none = ask(&range);
        none.problem(416, "no-such-bytes");
        assert_eq!(
            none.header("content-range"),
            Some(format!("bytes */{len}").as_str()),
            "{range}"
        );
    }
    // Many small parts at once are a way to make a server work.
    let many: Vec<String> = (0..1000).map(|_| "0-0".to_owned()).collect();
    for range in [
        "bytes=5-2",
        "bytes=",
        "bytes=a-b",
        "pages=1-2",
        &format!("bytes={}", many.join(",")),
    ] {
        assert_eq!(ask(range).expect(200).body, whole, "{range}");
    }
    let other = Ask::new("GET", &path)
        .header("Range", "bytes=0-0")
        .header("If-Range", "\"other\"");
    assert_eq!(server.send(&other).expect(200).body, whole);
}

#[test]
fn what_is_no_id_leads_nowhere() {
    let (env, server) = drawn(1, &[]);
    env.write("secret.txt", "a secret");
    let none = "0".repeat(64);
    server
        .get(&format!("/v1/pictures/{none}"))
        .problem(404, "not-found");
    let long = "a".repeat(4000);
    for id in [
        "..%2f..%2fsecret.txt",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..",
        "../../secret.txt",
        "....//secret.txt",
        "%00",
        "%ff",
        "album%2F00001.png",
        &none[1..],
        &format!("{none}0"),
        &long,
        "*",
        "%25252e",
    ] {
        for what in ["", "/thumbnail", "/file", "/why?q=a"] {
            let response = server.get(&format!("/v1/pictures/{id}{what}"));
            assert!(
                matches!(response.status, 400 | 404),
                "{id}{what}: {response}"
            );
            assert_eq!(
                response.header("content-type"),
                Some("application/problem+json"),
                "{id}"
            );
            assert!(!String::from_utf8_lossy(&response.body).contains("a secret"));
        }
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_is_no_longer_what_was_indexed_is_not_given_out() {
    let (env, server) = drawn(3, &[]);
    let path = env.path("album/00001.png");
    let (record, bytes) = (
        env.record_at("album/00001.png"),
        fs_err::read(&path).unwrap(),
    );
    server.get(&of(&record, "/file")).expect(200);
    let refused = |why: &str| {
        let problem = server.get(&of(&record, "/file")).problem(404, "file-gone");
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
        server
            .get(&of(&record, "/thumbnail?w=640"))
            .problem(404, "file-gone");
    };
    let page = format!("{:1$}", "<script>alert(1)</script>", bytes.len());
    fs_err::write(&path, page).unwrap();
    refused("has changed");
    // The same bytes, but through a link that leads out of the album.
    let outside = env.write("outside/secret.png", &bytes);
    fs_err::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&outside, &path).unwrap();
    refused("not in the index");
    fs_err::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    refused("not in the index");
    fs_err::remove_file(&path).unwrap();
    refused("00001.png");
    fs_err::rename(&outside, &path).unwrap();
    server.get(&of(&record, "/file")).expect(200);
    // The record stays all the while, and the others are served.
    server.get(&of(&record, "")).expect(200);
    server
        .get(&of(&env.record_at("album/00002.png"), "/file"))
        .expect(200);
}

#[test]
fn thumbnails_that_are_asked_for_at_once_are_all_there() {
    let (env, server) = drawn(4, &[]);
    let paths: Vec<String> = env
        .records()
        .iter()
        .map(|(record, _)| of(record, "/thumbnail"))
        .collect();
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..48)
            .map(|n| {
                let (server, path) = (&server, &paths[n % paths.len()]);
                scope.spawn(move || (n % 4, server.get(path).expect(200).body))
            })
            .collect();
        let mut first: Vec<Option<Vec<u8>>> = vec![None; 4];
        for thread in asked {
            let (place, body) = thread.join().unwrap();
            assert_eq!(first[place].get_or_insert_with(|| body.clone()), &body);
        }
    });
}

/// All pictures of an order, page by page.
fn pages(server: &Server, query: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server
            .get(&format!("/v1/browse?n=7&{query}{cursor}"))
            .expect(200)
            .json();
        let results = page["results"].as_array().unwrap();
        assert!(!results.is_empty() || all.is_empty(), "{page}");
        all.extend(results.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => {
                assert_eq!(page["total"], all.len(), "{query}");
                return all;
            }
        }
    }
}

#[test]
fn an_album_is_browsed_by_date_and_by_path_and_counted() {
    let (env, server) = samples();
    let records = env.records();
    let ids = |pictures: &[Value]| -> Vec<String> {
        pictures
            .iter()
            .map(|picture| picture["id"].as_str().unwrap().to_owned())
            .collect()
    };

    let mut by_date: Vec<&Record> = records.iter().map(|(record, _)| record).collect();
    by_date.sort_by_key(|record| (std::cmp::Reverse(record.about.taken), record.id));
    let expected: Vec<String> = by_date.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids(&pages(&server, "sort=date")), expected);
    assert_eq!(ids(&pages(&server, "")), expected);

    let mut by_path = by_date.clone();
    by_path.sort_by_key(|record| {
        let path = &record.locations[0].path;
        (
            path.parent().map(ToOwned::to_owned),
            path.file_name().map(ToOwned::to_owned),
        )
    });
    let expected: Vec<String> = by_path.iter().map(|record| record.id.to_string()).collect();
    assert_eq!(ids(&pages(&server, "sort=path")), expected);

    // Any page, without those before it.
    for at in [
        0,
        1,
        50,
        records.len() - 1,
        records.len(),
        u32::MAX as usize,
    ] {
        let page = server
            .get(&format!("/v1/browse?sort=path&n=2&at={at}"))
            .expect(200)
            .json();
        let begin = at.min(expected.len());
        let end = (begin + 2).min(expected.len());
        let results = page["results"].as_array().unwrap();
        assert_eq!(ids(results), expected[begin..end]);
        assert_eq!(page["next"].is_null(), end == expected.len());
    }

    let facets = server.get("/v1/facets").expect(200).json();
    assert_eq!(facets["total"], records.len());
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
    assert_eq!(facets["root"], samples);
    let folders = facets["folders"].as_array().unwrap();
    let animals = folders
        .iter()
        .find(|folder| folder["name"] == "animals")
        .unwrap();
    assert_eq!(animals["folder"], format!("{samples}/animals"));
    let in_animals = pages(&server, &format!("folder={samples}/animals"));
    assert_eq!(animals["count"], in_animals.len());
    assert!(in_animals.len() > 5);

    // Each count is what the filter of that name leaves.
    let mut dated = 0;
    for month in facets["months"].as_array().unwrap() {
        let name = month["month"].as_str().unwrap();
        let of_month = records.iter().filter(|(record, _)| {
            let taken = record.about.taken.and_then(bt_query::parse::camera_time);
            taken.is_some_and(|taken| taken.to_string().starts_with(name))
        });
        assert_eq!(month["count"], of_month.count(), "{name}");
        dated += month["count"].as_u64().unwrap();
    }
    assert!(dated > 0);
    assert_eq!(facets["undated"], records.len() as u64 - dated);
    for kind in facets["types"].as_array().unwrap() {
        let left = pages(&server, &format!("type={}", kind["type"].as_str().unwrap()));
        assert_eq!(kind["count"], left.len(), "{kind}");
    }
    let webp = server.get("/v1/facets?type=webp").expect(200).json();
    assert_eq!(webp["types"].as_array().unwrap().len(), 1, "{webp}");
    assert_eq!(webp["total"], webp["types"][0]["count"]);
    let camera = facets["cameras"][0]["camera"].as_str().unwrap();
    let with_it = pages(&server, &format!("camera={}", camera.replace(' ', "%20")));
    assert_eq!(facets["cameras"][0]["count"], with_it.len());

    for query in [
        "cursor=x",
        "cursor=AAAA",
        "cursor=AAAA&at=1",
        "at=-1",
        "at=4294967296",
        "n=0",
        "n=201",
        "sort=size",
        "type=exe",
        "after=soon",
    ] {
        server
            .get(&format!("/v1/browse?{query}"))
            .problem(400, "bad-request");
    }
    server
        .get("/v1/browse?index=none")
        .problem(404, "not-found");
}

#[test]
fn a_page_goes_on_where_the_last_one_ended_though_the_index_has_changed() {
    let (env, server) = drawn(10, &[]);
    let first = server.get("/v1/browse?sort=path&n=4").expect(200).json();
    let next = first["next"].as_str().unwrap();
    // Before the end of the page, something goes, and more comes in.
    fs_err::remove_file(env.path("album/00002.png")).unwrap();
    env.draw("album/00000.png", 77);
    env.draw("album/00001b.png", 78);
    env.bt_index(&["album", "--prune"]).expect(0);
    crate::harness::wait_until("the server sees the new pictures", || {
        server.get("/v1/facets").expect(200).json()["total"] == 11
    });
    let page = server
        .get(&format!("/v1/browse?sort=path&n=4&cursor={next}"))
        .expect(200)
        .json();
    let names: Vec<&str> = page["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|picture| {
            picture["path"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(names, ["00005.png", "00006.png", "00007.png", "00008.png"]);
}

/// Names and contents of an archive of stored files, by its own directory.
fn unzipped(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let short = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
    let long = |at: usize| u32::from_le_bytes(archive[at..at + 4].try_into().unwrap()) as usize;
    let end = archive.len() - 22;
    assert_eq!(&archive[end..end + 4], b"PK\x05\x06");
    let (count, mut at) = (short(end + 10), long(end + 16));
    let mut files = Vec::new();
    for _ in 0..count {
        assert_eq!(&archive[at..at + 4], b"PK\x01\x02");
        assert_eq!(short(at + 10), 0, "the file is not stored as it is");
        let (size, name, local) = (long(at + 24), short(at + 28), long(at + 42));
        let text = String::from_utf8(archive[at + 46..at + 46 + name].to_vec()).unwrap();
        let begin = local + 30 + short(local + 26) + short(local + 28);
        files.push((text, archive[begin..begin + size].to_vec()));
        at += 46 + name + short(at + 30) + short(at + 32);
    }
    files
}

#[test]
fn an_archive_holds_the_files_and_names_what_is_missing() {
    let env = TestEnv::new();
    env.draw("album/a/cat.png", 1);
    env.draw("album/b/cat.png", 2);
    env.draw("album/b/gone.png", 3);
    env.bt_index(&["album"]).expect(0);
    let server = Server::start(&env, &[]);
    let records =
        ["album/a/cat.png", "album/b/cat.png", "album/b/gone.png"].map(|name| env.record_at(name));
    fs_err::remove_file(env.path("album/b/gone.png")).unwrap();
    let ids: Vec<String> = records.iter().map(|record| record.id.to_string()).collect();
    // Twice the same is once.
    let asked = json!({ "ids": [ids[0], ids[1], ids[2], ids[0]] });
    let archive = server.post("/v1/export", &asked).expect(200);
    assert_eq!(archive.header("content-type"), Some("application/zip"));
    let files = unzipped(&archive.body);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["cat.png", "cat (2).png", "missing.txt"]);
    assert_eq!(
        files[0].1,
        fs_err::read(env.path("album/a/cat.png")).unwrap()
    );
    assert_eq!(
        files[1].1,
        fs_err::read(env.path("album/b/cat.png")).unwrap()
    );
    assert!(String::from_utf8_lossy(&files[2].1).contains(&ids[2]));

    // A browser sends a form, and asks before whether there will be an archive.
    let check = json!({ "ids": ids, "check": true });
    assert!(
        server
            .post("/v1/export", &check)
            .expect(204)
            .body
            .is_empty()
    );
    let form = |body: &str| {
        let kind = "application/x-www-form-urlencoded";
        server.send(&Ask::new("POST", "/v1/export").body(kind, body))
    };
    let escaped: String = asked
        .to_string()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    let archive = form(&format!("request={escaped}")).expect(200);
    assert_eq!(archive.header("content-type"), Some("application/zip"));
    assert_eq!(unzipped(&archive.body), files);
    for body in [
        "",
        "ids=0",
        "request=",
        "request={}",
        "request=%ff",
        &format!("request={escaped}&more=1"),
    ] {
        form(body).problem(400, "bad-request");
    }

    server
        .post("/v1/export", &json!({ "ids": [] }))
        .problem(400, "bad-request");
    server
        .post("/v1/export", &json!({ "ids": ["../../etc/passwd"] }))
        .problem(400, "bad-request");
    server
        .post("/v1/export", &json!({ "ids": ["0".repeat(64)] }))
        .problem(404, "not-found");
    let many: Vec<String> = (0..2001).map(|n| format!("{n:064x}")).collect();
    server
        .post("/v1/export", &json!({ "ids": many }))
        .problem(413, "too-large");
}

#[test]
fn why_a_picture_is_found_is_drawn_word_by_word() {
    let (env, server) = drawn(1, &[]);
    let record = env.record_at("album/00001.png");
    let why = server
        .get(&of(&record, "/why?q=a%20red%20cat%20%26%20a%20dog"))
        .expect(200)
        .json();
    let words = why["words"].as_array().unwrap();
    let names: Vec<&str> = words
        .iter()
        .map(|word| word["word"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"cat") && names.contains(&"dog") && !names.contains(&"a"),
        "{names:?}"
    );
    for word in words {
        let overlay = server.get(word["url"].as_str().unwrap()).expect(200);
        assert_eq!(decoded(&overlay).dimensions(), (96, 72), "{word}");
    }
    for query in ["q=", "q=%20", "", "q=cat&word=99", "q=cat&word=-1"] {
        server
            .get(&of(&record, &format!("/why?{query}")))
            .problem(400, "bad-request");
    }
    let long = "a".repeat(1001);
    server
        .get(&of(&record, &format!("/why?q={long}")))
        .problem(400, "bad-request");
}
