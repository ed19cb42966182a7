//! Keeps an index true while files come, change, move and go.
//!
//! What the operating system tells is taken as a hint where to look, never as a fact: touched paths are
//! collected until it is quiet, then visited by the same pass that a plain run makes. When hints were
//! lost (an overflow), everything is visited.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::caption::may_be_sidecar;
use crate::error::{Error, Result};
use crate::job::{IndexJob, Scope, Session};
use crate::outcome::{Event, Report};

/// A pass starts when nothing has been touched for so long ...
const QUIET: Duration = Duration::from_millis(400);
/// ... or this long after the first touch, for folders that are never quiet.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the stop flag is looked at.
const TICK: Duration = Duration::from_millis(100);
/// When more paths than this were touched, everything is visited instead.
const MOST_PATHS: usize = 10_000;

impl IndexJob {
    /// Indexes as [`IndexJob::run`] does, then goes on: what is new, changed or moved is indexed, and what
    /// goes is dropped, until `stop` is set. Each pass that found something ends with
    /// [`Event::Settled`]; the report returned is that of the first pass.
    ///
    /// # Errors
    /// As [`IndexJob::run`]; also when a root goes away, and when the operating system does not tell
    /// about changes.
    pub fn watch(&self, stop: &AtomicBool, on: &mut dyn FnMut(Event<'_>)) -> Result<Report> {
        let mut session = Session::open(self, on)?;
        // Before the first pass, so that nothing that happens during it is missed.
        let touched = Arc::new(Touched::default());
        let _watcher = listen(&session, &touched)?;
        let prune = self.prune;
        let first = session.pass(&Scope::Everything { prune }, stop, on)?;
        on(Event::Settled(&first));
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            let Some(hints) = touched.take_when_quiet() else {
                continue;
            };
            if let Some(lost) = session.roots.paths().find(|root| !root.exists()) {
                return Err(Error::MissingRoot(lost.to_owned()));
            }
            let report = session.pass(&hints.into_scope(), stop, on)?;
            if report.ended() > report.unchanged || report.pruned > 0 {
                on(Event::Settled(&report));
            }
        }
        Ok(first)
    }
}

/// What was touched since the last pass.
#[derive(Debug, Default)]
struct Touched(Mutex<Hints>);

#[derive(Debug, Default)]
struct Hints {
    paths: BTreeSet<PathBuf>,
    everything: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Touched {
    /// A panic elsewhere leaves a set of paths, which is as good as any.
    fn hints(&self) -> MutexGuard<'_, Hints> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, paths: impl IntoIterator<Item = PathBuf>) {
        let mut hints = self.hints();
        hints.paths.extend(paths);
        if hints.paths.len() > MOST_PATHS {
            hints.everything = true;
            hints.paths.clear();
        }
        hints.touch();
    }

    fn add_everything(&self) {
        let mut hints = self.hints();
        hints.everything = true;
        hints.touch();
    }

    fn take_when_quiet(&self) -> Option<Hints> {
        let mut hints = self.hints();
        let quiet = hints.last?.elapsed() >= QUIET;
        let impatient = hints.first?.elapsed() >= PATIENCE;
        (quiet || impatient).then(|| std::mem::take(&mut *hints))
    }
}

impl Hints {
    fn touch(&mut self) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    fn into_scope(self) -> Scope {
        if self.everything {
            return Scope::Everything { prune: true };
        }
        let (changed, gone): (BTreeSet<_>, BTreeSet<_>) = self
            .paths
            .into_iter()
            .flat_map(|path| {
                let pictures = if may_be_sidecar(&path) {
                    beside(&path)
                } else {
                    Vec::new()
                };
                pictures.into_iter().chain([path])
            })
            .partition(|path| path.symlink_metadata().is_ok());
        Scope::Only {
            changed: outermost(changed),
            gone: outermost(gone),
        }
    }
}

/// Leaves out what lies below another one, so that nothing is visited twice.
fn outermost(paths: BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    // In order, a folder comes before all that lies in it.
    for path in paths {
        if !kept.last().is_some_and(|folder| path.starts_with(folder)) {
            kept.push(path);
        }
    }
    kept
}

/// The pictures that a sidecar may belong to.
fn beside(sidecar: &Path) -> Vec<PathBuf> {
    let (Some(stem), Some(Ok(entries))) =
        (sidecar.file_stem(), sidecar.parent().map(Path::read_dir))
    else {
        return Vec::new();
    };
    let belongs = |path: &Path| {
        path != sidecar
            && (path.file_stem() == Some(stem) || path.file_name() == Some(OsStr::new(stem)))
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| belongs(path))
        .collect()
}

fn listen(session: &Session, touched: &Arc<Touched>) -> Result<RecommendedWatcher> {
    let roots = session.roots.clone();
    let touched = Arc::clone(touched);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else {
            return touched.add_everything();
        };
        if event.need_rescan() {
            return touched.add_everything();
        }
        if is_change(&event.kind) {
            let paths: Vec<PathBuf> = event
                .paths
                .into_iter()
                .filter(|path| roots.admits(path))
                .collect();
            if !paths.is_empty() {
                touched.add(paths);
            }
        }
    })?;
    for root in session.roots.paths() {
        // A file is watched through its folder: programs save by putting a new file in its place.
        match (root.is_dir(), root.parent()) {
            (false, Some(folder)) => watcher.watch(folder, RecursiveMode::NonRecursive)?,
            _ => watcher.watch(root, RecursiveMode::Recursive)?,
        }
    }
    Ok(watcher)
}

/// Our own reading is an event, too.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_visited_twice_and_a_sidecar_leads_to_its_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::create_dir(at("deep")).unwrap();
        for name in [
            "deep/a.jpg",
            "b.jpg",
            "b.png",
            "b.jpg.txt",
            "b.txt",
            "c.jpg",
        ] {
            fs_err::write(at(name), name).unwrap();
        }
        let touched = Touched::default();
        touched.add(["deep", "deep/a.jpg", "b.jpg.txt", "gone", "gone/d.jpg"].map(at));
        let hints = std::mem::take(&mut *touched.hints());
        let Scope::Only { changed, gone } = hints.into_scope() else {
            panic!("everything is visited");
        };
        assert_eq!(changed, ["b.jpg", "b.jpg.txt", "deep"].map(at));
        assert_eq!(gone, ["gone"].map(at));
        assert_eq!(beside(&at("b.txt")).len(), 2);
    }

    #[test]
    fn too_many_hints_become_a_visit_to_everything() {
        let touched = Touched::default();
        touched.add((0..=MOST_PATHS).map(|number| PathBuf::from(number.to_string())));
        assert!(touched.take_when_quiet().is_none(), "it is not quiet yet");
        let hints = std::mem::take(&mut *touched.hints());
        assert!(matches!(
            hints.into_scope(),
            Scope::Everything { prune: true }
        ));
    }
}
