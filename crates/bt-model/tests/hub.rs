//! Downloading a checkpoint, against a hub on this machine that also fails in every way a real one does.

#![allow(clippy::unwrap_used)]

mod hub_server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bt_model::{Error, Event, Hub, HubError, Kind, Result, Token};
use hub_server::{COMMIT, Fault, Server, etag};
use tempfile::TempDir;

const CONFIG: &[u8] = b"{\"model_type\": \"bridgetower\"}";
const TOKENIZER: &[u8] = b"{\"version\": \"1.0\"}";

fn weights() -> Vec<u8> {
    (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// A hub with a checkpoint as the public ones are, and files that nobody needs.
fn server() -> Server {
    Server::start(&[
        (".gitattributes", b"x", false),
        ("README.md", b"# A card", false),
        ("config.json", CONFIG, false),
        ("preprocessor_config.json", b"{\"size\": 294}", false),
        ("pytorch_model.bin", &weights(), true),
        ("tokenizer.json", TOKENIZER, true),
        ("vocab.json", b"{}", false),
    ])
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    let mut hub = Hub::new(&server.url(), cache.path());
    hub.patience = Duration::from_millis(300);
    hub.pause = Duration::from_millis(5);
    hub.tries = 3;
    hub
}

fn fetch(hub: &Hub) -> Result<PathBuf> {
    hub.fetch("owner/name", None, &mut |_| {})
}

fn hub_error(result: Result<PathBuf>) -> HubError {
    match result {
        Err(Error::Hub(error)) => error,
        other => panic!("expected an error of the hub, got {other:?}"),
    }
}

fn assert_whole(folder: &Path) {
    assert_eq!(fs_err::read(folder.join("config.json")).unwrap(), CONFIG);
    assert_eq!(
        fs_err::read(folder.join("tokenizer.json")).unwrap(),
        TOKENIZER
    );
    assert!(fs_err::read(folder.join("pytorch_model.bin")).unwrap() == weights());
}

/// Ranges that the file server was asked for.
fn ranges(server: &Server) -> Vec<Option<usize>> {
    let asked = server.requests();
    asked
        .iter()
        .filter(|r| r.path == "/cdn/pytorch_model.bin")
        .map(|r| r.range)
        .collect()
}

fn blobs(cache: &TempDir) -> PathBuf {
    cache.path().join("models--owner--name/blobs")
}

#[test]
fn a_whole_download_lies_where_python_looks_for_it() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let mut events = Vec::new();
    let folder = hub(&server, &cache)
        .fetch("owner/name", None, &mut |e| events.push(e))
        .unwrap();
    assert_whole(&folder);

    let repo = cache.path().join("models--owner--name");
    assert_eq!(folder, repo.join("snapshots").join(COMMIT));
    assert_eq!(
        fs_err::read_to_string(repo.join("refs/main")).unwrap(),
        COMMIT
    );
    let blob = repo.join("blobs").join(etag(&weights(), true));
    let shown = folder.join("pytorch_model.bin");
    assert_eq!(
        fs_err::canonicalize(&shown).unwrap(),
        fs_err::canonicalize(blob).unwrap()
    );
    #[cfg(unix)]
    assert!(
        fs_err::read_link(shown).unwrap().starts_with("../../blobs"),
        "moves with the cache"
    );

    let mut here: Vec<_> = fs_err::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    here.sort();
    assert_eq!(
        here,
        [
            "config.json",
            "preprocessor_config.json",
            "pytorch_model.bin",
            "tokenizer.json"
        ]
    );

    let all = Some(weights().len() as u64);
    let of_weights = |event: &&Event| matches!(event, Event::Download { file, .. } if file == "pytorch_model.bin");
    let progress: Vec<_> = events.iter().filter(of_weights).collect();
    let event = |done| Event::Download {
        file: "pytorch_model.bin".into(),
        done,
        total: all,
    };
    assert_eq!(progress.first(), Some(&&event(0)));
    assert_eq!(progress.last(), Some(&&event(weights().len() as u64)));
}

#[test]
fn a_second_call_asks_nobody() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let first = fetch(&hub(&server, &cache)).unwrap();
    server.requests();
    assert_eq!(fetch(&hub(&server, &cache)).unwrap(), first);
    assert_eq!(server.requests(), []);
}

#[test]
fn a_repository_without_image_settings_is_complete_without_them() {
    let files: [(&str, &[u8], bool); 3] = [
        ("config.json", CONFIG, false),
        ("model.safetensors", b"weights", true),
        ("tokenizer.json", TOKENIZER, false),
    ];
    let (server, cache) = (Server::start(&files), TempDir::new().unwrap());
    fetch(&hub(&server, &cache)).unwrap();
    server.requests();
    fetch(&hub(&server, &cache)).unwrap();
    assert_eq!(server.requests(), []);
}

#[test]
fn the_token_goes_to_the_hub_and_not_to_the_file_server() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let mut hub = hub(&server, &cache);
    hub.token = Some(Token("secret".into()));
    fetch(&hub).unwrap();
    let requests = server.requests();
    assert!(requests.iter().any(|r| r.path.starts_with("/cdn/")));
    for request in requests {
        let expected = (!request.path.starts_with("/cdn/")).then_some("secret");
        assert_eq!(
            request.token.as_deref(),
            expected,
            "{} {}",
            request.method,
            request.path
        );
    }
}

#[test]
fn a_download_that_breaks_off_half_way_goes_on_from_there() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.once("cdn/pytorch_model.bin", Fault::BreakAfter(100_000));
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
    assert_eq!(ranges(&server), [None, Some(100_000)]);
}

#[test]
fn one_that_always_breaks_off_says_what_is_here_and_the_next_run_goes_on() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.always("cdn/pytorch_model.bin", Fault::BreakAfter(50_000));
    let error = hub_error(fetch(&hub(&server, &cache)));
    assert_eq!(error.kind(), Kind::Io);
    let text = error.to_string();
    assert!(
        text.contains("pytorch_model.bin") && text.contains("150000 of 300000 bytes"),
        "{text}"
    );
    assert!(
        error.hint().unwrap().contains("goes on"),
        "{:?}",
        error.hint()
    );
    assert_eq!(ranges(&server), [None, Some(50_000), Some(100_000)]);

    server.heal();
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
    assert_eq!(ranges(&server), [Some(150_000)]);
}

#[test]
fn what_python_left_half_done_is_finished() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    fs_err::create_dir_all(blobs(&cache)).unwrap();
    let part = blobs(&cache).join(format!("{}.incomplete", etag(&weights(), true)));
    fs_err::write(&part, &weights()[..1234]).unwrap();
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
    assert_eq!(ranges(&server), [Some(1234)]);
    assert!(!part.exists());
}

#[test]
fn a_server_without_ranges_sends_all_again_and_nothing_is_doubled() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.once("cdn/pytorch_model.bin", Fault::BreakAfter(100_000));
    server.once("cdn/pytorch_model.bin", Fault::IgnoreRange);
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
}

#[test]
fn garbage_is_found_by_its_checksum_and_removed() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.once("cdn/pytorch_model.bin", Fault::Garbage);
    let error = hub_error(fetch(&hub(&server, &cache)));
    assert_eq!(error.kind(), Kind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains("pytorch_model.bin") && text.contains("removed"),
        "{text}"
    );
    let name = etag(&weights(), true);
    for entry in fs_err::read_dir(blobs(&cache)).unwrap() {
        assert!(
            !entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with(&name)
        );
    }
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
}

#[test]
fn a_spoilt_beginning_is_found_when_the_end_is_there() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    fs_err::create_dir_all(blobs(&cache)).unwrap();
    let part = blobs(&cache).join(format!("{}.incomplete", etag(&weights(), true)));
    fs_err::write(&part, [7; 5000]).unwrap();
    assert!(matches!(
        hub_error(fetch(&hub(&server, &cache))),
        HubError::WrongContent { .. }
    ));
    assert!(!part.exists());
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
}

#[test]
fn a_stalled_body_and_a_dripping_one_end() {
    for fault in [Fault::StallAfter(1000), Fault::Drip] {
        let (server, cache) = (server(), TempDir::new().unwrap());
        let name = format!("{fault:?}");
        server.always("cdn/pytorch_model.bin", fault);
        let mut hub = hub(&server, &cache);
        hub.patience = Duration::from_millis(100);
        let begun = Instant::now();
        let error = hub_error(fetch(&hub));
        assert!(
            matches!(error, HubError::BrokenOff { .. }),
            "{name}: {error}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.once("/revision/main", Fault::Status(503, ""));
    server.once(
        "resolve/0123456789abcdef0123456789abcdef01234567/config.json",
        Fault::Status(500, ""),
    );
    server.once(
        "cdn/pytorch_model.bin",
        Fault::Status(429, "Retry-After: 0\r\n"),
    );
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
}

#[test]
fn a_model_that_does_not_exist_gets_the_names_near_it() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let id = "BridgeTower/bridgetower-large-itm-mlm-icc";
    let error = hub_error(hub(&server, &cache).fetch(id, None, &mut |_| {}));
    assert_eq!(error.kind(), Kind::NotFound);
    let text = error.to_string();
    assert!(
        text.contains(id) && text.contains("`large-itm-mlm-itc`"),
        "{text}"
    );
    assert!(error.hint().unwrap().contains("HF_TOKEN"));
    assert_eq!(
        server.requests().len(),
        1,
        "no second try for what is not there"
    );
}

#[test]
fn the_public_hub_says_unauthorized_for_a_model_that_does_not_exist() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.always(
        "/revision/main",
        Fault::Status(401, "X-Error-Code: RepoNotFound\r\n"),
    );
    assert!(matches!(
        hub_error(fetch(&hub(&server, &cache))),
        HubError::NoSuchModel { .. }
    ));
}

#[test]
fn a_refusal_says_whether_a_token_was_missing_or_is_no_good() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.always("/revision/main", Fault::Status(401, ""));
    let mut hub = hub(&server, &cache);
    let error = hub_error(fetch(&hub));
    assert!(error.to_string().contains("without a token"), "{error}");
    assert!(error.hint().unwrap().contains("HF_TOKEN"));
    hub.token = Some(Token("old".into()));
    let error = hub_error(fetch(&hub));
    assert!(error.to_string().contains("owner of this token"), "{error}");
    assert!(error.hint().unwrap().contains("expired"));

    server.heal();
    server.always(
        "config.json",
        Fault::Status(403, "X-Error-Code: GatedRepo\r\n"),
    );
    assert!(
        hub_error(fetch(&hub))
            .hint()
            .unwrap()
            .contains("accept the licence")
    );
}

#[test]
fn a_revision_that_does_not_exist_is_told_from_a_model_that_does_not() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.always(
        "/revision/v9",
        Fault::Status(404, "X-Error-Code: RevisionNotFound\r\n"),
    );
    let error = hub_error(hub(&server, &cache).fetch("owner/name", Some("v9"), &mut |_| {}));
    assert!(
        matches!(&error, HubError::NoSuchRevision { revision, .. } if revision == "v9"),
        "{error}"
    );
}

#[test]
fn a_pull_request_is_a_revision() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let pull = |hub: Hub| hub.fetch("owner/name", Some("refs/pr/2"), &mut |_| {});
    assert_whole(&pull(hub(&server, &cache)).unwrap());
    assert!(
        server.requests()[0]
            .path
            .ends_with("/revision/refs%2Fpr%2F2")
    );
    assert!(
        cache
            .path()
            .join("models--owner--name/refs/refs/pr/2")
            .is_file()
    );
    pull(hub(&server, &cache)).unwrap();
    assert_eq!(server.requests(), []);
}

#[test]
fn no_name_leaves_the_cache_folder() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    for id in [
        "../x", "a/../b", "a/b/c", "", "a/", "/etc", "a b/c", "a/b?x",
    ] {
        let error = hub_error(hub(&server, &cache).fetch(id, None, &mut |_| {}));
        assert!(matches!(error, HubError::BadId { .. }), "{id}: {error}");
    }
    for revision in ["../../x", "a//b", "", "a b"] {
        let error =
            hub_error(hub(&server, &cache).fetch("owner/name", Some(revision), &mut |_| {}));
        assert!(
            matches!(error, HubError::NoSuchRevision { .. }),
            "{revision}: {error}"
        );
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn offline_nobody_is_asked_and_the_way_on_is_told() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let mut offline = hub(&server, &cache);
    offline.offline = true;
    let error = hub_error(fetch(&offline));
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert!(error.hint().unwrap().contains("models--owner--name"));
    assert_eq!(server.requests(), []);

    fetch(&hub(&server, &cache)).unwrap();
    server.requests();
    assert_whole(&fetch(&offline).unwrap());
    assert_eq!(server.requests(), []);
}

#[cfg(unix)]
#[test]
fn a_cache_that_python_made_is_used_as_it_is() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let repo = cache.path().join("models--owner--name");
    let snapshot = repo.join("snapshots").join(COMMIT);
    for folder in [&repo.join("refs"), &repo.join("blobs"), &snapshot] {
        fs_err::create_dir_all(folder).unwrap();
    }
    fs_err::write(repo.join("refs/main"), COMMIT).unwrap();
    let files: [(&str, &[u8]); 4] = [
        ("config.json", CONFIG),
        ("preprocessor_config.json", b"{}"),
        ("tokenizer.json", TOKENIZER),
        ("pytorch_model.bin", &weights()),
    ];
    for (name, content) in files {
        let etag = etag(content, true);
        fs_err::write(repo.join("blobs").join(&etag), content).unwrap();
        std::os::unix::fs::symlink(format!("../../blobs/{etag}"), snapshot.join(name)).unwrap();
    }
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
    assert_eq!(server.requests(), []);

    // The same with the weights gone: only they are downloaded.
    fs_err::remove_file(repo.join("blobs").join(etag(&weights(), true))).unwrap();
    assert_whole(&fetch(&hub(&server, &cache)).unwrap());
    let downloads = server
        .requests()
        .into_iter()
        .filter(|r| r.path.starts_with("/cdn/"))
        .count();
    assert_eq!(downloads, 1);
}

#[test]
fn two_at_once_download_once() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_whole(&fetch(&hub(&server, &cache)).unwrap()));
        }
    });
    assert_eq!(ranges(&server).len(), 1);
}

#[test]
fn weights_in_several_files_come_with_all_of_them() {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    let files: [(&str, &[u8], bool); 5] = [
        ("config.json", CONFIG, false),
        ("tokenizer.json", TOKENIZER, false),
        ("model.safetensors.index.json", index, false),
        ("model-1.safetensors", b"first", true),
        ("model-2.safetensors", b"second", true),
    ];
    let (server, cache) = (Server::start(&files), TempDir::new().unwrap());
    let folder = fetch(&hub(&server, &cache)).unwrap();
    assert_eq!(
        fs_err::read(folder.join("model-1.safetensors")).unwrap(),
        b"first"
    );
    assert_eq!(
        fs_err::read(folder.join("model-2.safetensors")).unwrap(),
        b"second"
    );
    fs_err::remove_file(folder.join("model-2.safetensors")).unwrap();
    let folder = fetch(&hub(&server, &cache)).unwrap();
    assert!(
        folder.join("model-2.safetensors").is_file(),
        "a missing part is noticed"
    );
}

#[test]
fn an_index_that_points_out_of_its_folder_is_refused() {
    let files: [(&str, &[u8], bool); 3] = [
        ("config.json", CONFIG, false),
        ("tokenizer.json", TOKENIZER, false),
        (
            "model.safetensors.index.json",
            br#"{"weight_map": {"a": "../../../.ssh/config"}}"#,
            false,
        ),
    ];
    let (server, cache) = (Server::start(&files), TempDir::new().unwrap());
    let error = fetch(&hub(&server, &cache)).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains(".ssh"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_named_after_a_bounded_number_of_tries() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let cache = TempDir::new().unwrap();
    let mut hub = Hub::new(&format!("http://127.0.0.1:{port}/"), cache.path());
    (hub.pause, hub.tries) = (Duration::from_millis(5), 2);
    let error = hub_error(fetch(&hub));
    assert!(
        matches!(error, HubError::Unreachable { tries: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    assert!(error.hint().unwrap().contains("HTTPS_PROXY"));
}

#[test]
fn a_login_page_is_not_taken_for_a_hub() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.always("", Fault::Page);
    assert!(matches!(
        hub_error(fetch(&hub(&server, &cache))),
        HubError::NotAHub { .. }
    ));
}

#[test]
fn everything_goes_through_the_proxy() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let mut hub = hub(&server, &cache).with_proxy(&server.url()).unwrap();
    hub.endpoint = "http://hub.invalid".into();
    assert_whole(&fetch(&hub).unwrap());
    let connects = server
        .requests()
        .into_iter()
        .filter(|r| r.method == "CONNECT")
        .count();
    assert!(connects > 0);
}

#[test]
fn a_certificate_file_without_certificates_is_named() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let path = cache.path().join("ca.pem");
    fs_err::write(&path, "nothing").unwrap();
    let mut hub = hub(&server, &cache);
    hub.certificates = Some(path);
    assert!(fetch(&hub).unwrap_err().to_string().contains("ca.pem"));
}
