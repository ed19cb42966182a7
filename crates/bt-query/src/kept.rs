//! States of pictures that were looked at before, in a folder of bounded size. They can be made again, so nothing
//! that goes wrong here is an error: a picture that is not found is read once more.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bt_model::{Encoder, PictureStates, cache};
use bt_store::ContentHash;

/// A folder of one model's states, a file a picture.
#[derive(Debug)]
pub(crate) struct KeptStates {
    folder: PathBuf,
    /// The folders of all models, whose states share the bound.
    models: PathBuf,
    most_bytes: u64,
    /// Bytes written since the bound was last seen to.
    grown: AtomicU64,
}

/// How the folders of states begin: states that were computed otherwise are others.
const PREFIX: &str = "states-";

impl KeptStates {
    /// In the model's part of the cache folder; `None` where there is no such folder.
    pub(crate) fn of(encoder: &Encoder, most_bytes: u64) -> Option<Self> {
        let model = cache::folder(encoder.id())?;
        Some(Self::at(
            &model,
            &format!("{PREFIX}{}", encoder.arithmetic()),
            most_bytes,
        ))
    }

    fn at(model: &Path, name: &str, most_bytes: u64) -> Self {
        Self {
            folder: model.join(name),
            models: model.parent().unwrap_or(model).to_owned(),
            most_bytes,
            grown: AtomicU64::new(0),
        }
    }

    /// What is kept of a picture. Files that make no sense are removed.
    pub(crate) fn get(&self, id: ContentHash, encoder: &Encoder) -> Option<PictureStates> {
        let path = self.place(id);
        let bytes = fs_err::read(&path).ok()?;
        match PictureStates::from_bytes(&bytes, encoder) {
            Ok(Some(states)) => {
                // The time of change says when it was last of use.
                if let Ok(file) = fs_err::OpenOptions::new().append(true).open(&path) {
                    let _ = file.file().set_modified(SystemTime::now());
                }
                Some(states)
            }
            _ => {
                let _ = fs_err::remove_file(&path);
                None
            }
        }
    }

    /// Keeps states, and gives them back as they will be found, so that a query answers the same the next time.
    pub(crate) fn put(
        &self,
        id: ContentHash,
        states: PictureStates,
        encoder: &Encoder,
    ) -> PictureStates {
        let Ok(Some(bytes)) = states.to_bytes() else {
            return states;
        };
        // What cannot be kept is made again.
        let _ = cache::put(&self.place(id), &bytes);
        let size = bytes.len() as u64;
        if self.grown.fetch_add(size, Ordering::Relaxed) + size > self.most_bytes / 10 {
            self.trim();
        }
        match PictureStates::from_bytes(&bytes, encoder) {
            Ok(Some(near)) => near,
            _ => states,
        }
    }

    fn place(&self, id: ContentHash) -> PathBuf {
        let name = id.to_string();
        self.folder.join(&name[..2]).join(&name[2..])
    }

    /// Removes what was of use the longest ago until the rest is within bounds.
    fn trim(&self) {
        self.grown.store(0, Ordering::Relaxed);
        let mut files = files(&self.models);
        let mut bytes: u64 = files.iter().map(|(_, size, _)| size).sum();
        files.sort_by_key(|(used, ..)| *used);
        for (_, size, path) in files {
            if bytes <= self.most_bytes {
                break;
            }
            if fs_err::remove_file(path).is_ok() {
                bytes -= size;
            }
        }
    }
}

impl Drop for KeptStates {
    fn drop(&mut self) {
        if self.grown.load(Ordering::Relaxed) > 0 {
            self.trim();
        }
    }
}

/// States of all models: when each was last of use, its bytes, its place.
fn files(models: &Path) -> Vec<(SystemTime, u64, PathBuf)> {
    let entries = |folder: PathBuf| fs_err::read_dir(folder).into_iter().flatten().flatten();
    let is_of_states = |folder: &fs_err::DirEntry| {
        let name = folder.file_name();
        name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
    };
    entries(models.to_owned())
        .flat_map(|model| entries(model.path()))
        .filter(is_of_states)
        .flat_map(|states| entries(states.path()))
        .flat_map(|part| entries(part.path()))
        .filter_map(|file| {
            let about = file.metadata().ok()?;
            Some((about.modified().ok()?, about.len(), file.path()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bt_model::{Exec, Fit, ModelChoice};
    use image::RgbImage;

    use super::*;

    fn mini() -> Encoder {
        let choice = ModelChoice {
            spec: "mini".to_owned(),
            fit: Fit::Reference,
        };
        Encoder::load(&choice, &Exec::cpu(), &mut |_| {}).unwrap()
    }

    #[test]
    fn what_was_of_use_last_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mini = mini();
        let picture = mini.prepare(&RgbImage::new(32, 32));
        let states = mini.picture_states(&[&picture]).unwrap().remove(0);
        let size = states.to_bytes().unwrap().unwrap().len() as u64;
        let ids: Vec<ContentHash> = (0..5u8).map(|i| ContentHash::of(&[i])).collect();
        let at =
            |model: &str, name: &str, most| KeptStates::at(&folder.path().join(model), name, most);
        let kept = at("mini", "states-f32-f32", u64::MAX);
        for (age, id) in ids.iter().enumerate() {
            kept.put(*id, states.clone(), &mini);
            let file = fs_err::File::options()
                .append(true)
                .open(kept.place(*id))
                .unwrap();
            let used = SystemTime::now() - Duration::from_secs(100 - age as u64);
            file.file().set_modified(used).unwrap();
        }
        // The oldest is asked for, which makes it the newest.
        let found = kept.get(ids[0], &mini).unwrap();
        assert_eq!(found.to_bytes().unwrap(), states.to_bytes().unwrap());
        drop(kept);
        // Whatever a model or its arithmetic keeps counts, while it is written and not at the end alone.
        let other = at("other", "states-int8-bf16", 4 * size);
        other.put(ContentHash::of(b"new"), states.clone(), &mini);
        assert!(other.get(ids[0], &mini).is_none(), "other states");
        let kept = at("mini", "states-f32-f32", u64::MAX);
        let there: Vec<bool> = ids
            .iter()
            .map(|id| kept.get(*id, &mini).is_some())
            .collect();
        assert_eq!(there, [true, false, false, true, true]);
    }

    #[test]
    fn a_damaged_file_is_removed_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let mini = mini();
        let kept = KeptStates::at(folder.path(), "states-f32-f32", u64::MAX);
        let id = ContentHash::of(b"x");
        assert!(kept.get(id, &mini).is_none());
        fs_err::create_dir_all(kept.place(id).parent().unwrap()).unwrap();
        fs_err::write(kept.place(id), b"BTSTATE1 but no states").unwrap();
        assert!(kept.get(id, &mini).is_none());
        assert!(!kept.place(id).exists());
    }
}
