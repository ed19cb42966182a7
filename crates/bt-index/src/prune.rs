//! Files that are recorded but not there any more: counted, and dropped where that is asked for.

use std::path::{Path, PathBuf};

use bt_store::ContentHash;

use crate::commit::Committer;
use crate::error::Result;
use crate::identify::is_gone;
use crate::outcome::FileError;

/// Looks at every recorded file at or below some folders. Only what is surely gone counts: a folder
/// that cannot be read proves nothing.
///
/// A folder that holds nothing at all may be the mount point of a disk that is not there: nothing below
/// it is dropped, and a warning says so.
pub(crate) fn sweep(
    folders: &[PathBuf],
    prune: bool,
    committer: &mut Committer<'_, '_>,
) -> Result<()> {
    committer.flush()?;
    // Also those of earlier runs that did not come to their end.
    let homeless = committer.ledger.with_writer(|writer| writer.homeless())?;
    committer.homeless.extend(homeless);
    let recorded = committer.ledger.with_writer(|writer| writer.paths())?;
    let suspicious: Vec<&PathBuf> = folders.iter().filter(|folder| is_empty(folder)).collect();
    let mut spared = 0u64;
    for (path, id) in recorded {
        if !folders.iter().any(|folder| path.starts_with(folder)) || !is_gone(&path) {
            continue;
        }
        committer.report.vanished += 1;
        if suspicious.iter().any(|folder| path.starts_with(folder)) {
            spared += 1;
        } else if prune {
            drop_vanished(committer, id, &path)?;
        }
    }
    if prune && spared > 0 {
        for folder in suspicious {
            let reason = format!(
                "the folder is empty: is a disk not mounted? None of the {spared} recorded files \
                 below it was dropped; if they are gone for good, prune the folder above it"
            );
            committer.warn(FileError::new(folder, reason));
        }
    }
    committer.bury_homeless()
}

/// Drops what is recorded at or below paths that are gone, as somebody saw them go.
pub(crate) fn drop_gone(gone: &[PathBuf], committer: &mut Committer<'_, '_>) -> Result<()> {
    committer.flush()?;
    let mut folders = Vec::new();
    for path in gone {
        match committer.ledger.at_path(path)? {
            Some(id) if is_gone(path) => {
                committer.report.vanished += 1;
                drop_vanished(committer, id, path)?;
            }
            Some(_) => {}
            None => folders.push(path.clone()),
        }
    }
    if folders.is_empty() {
        committer.bury_homeless()
    } else {
        sweep(&folders, true, committer)
    }
}

fn drop_vanished(committer: &mut Committer<'_, '_>, id: ContentHash, path: &Path) -> Result<()> {
    committer.drop_place(id, path)?;
    committer.report.pruned += 1;
    committer.flush_if_large()
}

fn is_empty(folder: &Path) -> bool {
    folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}
