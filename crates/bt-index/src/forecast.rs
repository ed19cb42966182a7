//! What a run would do, without doing it: the index is only read, and of most files only the head is.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bt_store::{Collection, ContentHash, Filter, Location, Reader};

use crate::caption;
use crate::error::Result;
use crate::identify::{self, Content, is_gone};
use crate::job::IndexJob;
use crate::outcome::{Event, FileError, Outcome, Report};
use crate::walk::{Roots, Step};

/// So many records are read from the index at once.
const PAGE: usize = 4096;
/// A picture of a known size is read to see whether it is a known one, up to so many bytes.
const MOST_READ: u64 = 1 << 30;

/// What is recorded already.
#[derive(Default)]
struct Known {
    /// Where, whose, and whether its captions are those that stand beside it now.
    places: HashMap<PathBuf, (Location, ContentHash, bool)>,
    sizes: HashSet<u64>,
    ids: HashSet<ContentHash>,
}

impl IndexJob {
    /// Looks at every file as [`IndexJob::run`] would, and counts what would become of it: `indexed` is
    /// what would be decoded and embedded (or fail). Writes nothing, needs no model and no lock.
    ///
    /// # Errors
    /// A root that is missing, an index that cannot be read.
    pub fn forecast(&self, stop: &AtomicBool, on: &mut dyn FnMut(Event<'_>)) -> Result<Report> {
        let started = Instant::now();
        let roots = Roots::survey(&self.roots, &self.index, &self.walk)?;
        let mut known = Known::read(self)?;
        let mut report = Report::default();
        let _ = roots.walk(stop, &mut |step| {
            let (path, outcome) = match step {
                Step::Warning(warning) => {
                    on(Event::Warning(&warning));
                    report.warnings.push(warning);
                    return ControlFlow::Continue(());
                }
                Step::Failed(FileError { path, reason }) => (path, Outcome::Failed(reason)),
                Step::File(file) => known.judge(file),
            };
            report.found += 1;
            report.count(&path, &outcome);
            on(Event::File {
                path: &path,
                outcome: &outcome,
                found: report.found,
                walked: false,
            });
            ControlFlow::Continue(())
        });
        let folders: Vec<_> = roots.paths().collect();
        report.vanished = known
            .places
            .keys()
            .filter(|path| folders.iter().any(|root| path.starts_with(root)) && is_gone(path))
            .count() as u64;
        report.pictures = known.ids.len() as u64;
        report.interrupted = stop.load(Ordering::Relaxed);
        report.elapsed = started.elapsed();
        Ok(report)
    }
}

impl Known {
    fn read(job: &IndexJob) -> Result<Self> {
        let mut known = Self::default();
        let reader = match Reader::open(&job.index) {
            Ok(reader) => reader,
            Err(bt_store::Error::NoIndex(_)) => return Ok(known),
            Err(error) => return Err(error.into()),
        };
        let everything = Filter::everything();
        let mut after = None;
        loop {
            let ids = reader.scan(&everything, after, PAGE)?;
            let Some(last) = ids.last() else {
                return Ok(known);
            };
            after = Some(*last);
            for record in reader.fetch(&ids)?.into_iter().flatten() {
                let current = caption::is_current(&record.about, &record.locations);
                known.ids.insert(record.id);
                for location in record.locations {
                    known.sizes.insert(location.size);
                    let path = location.path.clone();
                    known.places.insert(path, (location, record.id, current));
                }
            }
        }
    }

    fn judge(&mut self, file: Location) -> (PathBuf, Outcome) {
        let at_place = self.places.get(&file.path);
        if let Some((location, id, current)) = at_place
            && *location == file
        {
            let outcome = if *current {
                Outcome::Unchanged
            } else {
                Outcome::Redescribed(*id)
            };
            return (file.path, outcome);
        }
        // Only a file of a known size can have known bytes.
        let most = if self.sizes.contains(&file.size) {
            MOST_READ
        } else {
            0
        };
        let outcome = match identify::read(&file.path, most) {
            Ok(Content::Picture { id, .. }) if self.ids.contains(&id) => {
                let same_place = at_place.is_some_and(|(_, known, _)| *known == id);
                if same_place {
                    Outcome::Unchanged
                } else {
                    self.moved_or_duplicate(id)
                }
            }
            Ok(Content::Picture { id, .. }) => Outcome::Indexed(id),
            Ok(Content::TooLarge(_)) => Outcome::Indexed(UNREAD),
            Ok(Content::Unsupported(format)) => Outcome::Unsupported(format.to_owned()),
            Ok(Content::NotAPicture) => Outcome::NotAPicture,
            Ok(Content::Misnamed(reason)) => Outcome::Failed(reason),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Outcome::Gone,
            Err(cause) => Outcome::Failed(cause.to_string()),
        };
        (file.path, outcome)
    }

    fn moved_or_duplicate(&self, id: ContentHash) -> Outcome {
        let mut places = self.places.values().filter(|(_, known, _)| *known == id);
        let moved = places.any(|(location, ..)| is_gone(&location.path));
        if moved {
            Outcome::Moved(id)
        } else {
            Outcome::Duplicate(id)
        }
    }
}

/// Stands for a picture whose bytes were not read.
const UNREAD: ContentHash = ContentHash([0; 32]);
