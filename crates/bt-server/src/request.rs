//! What requests say, and how it becomes what the library asks: bodies, query strings, filters, cursors. Each
//! way to be wrong is a problem document that names the field.

use std::path::PathBuf;

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bt_query::{DEFAULT_LOOK_AT, Query, Sort, parse};
use bt_store::{ContentHash, Filter};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::described::{self, PictureId};
use crate::error::ApiError;

mod pairs;
pub(crate) mod whole;

/// Results on a page when nobody says otherwise.
pub(crate) const DEFAULT_N: usize = 20;
/// Most results on a page.
pub(crate) const MOST_N: usize = 200;
/// Most candidates that are reranked.
pub(crate) const MOST_RERANK: usize = 200;
/// The furthest result that pages go to.
const MOST_OFFSET: usize = 10_000;
/// Most things that should not be seen.
pub(crate) const MOST_NOT: usize = 8;
/// Most texts and pictures that are given to the model in one request.
pub(crate) const MOST_INPUTS: usize = 256;
/// Longest text, in characters; models read much less.
pub(crate) const LONGEST_TEXT: usize = 8_192;

/// A JSON body.
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(bad_body(&rejection)),
        }
    }
}

fn bad_body(rejection: &JsonRejection) -> ApiError {
    match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The body is of another type",
            rejection.body_text(),
        )
        .hint("send JSON, with `Content-Type: application/json`"),
        StatusCode::PAYLOAD_TOO_LARGE => too_large(rejection.body_text()),
        _ => ApiError::bad_request(rejection.body_text()),
    }
}

/// More bytes than are taken.
pub(crate) fn too_large(detail: impl Into<String>) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The body is too large",
        detail,
    )
}

/// The query string; names may repeat where a field is a list.
pub(crate) struct ApiQuery<T>(pub(crate) T);

impl<T: serde::de::DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        query_string(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Reads a query string.
pub(crate) fn query_string<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ApiError> {
    pairs::from_str(text).map_err(|error| ApiError::bad_request(error.to_string()))
}

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

/// Which pictures may be results: those for which everything that is given here holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilterBody {
    /// In one of these folders or below; absolute, as the facets list them.
    #[schema(schema_with = described::folders)]
    pub(crate) folders: Vec<String>,
    /// Taken in or after this year, month or day: `2024`, `2024-07`, `2024-07-03`.
    #[schema(schema_with = described::period_or_null)]
    pub(crate) after: Option<String>,
    /// Taken before this year, month or day.
    #[schema(schema_with = described::period_or_null)]
    pub(crate) before: Option<String>,
    /// The camera's name contains this.
    pub(crate) camera: Option<String>,
    /// Of one of these types: `jpeg`, `png`, ...
    #[schema(schema_with = described::types)]
    pub(crate) types: Vec<String>,
    /// At least so large: `12MP`, `2000x1500` or `5MB`.
    #[schema(schema_with = described::size_or_null)]
    pub(crate) larger_than: Option<String>,
    /// Taken near a place.
    pub(crate) near: Option<NearBody>,
}

/// A place and a distance from it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NearBody {
    /// Degrees, north positive.
    #[schema(minimum = -90, maximum = 90)]
    pub(crate) latitude: f64,
    /// Degrees, east positive.
    #[schema(minimum = -180, maximum = 180)]
    pub(crate) longitude: f64,
    /// Kilometres.
    #[schema(exclusive_minimum = 0)]
    pub(crate) radius_km: f64,
}

impl FilterBody {
    /// As the store asks.
    pub(crate) fn filter(&self) -> Result<Filter, ApiError> {
        let mut all = Vec::new();
        let any = |filters: Vec<Filter>| (!filters.is_empty()).then_some(Filter::Any(filters));
        let folders = self.folders.iter().map(|folder| {
            let path = PathBuf::from(folder);
            if path.is_absolute() {
                Ok(Filter::InFolder(path))
            } else {
                Err(
                    ApiError::bad_request(format!("the folder `{folder}` is not absolute"))
                        .hint("/v1/facets lists the folders"),
                )
            }
        });
        all.extend(any(folders.collect::<Result<_, _>>()?));
        if let Some(text) = &self.after {
            all.push(Filter::TakenFrom(parse::period("after", text)?.from));
        }
        if let Some(text) = &self.before {
            all.push(Filter::TakenBefore(parse::period("before", text)?.from));
        }
        let camera = self.camera.clone().filter(|camera| !camera.is_empty());
        all.extend(camera.map(Filter::Camera));
        let types = self.types.iter().map(|text| parse::format("type", text));
        all.extend(any(types.collect::<Result<_, _>>()?));
        if let Some(text) = &self.larger_than {
            all.push(parse::larger_than("larger_than", text)?);
        }
        if let Some(NearBody {
            latitude,
            longitude,
            radius_km,
        }) = self.near
        {
            // The text form has the checks.
            all.push(parse::near(
                "near",
                &format!("{latitude},{longitude},{radius_km}"),
            )?);
        }
        Ok(Filter::All(all))
    }
}

/// The filters of a query string.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct FilterParams {
    /// In this folder or below; absolute, as the facets list them; may repeat.
    #[param(schema_with = described::folders)]
    #[serde(deserialize_with = "pairs::list")]
    pub(crate) folder: Vec<String>,
    /// Taken in or after this year, month or day: `2024`, `2024-07`, `2024-07-03`.
    #[param(schema_with = described::period)]
    pub(crate) after: Option<String>,
    /// Taken before this year, month or day.
    #[param(schema_with = described::period)]
    pub(crate) before: Option<String>,
    /// The camera's name contains this.
    #[param(nullable = false)]
    pub(crate) camera: Option<String>,
    /// Of this type: `jpeg`, `png`, ...; may repeat.
    #[param(schema_with = described::types)]
    #[serde(deserialize_with = "pairs::list")]
    pub(crate) r#type: Vec<String>,
    /// At least so large: `12MP`, `2000x1500` or `5MB`.
    #[param(schema_with = described::size)]
    pub(crate) larger_than: Option<String>,
    /// Taken near a place: `LATITUDE,LONGITUDE,KILOMETRES`.
    #[param(schema_with = described::place)]
    pub(crate) near: Option<String>,
}

impl FilterParams {
    /// The same as a body.
    pub(crate) fn body(&self) -> Result<FilterBody, ApiError> {
        let near = match &self.near {
            None => None,
            Some(text) => match parse::near("near", text)? {
                Filter::Near {
                    latitude,
                    longitude,
                    radius_km,
                } => Some(NearBody {
                    latitude,
                    longitude,
                    radius_km,
                }),
                _ => None,
            },
        };
        Ok(FilterBody {
            folders: self.folder.clone(),
            after: self.after.clone(),
            before: self.before.clone(),
            camera: self.camera.clone(),
            types: self.r#type.clone(),
            larger_than: self.larger_than.clone(),
            near,
        })
    }
}

/// What cursors begin with, so that those of another kind can be told apart some day.
const CURSOR: &str = "1.";

/// Where a page begins.
pub(crate) fn offset(cursor: Option<&str>) -> Result<usize, ApiError> {
    let Some(cursor) = cursor else { return Ok(0) };
    let bad = || {
        ApiError::bad_request("`cursor` is none that this server gave out")
            .hint("take `next` of the page before, as it is")
    };
    let digits = cursor.strip_prefix(CURSOR).ok_or_else(bad)?;
    let offset: usize = digits.parse().map_err(|_| bad())?;
    // As it is written, without a sign or zeros before it.
    if offset > MOST_OFFSET || offset.to_string() != digits {
        return Err(bad());
    }
    Ok(offset)
}

/// The cursor of the page that begins there; none beyond the last result and the furthest page.
pub(crate) fn next(offset: usize, matched: usize) -> Option<String> {
    (offset < matched && offset <= MOST_OFFSET).then(|| format!("{CURSOR}{offset}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_and_no_other_text_is_one() {
        let cursor = next(40, 100).unwrap();
        assert_eq!(offset(Some(&cursor)).unwrap(), 40);
        assert_eq!(offset(None).unwrap(), 0);
        assert_eq!(offset(Some("1.10000")).unwrap(), MOST_OFFSET);
        assert_eq!(next(100, 100), None);
        assert_eq!(next(MOST_OFFSET + 1, usize::MAX), None);
        for text in [
            "",
            "!",
            "40",
            "1.",
            "1.+4",
            "1.040",
            "2.40",
            "1.-1",
            "1.10001",
            "1.99999999999999999999",
            "1.40.7",
        ] {
            assert!(offset(Some(text)).is_err(), "{text}");
        }
    }

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
