//! One run of the indexer: from folders to a published generation.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bt_model::Encoder;
use bt_store::Writer;

use crate::commit::{Committer, Found};
use crate::error::Result;
use crate::ledger::Ledger;
use crate::model::{self, LazyModel, ModelOptions};
use crate::outcome::{Event, Report};
use crate::pipeline::{self, Resources};
use crate::prune;
use crate::walk::{Roots, WalkOptions};

/// What is to be indexed, where to, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexJob {
    /// Folders and files.
    pub roots: Vec<PathBuf>,
    /// Folder of the index; made when it is not there.
    pub index: PathBuf,
    /// Which files are visited.
    pub walk: WalkOptions,
    /// Which model embeds.
    pub model: ModelOptions,
    /// How much is done at once.
    pub resources: Resources,
    /// Whether recorded files below the roots that are gone are dropped.
    pub prune: bool,
}

/// Which part of the roots a pass visits.
pub(crate) enum Scope {
    /// Every root.
    Everything {
        /// Whether what is gone is dropped.
        prune: bool,
    },
    /// Some paths that have changed, and some that are gone.
    Only {
        changed: Vec<PathBuf>,
        gone: Vec<PathBuf>,
    },
}

/// An index that is open, and what is to be looked at.
pub(crate) struct Session {
    pub(crate) roots: Roots,
    writer: Writer,
    model: LazyModel,
    resources: Resources,
}

impl Session {
    pub(crate) fn open(job: &IndexJob, on: &mut dyn FnMut(Event<'_>)) -> Result<Self> {
        let roots = Roots::survey(&job.roots, &job.index, &job.walk)?;
        let (writer, model) =
            model::open(&job.index, &job.model, &mut |event| on(Event::Model(event)))?;
        for warning in writer.warnings() {
            on(Event::Store(warning));
        }
        let resources = job.resources.clone();
        Ok(Self {
            roots,
            writer,
            model,
            resources,
        })
    }

    /// Visits, commits, and publishes when enough has come together.
    pub(crate) fn pass(
        &mut self,
        scope: &Scope,
        stop: &AtomicBool,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Report> {
        let started = Instant::now();
        let found = Found::default();
        let ledger = Ledger::new(&mut self.writer);
        let mut committer = Committer::new(&ledger, &found, on);
        let roots = &self.roots;
        pipeline::run(
            &|visit| match scope {
                Scope::Everything { .. } => roots.walk(stop, visit),
                Scope::Only { changed, .. } => roots.walk_only(changed, stop, visit),
            },
            &self.model,
            &self.resources,
            stop,
            &mut committer,
        )?;
        let interrupted = stop.load(Ordering::Relaxed);
        if !interrupted {
            // Moves are known now: what has not turned up elsewhere is gone.
            match scope {
                Scope::Everything { prune } => {
                    let folders: Vec<PathBuf> = roots.paths().map(Into::into).collect();
                    prune::sweep(&folders, *prune, &mut committer)?;
                }
                Scope::Only { gone, .. } => prune::drop_gone(gone, &mut committer)?,
            }
        }
        let mut report = std::mem::take(&mut committer.report);
        drop(committer);
        drop(ledger);
        report.found = found.files.into_inner();
        report.interrupted = interrupted;
        if !interrupted {
            // A few new pictures are found without a new generation: it is built when it pays.
            self.writer
                .publish_if_due(&mut |progress| on(Event::Publishing(progress)))?;
        }
        let stats = self.writer.stats()?;
        report.pictures = stats.pictures;
        report.generation = stats.generation;
        report.elapsed = started.elapsed();
        Ok(report)
    }
}

impl IndexJob {
    /// Indexes, and returns when every file has come to its end, or soon after `stop` is set: then what
    /// is finished is committed, and the next run goes on from there.
    ///
    /// # Errors
    /// What ends a run: a root that is missing, an index of another model or in use, a full disk, a
    /// model that does not load. What was committed before is kept.
    pub fn run(&self, stop: &AtomicBool, on: &mut dyn FnMut(Event<'_>)) -> Result<Report> {
        let prune = self.prune;
        Session::open(self, on)?.pass(&Scope::Everything { prune }, stop, on)
    }

    /// Looks at some files inside the roots only, as watching does: those that came or changed, and those
    /// that went, whose records are dropped. `encoder`: the index's model where the caller has loaded it
    /// already; one of another fingerprint is passed over.
    ///
    /// # Errors
    /// As [`IndexJob::run`].
    pub fn visit(
        &self,
        changed: Vec<PathBuf>,
        gone: Vec<PathBuf>,
        encoder: Option<Arc<Encoder>>,
        stop: &AtomicBool,
        on: &mut dyn FnMut(Event<'_>),
    ) -> Result<Report> {
        let mut session = Session::open(self, on)?;
        if let Some(encoder) = encoder {
            session.model.provide(encoder);
        }
        session.pass(&Scope::Only { changed, gone }, stop, on)
    }
}
