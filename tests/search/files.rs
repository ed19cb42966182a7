//! Pictures that are gone, and what is kept of those that were looked at.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{BT_SEARCH, Ran};
use crate::{assert_well_formed, indexed_album, names};

#[test]
fn pictures_that_are_gone_keep_their_place_and_say_so() {
    let env = indexed_album();
    let before = names(
        &env,
        &["a castle at night", "--all", "--rerank", "0", "-n", "3"],
    );
    fs_err::remove_dir_all(env.path("album")).unwrap();
    let ran = env
        .bt_search(&["a castle at night", "-n", "3", "--all"])
        .expect(0);
    assert!(ran.stdout.contains("could not be looked at again"), "{ran}");
    assert!(
        ran.stderr
            .contains("20 of 20 pictures could not be read again"),
        "{ran}"
    );
    assert_eq!(
        names(&env, &["a castle at night", "-n", "3", "--all"]),
        before
    );
    let sheet = env
        .bt_search(&[
            "a castle at night",
            "-n",
            "3",
            "--all",
            "--html",
            "gone.html",
        ])
        .expect(0);
    assert!(sheet.stderr.contains("wrote gone.html"), "{sheet}");
    assert_well_formed(&fs_err::read_to_string(env.path("gone.html")).unwrap());
}

/// What the model made of candidates is found by the next search, is made again where it is damaged, and changes no
/// answer.
#[test]
fn candidates_that_were_looked_at_are_not_read_again() {
    let env = indexed_album();
    let search = |query: &str| -> Vec<(Value, Value)> {
        let mut command = env.command(BT_SEARCH);
        command.args([query, "--json"]).env("BT_CACHE_SIZE", "50");
        let ran = Ran::from(command.output().unwrap()).expect(0);
        let answer = ran.json();
        let results = answer["results"].as_array().unwrap();
        let shown = |row: &Value| (row["path"].clone(), row["probability"].clone());
        results.iter().map(shown).collect()
    };
    let first = search("a cat on a couch");
    let states: Vec<PathBuf> = walk(&env.path(".cache"))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/states-f32-f32/"))
        .collect();
    assert!(states.len() >= 5, "{} files of states", states.len());
    // Only what is kept can answer now.
    fs_err::rename(env.path("album"), env.path("elsewhere")).unwrap();
    assert_eq!(search("a cat on a couch"), first);
    fs_err::rename(env.path("elsewhere"), env.path("album")).unwrap();
    for path in &states {
        let mut bytes = fs_err::read(path).unwrap();
        bytes[1000] ^= 0xff;
        fs_err::write(path, bytes).unwrap();
    }
    assert_eq!(search("a cat on a couch"), first);
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
