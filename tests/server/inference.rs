//! The model itself, asked over the network.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::TestEnv;
use crate::harness::server::{Ask, Server};
use crate::upload::bomb;
use crate::{drawn, samples};

fn vectors(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn encoded(path: &std::path::Path) -> String {
    STANDARD.encode(fs_err::read(path).unwrap())
}

#[test]
fn vectors_are_those_of_the_index_and_the_same_alone_and_together() {
    let (env, server) = drawn(3, &[]);
    let image = |name: &str| json!({"image": encoded(&env.path(format!("album/{name}")))});
    let embed = |inputs: Value| {
        let body = json!({"inputs": inputs});
        vectors(&server.post("/v1/embed", &body).expect(200).json())
    };
    let mixed = embed(json!([
        "a red box",
        image("00002.png"),
        "a longer text about boxes",
        image("00001.png")
    ]));
    assert_eq!(mixed.len(), 4);
    for vector in &mixed {
        assert!((cosine(vector, vector) - 1.0).abs() < 1e-4);
    }
    let indexed = |name: &str| {
        let id = env.record_at(&format!("album/{name}")).id;
        let mut records = env.records().into_iter();
        records.find(|(record, _)| record.id == id).unwrap().1
    };
    assert!(cosine(&mixed[1], &indexed("00002.png")) > 0.999);
    assert!(cosine(&mixed[3], &indexed("00001.png")) > 0.999);
    assert!(cosine(&embed(json!("a red box"))[0], &mixed[0]) > 0.99999);
    assert!(cosine(&embed(json!(["a red box"]))[0], &mixed[0]) > 0.99999);
    assert!(cosine(&embed(image("00001.png"))[0], &mixed[3]) > 0.99999);

    let openai = |body: Value| server.post("/v1/embeddings", &body).expect(200).json();
    let list = openai(json!({"input": ["a red box", "x"], "model": "any"}));
    assert_eq!(
        (&list["object"], &list["data"][1]["index"]),
        (&json!("list"), &json!(1))
    );
    assert!(list["usage"]["prompt_tokens"].as_u64().unwrap() > 4);
    let floats: Vec<f32> = serde_json::from_value(list["data"][0]["embedding"].clone()).unwrap();
    assert!(cosine(&floats, &mixed[0]) > 0.99999);
    let base64 = openai(json!({"input": "a red box", "encoding_format": "base64"}));
    let bytes = STANDARD
        .decode(base64["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let (numbers, _) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect();
    assert_eq!(numbers, floats);
}

#[test]
fn what_other_servers_let_one_choose_is_taken_where_it_changes_nothing() {
    let (_env, server) = drawn(1, &[]);
    let embed = |body: Value| server.post("/v1/embed", &body);
    let plain = embed(json!({"inputs": "a red box"})).expect(200).json();
    let same = json!({
        "inputs": "a red box", "normalize": true, "truncate": null, "prompt_name": null,
        "truncation_direction": "Right", "dimensions": 192,
    });
    assert_eq!(embed(same).expect(200).json(), plain);
    let nothing = json!({"inputs": "a red box", "normalize": null, "truncation_direction": null, "dimensions": null});
    assert_eq!(embed(nothing).expect(200).json(), plain);
    let openai = |mut more: Value| {
        more["input"] = json!("a red box");
        server.post("/v1/embeddings", &more)
    };
    let usual = json!({"user": "anna", "encoding_format": "float", "dimensions": 192});
    assert_eq!(
        openai(usual).expect(200).json()["data"][0]["embedding"],
        plain[0]
    );
    openai(json!({"encoding_format": null})).expect(200);

    let refused = |response: crate::harness::server::Response, named: &str| {
        let problem = response.problem(400, "bad-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{problem}");
    };
    for (field, value) in [
        ("normalize", json!(false)),
        ("prompt_name", json!("query")),
        ("truncation_direction", json!("Left")),
        ("dimensions", json!(64)),
    ] {
        refused(embed(json!({"inputs": "a", field: value})), field);
    }
    refused(openai(json!({"dimensions": 64})), "dimensions");
    refused(openai(json!({"encoding_format": "int8"})), "int8");

    let picture = json!({"base64": STANDARD.encode(crate::upload::png(1))});
    let rerank = |mut more: Value| {
        more["query_image"] = picture.clone();
        more["texts"] = json!(["a red box", "word ".repeat(1000)]);
        server.post("/v1/rerank", &more)
    };
    let usual = json!({"raw_scores": null, "truncate": true, "truncation_direction": "Right"});
    let plain = rerank(json!({})).expect(200).json();
    assert_eq!(rerank(usual).expect(200).json(), plain);
    let named = rerank(json!({"return_text": true})).expect(200).json();
    for (named, plain) in named
        .as_array()
        .unwrap()
        .iter()
        .zip(plain.as_array().unwrap())
    {
        assert_eq!(named["index"], plain["index"]);
        assert_eq!(named["text"] == "a red box", named["index"] == 0, "{named}");
        assert!(plain.get("text").is_none());
    }
    let long = rerank(json!({"truncate": false})).problem(413, "too-large");
    assert!(
        long["detail"].as_str().unwrap().contains("number 1"),
        "{long}"
    );
    refused(
        rerank(json!({"truncation_direction": "left"})),
        "truncation_direction",
    );
    let pictures = json!({"query": "a", "images": [picture], "return_text": true});
    refused(server.post("/v1/rerank", &pictures), "return_text");
}

#[test]
fn what_cannot_be_embedded_is_refused() {
    let (_env, server) = drawn(1, &[]);
    let embed = |body: Value| server.post("/v1/embed", &body);
    embed(json!({"inputs": []})).problem(400, "bad-request");
    embed(json!({"inputs": vec!["a"; 257]})).problem(400, "bad-request");
    embed(json!({"inputs": 7})).problem(400, "bad-request");
    embed(json!({"inputs": {"image": "?"}})).problem(400, "bad-request");
    embed(json!({"inputs": {"image": "bm8="}})).problem(422, "not-a-picture");
    let long = "word ".repeat(1000);
    let refused = embed(json!({"inputs": long})).problem(413, "too-large");
    assert!(refused["hint"].as_str().unwrap().contains("truncate"));
    embed(json!({"inputs": long, "truncate": true})).expect(200);
    let raw = Ask::new("POST", "/v1/embed").body("text/plain", "a");
    server.send(&raw).problem(415, "unsupported-media-type");
}

#[test]
fn a_picture_that_is_asked_with_has_the_bounds_of_one_that_is_uploaded() {
    let (_env, server) = drawn(1, &["--max-pixels", "1"]);
    for bytes in [bomb(60_000, 60_000), bomb(1001, 1000)] {
        let image = json!({"base64": STANDARD.encode(&bytes)});
        for (path, body) in [
            ("/v1/search", json!({"image": image})),
            (
                "/v1/embed",
                json!({"inputs": ["a", {"image": image["base64"]}]}),
            ),
            ("/v1/rerank", json!({"query": "a", "images": [image]})),
            ("/v1/rerank", json!({"query_image": image, "texts": ["a"]})),
            ("/v1/features", json!({"text": "a", "image": image})),
        ] {
            server.post(path, &body).problem(413, "too-large");
        }
        let form = Ask::new("POST", "/v1/search").form(&[("image", Some("a.png"), &bytes)]);
        server.send(&form).problem(413, "too-large");
    }
}

#[test]
fn reranking_gives_the_probabilities_of_a_search() {
    let (_env, server) = samples();
    let text = "a cat on a couch";
    let found = server.post("/v1/search", &json!({"text": text, "all": true, "n": 10}));
    let found = found.expect(200).json();
    let results = found["results"].as_array().unwrap();
    let mut images: Vec<Value> = results
        .iter()
        .map(|result| json!({"id": result["id"]}))
        .collect();
    images.reverse();
    images[3] = {
        let path = results[6]["path"].as_str().unwrap();
        json!({"base64": encoded(path.as_ref())})
    };
    let ranked = server.post("/v1/rerank", &json!({"query": text, "images": images}));
    let ranked = ranked.expect(200).json();
    for (place, rank) in ranked.as_array().unwrap().iter().enumerate() {
        assert_eq!(rank["index"], 9 - place);
        let (got, expected) = (
            rank["score"].as_f64().unwrap(),
            results[place]["probability"].as_f64().unwrap(),
        );
        assert!((got - expected).abs() < 1e-3, "{place}: {got} {expected}");
    }
    let texts = json!({
        "query_image": {"id": results[0]["id"]}, "raw_scores": true,
        "texts": ["a plane in the sky", text],
    });
    let ranked = server.post("/v1/rerank", &texts).expect(200).json();
    assert_eq!(
        (&ranked[0]["index"], &ranked[1]["index"]),
        (&json!(1), &json!(0))
    );
    for body in [
        json!({}),
        json!({"query": text}),
        json!({"query": text, "texts": ["a"]}),
        json!({"query": text, "images": [{"id": "1"}]}),
    ] {
        server.post("/v1/rerank", &body).problem(400, "bad-request");
    }
    let none = json!({"query": text, "images": [{"id": "0".repeat(64)}]});
    server.post("/v1/rerank", &none).problem(404, "not-found");
}

#[test]
fn features_are_those_that_bt_model_prints() {
    let env = TestEnv::new();
    let picture = env.draw("album/one.png", 5);
    env.bt_index(&["album", "--quiet"]).expect(0);
    let server = Server::start(&env, &[]);
    let program = env!("CARGO_BIN_EXE_bt-model");
    let path = picture.to_str().unwrap();
    let expected = env
        .run(
            program,
            &["features", path, "a red box", "--model", "mini", "--json"],
        )
        .expect(0)
        .json();
    let id = env.record_at("album/one.png").id.to_string();
    for image in [json!({"id": id}), json!({"base64": encoded(&picture)})] {
        let body = json!({"text": "a red box", "image": image});
        let features = server.post("/v1/features", &body).expect(200).json();
        for field in [
            "text_embeds",
            "image_embeds",
            "cross_embeds",
            "pooler_output",
            "itm_logits",
        ] {
            let numbers = |value: &Value| -> Option<Vec<f32>> {
                serde_json::from_value(value.clone()).unwrap()
            };
            let (got, expected) = (numbers(&features[field]), numbers(&expected[field]));
            let (Some(got), Some(expected)) = (&got, &expected) else {
                assert_eq!(got, expected, "{field}");
                continue;
            };
            assert_eq!(got.len(), expected.len(), "{field}");
            for (a, b) in got.iter().zip(expected) {
                assert!((a - b).abs() < 1e-4, "{field}: {a} {b}");
            }
        }
    }
}
