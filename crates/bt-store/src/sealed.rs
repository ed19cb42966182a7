//! Small JSON files with a format version and a checksum, replaced as a whole or not at all.
//!
//! ```json
//! { "format": 1, "crc32": "cbf43926", "body": { .. } }
//! ```
//! The checksum is CRC-32 of the body as compact JSON; the version is looked at first.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::storage::Storage;

/// Newest version of the layout of an index folder that this program reads, and the one it writes.
pub(crate) const FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    format: u32,
    crc32: String,
    body: T,
}

/// Reads a file; `None` when there is none.
pub(crate) fn read<T: Serialize + DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let damaged = |what: String| Error::Corrupt {
        path: path.to_owned(),
        what,
    };
    let version: Version =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if version.format > FORMAT {
        return Err(Error::NewerFormat {
            path: path.to_owned(),
            found: version.format,
            supported: FORMAT,
        });
    }
    let sealed: Sealed<T> =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let found = checksum(&sealed.body)?;
    if sealed.format == 0 || sealed.crc32 != found {
        return Err(damaged(format!(
            "its checksum is {found}, expected {}",
            sealed.crc32
        )));
    }
    Ok(Some(sealed.body))
}

/// Makes a file durable under its name: written aside, synced, renamed, folder synced.
pub(crate) fn write<T: Serialize>(storage: &dyn Storage, path: &Path, body: &T) -> Result<()> {
    let sealed = Sealed {
        format: FORMAT,
        crc32: checksum(body)?,
        body,
    };
    let mut bytes = serde_json::to_vec_pretty(&sealed).map_err(io::Error::from)?;
    bytes.push(b'\n');
    let aside = path.with_extension("new");
    let mut file = storage.create(&aside)?;
    file.append(&bytes)?;
    file.sync()?;
    drop(file);
    storage.rename(&aside, path)?;
    Ok(storage.sync_folder(path.parent().unwrap_or(Path::new(".")))?)
}

fn checksum<T: Serialize>(body: &T) -> Result<String> {
    let bytes = serde_json::to_vec(body).map_err(io::Error::from)?;
    Ok(format!("{:08x}", crc32fast::hash(&bytes)))
}
