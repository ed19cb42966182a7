//! Much at once: batches, a full queue, clients that leave, and time that is over.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::harness::server::{Ask, Server};
use crate::harness::wait_until;
use crate::{drawn, metric};

/// Takes long: every picture is looked at.
const LONG: &str = "/v1/search?q=boxes+of+colour&all=true&rerank=100&n=1";

#[test]
fn who_asks_together_gets_what_he_would_get_alone() {
    let (_env, server) = drawn(12, &[]);
    let path = |n: usize| format!("/v1/search?q=picture+number+{n}&all=true&rerank=12");
    let results = |page: Value| -> Vec<(Value, f64)> {
        let results = page["results"].as_array().unwrap().iter();
        results
            .map(|result| {
                (
                    result["id"].clone(),
                    result["probability"].as_f64().unwrap(),
                )
            })
            .collect()
    };
    let together: Vec<Vec<(Value, f64)>> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..24)
            .map(|n| {
                let (server, path) = (&server, path(n));
                scope.spawn(move || server.get(&path).expect(200).json())
            })
            .collect();
        asking
            .into_iter()
            .map(|asked| results(asked.join().unwrap()))
            .collect()
    });
    assert_eq!(metric(&server, "bt_batch_size_sum{kind=\"texts\"}"), 24.0);
    assert_eq!(
        metric(&server, "bt_batch_size_sum{kind=\"states\"}"),
        12.0,
        "each picture is seen once"
    );
    let (_env, alone) = drawn(12, &["--cache", "0", "--workers", "1"]);
    for (n, together) in together.into_iter().enumerate() {
        let alone = results(alone.get(&path(n)).expect(200).json());
        assert_eq!(alone.len(), together.len());
        for ((id, probability), (other, near)) in alone.iter().zip(&together) {
            assert!(
                (probability - near).abs() < 1e-4,
                "{n}: {probability} {near}"
            );
            assert!(id == other || (probability - near).abs() < 1e-5, "{n}");
        }
    }
}

#[test]
fn no_more_than_was_said_go_through_the_model_together() {
    let (_env, server) = drawn(6, &["--max-batch", "2"]);
    let texts: Vec<String> = (0..7).map(|n| format!("text {n}")).collect();
    server
        .post("/v1/embed", &json!({ "inputs": texts }))
        .expect(200);
    server
        .get("/v1/search?q=boxes&all=true&rerank=6")
        .expect(200);
    for (kind, all) in [("texts", 8.0), ("states", 6.0)] {
        let of = |name: &str| metric(&server, &format!("bt_batch_size_{name}"));
        assert_eq!(of(&format!("sum{{kind=\"{kind}\"}}")), all, "{kind}");
        let small = of(&format!("bucket{{kind=\"{kind}\",le=\"2\"}}"));
        assert_eq!(of(&format!("count{{kind=\"{kind}\"}}")), small, "{kind}");
    }
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_again() {
    let (_env, server) = drawn(100, &["--workers", "1", "--queue", "0"]);
    let mut long = server.connect();
    long.write_all(&Ask::new("GET", LONG).bytes(server.address))
        .unwrap();
    wait_until("the long one runs", || metric(&server, "bt_running") == 1.0);
    let refused = server.get("/v1/search?q=another");
    let problem = refused.problem(429, "overloaded");
    assert!(
        problem["detail"].as_str().unwrap().contains("--queue"),
        "{problem}"
    );
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(metric(&server, "bt_refused_total"), 1.0);
    // Step by step, too: clients know what to do with a status.
    let steps = Ask::new("GET", "/v1/search?q=another").header("Accept", "text/event-stream");
    let refused = server.send(&steps);
    refused.problem(429, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        metric(&server, "bt_search_seconds_count{status=\"429\"}"),
        2.0
    );
    // What needs no model is answered.
    server.get("/v1/status").expect(200);
    let long = crate::harness::server::Response::read(&mut long, false)
        .expect(200)
        .json();
    assert_eq!(long["looked_at"], 100);
    wait_until("there is room again", || {
        server.get("/v1/search?q=another").status == 200
    });
}

#[test]
fn who_leaves_frees_his_place_and_nothing_more_is_done_for_him() {
    let (_env, server) = drawn(100, &["--workers", "1", "--queue", "0"]);
    let mut long = server.connect();
    long.write_all(&Ask::new("GET", LONG).bytes(server.address))
        .unwrap();
    wait_until("the long one runs", || metric(&server, "bt_running") == 1.0);
    drop(long);
    wait_until("there is room again", || {
        metric(&server, "bt_running") == 0.0
    });
    assert!(metric(&server, "bt_batch_size_sum{kind=\"states\"}") < 100.0);
    server.get("/v1/search?q=another&rerank=0").expect(200);
}

#[test]
fn who_waits_for_what_another_began_and_left_gets_it_nevertheless() {
    let (_env, server) = drawn(100, &["--workers", "3"]);
    let album = server.get("/v1/browse?n=100").expect(200).json();
    let ids: Vec<&Value> = album["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|picture| &picture["id"])
        .collect();
    // One question about all pictures, which keeps the model busy until the others have come.
    let images: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
    let long = Ask::new("POST", "/v1/rerank").json(&json!({ "query": "boxes", "images": images }));
    let why = Ask::new(
        "GET",
        &format!("/v1/pictures/{}/why?q=boxes", ids[0].as_str().unwrap()),
    );
    let ask = |asked: &Ask| {
        let mut stream = server.connect();
        stream.write_all(&asked.bytes(server.address)).unwrap();
        stream
    };
    let _long = ask(&long);
    wait_until("the model is busy", || {
        metric(&server, "bt_batch_size_sum{kind=\"states\"}") > 0.0
    });
    let leaves = ask(&why);
    wait_until("the first one waits", || {
        metric(&server, "bt_running") == 2.0
    });
    let mut stays = ask(&why);
    wait_until("the second one waits for it", || {
        metric(&server, "bt_running") == 3.0
    });
    drop(leaves);
    let answer = crate::harness::server::Response::read(&mut stays, false).expect(200);
    assert!(!answer.json()["words"].as_array().unwrap().is_empty());
}

#[test]
fn a_request_whose_time_is_over_ends() {
    let (_env, server) = drawn(1, &["--deadline", "0"]);
    server.get("/v1/search?q=boxes").problem(504, "deadline");
    // A stream that has not begun is none.
    let asked = Ask::new("GET", "/v1/search?q=boxes").header("Accept", "text/event-stream");
    server.send(&asked).problem(504, "deadline");
}

#[test]
fn a_stream_whose_time_is_over_says_so_in_its_last_event() {
    let (env, first) = drawn(200, &[]);
    drop(first);
    // Slow enough that two seconds are too few for what comes after the candidates.
    let slow = [("BT_CPU", "portable"), ("BT_PRECISION", "f32")];
    let server = Server::start_with(&env, &["--deadline", "2"], &slow);
    let asked = Ask::new(
        "GET",
        "/v1/search?q=boxes+of+colour&all=true&rerank=200&n=1",
    );
    let asked = asked.header("Accept", "text/event-stream");
    let streamed = server.send(&asked).expect(200);
    let id = streamed.header("x-request-id").unwrap().to_owned();
    let events = String::from_utf8(streamed.body).unwrap();
    assert!(
        events.contains("event: candidates")
            && events.contains("event: problem")
            && events.contains("/problems/deadline"),
        "{events}"
    );
    assert!(events.contains(&id), "{id}: {events}");
}
