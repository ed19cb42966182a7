//! The web page and the readable description of the API, as they are compiled in. What they look like and do
//! is in web/; what they ask is answered by `routes`.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::error::ApiError;
use crate::state::AppState;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Files of web/ by name, with their types.
macro_rules! files {
    ($($name:literal $kind:expr),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("../web/", $name)))),*]
    };
}

const FILES: [(&str, &str, &str); 26] = files![
    "index.html" HTML,
    "docs.html" HTML,
    "base.css" CSS,
    "page.css" CSS,
    "viewer.css" CSS,
    "docs.css" CSS,
    "icon.svg" SVG,
    "address.js" SCRIPT,
    "api.js" SCRIPT,
    "box.js" SCRIPT,
    "docs.js" SCRIPT,
    "dom.js" SCRIPT,
    "feed.js" SCRIPT,
    "filters.js" SCRIPT,
    "given.js" SCRIPT,
    "grid.js" SCRIPT,
    "heat.js" SCRIPT,
    "layout.js" SCRIPT,
    "login.js" SCRIPT,
    "main.js" SCRIPT,
    "picture.js" SCRIPT,
    "selection.js" SCRIPT,
    "status.js" SCRIPT,
    "texts.js" SCRIPT,
    "theme.js" SCRIPT,
    "viewer.js" SCRIPT,
];

/// A file, ready to be sent.
struct File {
    kind: &'static str,
    text: &'static str,
    tag: HeaderValue,
}

static READY: LazyLock<BTreeMap<&'static str, File>> = LazyLock::new(|| {
    FILES
        .into_iter()
        .map(|(name, kind, text)| (name, File::new(kind, text)))
        .collect()
});

impl File {
    fn new(kind: &'static str, text: &'static str) -> Self {
        // Keys of this hasher are fixed: the same file has the same tag in each process of a version.
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        // Weak, as compression may lie between us and the reader.
        let tag = format!("W/\"{:016x}\"", hasher.finish());
        Self {
            kind,
            text,
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("W/\"\"")),
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let headers = [
            (header::ETAG, self.tag.clone()),
            // Asked about each time, sent only when it has changed: an upgrade is seen at once.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
        ];
        if self.is_known(asked) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.text).into_response()
    }

    fn is_known(&self, asked: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let Ok(own) = self.tag.to_str() else {
            return false;
        };
        asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim() == "*" || opaque(tag) == opaque(own))
    }
}

/// The page, its parts, and the description to read.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/", get(|headers: HeaderMap| file("index.html", headers)))
        .route(
            "/docs",
            get(|headers: HeaderMap| file("docs.html", headers)),
        )
        .route("/assets/{name}", get(asset))
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, ApiError> {
    file(&name, headers).await
}

async fn file(name: &str, headers: HeaderMap) -> Result<Response, ApiError> {
    READY
        .get(name)
        .map(|file| file.answer(&headers))
        .ok_or_else(|| ApiError::not_found("the page has no such part"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_are_small() {
        let bytes: usize = FILES.iter().map(|(_, _, text)| text.len()).sum();
        assert!(bytes < 150_000, "{bytes} bytes");
    }

    #[test]
    fn nothing_in_the_markup_needs_a_laxer_policy() {
        for (name, kind, text) in FILES {
            if kind != HTML {
                continue;
            }
            for forbidden in [
                " style=",
                "<style",
                " onclick=",
                "javascript:",
                "http://",
                "https://",
            ] {
                let text = text.replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains(forbidden), "{name} has `{forbidden}`");
            }
            assert_eq!(
                text.matches("<script").count(),
                text.matches("<script type=\"module\" src=").count()
            );
        }
    }

    #[test]
    fn every_part_that_is_named_is_here() {
        for (name, _, text) in FILES {
            let named = text
                .split(['"', '\''])
                .filter_map(|word| word.strip_prefix("/assets/").or(word.strip_prefix("./")))
                .filter(|word| {
                    word.ends_with(".js") || word.ends_with(".css") || word.ends_with(".svg")
                });
            for part in named {
                assert!(READY.contains_key(part), "{name} names {part}");
            }
        }
    }

    #[test]
    fn a_part_that_the_reader_has_is_not_sent_again() {
        let file = READY.get("main.js").unwrap();
        let mut asked = HeaderMap::new();
        assert_eq!(file.answer(&asked).status(), StatusCode::OK);
        let tag = file.tag.to_str().unwrap();
        let strong = tag.trim_start_matches("W/");
        for tag in [tag, strong, "*", &format!("\"other\", {tag}")] {
            asked.insert(header::IF_NONE_MATCH, tag.parse().unwrap());
            assert_eq!(
                file.answer(&asked).status(),
                StatusCode::NOT_MODIFIED,
                "{tag}"
            );
        }
        asked.insert(header::IF_NONE_MATCH, "\"other\"".parse().unwrap());
        assert_eq!(file.answer(&asked).status(), StatusCode::OK);
    }
}
