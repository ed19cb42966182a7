//! `bt-server` under load, on loopback: text searches with `mini` over synthetic records, each text asked
//! once (distinct) or all of them before (repeated); requests a second, latencies, and the server's peak
//! memory. Then browsing the same records: how long pages, counts and filters take.
//!
//!     cargo bench --bench server -- [--records 100000] [--connections 16] [--requests 20000] [--index FOLDER]
//!     cargo bench --bench server -- --at 127.0.0.1:8000     # a peer that runs: benches/peers/server.py
//!
//! The index is made anew, or kept in FOLDER, so that several servers can be asked about the same one.
//!
//! Searches are by embedding alone (`rerank=0`), as there are no files to look at again, and give 10
//! results. The client is a thread a connection, on the same machine.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bt_model::{Encoder, Exec, Fit, ModelChoice};
use bt_store::{About, Change, ContentHash, Header, Location, ModelId, ModelRef, Record, Writer};
use candle_core::{Device, Tensor};
use support::{argument, row};

/// Texts of the repeated kind.
const REPEATED: usize = 100;

fn main() -> Result<()> {
    let records: usize = argument("--records", "100000").parse()?;
    let connections: usize = argument("--connections", "16").parse()?;
    let requests: usize = argument("--requests", "20000").parse()?;
    let at = argument("--at", "");
    if !at.is_empty() {
        let address: SocketAddr = at.parse()?;
        return load("peer", address, connections, requests);
    }
    let temporary = tempfile::tempdir()?;
    let folder = match argument("--index", "").as_str() {
        "" => temporary.path().to_owned(),
        kept => kept.into(),
    };
    if !folder.join("index.json").exists() {
        write_index(&folder, records)?;
    }
    let server = Server::start(&folder)?;
    load("bt-server", server.address, connections, requests)?;
    row(
        &format!("bt-server, peak memory after {} requests", 2 * requests),
        server.peak_megabytes()?,
        "MB",
    );
    browse(server.address, records)
}

/// What somebody who looks through an album asks: the first time, when orders and counts are made, and then
/// again.
fn browse(address: SocketAddr, records: usize) -> Result<()> {
    let mut connection = Connection::open(address)?;
    let mut timed = |what: &str, path: &str| -> Result<serde_json::Value> {
        let start = Instant::now();
        let body = connection.ask(path)?;
        row(
            &format!("bt-server, {records} records, {what}"),
            start.elapsed().as_secs_f64() * 1e3,
            "ms",
        );
        Ok(body)
    };
    let mut page = timed("first page of all", "/v1/browse?n=200")?;
    ensure!(page["total"] == records, "{}", page["total"]);
    for number in [2, 3] {
        let next = page["next"].as_str().context("no further page")?;
        page = timed(
            &format!("page {number}"),
            &format!("/v1/browse?n=200&cursor={next}"),
        )?;
    }
    let middle = records / 2;
    timed(
        "a page from the middle",
        &format!("/v1/browse?n=200&at={middle}"),
    )?;
    timed("first page by path", "/v1/browse?n=200&sort=path")?;
    for again in ["", ", again"] {
        timed(&format!("counts of all{again}"), "/v1/facets")?;
        timed(
            &format!("counts of a folder{again}"),
            "/v1/facets?folder=/photos/050",
        )?;
        timed(
            &format!("first page of a year and camera{again}"),
            "/v1/browse?n=200&after=2019-01-01&before=2019-12-31&camera=Leica",
        )?;
    }
    Ok(())
}

/// Both kinds of load.
fn load(who: &str, address: SocketAddr, connections: usize, requests: usize) -> Result<()> {
    // Whatever is made at the first request is made.
    ask_all(address, connections, 10 * connections, |n| {
        format!("warm up {n}")
    })?;
    for (kind, text) in [
        (
            "distinct",
            (|n| text_of(REPEATED + n)) as fn(usize) -> String,
        ),
        ("repeated", |n| text_of(n % REPEATED)),
    ] {
        if kind == "repeated" {
            ask_all(address, connections, REPEATED, text)?;
        }
        let start = Instant::now();
        let mut times = ask_all(address, connections, requests, text)?;
        let rate = requests as f64 / start.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |part: f64| {
            let place = (times.len() as f64 * part) as usize;
            times[place.min(times.len() - 1)].as_secs_f64() * 1e3
        };
        row(&format!("{who}, {kind} texts"), rate, "requests/s");
        row(&format!("{who}, {kind} texts, p50"), at(0.5), "ms");
        row(&format!("{who}, {kind} texts, p99"), at(0.99), "ms");
    }
    Ok(())
}

/// A text of seven words that no other number has.
fn text_of(number: usize) -> String {
    const WHO: [&str; 8] = [
        "cat", "dog", "child", "woman", "man", "bird", "horse", "bear",
    ];
    const WHERE: [&str; 8] = [
        "couch", "beach", "street", "table", "field", "boat", "hill", "bed",
    ];
    let (who, place) = (WHO[number % 8], WHERE[number / 8 % 8]);
    format!("a {who} on a {place} number {number}")
}

/// Asks so many times over so many connections that stay open; how long each answer took.
fn ask_all(
    address: SocketAddr,
    connections: usize,
    requests: usize,
    text: impl Fn(usize) -> String + Sync,
) -> Result<Vec<Duration>> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address)?;
                    let mut times = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            return anyhow::Ok(times);
                        }
                        let text = text(number).replace(' ', "+");
                        let start = Instant::now();
                        let path = format!("/v1/search?q={text}&n=10&rerank=0&all=true");
                        let page = connection.ask(&path)?;
                        times.push(start.elapsed());
                        let results = page["results"].as_array().map_or(0, Vec::len);
                        ensure!(results == 10, "{path}: {results} results");
                    }
                })
            })
            .collect();
        let mut all = Vec::with_capacity(requests);
        for asked in asking {
            match asked.join() {
                Ok(times) => all.extend(times?),
                Err(_) => bail!("a client failed"),
            }
        }
        Ok(all)
    })
}

struct Connection {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    body: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            address,
            stream: BufReader::new(stream),
            body: Vec::new(),
        })
    }

    /// Asks and reads the answer.
    fn ask(&mut self, path: &str) -> Result<serde_json::Value> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(head.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 200"), "{path}: {line}");
        let mut length = None;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
        }
        self.body.resize(length.context("no content-length")?, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(serde_json::from_slice(&self.body)?)
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(index: &std::path::Path) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bt-server"))
            .args(["--bind", "127.0.0.1:0", "--quiet", "--index"])
            .arg(index)
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().context("no standard error")?;
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            if let Some((_, address)) = line.split_once("serving on http://") {
                let address = address.trim().parse()?;
                return Ok(Self { child, address });
            }
        }
        bail!("the server did not start")
    }

    fn peak_megabytes(&self) -> Result<f64> {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kilobytes.context("no VmHWM")?.parse::<f64>()? / 1e3)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An index as `mini` would make it, of vectors that are clustered as embeddings are.
fn write_index(index: &std::path::Path, records: usize) -> Result<()> {
    let choice = ModelChoice {
        spec: "mini".into(),
        fit: Fit::Reference,
    };
    let mini = Encoder::load(&choice, &Exec::cpu(), &mut |_| {})?;
    let dim = mini.embedding_dim();
    let header = Header {
        model: ModelRef {
            spec: "mini".into(),
            fit: "reference".into(),
            id: ModelId(mini.id().to_owned()),
        },
        rerank: None,
        dim,
        aligned_with_text: true,
    };
    let centers = Tensor::randn(0f32, 1., (2000, dim), &Device::Cpu)?;
    let which: Vec<u32> = (0..records).map(|row| (row * 7919 % 2000) as u32).collect();
    let which = Tensor::from_vec(which, records, &Device::Cpu)?;
    let spread = Tensor::randn(0f32, 0.35, (records, dim), &Device::Cpu)?;
    let points = (centers.index_select(&which, 0)? + spread)?;
    let norms = points.sqr()?.sum_keepdim(1)?.sqrt()?;
    let vectors: Vec<Vec<f32>> = points.broadcast_div(&norms)?.to_vec2()?;
    let mut writer = Writer::create_or_open(index, &header)?;
    for (batch, chunk) in vectors.chunks(1000).enumerate() {
        let changes: Vec<Change> = chunk
            .iter()
            .enumerate()
            .map(|(place, embedding)| put(batch * 1000 + place, embedding))
            .collect();
        writer.commit(&changes)?;
    }
    writer.publish(&mut |_| {})?;
    Ok(())
}

fn put(row: usize, embedding: &[f32]) -> Change {
    Change::Put {
        record: Record {
            id: ContentHash::of(&row.to_le_bytes()),
            locations: vec![Location {
                path: format!("/photos/{:03}/IMG_{row:07}.jpg", row / 1000).into(),
                size: 4_000_000,
                mtime_ns: 1_700_000_000_000_000_000,
            }],
            about: About {
                width: 4000,
                height: 3000,
                format: "jpeg".into(),
                // Every twelve hours, over more than a century.
                taken: Some(row as i64 * 43_200 % 3_900_000_000),
                camera: Some(["Canon EOS 5D", "Leica M3", "Nikon D70"][row % 3].into()),
                ..About::default()
            },
        },
        embedding: embedding.to_vec(),
    }
}
