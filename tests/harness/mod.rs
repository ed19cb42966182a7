//! A folder of one's own, small pictures drawn into it, and the programs run on it as a user runs them:
//! what every story in tests/ begins with.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses its own part"
)]

pub mod server;

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bt_store::{Collection, Filter, Reader, Record};
use image::{Rgb, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

/// Programs run in this folder; it goes when the value goes.
pub struct TestEnv {
    folder: TempDir,
    canonical: PathBuf,
}

/// What a program left behind.
pub struct Ran {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl TestEnv {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let canonical = folder.path().canonicalize().unwrap();
        Self { folder, canonical }
    }

    /// A path in the folder, canonical as the index has it.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.canonical.join(name)
    }

    /// The index that the programs use when they are told nothing else.
    pub fn index(&self) -> PathBuf {
        self.path("index")
    }

    /// Writes a file, and the folders that it is in.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, bytes).unwrap();
        path
    }

    /// Draws the picture number `seed` into a file; the ending says which format.
    pub fn draw(&self, name: impl AsRef<Path>, seed: u64) -> PathBuf {
        let path = self.path(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        picture(seed).save(&path).unwrap();
        path
    }

    /// Draws pictures 1 to `count` into a folder, as `00001.png` and so on.
    pub fn draw_album(&self, folder: &str, count: u64) {
        for seed in 1..=count {
            self.draw(format!("{folder}/{seed:05}.png"), seed);
        }
    }

    /// A program, set up to run in the folder with its own index and without the user's settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        self.set_up(&mut command);
        command
    }

    /// Makes a command run as [`TestEnv::command`] does.
    pub fn set_up(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"BT_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_CACHE_HOME")
            // Most tests ask for what happens the first time.
            .env("BT_CACHE_SIZE", "0")
            .env("BT_INDEX", self.index())
            .stdin(Stdio::null());
    }

    /// Runs a program to its end.
    pub fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Ran {
        self.command(program)
            .args(arguments)
            .output()
            .unwrap()
            .into()
    }

    /// Runs `bt-index` to its end.
    pub fn bt_index<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        self.run(BT_INDEX, arguments)
    }

    /// Runs `bt-search` to its end.
    pub fn bt_search<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        self.run(BT_SEARCH, arguments)
    }

    /// Runs `bt-index --json`, and gives its report.
    pub fn report<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Value {
        let mut command = self.command(BT_INDEX);
        let ran: Ran = command
            .arg("--json")
            .args(arguments)
            .output()
            .unwrap()
            .into();
        ran.json()
    }

    /// Every record of the index with its embedding, in the order of ids.
    pub fn records(&self) -> Vec<(Record, Vec<f32>)> {
        records(&self.index())
    }

    /// The record of the picture at a path.
    #[track_caller]
    pub fn record_at(&self, name: &str) -> Record {
        let path = self.path(name);
        let is_here = |record: &Record| record.locations.iter().any(|place| place.path == path);
        let mut found = self
            .records()
            .into_iter()
            .filter(|(record, _)| is_here(record));
        let record = found
            .next()
            .unwrap_or_else(|| panic!("no record at {name}"))
            .0;
        assert!(found.next().is_none(), "two records at {name}");
        record
    }

    /// Starts a program with its output captured; it is killed when the value goes.
    pub fn start<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> Running {
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }
}

/// Path of `bt-index`, freshly built.
pub const BT_INDEX: &str = env!("CARGO_BIN_EXE_bt-index");
/// Path of `bt-search`, freshly built.
pub const BT_SEARCH: &str = env!("CARGO_BIN_EXE_bt-search");

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

impl Ran {
    /// Checks the exit code, and shows everything when it is another one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(
            self.code == Some(code),
            "expected exit code {code}, got {self}"
        );
        self
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("no JSON ({error}): {self}"),
        }
    }
}

/// A program that runs beside the test.
pub struct Running(pub Child);

impl Running {
    /// Sends a signal by name (`INT`, `KILL`).
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        // A program that has ended in the meantime cannot be reached: the test will see its exit code.
        let _ = Command::new("kill")
            .args(["-s", name, &pid])
            .stderr(Stdio::null())
            .status();
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Ran {
        use std::io::Read;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_end(&mut stdout)
            .unwrap();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_end(&mut stderr)
            .unwrap();
        let status = self.0.wait().unwrap();
        Output {
            status,
            stdout,
            stderr,
        }
        .into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every record of an index with its embedding, in the order of ids; none where there is no index yet.
pub fn records(index: &Path) -> Vec<(Record, Vec<f32>)> {
    let reader = match Reader::open(index) {
        Ok(reader) => reader,
        Err(bt_store::Error::NoIndex(_)) => return Vec::new(),
        Err(error) => panic!("{error}"),
    };
    let ids = reader
        .scan(&Filter::everything(), None, usize::MAX)
        .unwrap();
    let records = reader.fetch(&ids).unwrap().into_iter();
    let vectors = reader.embeddings(&ids).unwrap();
    records
        .zip(vectors)
        .map(|(record, vector)| (record.unwrap(), vector.unwrap()))
        .collect()
}

/// Waits until something is so; fails after a minute, which is long for a busy machine, too.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited a minute until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Small pictures, a different one for each number: coloured boxes on a coloured ground.
pub fn picture(seed: u64) -> RgbImage {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut picture = RgbImage::from_pixel(96, 72, random.colour());
    for _ in 0..4 {
        let (left, top) = (random.below(80), random.below(56));
        let (width, height) = (4 + random.below(40), 4 + random.below(40));
        let colour = random.colour();
        for y in top..(top + height).min(72) {
            for x in left..(left + width).min(96) {
                picture.put_pixel(x, y, colour);
            }
        }
    }
    picture
}

/// Numbers that are the same in every run (xorshift64*); the state must not be 0.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, end: u32) -> u32 {
        u32::try_from((self.next() >> 33) % u64::from(end)).unwrap()
    }

    fn colour(&mut self) -> Rgb<u8> {
        let bytes = self.next().to_le_bytes();
        Rgb([bytes[2], bytes[3], bytes[4]])
    }
}
