//! Where values come from: flags, the environment, the settings file.

use crate::harness::{BT_SEARCH, Ran, TestEnv};
use crate::{album, assert_refused};

/// A search with a settings file; `variables` are set in its environment, or unset.
fn search(
    env: &TestEnv,
    settings: &str,
    variables: &[(&str, Option<&str>)],
    flags: &[&str],
) -> Ran {
    let folder = TestEnv::new();
    let file = folder.write("settings.toml", settings);
    let mut command = env.command(BT_SEARCH);
    command.args(["a cat", "--all"]).args(flags);
    command.env("BT_SETTINGS", file);
    for (name, value) in variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap().into()
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_settings_file() {
    let env = album();
    let file = "index = \"of-the-file\"";
    let no_index = |ran: &Ran, name: &str| {
        assert_refused(ran, &[format!("there is no index in `{name}`").as_str()]);
    };
    let unset = [("BT_INDEX", None)];
    no_index(&search(&env, file, &unset, &[]), "of-the-file");
    let own = format!("index = \"no\"\n[bt-search]\n{file}");
    no_index(&search(&env, &own, &unset, &[]), "of-the-file");
    let set = [("BT_INDEX", Some("of-the-environment"))];
    no_index(&search(&env, file, &set, &[]), "of-the-environment");
    let flags = ["--index", "of-the-flag"];
    no_index(&search(&env, file, &set, &flags), "of-the-flag");
    // The index of the album is in the environment.
    search(&env, file, &[], &[]).expect(0);
}

#[test]
fn what_makes_no_sense_in_the_settings_file_is_told_with_its_name() {
    let env = album();
    for (settings, words) in [
        ("precision = \"f16\"", &["precision in ", "`f16`"][..]),
        ("[bt-search]\ncuont = 3", &["`cuont`", "`count`"]),
        ("type = [[]]", &["`type`"]),
        ("count =", &["cannot read"]),
    ] {
        let ran = search(&env, settings, &[], &[]);
        assert_refused(&ran, words);
        assert_refused(&ran, &["settings.toml"]);
    }
}
