//! Two programs at once, a program that is stopped, and one that goes on for ever.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use fs_err as fs;
use serde_json::Value;

use crate::assert_counts;
use crate::harness::{BT_INDEX, Running, TestEnv, wait_until};

/// `bt-index --watch --json`, and the lines it prints.
struct Watching {
    running: Running,
    lines: Receiver<Value>,
}

impl Watching {
    fn start(env: &TestEnv) -> Self {
        let mut running = env.start(BT_INDEX, &["album", "--watch", "--json"]);
        let (sender, lines) = channel();
        let stdout = take_stdout(&mut running.0);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let line = serde_json::from_str(&line.unwrap()).unwrap();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { running, lines }
    }

    /// The report of the next pass.
    #[track_caller]
    fn next(&self) -> Value {
        self.lines
            .recv_timeout(Duration::from_secs(60))
            .expect("a pass within a minute")
    }
}

fn take_stdout(child: &mut Child) -> std::process::ChildStdout {
    child.stdout.take().unwrap()
}

#[test]
fn watching_keeps_the_index_true_as_files_come_change_move_and_go() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    let watching = Watching::start(&env);
    assert_counts(&watching.next(), &[("indexed", 1)]);

    env.draw("album/new/b.png", 2);
    assert_eq!(watching.next()["indexed"], 1);
    env.record_at("album/new/b.png");

    env.write("album/a.txt", "a cat on a couch");
    assert_eq!(watching.next()["redescribed"], 1);
    assert_eq!(
        env.record_at("album/a.png").about.captions,
        ["a cat on a couch"]
    );

    fs::rename(env.path("album/new"), env.path("album/old")).unwrap();
    let report = watching.next();
    assert_eq!(
        (&report["moved"], &report["indexed"]),
        (&1.into(), &0.into()),
        "{report:#}"
    );
    env.record_at("album/old/b.png");

    fs::remove_dir_all(env.path("album/old")).unwrap();
    assert_eq!(watching.next()["pruned"], 1);
    assert_eq!(env.records().len(), 1);

    // A second writer is told who the first one is.
    let ran = env.bt_index(&["album"]).expect(2);
    let pid = watching.running.0.id().to_string();
    assert!(ran.stderr.contains(&format!("pid {pid}")), "{ran}");
    assert!(ran.stderr.contains("hint: "), "{ran}");

    watching.running.signal("INT");
    let mut running = watching.running;
    assert_eq!(
        running.0.wait().unwrap().code(),
        Some(0),
        "being stopped is how watching ends"
    );
    assert_counts(
        &env.report(&["album"]),
        &[("unchanged", 1), ("not_pictures", 1)],
    );
}

#[test]
fn watching_ends_with_an_error_when_the_folder_goes_away() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    let watching = Watching::start(&env);
    watching.next();
    fs::rename(env.path("album"), env.path("elsewhere")).unwrap();
    let mut running = watching.running;
    assert_eq!(running.0.wait().unwrap().code(), Some(2));
    assert_eq!(env.records().len(), 1, "nothing was dropped");
}

#[test]
fn ctrl_c_keeps_what_is_done_and_the_next_run_finishes_the_job() {
    let env = TestEnv::new();
    const PICTURES: u64 = 400;
    env.draw_album("album", PICTURES);
    let mut command = env.command(BT_INDEX);
    command
        .args(["album", "--batch-size", "4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let running = Running(command.spawn().unwrap());
    wait_until("something is committed", || !env.records().is_empty());
    running.signal("INT");
    let ran = running.wait().expect(130);
    assert!(
        ran.stdout.contains("run the same command again to go on"),
        "{ran}"
    );
    let kept = env.records().len() as u64;
    assert!(kept > 0 && kept < PICTURES, "{kept} pictures");
    assert_counts(
        &env.report(&["album"]),
        &[("unchanged", kept), ("indexed", PICTURES - kept)],
    );
}

/// A model whose config.json is a pipe that nobody writes into: whoever loads it waits.
#[cfg(unix)]
#[test]
fn the_second_ctrl_c_ends_a_program_that_does_not_come_to_hear_the_first() {
    let env = TestEnv::new();
    env.draw("album/a.png", 1);
    fs::create_dir(env.path("model")).unwrap();
    let pipe = env.path("model/config.json");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut running = env.start(BT_INDEX, &["album", "--model", "./model"]);
    // A pipe is open for writing once somebody reads it.
    let (sender, opened) = channel();
    std::thread::spawn(move || sender.send(fs::OpenOptions::new().write(true).open(pipe)));
    let _writer = opened.recv_timeout(Duration::from_secs(60)).unwrap();
    // Two signals that are not taken yet count as one, so it may take a third.
    wait_until("it ends", || {
        running.signal("INT");
        running.0.try_wait().unwrap().is_some()
    });
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
}
