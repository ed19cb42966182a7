//! A running `bt-server`, and a plain client of HTTP/1.1: a socket and what the standard says, so that tests
//! can also say what no library would.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Running, TestEnv};

/// Path of `bt-server`, freshly built.
pub const BT_SERVER: &str = env!("CARGO_BIN_EXE_bt-server");

/// Longest wait for anything; long for a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on a free port of this machine; it is killed when the value goes.
pub struct Server {
    process: Running,
    /// Where it takes requests.
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts it on the environment's index, and waits until it takes requests.
    #[track_caller]
    pub fn start(env: &TestEnv, arguments: &[&str]) -> Self {
        Self::start_with(env, arguments, &[])
    }

    /// The same with variables in its environment.
    #[track_caller]
    pub fn start_with(env: &TestEnv, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = env.command(BT_SERVER);
        if !arguments.contains(&"--bind") {
            command.args(["--bind", "127.0.0.1:0"]);
        }
        let mut process = command
            .args(arguments)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Running)
            .unwrap();
        let mut lines = BufReader::new(process.0.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let mut line = String::new();
            let ended = lines.read_line(&mut line).unwrap() == 0;
            log.lock().unwrap().push_str(&line);
            assert!(!ended, "the server did not start: {}", log.lock().unwrap());
            if let (true, Some((_, after))) = (line.contains("serving"), line.split_once("://")) {
                // In a JSON log, more of the line follows.
                let address = after.trim().split('"').next().unwrap_or_default();
                break address.parse().unwrap();
            }
        };
        // Read on, so that the server never waits for somebody to read its log.
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                kept.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Self {
            process,
            address,
            log,
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// Sends a signal by name.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Sends a signal by name, waits for the end, and gives the exit code.
    pub fn stop(mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.process.0.wait().unwrap().code()
    }

    /// A connection of one's own.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Asks, and reads the whole answer.
    #[track_caller]
    pub fn send(&self, request: &Ask) -> Response {
        let mut stream = self.connect();
        let bytes = request.bytes(self.address);
        // A server that refuses a body may close before it has read all of it: its answer counts.
        let _ = stream.write_all(&bytes);
        Response::read(&mut stream, request.method == "HEAD")
    }

    /// Sends the head of a request, and returns when the server waits for its body.
    #[track_caller]
    pub fn begin(&self, request: &Ask) -> TcpStream {
        const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let request = request.clone().header("Expect", "100-continue");
        let bytes = request.bytes(self.address);
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let mut stream = self.connect();
        stream.write_all(&bytes[..head]).unwrap();
        let mut answer = vec![0; GO_ON.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, GO_ON, "{}", String::from_utf8_lossy(&answer));
        stream
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.send(&Ask::new("GET", path))
    }

    /// POST of a JSON document.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Response {
        self.send(&Ask::new("POST", path).json(body))
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// Between the parts of a form.
const BOUNDARY: &str = "----------------------------0123456789abcdef";

impl Ask {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// With a header; `Host` replaces the usual one.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// With a token.
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// With a body.
    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", kind)
    }

    /// With a JSON document.
    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With a form: name, file name (none for a text), content.
    pub fn form(self, parts: &[(&str, Option<&str>, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (name, file, content) in parts {
            let file = file.map_or(String::new(), |file| format!("; filename=\"{file}\""));
            write!(
                body,
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n"
            )
            .unwrap();
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        write!(body, "--{BOUNDARY}--\r\n").unwrap();
        self.body(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
    }

    /// As it goes over the wire.
    pub fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nConnection: close\r\n",
            self.method, self.path
        );
        let has = |name: &str| {
            self.headers
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
        };
        if !has("host") {
            bytes.push_str(&format!("Host: {address}\r\n"));
        }
        if !has("content-length") && !has("transfer-encoding") && self.method != "GET" {
            bytes.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// An answer.
#[derive(Clone)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads one to its end.
    #[track_caller]
    pub fn read(stream: &mut TcpStream, without_body: bool) -> Self {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: `{line}`"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            match line.trim_end().split_once(':') {
                Some((name, value)) => {
                    headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                None => break,
            }
        }
        let mut response = Self {
            status,
            headers,
            body: Vec::new(),
        };
        if without_body || status == 204 || status == 304 {
            return response;
        }
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let mut size = String::new();
                stream.read_line(&mut size).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| {
                    panic!("the body was cut off after {}", response.body.len())
                });
                let mut chunk = vec![0; size + 2];
                stream.read_exact(&mut chunk).unwrap();
                if size == 0 {
                    break;
                }
                response.body.extend_from_slice(&chunk[..size]);
            }
        } else if let Some(length) = response.header("content-length") {
            response.body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut response.body).unwrap();
        } else {
            stream.read_to_end(&mut response.body).unwrap();
        }
        response
    }

    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Checks the status, and shows everything when it is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert!(self.status == status, "expected {status}, got {self}");
        self
    }

    /// Checks that it is a problem document of this type, and says what to do.
    #[track_caller]
    pub fn problem(&self, status: u16, name: &str) -> Value {
        assert!(self.status == status, "expected {status}, got {self}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self}"
        );
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{name}"), "{self}");
        assert_eq!(problem["status"], status, "{self}");
        let hint = problem["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty(), "{self}");
        assert_eq!(
            problem["instance"].as_str(),
            self.header("x-request-id"),
            "{self}"
        );
        problem
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self}"),
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "status {}", self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "{name}: {value}")?;
        }
        let shown = &self.body[..self.body.len().min(2000)];
        write!(f, "\n{}", String::from_utf8_lossy(shown))
    }
}
