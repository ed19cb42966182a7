//! Searching over the network: the same answers as `bt-search`, page by page, step by step, by uploads, and
//! while the index changes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::server::{Ask, Server};
use crate::harness::{TestEnv, wait_until};
use crate::{drawn, samples};

/// Results without what only a server says.
fn plain(mut results: Value) -> Value {
    for result in results.as_array_mut().unwrap() {
        for field in ["index", "thumbnail", "file"] {
            let known = result.as_object_mut().unwrap().remove(field);
            assert!(known.is_some_and(|value| value.is_string()), "{field}");
        }
    }
    results
}

fn ids(page: &Value) -> Vec<String> {
    let results = page["results"].as_array().unwrap().iter();
    results
        .map(|result| result["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn answers_are_those_of_bt_search() {
    let (env, server) = samples();
    let food = format!("{}/samples/food", env!("CARGO_MANIFEST_DIR"));
    let questions: [(&[&str], &str, Value); 5] = [
        (
            &["a cat on a couch"],
            "q=a+cat+on+a+couch",
            json!({"text": "a cat on a couch"}),
        ),
        (
            &["a plate of food", "--not", "pizza", "--all"],
            "q=a%20plate%20of%20food&not=pizza&all=true",
            json!({"text": "a plate of food", "not": ["pizza"], "all": true}),
        ),
        (
            &[
                "something to eat",
                "--in",
                &food,
                "--type",
                "webp,png",
                "--rerank",
                "0",
                "--all",
            ],
            &format!("q=something+to+eat&folder={food}&type=webp&type=png&rerank=0&all=true"),
            json!({
                "text": "something to eat", "rerank": 0, "all": true,
                "filter": {"folders": [food], "types": ["webp", "png"]},
            }),
        ),
        (
            &[
                "a dog", "--sort", "date", "--all", "--after", "2022", "--group",
            ],
            "q=a+dog&sort=date&all=true&after=2022&group=true",
            json!({
                "text": "a dog", "sort": "date", "all": true, "group": true,
                "filter": {"after": "2022"},
            }),
        ),
        (
            &["a submarine in space"],
            "q=a+submarine+in+space",
            json!({"text": "a submarine in space"}),
        ),
    ];
    for (arguments, query, body) in questions {
        let ran = env.bt_search(&[&["--json", "--count", "7"], arguments].concat());
        let expected = ran.json();
        let by_query = server
            .get(&format!("/v1/search?n=7&{query}"))
            .expect(200)
            .json();
        let mut body = body;
        body["n"] = json!(7);
        let by_body = server.post("/v1/search", &body).expect(200).json();
        assert_eq!(ids(&by_query), ids(&by_body), "{query}");
        for page in [by_query, by_body] {
            for field in [
                "schema",
                "query",
                "matched",
                "pictures",
                "allowed",
                "looked_at",
                "warnings",
            ] {
                assert_eq!(page[field], expected[field], "{field} of {query}");
            }
            assert_eq!(ids(&page), ids(&expected), "{query}");
            let (got, expected) = (plain(page["results"].clone()), &expected["results"]);
            for (got, expected) in got
                .as_array()
                .unwrap()
                .iter()
                .zip(expected.as_array().unwrap())
            {
                assert_same(got, expected);
            }
        }
    }
}

/// Equal, but for the last digits of numbers: batches may add in another order.
#[track_caller]
fn assert_same(got: &Value, expected: &Value) {
    match (got, expected) {
        (Value::Object(got), Value::Object(expected)) => {
            assert!(got.keys().eq(expected.keys()), "{got:?} {expected:?}");
            for (key, value) in got {
                assert_same(value, &expected[key]);
            }
        }
        (Value::Array(got), Value::Array(expected)) => {
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                assert_same(got, expected);
            }
        }
        (Value::Number(got), Value::Number(expected)) => {
            let (got, expected) = (got.as_f64().unwrap(), expected.as_f64().unwrap());
            assert!(
                (got - expected).abs() <= 1e-4 * expected.abs().max(1.0),
                "{got} {expected}"
            );
        }
        _ => assert_eq!(got, expected),
    }
}

#[test]
fn pages_put_together_are_one_list() {
    let (_env, server) = samples();
    let ask = |n: usize, cursor: &str| {
        let path = format!("/v1/search?q=people+outdoors&all=true&rerank=0&n={n}&cursor={cursor}");
        server
            .get(path.trim_end_matches("&cursor="))
            .expect(200)
            .json()
    };
    let whole = ask(121, "");
    assert_eq!(ids(&whole).len(), 121);
    assert_eq!(whole["next"], Value::Null);
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(30, &cursor);
        assert_eq!(page["results"][0]["rank"], all.len() + 1);
        all.extend(ids(&page));
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(all, ids(&whole));
    let refused = server
        .get("/v1/search?q=a&cursor=abc")
        .problem(400, "bad-request");
    assert!(refused["detail"].as_str().unwrap().contains("cursor"));
}

#[test]
fn a_picture_is_a_question_by_upload_base64_and_id() {
    let (env, server) = samples();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/food/IMG_0010.jpg");
    let bytes = fs_err::read(path).unwrap();
    let upload = Ask::new("POST", "/v1/search").form(&[("image", Some("x.jpg"), &bytes)]);
    let uploaded = server.send(&upload).expect(200).json();
    let own = &ids(&uploaded)[0];
    assert_eq!(uploaded["results"][0]["path"], path);
    assert_eq!(uploaded["query"]["picture"], "given");

    let body = json!({"image": {"base64": STANDARD.encode(&bytes)}});
    let encoded = server.post("/v1/search", &body).expect(200).json();
    assert_eq!(ids(&encoded), ids(&uploaded));

    let by_id = server
        .post("/v1/search", &json!({"image": {"id": own}}))
        .expect(200)
        .json();
    let similar = server.get(&format!("/v1/similar/{own}")).expect(200).json();
    assert_eq!(ids(&similar), ids(&by_id));
    assert!(!ids(&similar).contains(own), "a picture is not like itself");
    let expected = env
        .bt_search(&["--json", "--count", "20", "--similar-to", path])
        .json();
    assert_eq!(ids(&similar), ids(&expected));

    let both = Ask::new("POST", "/v1/search").form(&[
        ("image", Some("x.jpg"), &bytes),
        (
            "request",
            None,
            br#"{"text": "on a blue plate", "n": 3, "all": true}"#,
        ),
    ]);
    let both = server.send(&both).expect(200).json();
    assert_eq!(both["query"]["text"], "on a blue plate");
    assert_eq!(ids(&both).len(), 3);

    let form = |parts: &[(&str, Option<&str>, &[u8])]| {
        server.send(&Ask::new("POST", "/v1/search").form(parts))
    };
    form(&[("image", Some("x.jpg"), b"no picture")]).problem(422, "not-a-picture");
    form(&[("picture", Some("x.jpg"), &bytes)]).problem(400, "bad-request");
    form(&[("request", None, b"{")]).problem(400, "bad-request");
    let post = |body: Value| server.post("/v1/search", &body);
    post(json!({"image": {"base64": "bm8="}})).problem(422, "not-a-picture");
    post(json!({"image": {"base64": "?"}})).problem(400, "bad-request");
    post(json!({"image": {"id": "12"}})).problem(400, "bad-request");
    post(json!({"image": {"id": "0".repeat(64)}})).problem(404, "not-found");
    post(json!({"image": {}})).problem(400, "bad-request");
    post(json!({"words": "a cat"})).problem(400, "bad-request");
    post(json!({})).problem(400, "bad-request");
    server.get("/v1/similar/12").problem(400, "bad-request");
    server
        .get(&format!("/v1/similar/{}", "0".repeat(64)))
        .problem(404, "not-found");
}

/// Names and data of the events of a stream.
fn events(server: &Server, path: &str) -> Vec<(String, Value)> {
    let asked = Ask::new("GET", path).header("Accept", "text/event-stream");
    let response = server.send(&asked).expect(200);
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    let text = String::from_utf8(response.body).unwrap();
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|event| Some((field(event, "event:")?, field(event, "data:")?)))
        .map(|(name, data)| (name, serde_json::from_str(&data).unwrap()))
        .collect()
}

#[test]
fn an_answer_comes_in_steps_and_ends_as_it_would_at_once() {
    let (_env, server) = samples();
    let path = "/v1/search?q=a+cat+on+a+couch&all=true&n=10";
    let steps = events(&server, path);
    let names: Vec<&str> = steps.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["candidates", "progress", "progress", "results"]);
    let (candidates, results) = (&steps[0].1, &steps[3].1);
    assert_eq!(candidates["looked_at"], 0);
    assert_eq!(ids(candidates).len(), 10);
    assert_eq!(results["looked_at"], 20);
    let scores = |list: &Value| -> BTreeMap<String, Value> {
        let scored = list.as_array().unwrap().iter();
        scored
            .map(|one| {
                (
                    one["id"].as_str().unwrap().into(),
                    one["probability"].clone(),
                )
            })
            .collect()
    };
    let mut told = BTreeMap::new();
    for ((_, progress), done) in steps[1..3].iter().zip([10, 20]) {
        assert_eq!(
            (&progress["done"], &progress["total"]),
            (&json!(done), &json!(20))
        );
        told.extend(scores(&progress["judged"]));
    }
    assert_eq!(told.len(), 20);
    for (id, probability) in scores(&results["results"]) {
        assert_eq!(
            told.get(&id),
            Some(&probability),
            "told on the way, and in the end"
        );
    }
    let at_once = server.get(path).expect(200).json();
    assert_eq!(ids(results), ids(&at_once));

    let asked = Ask::new("GET", "/v1/search").header("Accept", "text/event-stream");
    // What is refused before the first step is no stream.
    let empty = Ask::new("GET", "/v1/search?q=").header("Accept", "text/event-stream");
    server.send(&empty).problem(400, "bad-request");
    server
        .send(&asked.header("Host", "evil.example"))
        .problem(421, "unknown-host");
}

#[test]
fn a_new_state_of_the_index_is_served_without_a_failed_request() {
    let (env, server) = drawn(20, &[]);
    let stop = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                let path = format!("/v1/search?q=boxes+{asked}&all=true&rerank=0");
                server.get(&path).expect(200);
                asked += 1;
            }
            asked
        });
        let pictures =
            || server.get("/v1/status").expect(200).json()["indexes"][0]["pictures"].clone();
        assert_eq!(pictures(), 20);
        // What is kept of an answer is of the state that it was found in.
        let found = |n: usize| {
            let path = "/v1/search?q=boxes&all=true&rerank=0&n=100";
            let page = server.get(path).expect(200).json();
            assert_eq!(page["results"].as_array().unwrap().len(), n);
        };
        found(20);
        env.draw("album/more.png", 99);
        env.bt_index(&["album", "--quiet"]).expect(0);
        wait_until("the new picture is served", || pictures() == 21);
        found(21);
        env.bt_index(&["--compact", "--quiet"]).expect(0);
        fs_err::remove_file(env.path("album/00001.png")).unwrap();
        env.bt_index(&["album", "--prune", "--quiet"]).expect(0);
        wait_until("the pruned picture is gone", || pictures() == 20);
        found(20);
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 0);
    let found = server.get("/v1/search?q=more.png").expect(200).json();
    assert_eq!(
        found["results"][0]["path"],
        env.path("album/more.png").to_str().unwrap()
    );
}

#[test]
fn a_picture_that_was_looked_at_is_not_read_again() {
    let (env, server) = drawn(6, &[]);
    let ask = |text: &str| {
        server
            .get(&format!("/v1/search?all=true&q={text}"))
            .expect(200)
            .json()
    };
    assert_eq!(ask("red")["looked_at"], 6);
    for picture in 1..=6 {
        fs_err::remove_file(env.path(format!("album/{picture:05}.png"))).unwrap();
    }
    let again = ask("blue");
    assert_eq!(
        (&again["looked_at"], &again["warnings"]),
        (&json!(6), &json!([]))
    );
}

#[test]
fn several_indexes_are_asked_by_name() {
    let env = TestEnv::new();
    for (name, count) in [("one", 3), ("two", 5)] {
        env.draw_album(name, count);
        env.bt_index(&[name, "--index", &format!("{name}-index"), "--quiet"])
            .expect(0);
    }
    let server = Server::start(
        &env,
        &["--index", "one=one-index", "--index", "two=two-index"],
    );
    let pictures = |query: &str| {
        let path = format!("/v1/search?q=boxes&all=true&rerank=0{query}");
        server.get(&path).expect(200).json()["pictures"].clone()
    };
    assert_eq!(pictures(""), 3);
    assert_eq!(pictures("&index=one"), 3);
    assert_eq!(pictures("&index=two"), 5);
    let two = server.post(
        "/v1/search",
        &json!({"text": "boxes", "index": "two", "all": true}),
    );
    assert_eq!(two.expect(200).json()["index"], "two");
    let none = server
        .get("/v1/search?q=boxes&index=three")
        .problem(404, "not-found");
    assert!(
        none["hint"].as_str().unwrap().contains("one, two"),
        "{none}"
    );
    let indexes = server.get("/v1/indexes").expect(200).json();
    assert_eq!(
        (&indexes[0]["name"], &indexes[1]["name"]),
        (&json!("one"), &json!("two"))
    );
}
