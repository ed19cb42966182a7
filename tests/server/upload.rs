//! Pictures that come and go over the network, and what strangers try instead.

use std::path::Path;

use bt_store::{ContentHash, Writer};
use serde_json::Value;

use crate::harness::server::{Ask, Response, Server};
use crate::harness::{TestEnv, picture};

/// A server on an index of one picture, with a folder for uploads.
fn with_album(arguments: &[&str]) -> (TestEnv, Server) {
    let env = TestEnv::new();
    env.draw("mine/own.png", 99);
    env.bt_index(&["mine"]).expect(0);
    let album = env.path("uploads");
    let mut all = vec!["--album", album.to_str().unwrap()];
    all.extend(arguments);
    let server = Server::start(&env, &all);
    (env, server)
}

pub(crate) fn png(seed: u64) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture(seed)
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

#[track_caller]
fn upload(server: &Server, image: &[u8], caption: Option<&str>) -> Response {
    let mut parts = vec![("image", Some("a.png"), image)];
    parts.extend(caption.map(|caption| ("caption", None, caption.as_bytes())));
    server.send(&Ask::new("POST", "/v1/pictures").form(&parts))
}

/// Files in a folder and below.
fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path.to_str().unwrap().to_owned());
        }
    }
    all.sort();
    all
}

#[test]
fn an_upload_is_found_at_once_and_the_same_again_is_no_second_one() {
    let (env, server) = with_album(&[]);
    let image = png(1);
    let uploaded = upload(&server, &image, Some("zebra at the\nwaterhole"))
        .expect(201)
        .json();
    let id = ContentHash::of(&image).to_string();
    assert_eq!(
        (&uploaded["id"], &uploaded["known"]),
        (&Value::from(id.as_str()), &Value::from(false))
    );
    let path = env.path(format!("uploads/{}/{id}.png", &id[..2]));
    assert_eq!(uploaded["path"], path.to_str().unwrap());
    assert_eq!(fs_err::read(&path).unwrap(), image);

    let record = server.get(&format!("/v1/pictures/{id}")).expect(200).json();
    assert_eq!(
        record["captions"],
        serde_json::json!(["zebra at the waterhole"])
    );
    assert_eq!(
        server
            .get(&format!("/v1/pictures/{id}/file"))
            .expect(200)
            .body,
        image
    );
    let found = server
        .get("/v1/search?q=zebra%20waterhole&rerank=0&all=true")
        .expect(200)
        .json();
    assert_eq!(found["results"][0]["id"], id.as_str());
    assert_eq!(server.get("/v1/facets").expect(200).json()["total"], 2);

    let before = files(&env.path("uploads"));
    let again = upload(&server, &image, None).expect(200).json();
    assert_eq!(
        (&again["id"], &again["known"]),
        (&Value::from(id.as_str()), &Value::from(true))
    );
    assert_eq!(files(&env.path("uploads")), before);
    upload(&server, &image, Some("a horse in pyjamas")).expect(200);
    let record = server.get(&format!("/v1/pictures/{id}")).expect(200).json();
    assert_eq!(
        record["captions"],
        serde_json::json!(["a horse in pyjamas"])
    );

    // What the indexer finds there later is nothing new.
    let report = env.report(&["uploads"]);
    assert_eq!(
        (&report["unchanged"], &report["indexed"]),
        (&Value::from(1), &Value::from(0))
    );
}

#[test]
fn only_what_lies_in_the_album_is_deleted() {
    let (env, server) = with_album(&[]);
    let delete = |id: &str| server.send(&Ask::new("DELETE", &format!("/v1/pictures/{id}")));
    let uploaded = upload(&server, &png(1), Some("to go")).expect(201).json();
    let id = uploaded["id"].as_str().unwrap();
    delete(id).expect(204);
    server
        .get(&format!("/v1/pictures/{id}"))
        .problem(404, "not-found");
    assert!(files(&env.path("uploads")).is_empty());
    delete(id).problem(404, "not-found");
    delete("..%2f..%2fmine%2fown.png").problem(400, "bad-request");

    let own = env.record_at("mine/own.png").id.to_string();
    delete(&own).problem(403, "not-in-album");
    // Uploaded as well, with words of its own: the copy goes, the original stays.
    let bytes = fs_err::read(env.path("mine/own.png")).unwrap();
    let known = upload(&server, &bytes, None).expect(200).json();
    assert_eq!(known["path"], env.path("mine/own.png").to_str().unwrap());
    upload(&server, &bytes, Some("mine")).expect(200);
    assert_eq!(files(&env.path("uploads")).len(), 2);
    delete(&own).expect(204);
    assert!(files(&env.path("uploads")).is_empty());
    server.get(&format!("/v1/pictures/{own}/file")).expect(200);
    // And can come back.
    upload(&server, &png(1), None).expect(201);
}

/// A PNG file that says it is this large, and holds nothing.
pub(crate) fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    // A decoder checks the head's checksum first.
    let crc = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xEDB8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[test]
fn what_is_no_picture_or_too_much_of_one_is_refused_and_leaves_nothing() {
    let (env, server) = with_album(&["--max-upload", "1", "--max-pixels", "1"]);
    let whole = png(1);
    for (what, bytes, status, name) in [
        (
            "a page",
            b"<html><script>alert(1)</script></html>".to_vec(),
            422,
            "not-a-picture",
        ),
        (
            "a drawing",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script/></svg>".to_vec(),
            422,
            "not-a-picture",
        ),
        ("nothing", Vec::new(), 422, "not-a-picture"),
        ("a head alone", whole[..33].to_vec(), 422, "not-a-picture"),
        (
            "noise",
            (0..9999u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect(),
            422,
            "not-a-picture",
        ),
        ("a bomb", bomb(60_000, 60_000), 413, "too-large"),
        (
            "a bomb without end",
            bomb(u32::MAX >> 1, u32::MAX >> 1),
            413,
            "too-large",
        ),
        (
            "more pixels than allowed",
            bomb(1001, 1000),
            413,
            "too-large",
        ),
        (
            "more bytes than allowed",
            vec![0; 1_000_001],
            413,
            "too-large",
        ),
        (
            "many more bytes than allowed",
            vec![0; 5_000_000],
            413,
            "too-large",
        ),
    ] {
        let response = upload(&server, &bytes, Some("hostile"));
        assert_eq!(response.status, status, "{what}: {response}");
        response.problem(status, name);
    }
    assert!(files(&env.path("uploads")).is_empty());
    assert_eq!(server.get("/v1/facets").expect(200).json()["total"], 1);
    upload(&server, &whole, None).expect(201);
}

#[test]
fn a_form_that_makes_no_sense_is_refused() {
    let (env, server) = with_album(&[]);
    let image = png(1);
    let ask = || Ask::new("POST", "/v1/pictures");
    let kind = "multipart/form-data; boundary=x";
    let long = vec![b'a'; 20_000];
    for (what, request) in [
        ("no picture", ask().form(&[("caption", None, b"a")])),
        ("no part", ask().form(&[])),
        (
            "another part",
            ask().form(&[("image", None, &image), ("path", None, b"/etc/x")]),
        ),
        (
            "two pictures",
            ask().form(&[("image", None, &image), ("image", None, &image)]),
        ),
        (
            "a caption that is no text",
            ask().form(&[("caption", None, b"\xff\xfe"), ("image", None, &image)]),
        ),
        (
            "no end",
            ask().body(
                kind,
                "--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nabc",
            ),
        ),
        ("no head", ask().body(kind, "--x\r\n\r\nabc\r\n--x--\r\n")),
        ("no boundary", ask().body("multipart/form-data", "--x--")),
        ("an empty body", ask().body(kind, "")),
        (
            "a boundary that is none",
            ask().body("multipart/form-data; boundary=", "abc"),
        ),
    ] {
        let response = server.send(&request);
        assert_eq!(response.status, 400, "{what}: {response}");
        response.problem(400, "bad-request");
    }
    server
        .send(&ask().form(&[("caption", None, &long)]))
        .problem(413, "too-large");
    let json = server.send(&ask().json(&serde_json::json!({ "image": "x" })));
    assert!(matches!(json.status, 400 | 415), "{json}");
    assert!(files(&env.path("uploads")).is_empty());

    // A name is what a stranger says; it becomes no path.
    let named = ask().form(&[("image", Some("../../../../../tmp/evil.php"), &image)]);
    let uploaded = server.send(&named).expect(201).json();
    let id = uploaded["id"].as_str().unwrap();
    assert_eq!(files(&env.path("uploads")).len(), 1);
    assert!(
        uploaded["path"]
            .as_str()
            .unwrap()
            .ends_with(&format!("{id}.png"))
    );
}

#[test]
fn uploads_need_an_album_and_the_right_to_write() {
    let (reader, writer) = ("reader-reader-reader", "writer-writer-writer");
    let env = TestEnv::new();
    env.draw("mine/own.png", 99);
    env.bt_index(&["mine"]).expect(0);
    env.write("tokens", format!("read {reader}\nwrite {writer}\n"));
    let form = Ask::new("POST", "/v1/pictures").form(&[("image", None, &png(1))]);
    {
        let server = Server::start(&env, &["--token-file", "tokens"]);
        server
            .send(&form.clone().token(writer))
            .problem(403, "no-album");
    }
    let server = Server::start(&env, &["--token-file", "tokens", "--album", "uploads"]);
    server.send(&form).problem(401, "unauthorised");
    server
        .send(&form.clone().token(reader))
        .problem(403, "no-right");
    assert!(files(&env.path("uploads")).is_empty());
    let uploaded = server.send(&form.token(writer)).expect(201).json();
    let path = format!("/v1/pictures/{}", uploaded["id"].as_str().unwrap());
    server
        .send(&Ask::new("DELETE", &path))
        .problem(401, "unauthorised");
    server
        .send(&Ask::new("DELETE", &path).token(reader))
        .problem(403, "no-right");
    server
        .send(&Ask::new("GET", &path).token(reader))
        .expect(200);
    server
        .send(&Ask::new("DELETE", &path).token(writer))
        .expect(204);
}

#[test]
fn uploads_at_the_same_time_all_arrive() {
    let (env, server) = with_album(&[]);
    std::thread::scope(|scope| {
        for seed in 1..=6 {
            let server = &server;
            scope.spawn(move || {
                let image = png(seed);
                loop {
                    let response = upload(server, &image, None);
                    match response.status {
                        // Too many at once: told to come again.
                        429 => assert!(response.header("retry-after").is_some(), "{response}"),
                        201 => return,
                        _ => panic!("{response}"),
                    }
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            });
        }
    });
    assert_eq!(files(&env.path("uploads")).len(), 6);
    assert_eq!(server.get("/v1/facets").expect(200).json()["total"], 7);
}

#[test]
fn one_upload_too_many_is_told_that_it_is_uploads() {
    let (_env, server) = with_album(&[]);
    let form = Ask::new("POST", "/v1/pictures").form(&[("image", Some("a.png"), &png(1))]);
    let _coming: Vec<_> = (0..4).map(|_| server.begin(&form)).collect();
    let problem = server.send(&form).problem(429, "overloaded");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("uploads"), "{problem}");
}

#[test]
fn while_somebody_else_writes_to_the_index_an_upload_says_so() {
    let (env, server) = with_album(&[]);
    let writer = Writer::open(&env.index()).unwrap();
    let busy = upload(&server, &png(1), None);
    busy.problem(503, "busy");
    drop(writer);
    let uploaded = upload(&server, &png(1), None).expect(201).json();
    server
        .get(&format!(
            "/v1/pictures/{}",
            uploaded["id"].as_str().unwrap()
        ))
        .expect(200);
}

#[test]
fn each_index_has_an_album_of_its_own() {
    let env = TestEnv::new();
    for (name, seed) in [("one", 98), ("two", 99)] {
        env.draw(format!("{name}/own.png"), seed);
        env.bt_index(&[name, "--index", &format!("{name}-index"), "--quiet"])
            .expect(0);
    }
    let indexes = ["--index", "one=one-index", "--index", "two=two-index"];
    let form = |path: &str| Ask::new("POST", path).form(&[("image", None, &png(1))]);
    let id = ContentHash::of(&png(1)).to_string();
    {
        let albums = ["--album", "two=uploads-two", "--album", "uploads"];
        let server = Server::start(&env, &[&indexes[..], &albums[..]].concat());
        for (index, folder) in [("two", "uploads-two"), ("one", "uploads")] {
            let ask = form(&format!("/v1/pictures?index={index}"));
            let uploaded = server.send(&ask).expect(201).json();
            let path = Path::new(uploaded["path"].as_str().unwrap());
            assert!(path.starts_with(env.path(folder)), "{uploaded}");
        }
        let picture = format!("/v1/pictures/{id}?index=two");
        server.send(&Ask::new("DELETE", &picture)).expect(204);
        server.get(&picture).problem(404, "not-found");
        server.get(&format!("/v1/pictures/{id}")).expect(200);
    }
    {
        let server = Server::start(
            &env,
            &[&indexes[..], &["--album", "two=uploads-two"][..]].concat(),
        );
        server.send(&form("/v1/pictures")).problem(403, "no-album");
    }
    for (albums, what) in [
        (["three=a", "one=b"], "`three`"),
        (["a", "one=b"], "two albums"),
        (["one=a", "two=a/below"], "share"),
    ] {
        let albums = ["--album", albums[0], "--album", albums[1]];
        let arguments = [&indexes[..], &albums[..], &["--bind", "127.0.0.1:0"][..]].concat();
        let ended = env
            .run(crate::harness::server::BT_SERVER, &arguments)
            .expect(2);
        assert!(ended.stderr.contains(what), "{ended}");
    }
}

#[test]
fn the_cause_of_a_failure_is_in_the_log_under_the_id_that_the_answer_names() {
    let (env, server) = with_album(&[]);
    fs_err::remove_dir_all(env.path("uploads")).unwrap();
    env.write("uploads", "where the folder was");
    let failed = upload(&server, &png(1), None);
    let id = failed.problem(500, "internal")["instance"].to_string();
    let id = id.trim_matches('"');
    let log = server.log();
    let cause = log.lines().find(|line| line.contains("request failed"));
    let cause = cause.unwrap_or_else(|| panic!("no cause: {log}"));
    assert!(
        cause.contains(id) && cause.contains("uploads"),
        "{id}: {log}"
    );
}
