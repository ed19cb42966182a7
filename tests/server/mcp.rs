//! The tools for assistants, by the bytes of the protocol: as a program that an assistant starts, and over
//! HTTP. What a client of the protocol makes of them is tested in tests/clients.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::TestEnv;
use crate::harness::server::{Ask, BT_SERVER, Server};
use crate::{drawn, samples};

/// A call of a tool.
fn call(tool: &str, arguments: Value) -> Value {
    json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": tool, "arguments": arguments },
    })
}

/// The result of a call over HTTP.
#[track_caller]
fn ask(server: &Server, message: &Value) -> Value {
    let request = Ask::new("POST", "/mcp")
        .header("Accept", "application/json, text/event-stream")
        .json(message);
    server.send(&request).expect(200).json()["result"].clone()
}

/// The words of a result, in one text.
fn said(result: &Value) -> String {
    let blocks = result["content"].as_array().unwrap().iter();
    let texts = blocks.filter_map(|block| block["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_search_over_http_shows_what_it_found() {
    let (_env, server) = samples();
    let result = ask(
        &server,
        &call(
            "search_pictures",
            json!({ "text": "a cat on a couch", "n": 3 }),
        ),
    );
    assert_eq!(result["isError"], false, "{result}");
    let rows = result["structuredContent"]["results"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.len() <= 3);
    let said = said(&result);
    assert!(said.contains("IMG_0012.jpg"), "{said}");
    let blocks = result["content"].as_array().unwrap().iter();
    let pictures: Vec<&Value> = blocks.filter(|block| block["type"] == "image").collect();
    assert_eq!(pictures.len(), rows.len());
    for picture in pictures {
        assert_eq!(picture["mimeType"], "image/jpeg");
        let jpeg = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        assert!(image::load_from_memory(&jpeg).unwrap().width() <= 320);
    }
}

#[test]
fn a_picture_whose_file_is_gone_is_told_without_being_shown() {
    let (env, server) = drawn(3, &[]);
    let id = env.record_at("album/00002.png").id.to_string();
    fs_err::remove_file(env.path("album/00002.png")).unwrap();
    let result = ask(&server, &call("get_picture", json!({ "id": id })));
    assert_eq!(result["isError"], false, "{result}");
    assert_eq!(result["structuredContent"]["id"], id);
    assert!(said(&result).contains("(not shown: "), "{result}");
}

#[test]
fn a_mistake_is_a_result_that_says_what_to_do() {
    let (_env, server) = drawn(1, &[]);
    let result = ask(&server, &call("get_picture", json!({ "id": "the cat" })));
    assert_eq!(result["isError"], true);
    let said = said(&result);
    assert!(
        said.contains("`the cat`") && said.contains("search_pictures"),
        "{said}"
    );
}

#[test]
fn tools_over_http_need_the_token_that_the_api_needs() {
    let token = "a-token-of-sixteen-or-more";
    let env = TestEnv::new();
    env.draw("album/1.png", 1);
    env.bt_index(&["album", "--quiet"]).expect(0);
    let server = Server::start_with(&env, &[], &[("BT_TOKEN", token)]);
    let request = Ask::new("POST", "/mcp")
        .header("Accept", "application/json, text/event-stream")
        .json(&call("index_status", json!({})));
    server.send(&request).expect(401);
    let answer = server
        .send(&request.clone().token(token))
        .expect(200)
        .json();
    let status = &answer["result"]["structuredContent"];
    assert_eq!(status["indexes"][0]["pictures"], 1, "{answer}");
}

#[test]
fn a_program_started_by_an_assistant_answers_on_its_output_and_ends_with_its_input() {
    let env = TestEnv::new();
    env.draw_album("album", 4);
    env.bt_index(&["album", "--quiet"]).expect(0);
    let mut child = env
        .command(BT_SERVER)
        .args(["mcp", "--album", "uploads"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut exchange = |messages: &[Value]| -> Value {
        for message in messages {
            writeln!(input, "{message}").unwrap();
        }
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no message: {line}"))
    };
    let hello = exchange(&[json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        },
    })]);
    assert_eq!(
        hello["result"]["serverInfo"]["name"], "bt-server",
        "{hello}"
    );
    let instructions = hello["result"]["instructions"].as_str().unwrap();
    assert!(instructions.contains("search_pictures"));
    let id = env.record_at("album/00003.png").id.to_string();
    let answer = exchange(&[
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        call("similar_pictures", json!({ "id": id, "n": 2 })),
    ]);
    let rows = answer["result"]["structuredContent"]["results"]
        .as_array()
        .unwrap();
    assert_eq!(rows.len(), 2, "{answer}");
    assert!(rows.iter().all(|row| row["id"] != id));
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // What a server beside it receives is left alone.
    assert!(!env.path("uploads").exists());
}
