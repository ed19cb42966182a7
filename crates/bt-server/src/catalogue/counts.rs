//! How many pictures there are of each folder, month, camera and format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bt_query::parse::camera_time;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Catalogue, Entry};

/// More of one kind are not listed; those with the most pictures are.
const MOST: usize = 1000;

/// What there is, and how much of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Facets {
    /// Pictures that the filters allow.
    pub(crate) total: usize,
    /// The deepest folder that all pictures are in.
    pub(crate) root: Option<String>,
    /// Folders below it by path, with all that is in them and below; at most 1000.
    pub(crate) folders: Vec<FolderCount>,
    /// Months with pictures, newest first; at most 1000.
    pub(crate) months: Vec<MonthCount>,
    /// Pictures that say no date.
    pub(crate) undated: usize,
    /// Cameras, most pictures first; at most 1000.
    pub(crate) cameras: Vec<CameraCount>,
    /// Formats, most pictures first.
    pub(crate) types: Vec<TypeCount>,
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FolderCount {
    /// Absolute path, as the filter `folder` takes it.
    pub(crate) folder: String,
    /// The path from the root, for people.
    pub(crate) name: String,
    /// Pictures in it and below.
    pub(crate) count: usize,
}

/// A month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MonthCount {
    /// As `2024-07`.
    pub(crate) month: String,
    /// Pictures taken in it.
    pub(crate) count: usize,
}

/// A camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CameraCount {
    /// Maker and model, as the filter `camera` takes them.
    pub(crate) camera: String,
    /// Pictures taken with it, or with one whose name contains this name: what the filter leaves.
    pub(crate) count: usize,
}

/// A format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TypeCount {
    /// `jpeg`, `png`, ...
    #[serde(rename = "type")]
    pub(crate) format: String,
    /// Pictures of it.
    pub(crate) count: usize,
}

impl Catalogue {
    /// Counts the entries that are allowed (all, when nothing is said).
    pub(super) fn count(&self, allowed: Option<&[bool]>) -> Facets {
        let mut folders = vec![0usize; self.folders.len()];
        // Of folders that are counted one by one, not summed up.
        let mut apart = vec![0usize; self.folders.len()];
        let mut cameras = vec![0usize; self.cameras.len()];
        let mut formats = vec![0usize; self.formats.len()];
        let mut months: BTreeMap<(i16, i8), usize> = BTreeMap::new();
        let (mut total, mut undated) = (0, 0);
        for (place, entry) in (0u32..).zip(&self.entries) {
            if allowed.is_some_and(|allowed| !allowed[place as usize]) {
                continue;
            }
            total += 1;
            match entry.taken.and_then(camera_time) {
                Some(time) => *months.entry((time.year(), time.month())).or_default() += 1,
                None => undated += 1,
            }
            if let Some(camera) = entry.camera {
                cameras[camera as usize] += 1;
            }
            formats[entry.format as usize] += 1;
            self.add_folders(place, entry, &mut folders, &mut apart);
        }
        for place in (0..folders.len()).rev() {
            if let Some(parent) = self.folders[place].parent {
                folders[parent as usize] += folders[place];
            }
        }
        for (sum, apart) in folders.iter_mut().zip(apart) {
            *sum += apart;
        }
        let (root, folders) = self.folder_counts(&folders);
        let months = months.into_iter().rev().take(MOST);
        let month = |((year, month), count)| MonthCount {
            month: format!("{year:04}-{month:02}"),
            count,
        };
        Facets {
            total,
            root,
            folders,
            months: months.map(month).collect(),
            undated,
            cameras: self.camera_counts(&cameras),
            types: most(&self.formats, &formats)
                .map(|(format, count)| TypeCount { format, count })
                .collect(),
        }
    }

    /// Cameras with the pictures that the filter of their name leaves; it asks for a part of a name. `own`: pictures
    /// of each.
    fn camera_counts(&self, own: &[usize]) -> Vec<CameraCount> {
        let names: Vec<String> = self
            .cameras
            .iter()
            .map(|name| name.to_lowercase())
            .collect();
        let with = |part: &str| {
            let counts = names.iter().zip(own);
            let within = counts.filter(|(name, _)| name.contains(part));
            within.map(|(_, count)| count).sum()
        };
        let mut counts: Vec<CameraCount> = most(&self.cameras, own)
            .map(|(camera, _)| CameraCount {
                count: with(&camera.to_lowercase()),
                camera,
            })
            .collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.camera.cmp(&b.camera)));
        counts
    }

    /// A picture counts once in each folder that it is in, however many copies lie there and below.
    fn add_folders(&self, place: u32, entry: &Entry, sums: &mut [usize], apart: &mut [usize]) {
        let Some(several) = self.in_several.get(&place) else {
            if let Some(folder) = entry.folder {
                sums[folder as usize] += 1;
            }
            return;
        };
        let mut all = BTreeSet::new();
        for folder in several {
            let mut next = Some(*folder);
            while let Some(folder) = next
                && all.insert(folder)
            {
                next = self.folders[folder as usize].parent;
            }
        }
        for folder in all {
            apart[folder as usize] += 1;
        }
    }

    /// The root, and the folders below it that have pictures.
    fn folder_counts(&self, counts: &[usize]) -> (Option<String>, Vec<FolderCount>) {
        let root = self
            .root
            .map(|root| self.folders[root as usize].path.as_path());
        let is_shown = |path: &Path| root.is_none_or(|root| path != root && path.starts_with(root));
        let mut below: Vec<(&Path, usize)> = self
            .folders
            .iter()
            .zip(counts)
            .map(|(folder, count)| (folder.path.as_path(), *count))
            .filter(|(path, count)| *count > 0 && is_shown(path))
            .collect();
        below.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        below.truncate(MOST);
        below.sort();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let counted = |(path, count): (&Path, usize)| {
            let name = root.and_then(|root| path.strip_prefix(root).ok());
            FolderCount {
                folder: text(path),
                name: text(name.unwrap_or(path)),
                count,
            }
        };
        (root.map(text), below.into_iter().map(counted).collect())
    }
}

/// Names with their counts, most first.
fn most(names: &[String], counts: &[usize]) -> impl Iterator<Item = (String, usize)> {
    let mut some: Vec<(String, usize)> = names
        .iter()
        .cloned()
        .zip(counts.iter().copied())
        .filter(|(_, count)| *count > 0)
        .collect();
    some.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    some.truncate(MOST);
    some.into_iter()
}
