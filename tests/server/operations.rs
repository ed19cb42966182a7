//! What operators see: descriptions, states, numbers, and how the server ends.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use serde_json::json;

use crate::harness::server::{Ask, BT_SERVER, Response, Server};
use crate::harness::{TestEnv, wait_until};
use crate::{drawn, metric};

#[test]
fn the_description_lists_every_route_and_no_other() {
    let (_env, server) = drawn(1, &[]);
    let description = server.get("/openapi.json").expect(200).json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut listed = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            listed.insert(format!("{} {path}", method.to_uppercase()));
            assert!(
                operation["responses"]["default"]["content"]["application/problem+json"]
                    .is_object()
            );
            assert!(
                operation["summary"].is_string(),
                "{method} {path} says nothing"
            );
        }
    }
    let expected = [
        "DELETE /session",
        "DELETE /v1/pictures/{id}",
        "GET /healthz",
        "GET /metrics",
        "GET /openapi.json",
        "GET /readyz",
        "GET /v1/browse",
        "GET /v1/facets",
        "GET /v1/indexes",
        "GET /v1/pictures/{id}",
        "GET /v1/pictures/{id}/file",
        "GET /v1/pictures/{id}/thumbnail",
        "GET /v1/pictures/{id}/why",
        "GET /v1/search",
        "GET /v1/similar/{id}",
        "GET /v1/status",
        "POST /session",
        "POST /v1/embed",
        "POST /v1/embeddings",
        "POST /v1/export",
        "POST /v1/features",
        "POST /v1/pictures",
        "POST /v1/rerank",
        "POST /v1/search",
    ];
    let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
    let missing: Vec<_> = expected.difference(&listed).collect();
    assert!(missing.is_empty(), "not listed: {missing:?}");
    for route in &listed {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", &"0".repeat(64));
        let response = server.send(&Ask::new(method, &path));
        assert_ne!(response.status, 405, "{route} is listed and not served");
        assert!(response.status < 500, "{route}: {response}");
    }
}

#[test]
fn whole_numbers_that_a_request_has_are_bounded() {
    let (_env, server) = drawn(1, &[]);
    let description = server.get("/openapi.json").expect(200).json();
    let mut checked = 0;
    for (path, item) in description["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            let parameters = operation["parameters"].as_array();
            for parameter in parameters.into_iter().flatten() {
                let (name, schema) = (&parameter["name"], &parameter["schema"]);
                if schema["type"] != "integer" {
                    continue;
                }
                // Without bounds, any number would have to be accepted, however many digits it has.
                assert!(schema["minimum"].is_u64(), "{path} {name}");
                assert!(schema["maximum"].is_u64(), "{path} {name}");
                checked += 1;
            }
        }
    }
    assert!(checked > 5, "{checked}");
}

#[test]
fn the_state_is_told() {
    let (_env, server) = drawn(4, &[]);
    assert_eq!(server.get("/healthz").expect(200).body, b"ok\n");
    assert_eq!(server.get("/readyz").expect(200).body, b"ready\n");
    let status = server.get("/v1/status").expect(200).json();
    assert_eq!(status["ready"], true);
    assert_eq!(status["uploads"], false);
    let index = &status["indexes"][0];
    assert_eq!(
        (&index["name"], &index["pictures"]),
        (&json!("index"), &json!(4))
    );
    assert_eq!(
        (&index["model"], &index["dimensions"]),
        (&json!("mini"), &json!(192))
    );
    let lost = server.get("/v1/nothing");
    assert_eq!(lost.status, 404, "{lost}");
}

#[test]
fn numbers_move_with_what_is_done() {
    let (_env, server) = drawn(5, &[]);
    let hits = "bt_cache_hits_total{cache=\"results\"}";
    let texts = "bt_batch_size_sum{kind=\"texts\"}";
    let states = "bt_batch_size_sum{kind=\"states\"}";
    let requests = "bt_request_seconds_count{route=\"/v1/search\",method=\"GET\",status=\"200\"}";
    assert_eq!(metric(&server, "bt_index_pictures{index=\"index\"}"), 5.0);
    assert_eq!(
        (metric(&server, requests), metric(&server, texts)),
        (0.0, 0.0)
    );
    for _ in 0..3 {
        server.get("/v1/search?q=boxes&all=true").expect(200);
    }
    assert_eq!(metric(&server, requests), 3.0);
    assert_eq!(metric(&server, hits), 2.0);
    assert_eq!(
        (metric(&server, texts), metric(&server, states)),
        (1.0, 5.0)
    );
    assert_eq!(
        metric(&server, "bt_stage_seconds_count{stage=\"rerank\"}"),
        1.0
    );
    assert_eq!(metric(&server, "bt_running"), 0.0);
}

#[test]
fn a_running_request_ends_before_the_server_does() {
    let (_env, server) = drawn(60, &[]);
    let mut running = server.connect();
    let asked = Ask::new("GET", "/v1/search?q=boxes&all=true&rerank=60");
    running.write_all(&asked.bytes(server.address)).unwrap();
    wait_until("the request runs", || metric(&server, "bt_running") == 1.0);
    // A connection on which nothing is asked does not hold the server up.
    let _idle = server.connect();
    let answer = std::thread::spawn(move || Response::read(&mut running, false));
    assert_eq!(server.stop("TERM"), Some(0));
    let answer = answer.join().unwrap().expect(200).json();
    assert_eq!(answer["looked_at"], 60);
}

#[test]
fn a_load_balancer_is_given_time_to_look_away() {
    let (_env, server) = drawn(1, &["--linger-seconds", "600"]);
    server.get("/readyz").expect(200);
    server.signal("TERM");
    wait_until("it says that it is not ready", || {
        server.get("/readyz").status == 503
    });
    let problem = server.get("/readyz").problem(503, "stopping");
    assert_eq!(problem["title"], "The server is stopping");
    let description = server.get("/openapi.json").expect(200).json();
    let said = &description["paths"]["/readyz"]["get"]["responses"]["503"]["content"];
    assert!(said["application/problem+json"].is_object(), "{said}");
    server.get("/v1/status").expect(200);
    // Whoever asks again does not want to wait.
    assert_eq!(server.stop("TERM"), Some(0));
}

#[test]
fn a_request_without_end_does_not_keep_the_server_from_ending() {
    let (_env, server) = drawn(1, &["--drain-seconds", "1"]);
    let mut stream = server.connect();
    let ask = Ask::new("POST", "/v1/search")
        .header("Content-Length", "1000")
        .body("application/json", "{");
    stream.write_all(&ask.bytes(server.address)).unwrap();
    let sending = std::thread::spawn(move || {
        // A byte now and then, for much longer than the server was told to wait.
        (0..600).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            stream.write_all(b" ").is_err()
        })
    });
    wait_until("the server has taken the request", || {
        !server.log().is_empty()
    });
    assert_eq!(server.stop("TERM"), Some(0));
    assert!(sending.join().unwrap(), "the client was not cut");
}

#[test]
#[cfg(unix)]
fn a_signal_is_heard_while_a_model_is_loaded() {
    let env = TestEnv::new();
    env.draw_album("album", 1);
    env.bt_index(&["album", "--quiet"]).expect(0);
    // A checkpoint whose first file nobody writes: loading it never ends.
    let config = env.write("slow/none", "").with_file_name("config.json");
    let made = std::process::Command::new("mkfifo").arg(&config).status();
    assert!(made.unwrap().success());
    let mut loading = env.start(BT_SERVER, &["--model", "slow", "--bind", "127.0.0.1:0"]);
    let mut log = BufReader::new(loading.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("loading") {
        line.clear();
        let read = log.read_line(&mut line).unwrap();
        assert!(read > 0, "the server ended before it loaded anything");
    }
    loading.signal("TERM");
    let ended = loading.0.wait().unwrap();
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert_eq!(ended.code(), Some(0), "{rest}");
    assert!(rest.contains("stopped while loading"), "{rest}");
}

#[test]
fn what_keeps_the_server_from_starting_is_told_with_what_to_do() {
    let env = TestEnv::new();
    let none = env.run(BT_SERVER, &["--index", "none"]).expect(2);
    assert!(
        none.stderr.contains("none") && none.stderr.contains("hint:"),
        "{none}"
    );
    env.draw_album("album", 1);
    env.bt_index(&["album", "--quiet"]).expect(0);
    let open = env.run(BT_SERVER, &["--bind", "0.0.0.0:0"]).expect(2);
    assert!(open.stderr.contains("--no-auth"), "{open}");
    let first = Server::start(&env, &[]);
    let address = first.address.to_string();
    let taken = env.run(BT_SERVER, &["--bind", &address]).expect(2);
    assert!(
        taken.stderr.contains(&address) && taken.stderr.contains("hint:"),
        "{taken}"
    );
}

#[test]
fn what_is_wrong_with_tokens_certificates_and_albums_is_told_before_a_model_is_loaded() {
    let env = TestEnv::new();
    env.draw_album("album", 1);
    env.bt_index(&["album", "--quiet"]).expect(0);
    for (name, content) in [
        ("short", "read abc"),
        ("cert.pem", "none"),
        ("key.pem", "none"),
    ] {
        env.write(name, content);
    }
    let certificate = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    for (bind, arguments, told) in [
        (
            "127.0.0.1:0",
            &["--token-file", "short"][..],
            &["line 1"][..],
        ),
        ("0.0.0.0:0", &[], &["--no-auth"]),
        ("127.0.0.1:0", &certificate, &["cert.pem", "each as PEM"]),
        (
            "127.0.0.1:0",
            &["--album", "album/00001.png"],
            &["00001.png"],
        ),
    ] {
        let arguments = [&["--bind", bind], arguments].concat();
        let ended = env.run(BT_SERVER, &arguments).expect(2);
        for told in told {
            assert!(ended.stderr.contains(told), "{ended}");
        }
        for too_early in ["loading", "serving"] {
            assert!(!ended.stderr.contains(too_early), "{ended}");
        }
    }
}

#[test]
fn what_is_asked_every_few_seconds_has_no_line_in_the_log_unless_it_fails() {
    let (_env, server) = drawn(1, &[]);
    for path in ["/healthz", "/readyz", "/metrics", "/v1/status"] {
        server.get(path).expect(200);
    }
    let log = || server.log();
    wait_until("the last one is logged", || log().contains("/v1/status"));
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert!(!log().contains(path), "{}", log());
    }
    // A file and a pipe take no colours.
    assert!(!log().contains('\u{1b}'), "{}", log());
}

#[test]
fn the_log_says_what_is_looked_for_only_when_asked() {
    let (env, server) = drawn(1, &["--log-format", "json"]);
    server.get("/v1/search?q=secretword&all=true").expect(200);
    wait_until("the request is logged", || {
        server.log().contains("/v1/search")
    });
    assert!(!server.log().contains("secretword"), "{}", server.log());
    let log = server.log();
    let mut lines = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let line = lines.find(|line| line["message"] == "answered").unwrap();
    assert_eq!(line["status"], 200);
    let telling = Server::start(&env, &["--log-queries"]);
    telling.get("/v1/search?q=secretword&all=true").expect(200);
    wait_until("the words are logged", || {
        telling.log().contains("secretword")
    });
}
