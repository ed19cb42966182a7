//! The last stage: what was found out about files becomes changes of records, and changes become durable.
//! The only place where locations of pictures are joined, moved and dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bt_store::{About, Change, ContentHash, Location, Record};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::caption::{self, Words};
use crate::error::{Error, Result};
use crate::identify::is_gone;
use crate::ledger::Ledger;
use crate::outcome::{Event, FileError, Outcome, Report};

/// A kill loses at most so much finished work.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// At most so many changed records wait for a commit.
pub(crate) const COMMIT_MOST: usize = 1024;
/// A picture with more places than this is not asked whether the old ones are still there each time a
/// further one is found; `--prune` asks.
const MOST_PLACES_ASKED: usize = 64;

/// What the stages before found out.
pub(crate) enum Message {
    /// The file is done, and nothing changes in the index.
    Ended { path: PathBuf, outcome: Outcome },
    /// What stands at this path is no picture that can be shown: the path leads to no record any more.
    /// `claimed` is the content hash that this thread had claimed.
    NoPicture {
        path: PathBuf,
        outcome: Outcome,
        claimed: Option<ContentHash>,
    },
    /// A picture that is recorded, or on its way, was met here.
    Seen {
        id: ContentHash,
        location: Location,
        words: Words,
    },
    /// A new picture with its embedding.
    New(Box<Embedded>),
    /// Worth a line.
    Warning(FileError),
    /// What loading the model is doing.
    Model(bt_model::Event),
    /// The run ends.
    Fatal(Error),
}

/// A picture on its way through the pipeline, with what has been found out so far.
pub(crate) struct Subject {
    pub(crate) id: ContentHash,
    pub(crate) location: Location,
    pub(crate) about: About,
    pub(crate) words: Words,
}

/// A picture at the end of its way.
pub(crate) struct Embedded {
    pub(crate) subject: Subject,
    pub(crate) vector: Vec<f32>,
}

/// How many files the walk has found, for progress.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) files: AtomicU64,
    pub(crate) walked: AtomicBool,
}

/// A record that differs from what is committed; with a vector when it is new.
struct Pending {
    record: Record,
    vector: Option<Vec<f32>>,
}

pub(crate) struct Committer<'a, 'w> {
    pub(crate) ledger: &'a Ledger<'w>,
    pub(crate) found: &'a Found,
    pub(crate) report: Report,
    on: &'a mut dyn FnMut(Event<'_>),
    pending: BTreeMap<ContentHash, Pending>,
    /// Further places of pictures that are still being decoded or embedded.
    waiting: HashMap<ContentHash, Vec<(Location, Words)>>,
    /// Pictures that lost their last place; a new one may turn up until the end of the run.
    pub(crate) homeless: BTreeSet<ContentHash>,
    last_commit: Option<Instant>,
}

impl<'a, 'w> Committer<'a, 'w> {
    pub(crate) fn new(
        ledger: &'a Ledger<'w>,
        found: &'a Found,
        on: &'a mut dyn FnMut(Event<'_>),
    ) -> Self {
        Self {
            ledger,
            found,
            on,
            report: Report::default(),
            pending: BTreeMap::new(),
            waiting: HashMap::new(),
            homeless: BTreeSet::new(),
            last_commit: None,
        }
    }

    /// Takes messages until every sender is gone, and commits as they come.
    pub(crate) fn receive(&mut self, messages: &Receiver<Message>) -> Result<()> {
        loop {
            match messages.recv_timeout(COMMIT_EVERY) {
                Ok(Message::Fatal(error)) => {
                    // What is finished is kept, unless keeping is what failed.
                    return self.flush().and(Err(error));
                }
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            let waited = self
                .last_commit
                .is_none_or(|last| last.elapsed() >= COMMIT_EVERY);
            if waited {
                self.flush()?;
            }
            self.flush_if_large()?;
        }
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Ended { path, outcome } => self.end(&path, &outcome),
            Message::NoPicture {
                path,
                outcome,
                claimed,
            } => self.no_picture(&path, &outcome, claimed)?,
            Message::Seen {
                id,
                location,
                words,
            } => self.seen(id, location, words)?,
            Message::New(embedded) => self.new_picture(*embedded)?,
            Message::Warning(warning) => self.warn(warning),
            Message::Model(event) => (self.on)(Event::Model(event)),
            Message::Fatal(error) => return Err(error),
        }
        Ok(())
    }

    fn end(&mut self, path: &Path, outcome: &Outcome) {
        self.report.count(path, outcome);
        (self.on)(Event::File {
            path,
            outcome,
            found: self.found.files.load(Ordering::Relaxed),
            walked: self.found.walked.load(Ordering::Relaxed),
        });
    }

    pub(crate) fn warn(&mut self, warning: FileError) {
        (self.on)(Event::Warning(&warning));
        self.report.warnings.push(warning);
    }

    fn no_picture(
        &mut self,
        path: &Path,
        outcome: &Outcome,
        claimed: Option<ContentHash>,
    ) -> Result<()> {
        if let Some(owner) = self.ledger.at_path(path)? {
            self.drop_place(owner, path)?;
        }
        self.end(path, outcome);
        if let (Some(id), Outcome::Failed(reason)) = (claimed, outcome) {
            self.ledger.fail(id, reason);
            for (location, _) in self.waiting.remove(&id).unwrap_or_default() {
                self.no_picture(&location.path, outcome, None)?;
            }
        }
        Ok(())
    }

    fn seen(&mut self, id: ContentHash, location: Location, words: Words) -> Result<()> {
        if self.load(id)?.is_some() {
            return self.join(id, location, &words);
        }
        match self.ledger.failure(&id) {
            Some(reason) => self.no_picture(&location.path, &Outcome::Failed(reason), None),
            None => {
                self.waiting.entry(id).or_default().push((location, words));
                Ok(())
            }
        }
    }

    fn new_picture(&mut self, embedded: Embedded) -> Result<()> {
        let Embedded { subject, vector } = embedded;
        let Subject {
            id,
            location,
            mut about,
            words,
        } = subject;
        if let Some(owner) = self.ledger.at_path(&location.path)? {
            self.drop_place(owner, &location.path)?;
        }
        let locations = vec![location.clone()];
        for trouble in caption::describe(&mut about, &locations, &words) {
            self.warn(trouble);
        }
        if let Some(what) = &about.damaged {
            self.report
                .damaged
                .push(FileError::new(&location.path, what));
        }
        let record = Record {
            id,
            locations,
            about,
        };
        let vector = Some(vector);
        self.pending.insert(id, Pending { record, vector });
        self.end(&location.path, &Outcome::Indexed(id));
        for (location, words) in self.waiting.remove(&id).unwrap_or_default() {
            self.join(id, location, &words)?;
        }
        Ok(())
    }

    /// A place of a picture that is recorded: a known one, a further one, or one that replaces places
    /// where the picture is no more.
    fn join(&mut self, id: ContentHash, location: Location, words: &Words) -> Result<()> {
        let path = location.path.clone();
        if let Some(owner) = self.ledger.at_path(&path)?
            && owner != id
        {
            self.drop_place(owner, &path)?;
        }
        let Some(pending) = self.load(id)? else {
            return Ok(());
        };
        let record = &mut pending.record;
        let before = record.locations.len();
        let mut outcome = match record.locations.iter_mut().find(|known| known.path == path) {
            Some(known) => {
                *known = location;
                Outcome::Unchanged
            }
            None => {
                if before <= MOST_PLACES_ASKED {
                    record.locations.retain(|known| !is_gone(&known.path));
                }
                let moved = before == 0 || record.locations.len() < before;
                record.locations.push(location);
                if moved {
                    Outcome::Moved(id)
                } else {
                    Outcome::Duplicate(id)
                }
            }
        };
        let mut troubles = Vec::new();
        if !caption::is_current(&record.about, &record.locations) {
            troubles = caption::describe(&mut record.about, &record.locations, words);
            if outcome == Outcome::Unchanged {
                outcome = Outcome::Redescribed(id);
            }
        }
        self.homeless.remove(&id);
        troubles.into_iter().for_each(|trouble| self.warn(trouble));
        self.end(&path, &outcome);
        Ok(())
    }

    /// A picture is no longer at a path. Its record stays until the end of the run: it may turn up
    /// elsewhere, and its vector was dear.
    pub(crate) fn drop_place(&mut self, id: ContentHash, path: &Path) -> Result<()> {
        if let Some(pending) = self.load(id)? {
            pending.record.locations.retain(|known| known.path != path);
            if pending.record.locations.is_empty() {
                self.homeless.insert(id);
            }
        }
        Ok(())
    }

    /// The newest state of a record, ready to be changed.
    fn load(&mut self, id: ContentHash) -> Result<Option<&mut Pending>> {
        use std::collections::btree_map::Entry;
        Ok(match self.pending.entry(id) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => self.ledger.get(&id)?.map(|record| {
                let vector = None;
                entry.insert(Pending { record, vector })
            }),
        })
    }

    /// Makes everything pending durable.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let changes: Vec<Change> = std::mem::take(&mut self.pending)
            .into_values()
            .map(|Pending { record, vector }| match vector {
                Some(embedding) => Change::Put { record, embedding },
                None => Change::Update(record),
            })
            .collect();
        self.commit(&changes)
    }

    pub(crate) fn flush_if_large(&mut self) -> Result<()> {
        if self.pending.len() >= COMMIT_MOST {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// At the end of a run: pictures that have no place left, and did not turn up elsewhere, leave.
    pub(crate) fn bury_homeless(&mut self) -> Result<()> {
        self.flush()?;
        let homeless = std::mem::take(&mut self.homeless);
        let changes: Vec<Change> = homeless.into_iter().map(Change::Remove).collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(&changes)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<()> {
        self.ledger.commit(changes)?;
        self.last_commit = Some(Instant::now());
        (self.on)(Event::Committed(changes.len()));
        Ok(())
    }
}
