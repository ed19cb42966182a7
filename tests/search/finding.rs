//! What is found, and in which order.

use crate::{album, assert_among_first, assert_refused, names, samples};

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
        // One picture that does not show it may come after all that do.
        assert!(found.len() <= wanted.len() + 1, "{text}: {found:?}");
        found.truncate(wanted.len());
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
