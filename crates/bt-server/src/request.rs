//! What a search says, as a body and as a query string, and how it becomes what the library asks; below, what all
//! requests have. Each way to be wrong is a problem document that names the field.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bt_query::{DEFAULT_LOOK_AT, Query, Sort};
use bt_store::ContentHash;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::described::{self, PictureId};
use crate::error::ApiError;

mod cursor;
mod extract;
mod filter;
mod pairs;
pub(crate) mod whole;

pub(crate) use cursor::{next, offset};
pub(crate) use extract::{ApiJson, ApiQuery, query_string, too_large};
pub(crate) use filter::{FilterBody, FilterParams};

/// Results on a page when nobody says otherwise.
pub(crate) const DEFAULT_N: usize = 20;
/// Most results on a page.
pub(crate) const MOST_N: usize = 200;
/// Most candidates that are reranked.
pub(crate) const MOST_RERANK: usize = 200;
/// Most things that should not be seen.
pub(crate) const MOST_NOT: usize = 8;
/// Most texts and pictures that are given to the model in one request.
pub(crate) const MOST_INPUTS: usize = 256;
/// Longest text, in characters; models read much less.
pub(crate) const LONGEST_TEXT: usize = 8_192;

/// The id of a picture.
pub(crate) fn id(text: &str) -> Result<ContentHash, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!("`{text}` is no id: expected 64 hexadecimal digits"))
    })
}

/// Which of several indexes.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct IndexParam {
    /// Name of the index; the first one when it is left out.
    #[param(nullable = false)]
    pub(crate) index: Option<String>,
}

/// What is looked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({ "text": "a cat on a couch", "not": ["a dog"], "filter": { "after": "2023-06" }, "n": 5 }))]
pub(crate) struct SearchRequest {
    /// What should be seen, in words.
    #[schema(max_length = 8192)]
    pub(crate) text: Option<String>,
    /// What it should look like; with `text`, both count.
    pub(crate) image: Option<ImageBody>,
    /// What should not be seen, in words.
    #[schema(schema_with = described::not)]
    pub(crate) not: Vec<String>,
    /// Which pictures may be results.
    pub(crate) filter: FilterBody,
    /// Results on a page; 20 when it is left out.
    #[schema(minimum = 1, maximum = 200)]
    #[serde(deserialize_with = "whole::or_null")]
    pub(crate) n: Option<usize>,
    /// Next page: `next` of the page before.
    #[schema(schema_with = described::cursor_or_null)]
    pub(crate) cursor: Option<String>,
    /// Most candidates that are looked at again together with the words, best first; 20 when it is left out, 0 for
    /// none.
    #[schema(maximum = 200)]
    #[serde(deserialize_with = "whole::or_null")]
    pub(crate) rerank: Option<usize>,
    /// Least probability (similarity, where no probability is known); as measured for the model when it is
    /// left out.
    #[schema(minimum = -1, maximum = 1)]
    pub(crate) min_score: Option<f32>,
    /// Leave nothing out, however improbable.
    pub(crate) all: bool,
    /// Compare every vector, even where a graph would be faster.
    pub(crate) exact: bool,
    /// Say where each place comes from, and how long each stage took.
    pub(crate) explain: bool,
    /// Fold near-duplicates into one result.
    pub(crate) group: bool,
    /// Order of the results.
    pub(crate) sort: SortBody,
    /// Name of the index; the first one when it is left out.
    pub(crate) index: Option<String>,
}

/// Order of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SortBody {
    /// Best first.
    #[default]
    Relevance,
    /// Newest first.
    Date,
}

/// A picture: one of the index by its id, or any by its bytes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImageBody {
    /// Of a picture in the index.
    Id(PictureId),
    /// Bytes of a picture file.
    Base64(String),
}

/// A picture as a request names it.
#[derive(Clone, Debug)]
pub(crate) enum Shown {
    /// In the index.
    Indexed(ContentHash),
    /// Bytes of a file.
    Bytes(Vec<u8>),
}

impl ImageBody {
    pub(crate) fn shown(&self) -> Result<Shown, ApiError> {
        match self {
            Self::Id(PictureId(text)) => Ok(Shown::Indexed(id(text)?)),
            Self::Base64(text) => Ok(Shown::Bytes(from_base64(text)?)),
        }
    }
}

/// Bytes of a picture in base64, with or without a `data:` head.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, ApiError> {
    let body = match text.strip_prefix("data:") {
        Some(url) => url.split_once(',').map_or("", |(_, body)| body),
        None => text,
    };
    STANDARD
        .decode(body.trim_matches([' ', '\t', '\r', '\n']))
        .map_err(|error| ApiError::bad_request(format!("an image is no base64: {error}")))
}

impl SearchRequest {
    /// The query but for its picture, which may need decoding.
    pub(crate) fn query(&self) -> Result<Query, ApiError> {
        let too_long = |text: &str| text.chars().count() > LONGEST_TEXT;
        if self.text.as_deref().is_some_and(too_long) || self.not.iter().any(|text| too_long(text))
        {
            return Err(ApiError::bad_request(format!(
                "a text has at most {LONGEST_TEXT} characters"
            )));
        }
        if self.not.len() > MOST_NOT {
            return Err(ApiError::bad_request(format!(
                "`not` has at most {MOST_NOT} texts"
            )));
        }
        Ok(Query {
            text: self.text.clone().filter(|text| !text.trim().is_empty()),
            picture: None,
            not: self.not.clone(),
            filter: self.filter.filter()?,
            n: within("n", self.n.unwrap_or(DEFAULT_N), 1, MOST_N)?,
            offset: offset(self.cursor.as_deref())?,
            rerank: within(
                "rerank",
                self.rerank.unwrap_or(bt_query::DEFAULT_RERANK),
                0,
                MOST_RERANK,
            )?,
            exact: self.exact,
            min_score: match self.min_score {
                Some(score) if !(-1.0..=1.0).contains(&score) => {
                    return Err(ApiError::bad_request(
                        "`min_score` lies between 0 and 1 (a similarity: between -1 and 1)",
                    ));
                }
                score => score,
            },
            all: self.all,
            group: self.group,
            sort: match self.sort {
                SortBody::Relevance => Sort::Relevance,
                SortBody::Date => Sort::Date,
            },
            look_at: DEFAULT_LOOK_AT,
        })
    }
}

/// A number that must lie between two others.
pub(crate) fn within(
    field: &str,
    value: usize,
    least: usize,
    most: usize,
) -> Result<usize, ApiError> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ApiError::bad_request(format!(
        "`{field}` is {value}; it lies between {least} and {most}"
    )))
}

/// The search of a query string.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// What should be seen, in words.
    #[param(required, nullable = false, pattern = "^[\\s\\S]*\\S[\\s\\S]*$")]
    pub(crate) q: Option<String>,
    /// What should not be seen, in words; may repeat.
    #[param(schema_with = described::not_in_query)]
    #[serde(deserialize_with = "pairs::list")]
    pub(crate) not: Vec<String>,
    /// Results on a page; 20 when it is left out.
    #[param(nullable = false, minimum = 1, maximum = 200)]
    pub(crate) n: Option<usize>,
    /// Next page: `next` of the page before.
    #[param(schema_with = described::cursor)]
    pub(crate) cursor: Option<String>,
    /// Most candidates that are looked at again together with the words, best first; 20 when it is left out, 0 for
    /// none.
    #[param(nullable = false, maximum = 200)]
    pub(crate) rerank: Option<usize>,
    /// Least probability (similarity, where no probability is known).
    #[param(nullable = false, minimum = -1, maximum = 1)]
    pub(crate) min_score: Option<f32>,
    /// Leave nothing out, however improbable.
    pub(crate) all: bool,
    /// Compare every vector, even where a graph would be faster.
    pub(crate) exact: bool,
    /// Say where each place comes from, and how long each stage took.
    pub(crate) explain: bool,
    /// Fold near-duplicates into one result.
    pub(crate) group: bool,
    /// Order of the results.
    #[param(inline)]
    pub(crate) sort: SortBody,
}

impl SearchParams {
    /// The same as a body.
    pub(crate) fn request(self, filter: FilterBody, index: Option<String>) -> SearchRequest {
        SearchRequest {
            text: self.q,
            image: None,
            not: self.not,
            filter,
            n: self.n,
            cursor: self.cursor,
            rerank: self.rerank,
            min_score: self.min_score,
            all: self.all,
            exact: self.exact,
            explain: self.explain,
            group: self.group,
            sort: self.sort,
            index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_string_and_a_body_say_the_same() {
        let params: FilterParams = query_string(
            "folder=%2Fa&folder=/b+c&after=2024&type=jpg&near=1,2,3&camera=X&larger_than=1MP",
        )
        .unwrap();
        let body: FilterBody = serde_json::from_value(serde_json::json!({
            "folders": ["/a", "/b c"], "after": "2024", "types": ["jpg"], "camera": "X",
            "larger_than": "1MP", "near": { "latitude": 1.0, "longitude": 2.0, "radius_km": 3.0 }
        }))
        .unwrap();
        assert_eq!(params.body().unwrap(), body);
        let search: SearchParams =
            query_string("q=a+cat&n=5&not=x&not=y&all=true&sort=date&min_score=0.5").unwrap();
        assert_eq!((search.q.as_deref(), search.n), (Some("a cat"), Some(5)));
        assert_eq!(search.not, ["x", "y"]);
        assert!(search.all && search.sort == SortBody::Date);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |text: &str| {
            let params = query_string::<SearchParams>(text);
            let filter = query_string::<FilterParams>(text).unwrap();
            let query = params.and_then(|params| {
                let filter = filter.body()?;
                params.request(filter, None).query()
            });
            query.unwrap_err().problem().detail
        };
        for (text, named) in [
            ("q=a&n=0", "`n`"),
            ("q=a&n=many", "n"),
            ("q=a&rerank=201", "`rerank`"),
            ("q=a&after=soon", "after"),
            ("q=a&near=1,2", "near"),
            ("q=a&folder=here", "`here`"),
            ("q=a&type=doc", "type"),
            ("q=a&min_score=2", "`min_score`"),
            ("q=a&all=perhaps", "all"),
        ] {
            let detail = refused(text);
            assert!(detail.contains(named), "{text}: {detail}");
        }
    }

    #[test]
    fn an_image_is_an_id_or_bytes() {
        let read = |json: serde_json::Value| serde_json::from_value::<ImageBody>(json);
        for json in [
            serde_json::json!({}),
            serde_json::json!({"id": "0".repeat(64), "base64": "aGk="}),
            serde_json::json!({"id": null}),
            serde_json::json!({"url": "aGk="}),
        ] {
            assert!(read(json).is_err());
        }
        let image = |json| read(json).unwrap().shown();
        assert!(image(serde_json::json!({"id": "12"})).is_err());
        assert!(image(serde_json::json!({"base64": "???"})).is_err());
        for text in ["aGk=", "data:image/png;base64,aGk="] {
            let Ok(Shown::Bytes(bytes)) = image(serde_json::json!({"base64": text})) else {
                panic!("{text}");
            };
            assert_eq!(bytes, b"hi");
        }
    }
}
