//! Stories of `bt-server`: the real program on a free port, asked over real sockets.

#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod inference;
mod load;
mod mcp;
mod operations;
mod parsers;
mod pictures;
mod search;
mod security;
mod upload;

use harness::TestEnv;
use harness::server::Server;

/// A server on the album that comes with the program.
fn samples() -> (TestEnv, Server) {
    let env = TestEnv::new();
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
    env.bt_index(&[samples, "--quiet"]).expect(0);
    let server = Server::start(&env, &[]);
    (env, server)
}

/// A server, with these arguments, on an album of drawn pictures.
fn drawn(count: u64, arguments: &[&str]) -> (TestEnv, Server) {
    let env = TestEnv::new();
    env.draw_album("album", count);
    env.bt_index(&["album", "--quiet"]).expect(0);
    let server = Server::start(&env, arguments);
    (env, server)
}

/// The value of a metric, with its labels as they are written; 0 when it is not there.
fn metric(server: &Server, name: &str) -> f64 {
    let response = server.get("/metrics").expect(200);
    let text = String::from_utf8(response.body).unwrap();
    text.lines()
        .filter_map(|line| line.rsplit_once(' '))
        .find(|(written, _)| *written == name)
        .map_or(0.0, |(_, value)| value.parse().unwrap())
}
