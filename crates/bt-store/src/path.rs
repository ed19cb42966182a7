//! Paths as data: text where a path is UTF-8, else the units that the operating system uses, so that a
//! name in any encoding comes back as it was.
//!
//! For serde's `with`; in JSON a path is `"/a/b.jpg"`, or `{"bytes": [47, 255]}`, or `{"wide": [..]}`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Text(Cow<'a, str>),
    Units(Units),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Units {
    /// Unix.
    Bytes(Vec<u8>),
    /// Windows.
    Wide(Vec<u16>),
}

/// Writes a path.
pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => Written::Text(text.into()).serialize(serializer),
        None => Written::Units(units(path)).serialize(serializer),
    }
}

/// Reads a path; one written on another operating system loses what this one cannot express.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    Ok(match Written::deserialize(deserializer)? {
        Written::Text(text) => PathBuf::from(text.into_owned()),
        Written::Units(units) => from_units(units),
    })
}

/// A path as a key: equal paths have equal keys, and keys sort as the paths' bytes do.
pub(crate) fn to_key(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

/// The path of a key.
#[cfg(unix)]
pub(crate) fn from_key(key: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(key))
}

/// The path of a key.
#[cfg(not(unix))]
pub(crate) fn from_key(key: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(key).into_owned())
}

#[cfg(unix)]
fn units(path: &Path) -> Units {
    use std::os::unix::ffi::OsStrExt;
    Units::Bytes(path.as_os_str().as_bytes().to_vec())
}

#[cfg(not(unix))]
fn units(path: &Path) -> Units {
    Units::Wide(path.to_string_lossy().encode_utf16().collect())
}

fn from_units(units: Units) -> PathBuf {
    match units {
        Units::Bytes(bytes) => from_key(&bytes),
        Units::Wide(wide) => PathBuf::from(String::from_utf16_lossy(&wide)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::record::Location;

    #[test]
    fn a_path_in_any_encoding_comes_back_as_it_was() {
        for bytes in [
            &b"/a/cat.jpg"[..],
            b"/gr\xfc\xdfe/\xff\xfe.png",
            "/ü/猫".as_bytes(),
            b"",
        ] {
            let path = PathBuf::from(OsStr::from_bytes(bytes));
            let location = Location {
                path: path.clone(),
                size: 3,
                mtime_ns: -1,
            };
            let text = serde_json::to_string(&location).unwrap();
            assert_eq!(
                serde_json::from_str::<Location>(&text).unwrap(),
                location,
                "{text}"
            );
            assert_eq!(from_key(&to_key(&path)), path);
        }
    }
}
