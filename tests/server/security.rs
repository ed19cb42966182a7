//! What strangers try, and what they get: tokens, cookies, other sites, forged names, bodies without end,
//! clients that are slow on purpose.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::json;

use crate::harness::TestEnv;
use crate::harness::server::{Ask, BT_SERVER, Response, Server};

const READER: &str = "reader-reader-reader";
const WRITER: &str = "writer-writer-writer";

/// An index of one picture.
fn indexed() -> TestEnv {
    let env = TestEnv::new();
    env.draw("mine/own.png", 99);
    env.bt_index(&["mine"]).expect(0);
    env.write(
        "tokens",
        format!("# for friends\nread {READER}\nwrite {WRITER}\n"),
    );
    env
}

#[test]
fn every_answer_tells_browsers_to_be_careful() {
    let env = indexed();
    let server = Server::start(&env, &[]);
    let id = env.record_at("mine/own.png").id;
    for (path, status) in [
        ("/".to_owned(), 200),
        ("/docs".to_owned(), 200),
        ("/openapi.json".to_owned(), 200),
        ("/v1/search?q=cat".to_owned(), 200),
        (format!("/v1/pictures/{id}/file"), 200),
        (format!("/v1/pictures/{id}/thumbnail"), 200),
        ("/v1/pictures/x".to_owned(), 400),
        ("/nothing/here".to_owned(), 404),
        ("/healthz".to_owned(), 200),
    ] {
        let response = server.get(&path).expect(status);
        assert_eq!(
            response.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(response.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(
            response.header("referrer-policy"),
            Some("no-referrer"),
            "{path}"
        );
        assert_eq!(
            response.header("cross-origin-resource-policy"),
            Some("same-origin"),
            "{path}"
        );
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{path}: {policy}"
        );
        assert!(response.header("cache-control").is_some(), "{path}");
        assert!(response.header("x-request-id").is_some(), "{path}");
        assert!(
            response.header("access-control-allow-origin").is_none(),
            "{path}"
        );
    }
}

#[test]
fn failures_are_problem_documents_whoever_makes_them() {
    let server = Server::start(&indexed(), &[]);
    server.get("/nothing/here").problem(404, "not-found");
    let method = server.send(&Ask::new("DELETE", "/v1/search"));
    method.problem(405, "method-not-allowed");
    assert!(method.header("allow").is_some(), "{method}");
    let search = || Ask::new("POST", "/v1/search");
    server
        .send(&search().body("application/json", "{"))
        .problem(400, "bad-request");
    server
        .send(&search().body("application/json", "[[[["))
        .problem(400, "bad-request");
    server
        .send(&search().body("text/plain", "cat"))
        .problem(415, "unsupported-media-type");
    // An id that a proxy gave is kept, one that would break the log is not.
    let asked = server.send(&Ask::new("GET", "/nothing").header("X-Request-Id", "from-proxy-7"));
    assert_eq!(asked.problem(404, "not-found")["instance"], "from-proxy-7");
    let asked = server.send(&Ask::new("GET", "/nothing").header("X-Request-Id", "a b\u{7f}"));
    assert_ne!(asked.header("x-request-id"), Some("a b\u{7f}"));
}

#[test]
fn a_token_opens_what_it_is_for_and_nothing_else() {
    let env = indexed();
    let server = Server::start(&env, &["--token-file", "tokens"]);
    let id = env.record_at("mine/own.png").id;
    let paths = [
        "/v1/search?q=cat".to_owned(),
        "/v1/browse".to_owned(),
        "/v1/facets".to_owned(),
        "/v1/status".to_owned(),
        "/v1/indexes".to_owned(),
        "/metrics".to_owned(),
        format!("/v1/pictures/{id}"),
        format!("/v1/pictures/{id}/file"),
        format!("/v1/pictures/{id}/thumbnail"),
        format!("/v1/pictures/{id}/why?q=cat"),
        format!("/v1/similar/{id}"),
    ];
    for path in &paths {
        let refused = server.get(path);
        refused.problem(401, "unauthorised");
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Bearer"),
            "{refused}"
        );
        for token in [
            "",
            "wrong-wrong-wrong-wrong",
            &READER[1..],
            &format!("{READER}x"),
            "# for",
        ] {
            server
                .send(&Ask::new("GET", path).token(token))
                .problem(401, "unauthorised");
        }
        for token in [READER, WRITER] {
            server.send(&Ask::new("GET", path).token(token)).expect(200);
        }
    }
    for path in [
        "/v1/search",
        "/v1/export",
        "/v1/embed",
        "/v1/rerank",
        "/v1/pictures",
        "/mcp",
    ] {
        server.post(path, &json!({})).problem(401, "unauthorised");
    }
    for path in ["/", "/healthz", "/readyz", "/session"] {
        server.get(path).expect(200);
    }
    // In a query or as a password, a token ends up in logs.
    server
        .get(&format!("/v1/status?token={READER}"))
        .problem(401, "unauthorised");
    let basic =
        Ask::new("GET", "/v1/status").header("Authorization", "Basic cmVhZGVyLXJlYWRlci1yZWFkZXI6");
    server.send(&basic).problem(401, "unauthorised");
    assert!(
        !server.log().contains(READER) || server.log().contains("/v1/status"),
        "{}",
        server.log()
    );
}

#[test]
fn the_variable_is_a_token_for_everything() {
    let env = indexed();
    let server = Server::start_with(&env, &["--album", "uploads"], &[("BT_TOKEN", WRITER)]);
    server.get("/v1/status").problem(401, "unauthorised");
    server
        .send(&Ask::new("GET", "/v1/status").token(WRITER))
        .expect(200);
    let none = format!("/v1/pictures/{}", "0".repeat(64));
    server
        .send(&Ask::new("DELETE", &none).token(WRITER))
        .problem(404, "not-found");
}

#[test]
fn an_address_that_others_reach_needs_a_token_or_a_clear_word() {
    let env = indexed();
    let refused = env.run(BT_SERVER, &["--bind", "0.0.0.0:0"]).expect(2);
    assert!(refused.stderr.contains("--no-auth"), "{refused}");
    let bad = env
        .run(BT_SERVER, &["--bind", "0.0.0.0:0", "--token-file", "none"])
        .expect(2);
    assert!(bad.stderr.contains("none"), "{bad}");
    env.write("short", "read abc\n");
    let short = env.run(BT_SERVER, &["--token-file", "short"]).expect(2);
    assert!(
        short.stderr.contains("line 1") && !short.stderr.contains("abc"),
        "{short}"
    );
    let server = Server::start(&env, &["--bind", "127.0.0.1:0", "--no-auth"]);
    server.get("/v1/status").expect(200);
}

/// Signs in, and gives the cookie as it is sent back.
fn cookie(server: &Server, token: &str) -> (String, Response) {
    let response = server
        .post("/session", &json!({ "token": token }))
        .expect(200);
    let set = response.header("set-cookie").unwrap();
    (set.split(';').next().unwrap().to_owned(), response)
}

#[test]
fn a_session_stands_for_its_token_until_it_is_ended() {
    let env = indexed();
    let server = Server::start(&env, &["--token-file", "tokens", "--album", "uploads"]);
    let look = server.get("/session").expect(200).json();
    assert_eq!(
        (&look["token_needed"], &look["right"]),
        (&json!(true), &json!(null))
    );
    server
        .post("/session", &json!({ "token": "wrong-wrong-wrong" }))
        .problem(401, "unauthorised");
    server
        .post("/session", &json!({ "token": 7 }))
        .problem(400, "bad-request");

    let (reader, response) = cookie(&server, READER);
    let set = response.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains(READER), "{set}");
    let (writer, _) = cookie(&server, WRITER);
    assert_ne!(reader, writer);
    // Whoever asks without TLS cannot say that he has it.
    let says = Ask::new("POST", "/session").json(&json!({ "token": READER }));
    let says = server.send(&says.header("X-Forwarded-Proto", "https"));
    assert!(
        !says.header("set-cookie").unwrap().contains("Secure"),
        "{says}"
    );
    let get = |cookie: &str| server.send(&Ask::new("GET", "/v1/status").header("Cookie", cookie));
    get(&reader).expect(200);
    let none = format!("/v1/pictures/{}", "0".repeat(64));
    let delete = |cookie: &str| Ask::new("DELETE", &none).header("Cookie", cookie);
    server.send(&delete(&reader)).problem(403, "no-right");
    server.send(&delete(&writer)).problem(404, "not-found");

    for forged in [
        "bt_session=",
        "bt_session=x",
        &format!("bt_session={}", "0".repeat(64)),
        "other=1",
    ] {
        get(forged).problem(401, "unauthorised");
    }
    // A browser sends the cookie for a page of another site as well, if it is let.
    for (name, value) in [
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
        ("Origin", "https://evil.example"),
        ("Origin", "null"),
    ] {
        let forged = delete(&writer).header(name, value);
        server.send(&forged).problem(403, "cross-site");
        let login = Ask::new("POST", "/session")
            .json(&json!({ "token": READER }))
            .header(name, value);
        server.send(&login).problem(403, "cross-site");
    }
    let own = delete(&writer).header("Sec-Fetch-Site", "same-origin");
    server.send(&own).problem(404, "not-found");
    // With a token of its own, a program may come from anywhere.
    let program = Ask::new("DELETE", &none)
        .token(WRITER)
        .header("Origin", "https://other.example");
    server.send(&program).problem(404, "not-found");

    let out = Ask::new("DELETE", "/session").header("Cookie", &reader);
    let out = server.send(&out).expect(204);
    assert!(
        out.header("set-cookie").unwrap().contains("Max-Age=0"),
        "{out}"
    );
    get(&reader).problem(401, "unauthorised");
    get(&writer).expect(200);
}

#[test]
fn behind_a_trusted_proxy_cookies_and_rates_are_those_of_the_client() {
    let env = indexed();
    let arguments = ["--token-file", "tokens", "--trust-proxy", "--rate", "1"];
    let server = Server::start(&env, &arguments);
    let sign_in = Ask::new("POST", "/session")
        .json(&json!({ "token": READER }))
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-For", "203.0.113.1");
    let signed_in = server.send(&sign_in).expect(200);
    assert!(
        signed_in.header("set-cookie").unwrap().contains("Secure"),
        "{signed_in}"
    );
    let from = |client: &str| {
        let ask = Ask::new("GET", "/healthz").header("X-Forwarded-For", client);
        server.send(&ask).status
    };
    let greedy: Vec<u16> = (0..12).map(|_| from("203.0.113.1")).collect();
    assert!(greedy.contains(&429), "{greedy:?}");
    assert_eq!(from("203.0.113.2"), 200);
    // What the client itself puts in front of the proxy's word does not count.
    let forged: Vec<u16> = (0..12)
        .map(|n| from(&format!("198.51.100.{n}, 203.0.113.1")))
        .collect();
    assert!(forged.contains(&429), "{forged:?}");
}

#[test]
fn an_open_server_does_not_act_for_pages_of_other_sites() {
    let env = indexed();
    let server = Server::start(&env, &["--album", "uploads", "--host", "photos.example"]);
    // DNS rebinding: a name of another site that leads here.
    let named = |host: &str| server.send(&Ask::new("GET", "/v1/status").header("Host", host));
    let port = server.address.port();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1.evil.example".to_owned(),
    ] {
        named(&host).problem(421, "unknown-host");
    }
    for host in [
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "photos.example".to_owned(),
    ] {
        named(&host).expect(200);
    }
    // A form on another site needs no permission to be sent.
    let form = Ask::new("POST", "/v1/pictures").form(&[("image", None, b"x")]);
    for (name, value) in [
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        server
            .send(&form.clone().header(name, value))
            .problem(403, "cross-site");
    }
    server
        .send(&form.header("Sec-Fetch-Site", "same-origin"))
        .problem(422, "not-a-picture");
}

#[test]
fn a_client_that_dribbles_its_request_is_cut_and_others_are_served() {
    let server = Server::start(&indexed(), &[]);
    let slow: Vec<_> = (0..100)
        .map(|n| {
            let mut stream = server.connect();
            let begin: &[u8] = if n % 2 == 0 {
                b"GET /v1/status HT"
            } else {
                b"GET / HTTP/1.1\r\nA: "
            };
            stream.write_all(begin).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        server.get("/v1/status").expect(200);
    }
    for mut stream in slow {
        // Closed by the other side, with an answer or without one; reading waits for a minute at most.
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            let kind = error.kind();
            assert_eq!(
                kind,
                std::io::ErrorKind::ConnectionReset,
                "the client was not cut: {error}"
            );
        }
    }
    server.get("/v1/status").expect(200);
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let server = Server::start(&indexed(), &["--album", "uploads"]);
    let mut stream = server.connect();
    let request = Ask::new("POST", "/v1/search")
        .header("Content-Length", "1000")
        .body("application/json", "{\"text\": ");
    stream.write_all(&request.bytes(server.address)).unwrap();
    let response = Response::read(&mut stream, false);
    assert!((400..500).contains(&response.status), "{response}");
    // And one that was cut off is none.
    let mut stream = server.connect();
    stream.write_all(&request.bytes(server.address)).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    server.get("/v1/status").expect(200);
}

#[test]
fn strangers_take_no_room_for_bodies() {
    let server = Server::start(&indexed(), &["--token-file", "tokens"]);
    // More than all bodies together may have.
    let dribbled: Vec<_> = ["/session", "/v1/search"]
        .iter()
        .cycle()
        .take(24)
        .map(|path| {
            let ask = Ask::new("POST", path)
                .header("Content-Length", "50331648")
                .body("application/json", "{");
            let mut stream = server.connect();
            stream.write_all(&ask.bytes(server.address)).unwrap();
            stream
        })
        .collect();
    let search = Ask::new("POST", "/v1/search").token(READER);
    server
        .send(&search.json(&json!({ "text": "boxes" })))
        .expect(200);
    // Those who sign in are waited for; nobody waits for what needs a right.
    for mut stream in dribbled.into_iter().skip(1).step_by(2) {
        Response::read(&mut stream, false).problem(401, "unauthorised");
    }
    let long = Ask::new("POST", "/session").body("application/json", vec![b' '; 5000]);
    server.send(&long).problem(413, "too-large");
}

#[test]
fn what_clients_call_their_methods_fills_no_memory() {
    let server = Server::start(&indexed(), &[]);
    for n in 0..20 {
        let ask = Ask::new(&format!("BREW{n}"), "/healthz");
        server.send(&ask).expect(405);
    }
    let metrics = server.get("/metrics").expect(200);
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("method=\"other\"") && !metrics.contains("BREW"));
    assert!(!server.log().contains("BREW"), "{}", server.log());
}

#[test]
fn bodies_and_heads_without_end_are_refused() {
    let server = Server::start(&indexed(), &[]);
    let search = || Ask::new("POST", "/v1/search");
    // Said to be huge: refused before it comes.
    for length in ["10000000000", "18446744073709551615"] {
        let ask = search()
            .header("Content-Length", length)
            .header("Content-Type", "application/json");
        let mut stream = server.connect();
        stream.write_all(&ask.bytes(server.address)).unwrap();
        let response = Response::read(&mut stream, false);
        assert!(
            (400..500).contains(&response.status),
            "{length}: {response}"
        );
    }
    // Without an end: taken up to the limit only.
    let ask = search()
        .header("Transfer-Encoding", "chunked")
        .header("Content-Type", "application/json");
    let mut stream = server.connect();
    stream.write_all(&ask.bytes(server.address)).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    let refused = (0..1000).any(|_| stream.write_all(&chunk).is_err());
    assert!(refused, "a body of a gigabyte was taken");

    let mut stream = server.connect();
    let head = (0..20_000).map(|n| format!("X-{n}: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"));
    let head: String = head.collect();
    let _ = stream.write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{head}\r\n").as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );

    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 2") && !text.starts_with("HTTP/1.1 5"), "{text}");
    }
    server.get("/v1/status").expect(200);
}

#[test]
fn bodies_that_would_fill_the_memory_together_are_refused() {
    let server = Server::start(&indexed(), &[]);
    let ask = Ask::new("POST", "/v1/search").header("Content-Type", "application/json");
    let ask = ask.header("Content-Length", &(48 << 20).to_string());
    // Ten of 48 MiB and no more are within 512.
    let _coming: Vec<_> = (0..10).map(|_| server.begin(&ask)).collect();
    let problem = server.send(&ask).problem(429, "overloaded");
    assert!(
        problem["detail"].as_str().unwrap().contains("bodies"),
        "{problem}"
    );
}

#[test]
fn a_client_that_asks_too_often_is_told_to_wait() {
    let server = Server::start(&indexed(), &["--rate", "1"]);
    let answers: Vec<Response> = (0..12).map(|_| server.get("/healthz")).collect();
    assert_eq!(answers[0].status, 200);
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .expect("nothing was refused");
    refused.problem(429, "too-often");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    std::thread::sleep(Duration::from_secs(wait));
    server.get("/healthz").expect(200);
    std::thread::sleep(Duration::from_secs(wait));
    let refused = "bt_request_seconds_count{route=\"none\",method=\"GET\",status=\"429\"}";
    assert!(crate::metric(&server, refused) >= 1.0);
}

#[test]
fn the_log_tells_of_requests_and_not_of_what_people_look_for() {
    let server = Server::start(&indexed(), &[]);
    let response = server.get("/v1/search?q=purple%20unicorn").expect(200);
    let id = response.header("x-request-id").unwrap().to_owned();
    crate::harness::wait_until("the request is in the log", || server.log().contains(&id));
    server
        .post("/v1/search", &json!({ "text": "purple unicorn" }))
        .expect(200);
    let log = server.log();
    assert!(log.contains("/v1/search"), "{log}");
    assert!(!log.contains("unicorn"), "{log}");
}

#[test]
fn many_connections_at_once_leave_the_server_well() {
    let server = Server::start(&indexed(), &[]);
    let held: Vec<_> = (0..400).map(|_| server.connect()).collect();
    for _ in 0..5 {
        server.get("/v1/status").expect(200);
    }
    drop(held);
    server.get("/v1/status").expect(200);
}
