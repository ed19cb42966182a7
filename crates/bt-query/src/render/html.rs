//! Results as a contact sheet: one page that holds everything, pictures included, so that it can be kept
//! or sent. No script. Every text from outside is escaped.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::answer::{Answer, Score};
use crate::explain;
use crate::parse::camera_time;
use crate::query::{Example, Query};
use crate::render::text::percent;
use crate::sheet::Card;

const STYLE: &str = include_str!("sheet.css");

/// The page. `explain`: with what was done and where each place comes from.
pub fn html(answer: &Answer, query: &Query, cards: &[Card<'_>], explain: bool) -> String {
    let title = title(query);
    let mut page = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n\
         <header>\n<h1>{}</h1>\n<p>{}</p>\n</header>\n<main role=\"list\">\n",
        escaped(&title),
        switches(cards),
        escaped(&title),
        escaped(&summary(answer, query)),
    );
    for (index, shown) in cards.iter().enumerate() {
        card(&mut page, index, shown, answer.plan.cut.threshold, explain);
    }
    page.push_str("</main>\n");
    if explain {
        let _ = write!(
            page,
            "<footer>\n<pre>{}</pre>\n</footer>\n",
            escaped(&explain::course(answer))
        );
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn title(query: &Query) -> String {
    let picture = match (&query.picture, query.words()) {
        (None, _) => None,
        (Some(Example::Indexed(_)), None) => Some("Pictures like one of the album"),
        (Some(Example::Given(_)), None) => Some("Pictures like the one given"),
        (Some(_), Some(_)) => Some("with a picture"),
    };
    let mut parts: Vec<String> = query.words().map(str::to_owned).into_iter().collect();
    parts.extend(picture.map(str::to_owned));
    parts.extend(query.negatives().map(|text| format!("not {text}")));
    parts.join(", ")
}

fn summary(answer: &Answer, query: &Query) -> String {
    let shown = answer.results.len();
    let which = match (answer.results.first(), answer.results.last()) {
        (Some(first), Some(last)) if shown < answer.matched => {
            format!(
                "{} to {} of {} results",
                first.rank, last.rank, answer.matched
            )
        }
        (Some(_), _) if shown == 1 => "1 result".to_owned(),
        (Some(_), _) => format!("{shown} results"),
        (None, _) if query.all => "no results".to_owned(),
        (None, _) => "nothing here shows that".to_owned(),
    };
    let seconds = answer.took().as_secs_f64();
    format!(
        "{which} among {} pictures, in {seconds:.2} s",
        answer.allowed
    )
}

/// For the k-th word of a card: its radio button shows the k-th picture and marks the k-th label.
fn switches(cards: &[Card<'_>]) -> String {
    let most = cards
        .iter()
        .map(|card| card.words.len() + 1)
        .max()
        .unwrap_or(0);
    let mut rules = String::new();
    for k in 2..=most {
        let _ = writeln!(
            rules,
            ".card input:nth-of-type({k}):checked ~ .stage img:nth-of-type({k}) {{ opacity: 1; }}"
        );
    }
    for k in 1..=most {
        let _ = writeln!(
            rules,
            ".card input:nth-of-type({k}):checked ~ .words label:nth-of-type({k}) \
             {{ color: var(--card); background: var(--ink); border-color: var(--ink); }}\n\
             .card input:nth-of-type({k}):focus-visible ~ .words label:nth-of-type({k}) \
             {{ outline: 2px solid var(--good); outline-offset: 2px; }}"
        );
    }
    rules
}

fn card(page: &mut String, index: usize, card: &Card<'_>, threshold: f32, explain: bool) {
    let found = card.found;
    let about = &found.record.about;
    let path = found.path().map(|path| path.to_string_lossy().into_owned());
    let name = found.path().and_then(|path| path.file_name()).map_or_else(
        || found.id().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    page.push_str("<article class=\"card\" role=\"listitem\">\n");
    let switchable = card.thumbnail.is_ok() && !card.words.is_empty();
    if switchable {
        for k in 0..=card.words.len() {
            let checked = if k == 0 { " checked" } else { "" };
            let label = match k.checked_sub(1).and_then(|k| card.words.get(k)) {
                None => "the picture as it is".to_owned(),
                Some((word, _)) => format!("where {word} was found"),
            };
            let _ = writeln!(
                page,
                "<input type=\"radio\" name=\"card{index}\" id=\"card{index}-{k}\" aria-label=\"{}\"{checked}>",
                escaped(&label)
            );
        }
    }
    page.push_str("<div class=\"stage\">\n");
    match &card.thumbnail {
        Err(reason) => {
            let _ = writeln!(page, "<div class=\"gone\">{}</div>", escaped(reason));
        }
        Ok(jpeg) => {
            let described = about.captions.first().cloned();
            let alt = described.unwrap_or_else(|| format!("result {}: {name}", found.rank));
            image(page, jpeg, &alt);
            for (word, jpeg) in &card.words {
                image(
                    page,
                    jpeg,
                    &format!("where \u{201c}{word}\u{201d} was found in {name}"),
                );
            }
        }
    }
    page.push_str("</div>\n");
    if switchable {
        page.push_str("<div class=\"words\">\n");
        let _ = writeln!(page, "<label for=\"card{index}-0\">picture</label>");
        for (k, (word, _)) in card.words.iter().enumerate() {
            let _ = writeln!(
                page,
                "<label for=\"card{index}-{}\">{}</label>",
                k + 1,
                escaped(word)
            );
        }
        page.push_str("</div>\n");
    }

    page.push_str("<div class=\"about\">\n");
    let (good, score, bar) = match found.score {
        Score::Match(probability) => (
            probability >= threshold,
            format!("{} match", percent(probability)),
            format!(
                "<meter min=\"0\" max=\"1\" low=\"{threshold:.3}\" high=\"{threshold:.3}\" optimum=\"1\" \
                 value=\"{probability:.3}\">{}</meter>\n",
                escaped(&percent(probability))
            ),
        ),
        Score::Similarity(cosine) => (false, format!("similarity {cosine:.2}"), String::new()),
        Score::Words(bm25) => (false, format!("words {bm25:.1}"), String::new()),
    };
    let _ = writeln!(
        page,
        "<div class=\"score{}\"><b>{}</b><span>{}</span></div>\n{bar}<div class=\"name\">{}</div>",
        if good { " good" } else { "" },
        escaped(&score),
        found.rank,
        link(path.as_deref(), &name),
    );
    let mut facts: Vec<String> = Vec::new();
    facts.extend(
        about
            .taken
            .and_then(camera_time)
            .map(|time| time.date().to_string()),
    );
    facts.push(format!("{} \u{d7} {}", about.width, about.height));
    facts.extend(about.camera.clone());
    small(page, &facts.join(" \u{b7} "));
    for caption in about.captions.iter().take(1) {
        small(page, caption);
    }
    for folded in &found.folded {
        if let Some(location) = folded.locations.first() {
            small(page, &format!("much like it: {}", location.path.display()));
        }
    }
    if let Some(reason) = &found.why.not_reranked {
        small(page, &format!("could not be looked at again: {reason}"));
    }
    if explain {
        small(page, &explain::reasons(found));
    }
    page.push_str("</div>\n</article>\n");
}

fn image(page: &mut String, jpeg: &[u8], alt: &str) {
    let _ = writeln!(
        page,
        "<img src=\"data:image/jpeg;base64,{}\" alt=\"{}\">",
        STANDARD.encode(jpeg),
        escaped(alt)
    );
}

fn small(page: &mut String, text: &str) {
    let _ = writeln!(page, "<div class=\"small\">{}</div>", escaped(text));
}

/// The name, as a link to the file where it has a place.
fn link(path: Option<&str>, name: &str) -> String {
    match path {
        None => escaped(name),
        Some(path) => format!(
            "<a href=\"{}\" title=\"{}\">{}</a>",
            file_address(path),
            escaped(path),
            escaped(name)
        ),
    }
}

/// A `file:` address; everything but plain letters and slashes is per-cent encoded.
fn file_address(path: &str) -> String {
    let mut address = String::from("file://");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

/// Text that HTML reads as text, in elements and in attributes; control characters become spaces.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push('\n'),
            control if control.is_control() => safe.push(' '),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::{Colours, Memory};
    use crate::{Query, search, sheet};

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let folder = tempfile::tempdir().unwrap();
        let mut album = Memory::of_colours(
            folder.path(),
            &[
                ("<img onerror=x>'.png", [255, 0, 0]),
                ("b.png", [240, 30, 0]),
            ],
        );
        for (record, _) in &mut album.pictures {
            record.about.captions = vec!["<script>alert(\"1\")</script>".into()];
        }
        let query = Query {
            not: vec!["</style>".into()],
            all: true,
            ..Query::of_text("red <b>\"thing\"</b>")
        };
        let scorer = Colours::default();
        let answer = search(&query, &album, &scorer, &mut |_| {}).unwrap();
        assert_eq!(answer.results.len(), 2);
        let cards = sheet::cards(&answer, Some(("red <b>", &scorer))).unwrap();
        let page = html(&answer, &query, &cards, true);
        for bad in [
            "<script",
            "<b>\"",
            "<img onerror",
            "</style>\n</head>\n<body>\n<header>\n<h1>red <b>",
        ] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert_eq!(page.matches("</style>").count(), 1);
        assert_eq!(page.matches("<article").count(), 2);
        assert_eq!(page.matches("</article>").count(), 2);
        assert!(page.contains("&lt;script&gt;"));
        assert!(page.contains("%3Cimg%20onerror%3Dx%3E%27.png"));
    }

    #[test]
    fn each_word_has_a_switch_and_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let album = Memory::of_colours(folder.path(), &[("a.png", [255, 0, 0])]);
        let query = Query::of_text("the red door");
        let scorer = Colours::default();
        let answer = search(&query, &album, &scorer, &mut |_| {}).unwrap();
        let cards = sheet::cards(&answer, Some(("the red door", &scorer))).unwrap();
        assert_eq!(cards[0].words.len(), 2);
        let page = html(&answer, &query, &cards, false);
        assert_eq!(page.matches("<input type=\"radio\"").count(), 3);
        assert_eq!(page.matches("data:image/jpeg;base64,/9j/").count(), 3);
        assert_eq!(page.matches("<label for=").count(), 3);
    }

    #[test]
    fn a_picture_that_is_gone_leaves_a_card_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let album = Memory::of_colours(folder.path(), &[("a.png", [255, 0, 0])]);
        fs_err::remove_file(folder.path().join("a.png")).unwrap();
        let query = Query::of_text("a red door");
        let answer = search(&query, &album, &Colours::default(), &mut |_| {}).unwrap();
        let cards = sheet::cards(&answer, None).unwrap();
        let page = html(&answer, &query, &cards, false);
        assert!(
            page.contains("class=\"gone\"") && page.contains("a.png"),
            "{page}"
        );
    }
}
