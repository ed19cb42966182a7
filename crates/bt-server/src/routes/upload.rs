//! Pictures that come and go over the network: into and out of the folder that the operator opened for their
//! index. How a file becomes a record is `bt-index`'s.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bt_index::{IndexJob, LONGEST_CAPTION, ModelOptions};
use bt_store::{Collection, ContentHash, Record};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::pictures::find;
use crate::album::{AT_ONCE, Album};
use crate::aside;
use crate::described::PictureId;
use crate::engine::{Engine, Snapshot};
use crate::error::ApiError;
use crate::request::{ApiQuery, IndexParam, too_large};
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(upload))
        .routes(routes!(delete))
}

/// What a form may take beside the picture.
const FORM: u64 = 64 << 10;
/// Most bytes of a character.
const CHARACTER: usize = 4;
/// How long is waited until a search finds what was uploaded, and how often is looked.
const VISIBLE_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What an upload consists of.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct UploadForm {
    /// A picture file.
    #[schema(value_type = String, format = Binary)]
    image: Vec<u8>,
    /// What it shows, in words.
    #[schema(max_length = 4000)]
    caption: Option<String>,
}

/// What became of an upload.
#[derive(Debug, Serialize, ToSchema)]
struct Uploaded {
    /// The picture.
    id: String,
    /// Where it lies.
    path: String,
    /// Whether the index had it before.
    known: bool,
}

/// Puts a picture into the album and the index
///
/// The same picture again is no second one; its caption, if there is one, replaces the older one.
#[utoipa::path(
    post, path = "/v1/pictures", tag = "pictures", operation_id = "upload",
    params(IndexParam),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses(
        (status = 201, description = "It is in the index now", body = Uploaded),
        (status = 200, description = "It was in the index before", body = Uploaded),
    )
)]
async fn upload(
    State(state): State<AppState>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let album = album(&state, index.as_deref())?;
    let engine = Arc::clone(state.engine(index.as_deref())?);
    let permit = Arc::clone(&album.incoming)
        .try_acquire_owned()
        .map_err(|_| {
            ApiError::overloaded(
                format!("{AT_ONCE} uploads to this album at once are the most"),
                2,
            )
        })?;
    let most = state.options.limits.upload_bytes;
    let whole = usize::try_from(most.saturating_add(FORM)).unwrap_or(usize::MAX);
    DefaultBodyLimit::max(whole).apply(&mut request);
    let form = Multipart::from_request(request, &state)
        .await
        .map_err(|error| ApiError::bad_request(error.body_text()))?;
    let (image, caption) = read(form, most).await?;
    let done = aside::to_the_end(async move {
        let _permit = permit;
        put(&state, &album, &engine, image, caption).await
    });
    let uploaded = done.await.map_err(ApiError::internal)??;
    let status = if uploaded.known {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let place = format!("/v1/pictures/{}", uploaded.id);
    Ok((status, [(header::LOCATION, place)], axum::Json(uploaded)).into_response())
}

/// The album of an index, if it has one.
fn album(state: &AppState, index: Option<&str>) -> Result<Arc<Album>, ApiError> {
    let name = state.engine(index)?.name();
    state
        .gallery
        .albums
        .get(name)
        .map(Arc::clone)
        .ok_or_else(|| {
            ApiError::new(
                StatusCode::FORBIDDEN,
                "no-album",
                "Nothing can be uploaded here",
                "the operator has opened no album for this index",
            )
            .hint(format!("start the server with --album {name}=DIR"))
        })
}

/// The parts of the form; a picture of at most so many bytes.
pub(crate) async fn read(
    mut form: Multipart,
    most: u64,
) -> Result<(Vec<u8>, Option<String>), ApiError> {
    let (mut image, mut caption) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(bad_form)? {
        let (name, most) = match field.name() {
            Some("image") if image.is_none() => ("image", most),
            Some("caption") if caption.is_none() => {
                ("caption", (LONGEST_CAPTION * CHARACTER) as u64)
            }
            name => {
                return Err(ApiError::bad_request(format!(
                    "the form has the part `{}`; expected are `image` and `caption`, once each",
                    name.unwrap_or_default()
                )));
            }
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(bad_form)? {
            if (bytes.len() + chunk.len()) as u64 > most {
                let bytes = too_large(format!("`{name}` has more than {most} bytes"));
                return Err(
                    bytes.hint("a smaller one will do; --max-upload is the bound of pictures")
                );
            }
            bytes.extend_from_slice(&chunk);
        }
        if name == "image" {
            image = Some(bytes);
        } else {
            let text = String::from_utf8(bytes)
                .map_err(|_| ApiError::bad_request("`caption` is no UTF-8"))?;
            if text.chars().count() > LONGEST_CAPTION {
                return Err(ApiError::bad_request(format!(
                    "`caption` has more than {LONGEST_CAPTION} characters"
                )));
            }
            caption = Some(text);
        }
    }
    let image = image.ok_or_else(|| {
        ApiError::bad_request("the form has no part `image`")
            .hint("send the file as the part `image`")
    })?;
    Ok((image, caption))
}

fn bad_form(error: MultipartError) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        too_large(error.body_text())
    } else {
        ApiError::bad_request(error.body_text())
    }
}

/// Checks the picture, writes it, and indexes it.
async fn put(
    state: &AppState,
    album: &Arc<Album>,
    engine: &Arc<Engine>,
    image: Vec<u8>,
    caption: Option<String>,
) -> Result<Uploaded, ApiError> {
    let decoder = Arc::clone(&state.gallery.decoder);
    let check = move || {
        let format = decoder.uploaded(&image)?;
        Ok((ContentHash::of(&image), format, image))
    };
    let (id, format, image) = state.gallery.work.run(check).await?;

    let _turn = album.turn.lock().await;
    let (originals, snapshot) = (Arc::clone(&state.gallery.originals), engine.snapshot());
    let store = {
        let album = Arc::clone(album);
        move || {
            let known = record_of(&snapshot, id)?;
            // It is somewhere else already, and nothing new is said about it.
            let elsewhere = known
                .as_ref()
                .filter(|record| caption.is_none() && album.places(record).is_empty())
                .and_then(|record| originals.open(record).ok());
            if let Some(original) = elsewhere {
                return Ok((original.path, true, None));
            }
            let put = album
                .put(&image, id, format, caption.as_deref())
                .map_err(ApiError::internal)?;
            Ok((put.path.clone(), known.is_some(), Some(put)))
        }
    };
    let (path, known, put) = state.gallery.work.run(store).await?;
    if let Some(put) = put {
        let at = path.clone();
        let is_there = move |record: Option<&Record>| {
            record.is_some_and(|record| record.locations.iter().any(|place| place.path == at))
        };
        let indexed = index(state, album, engine, vec![path.clone()], Vec::new()).await?;
        if let Indexed::Failed(reason) = indexed {
            let album = Arc::clone(album);
            let undo = move || album.undo(put).map_err(ApiError::internal);
            state.gallery.work.run(undo).await?;
            return Err(ApiError::not_a_picture(reason));
        }
        visible(engine, id, &indexed, is_there).await?;
    }
    Ok(Uploaded {
        id: id.to_string(),
        path: path.to_string_lossy().into_owned(),
        known,
    })
}

/// Takes a picture out of the album and the index
///
/// Only what lies in the album is deleted; copies elsewhere, and what is known of them, stay.
#[utoipa::path(
    delete, path = "/v1/pictures/{id}", tag = "pictures", operation_id = "delete_picture",
    params(("id" = PictureId, Path), IndexParam),
    responses((status = 204, description = "It is gone"))
)]
async fn delete(
    State(state): State<AppState>,
    Path(id): Path<String>,
    ApiQuery(IndexParam { index }): ApiQuery<IndexParam>,
) -> Result<StatusCode, ApiError> {
    let album = album(&state, index.as_deref())?;
    let engine = Arc::clone(state.engine(index.as_deref())?);
    let done = aside::to_the_end(async move { take_out(&state, &album, &engine, &id).await });
    done.await.map_err(ApiError::internal)??;
    Ok(StatusCode::NO_CONTENT)
}

async fn take_out(
    state: &AppState,
    album: &Arc<Album>,
    engine: &Arc<Engine>,
    id: &str,
) -> Result<(), ApiError> {
    let _turn = album.turn.lock().await;
    let record = find(state, engine, id).await?;
    let (id, places) = (record.id, album.places(&record));
    if places.is_empty() {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "not-in-album",
            "The picture does not lie in the album",
            "only pictures in the folder for uploads are deleted from here",
        ));
    }
    let remove = {
        let (album, places) = (Arc::clone(album), places.clone());
        move || {
            let mut removed = places.iter().map(|path| album.remove(path, id));
            removed
                .try_for_each(|outcome| outcome)
                .map_err(ApiError::internal)
        }
    };
    state.gallery.work.run(remove).await?;
    let indexed = index(state, album, engine, Vec::new(), places.clone()).await?;
    let is_out = move |record: Option<&Record>| {
        record.is_none_or(|record| {
            let mut paths = record.locations.iter().map(|location| &location.path);
            !paths.any(|path| places.contains(path))
        })
    };
    visible(engine, id, &indexed, is_out).await
}

/// What came of telling the index.
enum Indexed {
    /// It has changed; states after this one have it.
    Changed(u64),
    /// It was as it should be.
    Unchanged,
    /// Somebody else writes to it; whoever watches the album will do it.
    Busy(ApiError),
    /// The file does not become a record: why.
    Failed(String),
}

/// Tells the index what has changed in the album.
async fn index(
    state: &AppState,
    album: &Album,
    engine: &Engine,
    changed: Vec<PathBuf>,
    gone: Vec<PathBuf>,
) -> Result<Indexed, ApiError> {
    let job = IndexJob {
        roots: vec![album.root().to_owned()],
        index: engine.index_path().to_owned(),
        model: ModelOptions {
            device: state.options.device.clone(),
            precision: state.options.precision,
            ..ModelOptions::default()
        },
        ..IndexJob::default()
    };
    let encoder = Arc::clone(engine.model().models().embedder());
    let serial = engine.snapshot().serial;
    let visit = move || {
        let stop = AtomicBool::new(false);
        job.visit(changed, gone, Some(encoder), &stop, &mut |_| {})
    };
    let outcome = aside::on_a_thread(visit)
        .await
        .map_err(ApiError::internal)?;
    let report = match outcome {
        Ok(report) => report,
        Err(bt_index::Error::Store(error)) if error.kind() == bt_store::Kind::Busy => {
            return Ok(Indexed::Busy(error.into()));
        }
        Err(error) => return Err(ApiError::internal(error)),
    };
    if let Some(failed) = report.failed.into_iter().next() {
        return Ok(Indexed::Failed(failed.reason));
    }
    let changes = report.indexed + report.moved + report.duplicates + report.redescribed;
    if changes + report.pruned == 0 {
        return Ok(Indexed::Unchanged);
    }
    engine.refresh();
    Ok(Indexed::Changed(serial))
}

/// Waits until searches see what was done.
async fn visible(
    engine: &Arc<Engine>,
    id: ContentHash,
    indexed: &Indexed,
    is_so: impl Fn(Option<&Record>) -> bool,
) -> Result<(), ApiError> {
    let after = match indexed {
        Indexed::Changed(serial) => *serial,
        Indexed::Busy(_) | Indexed::Failed(_) => 0,
        Indexed::Unchanged => return Ok(()),
    };
    let started = Instant::now();
    while started.elapsed() < VISIBLE_WITHIN {
        let snapshot = engine.snapshot();
        if snapshot.serial > after && is_so(record_of(&snapshot, id)?.as_ref()) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    match indexed {
        Indexed::Busy(error) => Err(error.clone()),
        // It is durable; that it is seen late is no failure.
        _ => Ok(()),
    }
}

/// What a state of the index knows of a picture.
fn record_of(snapshot: &Snapshot, id: ContentHash) -> Result<Option<Record>, ApiError> {
    Ok(snapshot.reader.fetch(&[id])?.into_iter().next().flatten())
}
