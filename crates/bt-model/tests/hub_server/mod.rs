//! A model hub for tests, on 127.0.0.1: what the public one answers, as far as a checkpoint's download sees
//! it, and the ways in which it can fail.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How one answer goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The body ends after so many bytes, and the connection with it.
    BreakAfter(usize),
    /// The body stops after so many bytes; the connection stays.
    StallAfter(usize),
    /// One byte at a time, slowly.
    Drip,
    /// Other bytes of the same length.
    Garbage,
    /// The whole file, whatever range was asked for.
    IgnoreRange,
    /// A status with headers and no body.
    Status(u16, &'static str),
    /// A page in HTML.
    Page,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<usize>,
    pub(crate) token: Option<String>,
}

#[derive(Default)]
struct State {
    /// Name, content, and whether it is kept as a large file behind a redirection.
    files: BTreeMap<String, (Vec<u8>, bool)>,
    /// Each is used by the first request whose path ends so; those with `true` by all of them.
    faults: Vec<(&'static str, Fault, bool)>,
    requests: Vec<Request>,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// A hub with the one repository `owner/name`.
    pub(crate) fn start(files: &[(&str, &[u8], bool)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let files = files
            .iter()
            .map(|(name, content, large)| ((*name).to_owned(), (content.to_vec(), *large)))
            .collect();
        let server = Self {
            address,
            state: Arc::new(Mutex::new(State {
                files,
                ..State::default()
            })),
        };
        let acceptor = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = acceptor.clone();
                // A client that hangs up is not the server's trouble.
                std::thread::spawn(move || drop(server.answer(stream)));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next answer about a path that ends so goes wrong.
    pub(crate) fn once(&self, path_end: &'static str, fault: Fault) {
        self.state
            .lock()
            .unwrap()
            .faults
            .push((path_end, fault, false));
    }

    /// All answers about a path that ends so go wrong.
    pub(crate) fn always(&self, path_end: &'static str, fault: Fault) {
        self.state
            .lock()
            .unwrap()
            .faults
            .push((path_end, fault, true));
    }

    pub(crate) fn heal(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// The requests since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }

    fn fault(&self, path: &str) -> Option<Fault> {
        let faults = &mut self.state.lock().unwrap().faults;
        let found = faults.iter().position(|(end, ..)| path.ends_with(end))?;
        Some(if faults[found].2 {
            faults[found].1.clone()
        } else {
            faults.remove(found).1
        })
    }

    fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(());
        };
        let (mut range, mut token) = (None, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(": ") else {
                break;
            };
            match name.to_lowercase().as_str() {
                "range" => {
                    range = Some(
                        value
                            .trim_start_matches("bytes=")
                            .trim_end_matches('-')
                            .parse()
                            .unwrap(),
                    );
                }
                "authorization" => token = Some(value.trim_start_matches("Bearer ").to_owned()),
                _ => {}
            }
        }
        if method == "CONNECT" {
            return self.tunnel(reader, stream, target);
        }
        let request = Request {
            method,
            path: target,
            range,
            token,
        };
        self.state.lock().unwrap().requests.push(request.clone());
        self.respond(&request, stream)
    }

    /// Plays a proxy: whatever host is asked for, it leads to this server.
    fn tunnel(
        &self,
        mut reader: BufReader<TcpStream>,
        mut client: TcpStream,
        target: String,
    ) -> std::io::Result<()> {
        let request = Request {
            method: "CONNECT".into(),
            path: target,
            range: None,
            token: None,
        };
        self.state.lock().unwrap().requests.push(request);
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        let mut hub = TcpStream::connect(self.address)?;
        let mut hub_writer = hub.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut reader, &mut hub_writer));
        std::io::copy(&mut hub, &mut client)?;
        client.shutdown(std::net::Shutdown::Both)
    }

    fn respond(&self, request: &Request, mut out: TcpStream) -> std::io::Result<()> {
        let fault = self.fault(&request.path);
        match &fault {
            Some(Fault::Status(status, headers)) => {
                return write!(
                    out,
                    "HTTP/1.1 {status} No\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            Some(Fault::Page) => {
                return send(
                    &mut out,
                    request,
                    "200 OK",
                    "",
                    b"<html>Log in</html>",
                    fault,
                );
            }
            _ => {}
        }
        let files = self.state.lock().unwrap().files.clone();
        if request.path.starts_with("/api/models/owner/name/revision/") {
            let names: Vec<String> = files
                .keys()
                .map(|name| format!("{{\"rfilename\": \"{name}\"}}"))
                .collect();
            let body = format!(
                "{{\"sha\": \"{COMMIT}\", \"siblings\": [{}]}}",
                names.join(", ")
            );
            return send(&mut out, request, "200 OK", "", body.as_bytes(), fault);
        }
        if let Some(name) = request
            .path
            .strip_prefix(&format!("/owner/name/resolve/{COMMIT}/"))
            && let Some((content, large)) = files.get(name)
        {
            let etag = etag(content, *large);
            if !large {
                let headers = format!("ETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n");
                return send(&mut out, request, "200 OK", &headers, content, fault);
            }
            // Another host name of the same machine, as a file server is another host.
            let place = format!("http://localhost:{}/cdn/{name}", self.address.port());
            return write!(
                out,
                "HTTP/1.1 302 Found\r\nLocation: {place}\r\nX-Linked-Etag: \"{etag}\"\r\n\
                 X-Linked-Size: {}\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                content.len()
            );
        }
        if let Some(name) = request.path.strip_prefix("/cdn/")
            && let Some((content, _)) = files.get(name)
        {
            return send(&mut out, request, "200 OK", "", content, fault);
        }
        write!(
            out,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    }
}

/// The name under which a hub keeps a content: SHA-256 of large files, git's of small ones.
pub(crate) fn etag(content: &[u8], large: bool) -> String {
    let sum: String = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if large { sum } else { sum[..40].to_owned() }
}

fn send(
    out: &mut TcpStream,
    request: &Request,
    status: &str,
    headers: &str,
    content: &[u8],
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let start = request
        .range
        .filter(|_| !matches!(fault, Some(Fault::IgnoreRange)));
    let (status, range) = match start {
        Some(start) if start >= content.len() => ("416 Range Not Satisfiable", String::new()),
        Some(start) => {
            let all = content.len();
            (
                "206 Partial Content",
                format!("Content-Range: bytes {start}-{}/{all}\r\n", all - 1),
            )
        }
        None => (status, String::new()),
    };
    let mut body = content
        .get(start.unwrap_or(0)..)
        .unwrap_or_default()
        .to_vec();
    write!(
        out,
        "HTTP/1.1 {status}\r\n{headers}{range}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    if request.method == "HEAD" {
        return Ok(());
    }
    match fault {
        Some(Fault::BreakAfter(end)) => body.truncate(end),
        Some(Fault::StallAfter(end)) => {
            out.write_all(&body[..end])?;
            // Until the client gives up.
            let _ = out.read(&mut [0]);
            return Ok(());
        }
        Some(Fault::Drip) => {
            for byte in body {
                out.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(20));
            }
            return Ok(());
        }
        Some(Fault::Garbage) => body.iter_mut().for_each(|byte| *byte ^= 1),
        _ => {}
    }
    out.write_all(&body)
}
