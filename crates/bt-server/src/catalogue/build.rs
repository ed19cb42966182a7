//! From a snapshot to its catalogue.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bt_store::{Collection, Filter, Record};
use moka::sync::Cache;
use serde::Deserialize;

use super::{Catalogue, Entry, Folder};
use crate::engine::Snapshot;
use crate::error::ApiError;

/// In which order pictures are browsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Newest first, undated last.
    #[default]
    Date,
    /// By the folder of the first path, then by name.
    Path,
}

/// Records that are read at a time.
const AT_ONCE: usize = 1024;
/// Filters whose outcome is kept.
const FILTERS: u64 = 16;

impl Catalogue {
    /// Reads every record once. Blocks.
    pub(super) fn of(snapshot: Arc<Snapshot>) -> Result<Self, ApiError> {
        let mut gathered = Gathered::default();
        let mut last = None;
        loop {
            let ids = snapshot.reader.scan(&Filter::everything(), last, AT_ONCE)?;
            let Some(newest) = ids.last() else { break };
            last = Some(*newest);
            for record in snapshot.reader.fetch(&ids)?.into_iter().flatten() {
                gathered.add(record);
            }
        }
        Ok(gathered.into_catalogue(snapshot))
    }
}

/// Records as they come, with names by number.
#[derive(Default)]
struct Gathered {
    entries: Vec<Entry>,
    /// Of the file of the entry at the same place; only while sorting.
    names: Vec<OsString>,
    folders: HashMap<PathBuf, u32>,
    cameras: Names,
    formats: Names,
    in_several: HashMap<u32, Vec<u32>>,
}

/// Names, each kept once.
#[derive(Default)]
struct Names(HashMap<String, u32>);

impl Names {
    fn number(&mut self, name: String) -> u32 {
        let next = number(self.0.len());
        *self.0.entry(name).or_insert(next)
    }

    fn in_order(self) -> Vec<String> {
        let mut names: Vec<_> = self.0.into_iter().collect();
        names.sort_unstable_by_key(|(_, number)| *number);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// An index of that many pictures does not fit a machine.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Gathered {
    fn add(&mut self, record: Record) {
        let place = number(self.entries.len());
        let folders: BTreeSet<&Path> = record
            .locations
            .iter()
            .filter_map(|location| location.path.parent())
            .collect();
        let several = folders.len() > 1;
        let folders: Vec<u32> = folders.into_iter().map(|path| self.folder(path)).collect();
        if several {
            self.in_several.insert(place, folders);
        }
        let path = record.locations.first().map(|location| &location.path);
        let folder = path
            .and_then(|path| path.parent())
            .map(|folder| self.folder(folder));
        let name = path.and_then(|path| path.file_name()).unwrap_or_default();
        self.names.push(name.to_owned());
        let about = record.about;
        self.entries.push(Entry {
            id: record.id,
            taken: about.taken,
            folder,
            camera: about.camera.map(|camera| self.cameras.number(camera)),
            format: self.formats.number(about.format),
        });
    }

    /// A folder's number; makes those above it known, too.
    fn folder(&mut self, path: &Path) -> u32 {
        if let Some(number) = self.folders.get(path) {
            return *number;
        }
        if let Some(above) = path.parent() {
            self.folder(above);
        }
        let next = number(self.folders.len());
        self.folders.insert(path.to_owned(), next);
        next
    }

    fn into_catalogue(self, snapshot: Arc<Snapshot>) -> Catalogue {
        let entries = self.entries;
        let mut by_date: Vec<u32> = (0..number(entries.len())).collect();
        let mut by_path = by_date.clone();
        // Entries come in the order of ids, and both sorts keep it among equals.
        by_date.sort_by_key(|place| Reverse(entries[*place as usize].taken));
        let folders: Vec<Folder> = {
            let known = self.folders;
            let mut folders: Vec<(u32, PathBuf, Option<u32>)> = known
                .iter()
                .map(|(path, number)| {
                    let parent = path.parent().and_then(|above| known.get(above));
                    (*number, path.clone(), parent.copied())
                })
                .collect();
            folders.sort_unstable_by_key(|(number, ..)| *number);
            let folder = |(_, path, parent)| Folder { path, parent };
            folders.into_iter().map(folder).collect()
        };
        let ranks = ranks(&folders);
        by_path.sort_by_key(|place| {
            let place = *place as usize;
            // Without any place: last.
            let rank = entries[place]
                .folder
                .map_or(usize::MAX, |folder| ranks[folder as usize]);
            (rank, &self.names[place])
        });
        let direct = entries.iter().filter_map(|entry| entry.folder);
        let direct = direct.chain(self.in_several.values().flatten().copied());
        let root = root_of(&folders, direct);
        Catalogue {
            snapshot,
            entries,
            by_date,
            by_path,
            folders,
            root,
            cameras: self.cameras.in_order(),
            formats: self.formats.in_order(),
            in_several: self.in_several,
            allowed: Cache::new(FILTERS),
            facets: Cache::new(FILTERS),
        }
    }
}

/// The place of each folder in the order of their paths. Comparing paths part by part is slow, and there
/// are far fewer folders than pictures.
fn ranks(folders: &[Folder]) -> Vec<usize> {
    let mut by_path: Vec<usize> = (0..folders.len()).collect();
    by_path.sort_by_key(|folder| &folders[*folder].path);
    let mut ranks = vec![0; folders.len()];
    for (rank, folder) in by_path.into_iter().enumerate() {
        ranks[folder] = rank;
    }
    ranks
}

/// The deepest folder that all those with pictures in them (`direct`) are, or are in.
fn root_of(folders: &[Folder], direct: impl Iterator<Item = u32>) -> Option<u32> {
    let mut has_pictures = vec![false; folders.len()];
    for folder in direct {
        has_pictures[folder as usize] = true;
    }
    let mut children = vec![(0usize, 0u32); folders.len()];
    let mut tops = Vec::new();
    for (place, folder) in (0u32..).zip(folders) {
        match folder.parent {
            Some(parent) => {
                let (count, last) = &mut children[parent as usize];
                *count += 1;
                *last = place;
            }
            None => tops.push(place),
        }
    }
    let [mut root] = tops[..] else { return None };
    while !has_pictures[root as usize]
        && let (1, only) = children[root as usize]
    {
        root = only;
    }
    Some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_the_deepest_folder_that_holds_all() {
        let root = |paths: &[&str]| {
            let mut gathered = Gathered::default();
            let direct: Vec<u32> = paths
                .iter()
                .map(|path| gathered.folder(Path::new(path)))
                .collect();
            let mut folders: Vec<_> = gathered.folders.iter().collect();
            folders.sort_by_key(|(_, number)| **number);
            let folders: Vec<Folder> = folders
                .iter()
                .map(|(path, _)| Folder {
                    path: (*path).clone(),
                    parent: path
                        .parent()
                        .and_then(|above| gathered.folders.get(above))
                        .copied(),
                })
                .collect();
            root_of(&folders, direct.into_iter()).map(|root| folders[root as usize].path.clone())
        };
        for (paths, expected) in [
            (&["/a/b/c", "/a/b/d/e"][..], Some("/a/b")),
            (&["/a/b", "/a/b/d/e"], Some("/a/b")),
            (&["/a/b/c"], Some("/a/b/c")),
            (&["/a", "/b"], Some("/")),
            (&[], None),
        ] {
            assert_eq!(root(paths), expected.map(PathBuf::from), "{paths:?}");
        }
    }
}
