//! One picture: its record, its thumbnail, its file, and why it answers a query. Always by its id; no path
//! comes from outside.

use std::io::{Seek, SeekFrom};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bt_store::{Collection, ContentHash, Record};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::range::{Part, asked, has_it};
use crate::described::PictureId;
use crate::engine::{Engine, Snapshot};
use crate::error::ApiError;
use crate::original::Original;
use crate::pages::escaped;
use crate::request::{self, ApiQuery, IndexParam};
use crate::response::PictureBody;
use crate::state::AppState;
use crate::thumbnails::{EDGES, Overlays};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(record))
        .routes(routes!(thumbnail))
        .routes(routes!(file))
        .routes(routes!(why))
}

/// Bytes that are read from a file at a time.
const AT_ONCE: usize = 64 << 10;
/// A longer text is no query.
const LONGEST_TEXT: usize = 1000;

/// What is known of a picture
#[utoipa::path(
    get, path = "/v1/pictures/{id}", tag = "pictures", operation_id = "get_picture",
    params(("id" = PictureId, Path), IndexParam),
    responses((status = 200, description = "The picture", body = PictureBody))
)]
async fn record(
    State(state): State<AppState>,
    Path(id): Path<String>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<axum::Json<PictureBody>, ApiError> {
    let engine = state.engine(index.as_deref())?;
    let record = find(&state, engine, &id).await?;
    Ok(axum::Json(PictureBody::of(&record, engine.name())))
}

/// The record of an id.
pub(crate) async fn find(
    state: &AppState,
    engine: &Arc<Engine>,
    id: &str,
) -> Result<Record, ApiError> {
    let (id, snapshot) = (request::id(id)?, engine.snapshot());
    state
        .gallery
        .work
        .run(move || in_snapshot(&snapshot, id))
        .await
}

/// The record of an id. Blocks.
fn in_snapshot(snapshot: &Snapshot, id: ContentHash) -> Result<Record, ApiError> {
    let found = snapshot.reader.fetch(&[id])?.into_iter().next().flatten();
    found.ok_or_else(|| {
        ApiError::not_found(format!("no picture with the id `{id}` is in the index"))
    })
}

/// How large a thumbnail is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ThumbnailParams {
    /// Longer edge, rounded up to 160, 320, 640 or 1024 pixels; pictures are not enlarged.
    #[param(minimum = 64, maximum = 1024)]
    #[serde(default = "usual_edge")]
    w: usize,
}

fn usual_edge() -> usize {
    320
}

/// A small copy of a picture
#[utoipa::path(
    get, path = "/v1/pictures/{id}/thumbnail", tag = "pictures", operation_id = "get_thumbnail",
    params(
        ("id" = PictureId, Path),
        ThumbnailParams, IndexParam
    ),
    responses(
        (status = 200, description = "The picture, upright", body = Vec<u8>, content_type = "image/jpeg"),
        (status = 304, description = "The client has it already"),
    )
)]
async fn thumbnail(
    State(state): State<AppState>,
    Path(id): Path<String>,
    ApiQuery(ThumbnailParams { w }): ApiQuery<ThumbnailParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    request::within("w", w, 64, 1024)?;
    let edge = EDGES
        .into_iter()
        .find(|edge| *edge as usize >= w)
        .unwrap_or(EDGES[3]);
    let record = find(&state, state.engine(index.as_deref())?, &id).await?;
    // The same bytes and the same program give the same thumbnail.
    let tag = format!("\"{}-{edge}-{}\"", record.id, env!("CARGO_PKG_VERSION"));
    if has_it(&headers, &tag) {
        return Ok(not_modified(&tag, FOR_GOOD));
    }
    let gallery = &state.gallery;
    let (originals, thumbnails) = (
        Arc::clone(&gallery.originals),
        Arc::clone(&gallery.thumbnails),
    );
    let jpeg = gallery
        .work
        .run(move || thumbnails.get(&originals, &record, edge))
        .await?;
    Ok(jpeg_response(jpeg, &tag))
}

/// Thumbnails are kept by browsers; a shared cache does not know who may see them.
const FOR_GOOD: &str = "private, max-age=31536000, immutable";
/// A file is kept as well, but asked for again, so that what has left the index is not shown from it.
const ASK_AGAIN: &str = "private, no-cache";

fn jpeg_response(jpeg: Bytes, tag: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, FOR_GOOD),
        (header::ETAG, tag),
    ];
    (headers, jpeg).into_response()
}

fn not_modified(tag: &str, keep: &str) -> Response {
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, keep)];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// How a file is given out.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct FileParams {
    /// `1` to save it under its name instead of showing it.
    #[param(minimum = 0, maximum = 1)]
    download: u8,
}

/// The file of a picture, as it was indexed
#[utoipa::path(
    get, path = "/v1/pictures/{id}/file", tag = "pictures", operation_id = "get_file",
    params(
        ("id" = PictureId, Path),
        FileParams, IndexParam
    ),
    responses(
        (status = 200, description = "All bytes", body = Vec<u8>, content_type = "image/*"),
        (status = 206, description = "The bytes asked for by Range", body = Vec<u8>, content_type = "image/*"),
        (status = 304, description = "The client has it already"),
        (status = 416, description = "The file has no such bytes"),
    )
)]
async fn file(
    State(state): State<AppState>,
    Path(id): Path<String>,
    ApiQuery(FileParams { download }): ApiQuery<FileParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    request::within("download", download.into(), 0, 1)?;
    let record = find(&state, state.engine(index.as_deref())?, &id).await?;
    let tag = format!("\"{}\"", record.id);
    if has_it(&headers, &tag) {
        return Ok(not_modified(&tag, ASK_AGAIN));
    }
    let originals = Arc::clone(&state.gallery.originals);
    let original = state
        .gallery
        .work
        .run(move || originals.open(&record))
        .await?;
    let part = asked(&headers, &tag, original.len);
    let disposition = disposition(&original.path, download == 1)?;
    let mut response = send(original, part).await?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_DISPOSITION, disposition);
    headers.insert(
        header::ETAG,
        HeaderValue::try_from(tag).map_err(ApiError::internal)?,
    );
    Ok(response)
}

/// Opened as a document, a picture has no origin and no rights.
const NO_RIGHTS: &str = "default-src 'none'; sandbox";

/// The part of a file, read as the client takes it.
async fn send(original: Original, part: Part) -> Result<Response, ApiError> {
    let Original {
        mut file,
        len,
        format,
        ..
    } = original;
    let (status, first, count) = match part {
        Part::Whole => (StatusCode::OK, 0, len),
        Part::Bytes { first, last } => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Part::None => {
            let mut response = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "no-such-bytes",
                "The file has no such bytes",
                format!("the file has {len} bytes"),
            )
            .into_response();
            let all =
                HeaderValue::try_from(format!("bytes */{len}")).map_err(ApiError::internal)?;
            response.headers_mut().insert(header::CONTENT_RANGE, all);
            return Ok(response);
        }
    };
    // Moves the pointer only.
    file.seek(SeekFrom::Start(first))
        .map_err(ApiError::internal)?;
    let file = tokio::fs::File::from_std(file.into_parts().0);
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(count), AT_ONCE));
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_LENGTH, count.to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::CACHE_CONTROL, ASK_AGAIN.to_owned()),
        (header::CONTENT_SECURITY_POLICY, NO_RIGHTS.to_owned()),
    ];
    let mut response = (status, headers, body).into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {first}-{}/{len}", first + count - 1);
        let range = HeaderValue::try_from(range).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// How a browser names what it saves: a plain form for old ones, and the true name (RFC 6266).
fn disposition(path: &FilePath, download: bool) -> Result<HeaderValue, ApiError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let plain: String = name
        .chars()
        .map(|letter| {
            let harmless = letter.is_ascii_alphanumeric() || " ._-()".contains(letter);
            if harmless { letter } else { '_' }
        })
        .collect();
    let kind = if download { "attachment" } else { "inline" };
    let value = format!(
        "{kind}; filename=\"{plain}\"; filename*=UTF-8''{}",
        escaped(&name)
    );
    HeaderValue::try_from(value).map_err(ApiError::internal)
}

/// Which words are asked about.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WhyParams {
    /// The query's words.
    #[param(max_length = 1000, pattern = "^[\\s\\S]*\\S[\\s\\S]*$")]
    q: String,
    /// Draw this one of the words (from 0) instead of listing them.
    #[param(nullable = false, maximum = 999)]
    word: Option<usize>,
}

/// Why a picture answers a query: where its words are.
#[derive(Debug, Serialize, ToSchema)]
struct WhyBody {
    /// The words of the query that tell something, in order.
    words: Vec<WhyWord>,
}

/// A word and its overlay.
#[derive(Debug, Serialize, ToSchema)]
struct WhyWord {
    /// As it stands in the query.
    word: String,
    /// The picture with the places drawn over it where the word was found; a JPEG.
    url: String,
}

/// Where in a picture the words of a query are
#[utoipa::path(
    get, path = "/v1/pictures/{id}/why", tag = "pictures", operation_id = "get_why",
    params(
        ("id" = PictureId, Path),
        WhyParams, IndexParam
    ),
    responses((status = 200, description = "The words, or one word drawn over the picture", content(
        (WhyBody = "application/json"), (Vec<u8> = "image/jpeg")
    )))
)]
async fn why(
    State(state): State<AppState>,
    Path(id): Path<String>,
    ApiQuery(WhyParams { q, word }): ApiQuery<WhyParams>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<Response, ApiError> {
    let text = q.trim();
    if text.is_empty() || q.chars().count() > LONGEST_TEXT {
        return Err(ApiError::bad_request(format!(
            "`q` has between 1 and {LONGEST_TEXT} characters"
        )));
    }
    let engine = state.engine(index.as_deref())?;
    let record = find(&state, engine, &id).await?;
    let overlays = overlays(&state, engine, record, text).await?;
    let Some(word) = word else {
        let word = |(place, (word, _)): (usize, &(String, Bytes))| WhyWord {
            word: word.clone(),
            url: format!(
                "/v1/pictures/{id}/why?q={}&word={place}&index={}",
                escaped(text),
                escaped(engine.name())
            ),
        };
        let words = overlays.iter().enumerate().map(word).collect();
        return Ok(axum::Json(WhyBody { words }).into_response());
    };
    let (_, jpeg) = overlays.get(word).ok_or_else(|| {
        ApiError::bad_request(format!(
            "`word` is {word}; there are {} words",
            overlays.len()
        ))
    })?;
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, "private, max-age=3600"),
    ];
    Ok((headers, jpeg.clone()).into_response())
}

/// Reads a query string as that of each of these routes; for [`crate::parsers`].
pub(super) fn read(text: &str) {
    let _ = request::query_string::<IndexParam>(text);
    let _ = request::query_string::<ThumbnailParams>(text);
    let _ = request::query_string::<FileParams>(text);
    let _ = request::query_string::<WhyParams>(text);
}

async fn overlays(
    state: &AppState,
    engine: &Arc<Engine>,
    record: Record,
    text: &str,
) -> Result<Overlays, ApiError> {
    let (index, text) = (engine.name().to_owned(), text.to_owned());
    let heat_maps = Arc::clone(&state.gallery.heat_maps);
    if let Some(kept) = heat_maps.kept(&index, record.id, &text) {
        return Ok(kept);
    }
    let originals = Arc::clone(&state.gallery.originals);
    let decoder = Arc::clone(&state.gallery.decoder);
    engine
        .run(move |_, asker| heat_maps.get(&index, &text, &record, asker, (&originals, &decoder)))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_header() {
        let of = |name: &str| {
            let value = disposition(FilePath::new(name), true).unwrap();
            value.to_str().unwrap().to_owned()
        };
        assert_eq!(
            of("/a/cat (1).jpg"),
            "attachment; filename=\"cat (1).jpg\"; filename*=UTF-8''cat%20%281%29.jpg"
        );
        let hostile = of("/a/x\"\r\nSet-Cookie: a=b; \u{e4}.jpg");
        assert!(!hostile.contains(['\r', '\n']), "{hostile}");
        assert_eq!(hostile.matches('"').count(), 2, "{hostile}");
    }
}
