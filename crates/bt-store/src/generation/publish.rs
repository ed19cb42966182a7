//! Makes a generation current, and removes those that nobody needs any more.

use std::io;
use std::path::Path;

use super::build::Unpublished;
use super::manifest;
use crate::error::Result;
use crate::id::GenerationId;
use crate::sealed;
use crate::storage::Disk;

/// Makes a built generation the current one: all its files are synced already, so this replaces one small
/// file (written aside, synced, renamed, folder synced). Readers see the old one or the new one.
pub(crate) fn publish(index: &Path, built: Unpublished) -> Result<GenerationId> {
    sealed::write(&Disk, &manifest::current_path(index), &built.manifest)?;
    Ok(built.manifest.id)
}

/// Removes all generations but the current one and the one before, and what interrupted builds left.
pub(crate) fn collect_garbage(index: &Path) -> Result<()> {
    let Some(current) = manifest::current(index)? else {
        return Ok(());
    };
    let mut before_is_kept = false;
    for id in manifest::numbers(index)? {
        if id == current.id {
            continue;
        }
        let complete = manifest::path_of(index, id).exists();
        if id < current.id && complete && !before_is_kept {
            before_is_kept = true;
            continue;
        }
        // Without its manifest a folder is nothing, should the rest be interrupted.
        gone(fs_err::remove_file(manifest::path_of(index, id)))?;
        gone(fs_err::remove_dir_all(manifest::folder(index, id)))?;
    }
    Ok(())
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Ok(()) => Ok(()),
        Err(error) => match error.kind() {
            // Where a file that a reader has open cannot be removed, a later publish does it.
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ResourceBusy => Ok(()),
            _ => Err(error),
        },
    }
}
