//! Stories of `bt-search`: the real programs on the sample album, which is copied and indexed first.

#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod files;
mod finding;
mod models;
mod refusing;
mod settings;
mod showing;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use harness::{Ran, TestEnv};

/// The sample album, copied into a folder of its own and indexed; shared by the tests that run at a time.
fn album() -> Arc<TestEnv> {
    static SHARED: Mutex<Weak<TestEnv>> = Mutex::new(Weak::new());
    let mut shared = SHARED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(env) = shared.upgrade() {
        return env;
    }
    let env = Arc::new(indexed_album());
    *shared = Arc::downgrade(&env);
    env
}

fn indexed_album() -> TestEnv {
    let env = TestEnv::new();
    copy(&samples(), &env.path("album"));
    env.bt_index(&["album", "--quiet"]).expect(0);
    env
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs_err::copy(entry.path(), to).unwrap();
        }
    }
}

/// File names of the results, in order.
fn names(env: &TestEnv, arguments: &[&str]) -> Vec<String> {
    let ran = env.bt_search(&[&["--paths"], arguments].concat());
    assert!(matches!(ran.code, Some(0 | 1)), "{ran}");
    let name = |line: &str| {
        Path::new(line)
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    };
    ran.stdout.lines().map(name).collect()
}

#[track_caller]
fn assert_among_first(found: &[String], n: usize, wanted: &str) {
    assert!(
        found.iter().take(n).any(|name| name == wanted),
        "{wanted} is not among the first {n}: {found:?}"
    );
}

/// An error: exit code 2, nothing on standard output, these words on standard error.
#[track_caller]
fn assert_refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran}");
    assert_eq!(ran.stdout, "", "{ran}");
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is missing: {ran}");
    }
}

/// Every element that is opened is closed, in the right order.
#[track_caller]
fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in page.split('<').skip(1) {
        let (tag, _) = part.split_once('>').unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.starts_with('!') {
            let name = tag.split_ascii_whitespace().next().unwrap();
            if !["meta", "img", "input"].contains(&name) {
                open.push(name);
            }
        }
    }
    assert_eq!(open, [""; 0]);
}
