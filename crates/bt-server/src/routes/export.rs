//! Many pictures as one archive, written while it is sent.

use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use axum::Form;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bt_store::{Collection, ContentHash, Record};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::aside;
use crate::described::PictureId;
use crate::error::ApiError;
use crate::gallery::EXPORTS;
use crate::original::Originals;
use crate::request::{self, ApiJson, too_large};
use crate::state::AppState;

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Bytes that are sent at a time, and how many of these are made ahead of the client.
const AT_ONCE: usize = 64 << 10;
const AHEAD: usize = 8;
/// Longest file name in an archive, in characters.
const LONGEST_NAME: usize = 120;
/// What to do about too many pictures.
const IN_PARTS: &str = "make several archives";
/// What is said about pictures that could not be put in.
const MISSING: &str = "missing.txt";

/// What is to be put in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExportRequest {
    /// Ids of pictures.
    #[schema(min_items = 1)]
    ids: Vec<PictureId>,
    /// Name of the index; the first one when it is left out.
    index: Option<String>,
    /// Only say whether the archive can be made.
    #[serde(default)]
    check: bool,
}

/// The same from a form, whose answer a browser writes to the disk as it comes instead of keeping it in memory
/// for a script.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExportForm {
    /// An `ExportRequest` as JSON.
    request: String,
}

/// A request, whichever way it comes.
pub(crate) struct Asked(ExportRequest);

impl<S: Send + Sync> FromRequest<S> for Asked {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(FORM.as_bytes())) {
            let ApiJson(request) = ApiJson::from_request(request, state).await?;
            return Ok(Self(request));
        }
        let Form(ExportForm { request }) =
            Form::from_request(request, state).await.map_err(|error| {
                let status = error.status();
                if status == StatusCode::PAYLOAD_TOO_LARGE {
                    too_large(error.body_text())
                } else {
                    ApiError::bad_request(error.body_text())
                }
            })?;
        let request = serde_json::from_str(&request)
            .map_err(|error| ApiError::bad_request(format!("the field `request`: {error}")))?;
        Ok(Self(request))
    }
}

/// What the fields of a form come as.
const FORM: &str = "application/x-www-form-urlencoded";

/// Many pictures as a zip archive
///
/// A picture whose file has gone in the meantime is named in `missing.txt` in the archive.
#[utoipa::path(
    post, path = "/v1/export", tag = "pictures", operation_id = "export",
    request_body(content(
        (ExportRequest = "application/json"), (ExportForm = "application/x-www-form-urlencoded")
    )),
    responses(
        (status = 200, description = "The archive", body = Vec<u8>, content_type = "application/zip"),
        (status = 204, description = "The archive can be made; nothing more was asked"),
    )
)]
async fn export(
    State(state): State<AppState>,
    Asked(ExportRequest { ids, index, check }): Asked,
) -> Result<Response, ApiError> {
    let (engine, limits) = (state.engine(index.as_deref())?, &state.options.limits);
    if ids.is_empty() {
        return Err(ApiError::bad_request("`ids` is empty"));
    }
    if ids.len() > limits.export_files {
        let most = limits.export_files;
        return Err(
            too_large(format!("{} pictures are more than {most}", ids.len())).hint(IN_PARTS),
        );
    }
    let mut seen = HashSet::new();
    let ids = ids.iter().map(|PictureId(text)| request::id(text));
    let ids: Vec<ContentHash> = ids
        .filter(|id| id.as_ref().map_or(true, |id| seen.insert(*id)))
        .collect::<Result<_, _>>()?;
    let snapshot = engine.snapshot();
    let records = state.gallery.work.run(move || {
        let records = snapshot.reader.fetch(&ids)?;
        let known = |(id, record): (ContentHash, Option<Record>)| {
            let none =
                || ApiError::not_found(format!("no picture with the id `{id}` is in the index"));
            record.ok_or_else(none)
        };
        ids.into_iter()
            .zip(records)
            .map(known)
            .collect::<Result<Vec<_>, _>>()
    });
    let records = records.await?;
    let sizes = records.iter().filter_map(|record| record.locations.first());
    let bytes = sizes.fold(0u64, |sum, location| sum.saturating_add(location.size));
    if bytes > limits.export_bytes {
        let most = limits.export_bytes;
        let bytes = too_large(format!("{bytes} bytes are more than {most}"));
        return Err(bytes.hint(IN_PARTS));
    }
    let permit = Arc::clone(&state.gallery.exports)
        .try_acquire_owned()
        .map_err(|_| {
            ApiError::overloaded(format!("{EXPORTS} archives at once are the most"), 10)
        })?;
    if check {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let originals = Arc::clone(&state.gallery.originals);
    let (send, receive) = mpsc::channel(AHEAD);
    aside::on_a_thread(move || {
        let _permit = permit;
        // A client that leaves drops the channel, which ends the writing.
        if let Err(cause) = write(&originals, &records, Chunks(send.clone())) {
            tracing::debug!(%cause, "an archive was not finished");
            // The client must not take half an archive for a whole one.
            let _ = send.blocking_send(Err(cause));
        }
    });
    let chunks = stream::unfold(receive, |mut receive| async {
        Some((receive.recv().await?, receive))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"pictures.zip\"",
        ),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// What is written goes to the client, piece by piece.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has left"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the archive. Pictures do not shrink any further, so they are stored as they are.
fn write(originals: &Originals, records: &[Record], to: impl Write) -> io::Result<()> {
    let mut zip = ZipWriter::new_stream(BufWriter::with_capacity(AT_ONCE, to));
    let mut names = Names::default();
    let mut missing = String::new();
    for record in records {
        match originals.open(record) {
            Ok(mut original) => {
                let options = SimpleFileOptions::default()
                    .compression_method(CompressionMethod::Stored)
                    .large_file(original.len >= u64::from(u32::MAX));
                zip.start_file(names.of(&original.path), options)?;
                io::copy(&mut original.file, &mut zip)?;
            }
            Err(error) => {
                missing.push_str(&format!("{}: {}\n", record.id, error.problem().detail));
            }
        }
    }
    if !missing.is_empty() {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        zip.start_file(names.of(Path::new(MISSING)), options)?;
        zip.write_all(missing.as_bytes())?;
    }
    let mut rest = zip.finish()?.into_inner();
    rest.flush()
}

/// File names in an archive: harmless on every system, each once.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    fn of(&mut self, path: &Path) -> String {
        let text =
            |part: Option<&std::ffi::OsStr>| harmless(&part.unwrap_or_default().to_string_lossy());
        let stem = match text(path.file_stem()) {
            stem if stem.is_empty() => "picture".to_owned(),
            stem => stem,
        };
        let ending = match text(path.extension()) {
            ending if ending.is_empty() => ending,
            ending => format!(".{ending}"),
        };
        let mut name = format!("{stem}{ending}");
        let mut copy = 1;
        // Names that differ by case only are one name on some systems.
        while !self.0.insert(name.to_lowercase()) {
            copy += 1;
            name = format!("{stem} ({copy}){ending}");
        }
        name
    }
}

/// Without what means something to a system or a terminal, and not too long.
fn harmless(text: &str) -> String {
    let letters = text.chars().take(LONGEST_NAME).map(|letter| {
        let means_something = letter.is_control() || "/\\:*?\"<>|".contains(letter);
        if means_something { '_' } else { letter }
    });
    let name: String = letters.collect();
    name.trim_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless_and_differ() {
        let mut names = Names::default();
        for (path, name) in [
            ("/a/cat.jpg", "cat.jpg"),
            ("/b/CAT.JPG", "CAT (2).JPG"),
            ("/c/cat.jpg", "cat (3).jpg"),
            ("/a/..\\..\\evil\n.jpg", "_.._evil_.jpg"),
            ("/a/.jpg", "jpg"),
            ("/a/CON:x", "CON_x"),
            ("/", "picture"),
        ] {
            assert_eq!(names.of(Path::new(path)), name, "{path}");
        }
    }
}
