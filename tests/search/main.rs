//! Stories of `bt-search`: the real programs on the sample album, which is copied and indexed first.

#![allow(clippy::unwrap_used)]

mod harness;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use harness::{BT_SEARCH, Ran, TestEnv};
use serde_json::Value;

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

#[test]
fn a_cat_on_a_couch_is_found() {
    let env = album();
    let ran = env.bt_search(&["a cat on a couch"]).expect(0);
    let first = ran.stdout.lines().next().unwrap();
    assert!(first.contains("album/home/IMG_0012.jpg"), "{ran}");
    assert!(first.trim_start().starts_with("1  match "), "{ran}");
    for near_miss in ["IMG_0081", "IMG_0082", "IMG_0083"] {
        assert!(!ran.stdout.contains(near_miss), "{near_miss}: {ran}");
    }
    assert!(
        ran.stdout.contains("2022-04-22"),
        "the date of the picture is shown: {ran}"
    );
    assert!(
        !ran.stdout.contains('\u{1b}'),
        "no colours where there is no terminal: {ran}"
    );
}

#[test]
fn words_need_no_quotes_and_colours_can_be_asked_for() {
    let env = album();
    let quoted = env.bt_search(&["a castle at night"]).expect(0).stdout;
    assert_eq!(
        env.bt_search(&["a", "castle", "at", "night"])
            .expect(0)
            .stdout,
        quoted
    );
    let coloured = env
        .bt_search(&["a castle at night", "--color", "always"])
        .expect(0)
        .stdout;
    assert!(coloured.contains("\u{1b}["), "{coloured}");
}

#[test]
fn bare_names_find_what_shows_them() {
    let env = album();
    for (text, wanted) in [
        (
            "dog",
            &[
                "IMG_0056.jpg",
                "IMG_0081.webp",
                "IMG_0084.webp",
                "IMG_0085.jpg",
                "IMG_0090.webp",
                "IMG_0091.webp",
            ][..],
        ),
        ("two tigers", &["IMG_0055.png"]),
        ("a fox", &["IMG_0006.jpg"]),
        ("an elephant", &["IMG_0011.jpg", "IMG_0026.jpg"]),
    ] {
        let mut found = names(&env, &[text]);
        found.sort();
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let env = album();
    let ran = env.bt_search(&["a submarine under water"]).expect(1);
    assert_eq!(ran.stdout, "", "{ran}");
    assert!(ran.stderr.contains("nothing here shows that"), "{ran}");
    assert!(
        ran.stderr.contains(" %") && ran.stderr.contains("--all"),
        "{ran}"
    );
    let all = env
        .bt_search(&["a submarine under water", "--all"])
        .expect(0);
    assert_eq!(all.stdout.lines().count(), 10, "{all}");
    let quiet = env
        .bt_search(&["a submarine under water", "--min-score", "100%", "-q"])
        .expect(1);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn the_exact_name_of_a_file_comes_first() {
    let env = album();
    for text in ["IMG_0044", "img_0044.webp"] {
        assert_eq!(names(&env, &[text])[0], "IMG_0044.webp", "{text}");
    }
    assert_eq!(names(&env, &["IMG_0014 small"])[0], "IMG_0014 small.jpg");
}

#[test]
fn words_of_a_caption_are_found() {
    let env = album();
    assert_among_first(
        &names(&env, &["the garden of grandmother"]),
        3,
        "IMG_0066.jpg",
    );
}

#[test]
fn filters_hold() {
    let env = album();
    let all = |arguments: &[&str]| {
        let mut found = names(
            &env,
            &[&["a picture", "--all", "-n", "100"], arguments].concat(),
        );
        found.sort();
        found
    };
    assert_eq!(
        all(&["--in", "album/night"]),
        ["IMG_0028.png", "IMG_0041.webp", "IMG_0044.webp"]
    );
    assert_eq!(
        all(&["--in", "album/night", "--in", "./album/../album/sports"]).len(),
        7
    );
    assert_eq!(
        all(&["--in", "album/night", "--type", "webp"]),
        ["IMG_0041.webp", "IMG_0044.webp"]
    );
    assert_eq!(all(&["--in", "album/night", "--type", "webp,png"]).len(), 3);
    assert_eq!(
        all(&["--camera", "x-t5", "--after", "2024"]),
        ["IMG_0016.jpg", "IMG_0059.jpg"]
    );
    assert_eq!(all(&["--before", "2019-07-15"]), ["IMG_0034.jpg"]);
    assert_eq!(
        all(&["--after", "2019-07-15", "--before", "2019-07-16"]),
        ["IMG_0017.jpg", "IMG_0061.jpg"]
    );
    assert_eq!(
        all(&["--near", "41.15,-8.65,5"]),
        ["IMG_0016.jpg", "IMG_0071.jpg"]
    );
    assert_eq!(all(&["--larger-than", "12MP"]), [""; 0]);
    let ran = env
        .bt_search(&["a picture", "--larger-than", "12MP"])
        .expect(1);
    assert!(
        ran.stderr.contains("no picture passes the filters"),
        "{ran}"
    );
}

#[test]
fn pages_follow_each_other_and_the_newest_can_come_first() {
    let env = album();
    let page = |offset: &str| names(&env, &["an animal", "--all", "-n", "4", "--offset", offset]);
    let whole = names(&env, &["an animal", "--all", "-n", "12"]);
    assert_eq!([page("0"), page("4"), page("8")].concat(), whole);
    let beyond = env
        .bt_search(&["an animal", "--all", "--offset", "1000"])
        .expect(1);
    assert!(beyond.stderr.contains("--offset"), "{beyond}");

    let dated = ["an animal", "--all", "--sort", "date", "-n", "3"];
    assert_eq!(names(&env, &dated)[0], "IMG_0033.jpg");
}

#[test]
fn the_json_document_is_as_documented() {
    let env = album();
    let arguments = [
        "a cat on a couch",
        "--json",
        "-n",
        "1",
        "--explain",
        "--all",
        "--in",
        "album/home",
    ];
    let ran = env.bt_search(&arguments).expect(0);
    let document = ran.json();
    let album = env.path("album").display().to_string().replace('.', r"\.");
    insta::with_settings!({filters => vec![
        (album.as_str(), "[album]"),
        (r"-?\d+\.\d+(e-?\d+)?", "[number]"),
        (r#""rank": \d+"#, r#""rank": [rank]"#),
        (r#""says_it": \w+"#, r#""says_it": [bool]"#),
    ]}, {
        insta::assert_snapshot!("json", ran.stdout);
    });
    let path = document["results"][0]["path"].as_str().unwrap();
    assert!(
        Path::new(path).starts_with(env.path("album/home")),
        "{path}"
    );
    let none = env
        .bt_search(&["a cat", "--json", "--larger-than", "12MP"])
        .expect(1)
        .json();
    assert_eq!(none["results"], Value::Array(Vec::new()));
}

#[test]
fn paths_are_for_other_programs() {
    let env = album();
    let lines = env
        .bt_search(&["a cat on a couch", "--all", "--paths", "-n", "3"])
        .expect(0)
        .stdout;
    assert_eq!(lines.lines().count(), 3);
    assert!(
        lines.lines().all(|line| Path::new(line).is_file()),
        "{lines}"
    );
    let nul = env
        .bt_search(&["a cat on a couch", "--all", "-0", "-n", "3"])
        .expect(0)
        .stdout;
    assert_eq!(nul.replace('\0', "\n"), lines);
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let env = album();
    let mut child = env
        .command(BT_SEARCH)
        .args(["an animal", "--all", "-n", "80"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_picture_finds_itself_and_what_is_like_it() {
    let env = album();
    let image = samples().join("food/IMG_0015.jpg");
    let ran = env
        .bt_search(&["--image", image.to_str().unwrap()])
        .expect(0);
    assert!(
        ran.stdout
            .lines()
            .next()
            .unwrap()
            .contains("similarity  1.00"),
        "{ran}"
    );
    let found = names(&env, &["--image", image.to_str().unwrap(), "-n", "4"]);
    assert_among_first(&found, 1, "IMG_0015.jpg");
}

#[test]
fn a_picture_and_words_together_find_what_has_both() {
    let env = album();
    // Footballs on yellow and something else: pictures of footballs stay, and come with it.
    let image = samples().join("home/IMG_0012.jpg");
    let found = names(
        &env,
        &[
            "--image",
            image.to_str().unwrap(),
            "a teddy bear",
            "--all",
            "-n",
            "5",
        ],
    );
    assert_among_first(&found, 3, "IMG_0070.jpg");
}

#[test]
fn a_picture_of_the_index_is_named_by_path_or_id() {
    let env = album();
    let id = env.record_at("album/home/IMG_0012.jpg").id.to_string();
    let by_path = names(&env, &["--similar-to", "album/home/IMG_0012.jpg"]);
    assert_eq!(by_path.len(), 10);
    assert!(
        !by_path.contains(&"IMG_0012.jpg".to_owned()),
        "it is not like itself: {by_path:?}"
    );
    assert_eq!(names(&env, &["--similar-to", &id]), by_path);
    assert_eq!(names(&env, &["--similar-to", &id[..12]]), by_path);

    assert_refused(
        &env.bt_search(&["--similar-to", "0000"]),
        &["no picture with the id", "hint:"],
    );
    assert_refused(
        &env.bt_search(&["--similar-to", "album/none.jpg"]),
        &["album/none.jpg", "hint:"],
    );
    let ran = env.bt_search(&["--similar-to", "album/samples.json"]);
    assert_refused(&ran, &["is not in the index", "--image"]);
}

#[test]
fn what_should_not_be_seen_goes_down() {
    let env = album();
    let with = names(&env, &["a cat", "--all"]);
    let without = names(&env, &["a cat", "--not", "a dog", "--all"]);
    let place = |found: &[String]| found.iter().position(|name| name == "IMG_0090.webp");
    assert!(
        place(&with).is_some_and(|place| place < 7),
        "a cat beside a dog is a cat: {with:?}"
    );
    assert!(
        place(&without).is_none_or(|after| Some(after) > place(&with)),
        "{with:?} {without:?}"
    );
    assert_eq!(without[0], "IMG_0086.webp", "{without:?}");
    assert_refused(
        &env.bt_search(&["--not", "snow"]),
        &["only what should not be seen", "hint:"],
    );
}

#[test]
fn near_duplicates_are_folded() {
    let env = album();
    let plain = names(&env, &["castle at night", "--all", "-n", "5"]);
    assert!(
        plain.contains(&"IMG_0014.jpg".to_owned())
            && plain.contains(&"IMG_0014 small.jpg".to_owned()),
        "{plain:?}"
    );
    let ran = env
        .bt_search(&["castle at night", "--all", "--group", "-n", "5"])
        .expect(0);
    assert!(ran.stdout.contains("much like it: album/"), "{ran}");
    let identical = env.bt_search(&["four pizzas"]).expect(0);
    assert!(
        identical.stdout.contains("the same picture: album/"),
        "{identical}"
    );
}

#[test]
fn an_explanation_tells_every_stage() {
    let env = album();
    let ran = env.bt_search(&["a cat on a couch", "--explain"]).expect(0);
    for part in [
        "vector #",
        "fused #",
        "ITM ",
        "exact",
        "reranked: 20",
        "time: embed ",
        " ms",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran}");
    }
    let off = env
        .bt_search(&["a cat on a couch", "--explain", "--rerank", "0"])
        .expect(0);
    assert!(
        off.stdout.contains("not reranked") && !off.stdout.contains("ITM "),
        "{off}"
    );
}

#[test]
fn a_contact_sheet_is_one_well_formed_page() {
    let env = album();
    let ran = env
        .bt_search(&[
            "a cat on a couch",
            "--all",
            "-n",
            "3",
            "--html",
            "found.html",
            "--why",
        ])
        .expect(0);
    assert!(ran.stderr.contains("wrote found.html"), "{ran}");
    let page = fs_err::read_to_string(env.path("found.html")).unwrap();
    assert_well_formed(&page);
    assert_eq!(page.matches("<article ").count(), 3);
    // Each picture, with `cat` and with `couch`.
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count(), 9);
    assert!(
        page.contains("alt=\"where \u{201c}couch\u{201d} was found in"),
        "alternative texts"
    );
    for outside in ["src=\"http", "<script", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!env.path("why").exists(), "inside the page, not beside it");
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

#[test]
fn why_draws_each_word_over_the_picture() {
    let env = album();
    env.bt_search(&[
        "a cat on a couch",
        "-n",
        "1",
        "--in",
        "album/home",
        "--why=heat",
    ])
    .expect(0);
    let mut files: Vec<PathBuf> = fs_err::read_dir(env.path("heat"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let words: Vec<String> = files
        .iter()
        .map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        words[0].starts_with("01-IMG_00") && words[0].ends_with("-1-cat"),
        "{words:?}"
    );
    assert!(
        words[1].ends_with("-2-couch") && words.len() == 2,
        "{words:?}"
    );
    let best = env.bt_search(&[
        "a cat on a couch",
        "-n",
        "1",
        "--in",
        "album/home",
        "--paths",
    ]);
    let picture = image::open(best.stdout.trim_end()).unwrap();
    for file in &files {
        let drawn = image::open(file).unwrap();
        assert_eq!(
            (drawn.width(), drawn.height()),
            (picture.width(), picture.height())
        );
    }
    let ran = env.bt_search(&["--similar-to", "album/home/IMG_0012.jpg", "--why"]);
    assert_eq!(ran.code, Some(2), "{ran}");
}

#[test]
fn what_makes_no_sense_is_told_with_the_next_step() {
    let env = album();
    assert_refused(
        &env.bt_search(&[""; 0]),
        &["error: the query is empty", "hint:", "--image"],
    );
    assert_refused(&env.bt_search(&["  "]), &["the query is empty"]);
    let bad = |arguments: &[&str], words: &[&str]| {
        assert_refused(&env.bt_search(&[&["a cat"], arguments].concat()), words);
    };
    bad(
        &["--after", "yesterday"],
        &["--after", "`yesterday`", "2024-07"],
    );
    bad(&["--before", "2024-13"], &["--before", "`2024-13`"]);
    bad(&["--larger-than", "big"], &["--larger-than", "12MP"]);
    bad(&["--near", "here"], &["--near", "LAT,LON,KM"]);
    bad(&["--near", "-91,0,5"], &["latitude"]);
    bad(&["--type", "pdf"], &["--type", "`pdf`", "jpeg, "]);
    bad(&["--min-score", "7"], &["--min-score", "40%"]);
    bad(&["-n", "0"], &["-n"]);
    bad(&["--device", "abacus"], &["abacus"]);
    bad(&["--imge", "x"], &["--image"]);
    env.write("broken.jpg", "no picture at all");
    bad(
        &["--image", "broken.jpg"],
        &[
            "cannot read the query picture `broken.jpg`",
            "not a picture",
        ],
    );
    bad(
        &["--image", "none.jpg"],
        &["cannot read the query picture `none.jpg`"],
    );
}

#[test]
fn no_index_and_an_empty_index_are_told_apart() {
    let env = TestEnv::new();
    let none = env.bt_search(&["a cat"]);
    assert_refused(&none, &["there is no index in", "hint:", "bt-index"]);
    env.write("photos/notes.txt", "no picture");
    let _ = env.bt_index(&["photos"]);
    let empty = env.bt_search(&["a cat"]);
    assert_refused(&empty, &["hint:", "bt-index"]);
}

#[test]
fn another_model_than_the_indexs_is_refused() {
    let env = album();
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny");
    let ran = env.bt_search(&["a cat", "--model", other.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{ran}");
    assert!(ran.stderr.contains("error:"), "{ran}");
    env.bt_search(&["a cat on a couch", "--model", "mini"])
        .expect(0);
}

/// The shipped model without the weights whose names begin like this, as a folder.
fn mini_without(env: &TestEnv, folder: &str, heads: &[&str]) -> String {
    let mini = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/mini");
    let folder = env.path(folder);
    copy(&mini, &folder);
    let file = folder.join("model.safetensors");
    let mut weights = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).unwrap();
    let before = weights.len();
    weights.retain(|name, _| !heads.iter().any(|head| name.starts_with(head)));
    assert!(weights.len() < before);
    candle_core::safetensors::save(&weights, &file).unwrap();
    // What was measured with the heads says nothing without them.
    let _ = fs_err::remove_file(folder.join("calibration.json"));
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_model_without_itc_heads_compares_pictures_with_words_one_by_one() {
    let env = TestEnv::new();
    copy(&samples(), &env.path("album"));
    let model = mini_without(&env, "no-itc", &["itc_", "logit_scale"]);
    env.bt_index(&["album", "--quiet", "--model", &model])
        .expect(0);

    let ran = env.bt_search(&["a cat on a couch", "--all"]).expect(0);
    assert!(ran.stderr.contains("one by one, 121 of the 121"), "{ran}");
    let found = names(&env, &["a cat on a couch", "--all", "-n", "20"]);
    assert_among_first(&found, 20, "IMG_0012.jpg");
    let document = env
        .bt_search(&["a cat", "--all", "--json", "--look-at", "30"])
        .expect(0)
        .json();
    assert_eq!(document["looked_at"], 30);
    assert!(document["took_ms"].as_f64().unwrap() > 0.0);

    // Pictures are compared with pictures by their pooled states.
    let found = names(
        &env,
        &["--similar-to", "album/food/IMG_0015.jpg", "-n", "10"],
    );
    assert_eq!(found.len(), 10);
    let image = samples().join("food/IMG_0015.jpg");
    let found = names(&env, &["--image", image.to_str().unwrap(), "-n", "1"]);
    assert_eq!(found, ["IMG_0015.jpg"]);
}

#[test]
fn a_model_without_any_head_refuses_words_and_names_the_ways_on() {
    let env = TestEnv::new();
    copy(&samples().join("night"), &env.path("album"));
    let model = mini_without(&env, "no-heads", &["itc_", "logit_scale", "itm_", "mlm_"]);
    env.bt_index(&["album", "--quiet", "--model", &model])
        .expect(0);
    let ran = env.bt_search(&["a castle"]);
    assert_refused(
        &ran,
        &[
            "neither an ITC nor an ITM head",
            "--image",
            "--rerank-model",
            "learn-heads",
        ],
    );
    assert_eq!(
        names(&env, &["--similar-to", "album/IMG_0044.webp"]).len(),
        2
    );
}

#[test]
fn one_model_embeds_and_another_reranks() {
    let env = TestEnv::new();
    copy(&samples(), &env.path("album"));
    let reranker = mini_without(&env, "no-itc", &["itc_", "logit_scale"]);
    env.bt_index(&["album", "--quiet", "--rerank-model", &reranker])
        .expect(0);
    let ran = env
        .bt_search(&["a cat on a couch", "--all", "--explain"])
        .expect(0);
    assert!(
        ran.stdout.contains("vector #1") && ran.stdout.contains("ITM "),
        "{ran}"
    );
    // The words of the query and the picture of a pair: no vector of the reranker is asked for.
    let found = names(&env, &["a cat on a couch", "--all", "-n", "20"]);
    assert_among_first(&found, 20, "IMG_0012.jpg");
    // A reranker that has changed since is not used in silence.
    let file = env.path("no-itc/config.json");
    let config = fs_err::read_to_string(&file).unwrap();
    fs_err::write(&file, config.replace("1e-05", "1e-06")).unwrap();
    let ran = env.bt_search(&["a cat on a couch"]);
    assert_refused(&ran, &["another model than", "fingerprint"]);
}

#[test]
fn a_text_beyond_the_models_limit_is_cut_with_a_warning() {
    let env = album();
    let long = "a cat on a couch and ".repeat(60);
    let ran = env.bt_search(&[long.as_str(), "--all"]).expect(0);
    assert!(ran.stderr.contains("longer than the model reads"), "{ran}");
}

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

#[test]
fn the_help_teaches() {
    let env = TestEnv::new();
    let short = env.bt_search(&["-h"]).expect(0).stdout;
    assert!(short.lines().count() <= 60, "{short}");
    for group in [
        "What to find:",
        "Which pictures:",
        "How to show:",
        "How fast, and with what:",
    ] {
        assert!(short.contains(group), "{group}: {short}");
    }
    let long = env.bt_search(&["--help"]).expect(0).stdout;
    assert!(
        long.contains("Examples:") && long.contains("Exit codes:"),
        "{long}"
    );
    assert!(long.contains("BT_INDEX"), "{long}");
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
        .filter(|path| path.components().any(|part| part.as_os_str() == "states"))
        .collect();
    assert!(states.len() >= 20, "{} files of states", states.len());
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
