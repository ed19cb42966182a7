//! Folders to files: what is visited, what is left out, and what is warned about. Nothing is opened here.
//!
//! A folder that was asked for (a root) is made canonical once, so that two spellings of it, or a link to
//! it, lead to the same paths in the index; below it, paths are spelled as the folders spell them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;

use bt_store::Location;
use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};

use crate::error::{Error, Result};
use crate::outcome::FileError;

/// Which files are visited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Patterns as in .gitignore; what they match is left out.
    pub exclude: Vec<String>,
    /// Whether symbolic links are followed.
    pub follow: bool,
    /// Whether files and folders whose name starts with a dot are visited.
    pub hidden: bool,
}

/// Roots and rules, checked.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    all: Vec<Root>,
    follow: bool,
    hidden: bool,
    index: PathBuf,
}

#[derive(Clone, Debug)]
struct Root {
    path: PathBuf,
    exclude: Override,
}

/// Something met on the way.
#[derive(Debug)]
pub(crate) enum Step {
    /// A regular file, with its size and time.
    File(Location),
    /// Left out, and nothing is lost by it: a dangling link, a loop.
    Warning(FileError),
    /// A folder or file whose content stays unknown.
    Failed(FileError),
}

impl Roots {
    /// Checks that every root is there, outside the index, and that the patterns make sense.
    pub(crate) fn survey(roots: &[PathBuf], index: &Path, options: &WalkOptions) -> Result<Self> {
        let index = bt_store::resolved(index)?;
        let mut checked: Vec<Root> = Vec::new();
        for root in roots {
            let path = fs_err::canonicalize(root).map_err(|cause| match cause.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                    Error::MissingRoot(root.clone())
                }
                _ => cause.into(),
            })?;
            if path.starts_with(&index) {
                return Err(Error::InsideIndex(root.clone()));
            }
            if checked.iter().any(|known| known.path == path) {
                continue;
            }
            let exclude = excluder(&path, &options.exclude)?;
            checked.push(Root { path, exclude });
        }
        Ok(Self {
            all: checked,
            follow: options.follow,
            hidden: options.hidden,
            index,
        })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().map(|root| root.path.as_path())
    }

    /// Visits every root. Each file is met once, however the roots overlap.
    pub(crate) fn walk(
        &self,
        stop: &AtomicBool,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for root in &self.all {
            self.descend(root, &root.path, stop, visit)?;
        }
        ControlFlow::Continue(())
    }

    /// Visits what lies at or below some paths inside the roots, as far as the rules admit it; a path
    /// that is not there is passed over.
    pub(crate) fn walk_only(
        &self,
        starts: &[PathBuf],
        stop: &AtomicBool,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for start in starts {
            if let Some(root) = self.root_of(start)
                && self.admits_from(root, start)
                && start.symlink_metadata().is_ok()
            {
                self.descend(root, start, stop, visit)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether a path lies in a root and the rules admit it.
    pub(crate) fn admits(&self, path: &Path) -> bool {
        self.root_of(path)
            .is_some_and(|root| self.admits_from(root, path))
    }

    /// The innermost root that holds a path.
    fn root_of(&self, path: &Path) -> Option<&Root> {
        self.all
            .iter()
            .filter(|root| path.starts_with(&root.path))
            .max_by_key(|root| root.path.as_os_str().len())
    }

    /// Whether every step from a root down to a path is admitted.
    fn admits_from(&self, root: &Root, path: &Path) -> bool {
        let below = path
            .ancestors()
            .take_while(|ancestor| *ancestor != root.path);
        below.enumerate().all(|(height, ancestor)| {
            let is_folder = height > 0 || ancestor.is_dir();
            self.admits_step(root, ancestor, is_folder)
        })
    }

    /// Whether the rules admit one entry, given that they admit the folder it is in.
    fn admits_step(&self, root: &Root, path: &Path, is_folder: bool) -> bool {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        // macOS leaves `._photo.jpg` beside `photo.jpg` on foreign disks: attributes, not a picture.
        let companion = !is_folder && name.starts_with(b"._");
        let hidden = !self.hidden && name.starts_with(b".");
        let excluded = root.exclude.matched(path, is_folder).is_ignore();
        // A root inside this root is visited on its own account.
        let other_root = is_folder && self.all.iter().any(|other| other.path == path);
        !(companion || hidden || excluded || other_root || path == self.index)
    }

    fn descend(
        &self,
        root: &Root,
        start: &Path,
        stop: &AtomicBool,
        visit: &mut dyn FnMut(Step) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let rules = Arc::new((self.clone(), root.clone()));
        let entries = WalkBuilder::new(start)
            .standard_filters(false)
            .follow_links(self.follow)
            .filter_entry(move |entry| {
                let (roots, root) = &*rules;
                let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
                // A followed link may lead into the index by another name.
                let leads_into_index = entry.path_is_symlink()
                    && is_folder
                    && fs_err::canonicalize(entry.path())
                        .is_ok_and(|target| target.starts_with(&roots.index));
                roots.admits_step(root, entry.path(), is_folder) && !leads_into_index
            })
            .build();
        for entry in entries {
            if stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            if let Some(step) = step(entry) {
                visit(step)?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// `None` for what is neither a file nor worth a word: folders, sound links that are not followed, pipes.
fn step(entry: Result<ignore::DirEntry, ignore::Error>) -> Option<Step> {
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => return Some(trouble(error, None)),
    };
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        // Not followed; but a link that leads nowhere is a picture lost, and its owner should know.
        let dangling = fs_err::metadata(entry.path()).is_err();
        return dangling.then(|| Step::Warning(FileError::new(entry.path(), DANGLING)));
    }
    if !kind.is_file() {
        return None;
    }
    match entry.metadata() {
        Ok(metadata) => {
            let (size, mtime_ns) = stamp(&metadata);
            let path = entry.into_path();
            Some(Step::File(Location {
                path,
                size,
                mtime_ns,
            }))
        }
        Err(error) => Some(trouble(error, Some(entry.path()))),
    }
}

const DANGLING: &str = "a link that leads nowhere";

/// What the walker could not do, with the path and without its nesting.
fn trouble(error: ignore::Error, path: Option<&Path>) -> Step {
    match error {
        ignore::Error::WithPath { path, err } => trouble(*err, Some(&path)),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            trouble(*err, path)
        }
        ignore::Error::Loop { ancestor, child } => Step::Warning(FileError::new(
            child,
            format!("a link back to `{}`, not followed", ancestor.display()),
        )),
        ignore::Error::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            Step::Warning(FileError::new(path.unwrap_or(Path::new("")), DANGLING))
        }
        other => {
            let reason = format!("cannot be read: {other}");
            Step::Failed(FileError::new(path.unwrap_or(Path::new("")), reason))
        }
    }
}

/// Size, and modification time in nanoseconds since 1970-01-01 UTC.
pub(crate) fn stamp(metadata: &std::fs::Metadata) -> (u64, i64) {
    let mtime_ns = match metadata.modified() {
        Err(_) => 0,
        Ok(time) => match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos)
            }
        },
    };
    (metadata.len(), mtime_ns)
}

fn excluder(root: &Path, globs: &[String]) -> Result<Override> {
    let bad = |glob: &str, error: ignore::Error| Error::BadGlob {
        glob: glob.to_owned(),
        why: error.to_string(),
    };
    let mut builder = OverrideBuilder::new(root);
    for glob in globs {
        // An override names what is wanted; `!` turns it round.
        builder
            .add(&format!("!{glob}"))
            .map_err(|error| bad(glob, error))?;
    }
    builder
        .build()
        .map_err(|error| bad(&globs.join(" "), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(walked: &Roots) -> (Vec<PathBuf>, Vec<FileError>) {
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        let _ = walked.walk(&AtomicBool::new(false), &mut |step| {
            match step {
                Step::File(found) => files.push(found.path),
                Step::Warning(file) | Step::Failed(file) => warnings.push(file),
            }
            ControlFlow::Continue(())
        });
        files.sort();
        (files, warnings)
    }

    /// Makes files (and the folders they are in), and gives the folder's canonical path.
    fn tree(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, file).unwrap();
        }
        let canonical = folder.path().canonicalize().unwrap();
        (folder, canonical)
    }

    fn names(files: &[PathBuf], root: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn hidden_files_companions_and_excluded_ones_are_left_out_and_gitignore_has_no_say() {
        let (_keep, root) = tree(&[
            "a.jpg",
            ".hidden.jpg",
            "._a.jpg",
            ".thumbs/b.jpg",
            "skip/c.jpg",
            "deep/d.gif",
            "deep/e.jpg",
            "index/f.jpg",
            ".gitignore",
        ]);
        fs_err::write(root.join(".gitignore"), "a.jpg").unwrap();
        let mut options = WalkOptions {
            exclude: vec!["skip/".into(), "*.gif".into()],
            ..WalkOptions::default()
        };
        let index = root.join("index");
        let walked = Roots::survey(std::slice::from_ref(&root), &index, &options).unwrap();
        assert_eq!(names(&visit(&walked).0, &root), ["a.jpg", "deep/e.jpg"]);
        options.hidden = true;
        let walked = Roots::survey(std::slice::from_ref(&root), &index, &options).unwrap();
        let expected = [
            ".gitignore",
            ".hidden.jpg",
            ".thumbs/b.jpg",
            "a.jpg",
            "deep/e.jpg",
        ];
        assert_eq!(names(&visit(&walked).0, &root), expected);
    }

    #[test]
    fn overlapping_roots_and_other_spellings_meet_each_file_once() {
        let (_keep, root) = tree(&["a.jpg", "deep/b.jpg", ".hidden/c.jpg"]);
        let spelled = root.join("deep/../deep/.");
        let roots = [
            root.clone(),
            spelled,
            root.join("deep"),
            root.join(".hidden"),
        ];
        let walked = Roots::survey(&roots, &root.join("index"), &WalkOptions::default()).unwrap();
        let expected = [".hidden/c.jpg", "a.jpg", "deep/b.jpg"];
        assert_eq!(names(&visit(&walked).0, &root), expected);
    }

    #[test]
    fn a_missing_root_and_one_inside_the_index_are_errors_that_name_it() {
        let (_keep, root) = tree(&["index/a.jpg"]);
        let survey = |path: &Path| {
            Roots::survey(
                &[path.to_owned()],
                &root.join("index"),
                &WalkOptions::default(),
            )
        };
        let missing = survey(&root.join("nowhere")).unwrap_err();
        assert!(matches!(&missing, Error::MissingRoot(path) if path.ends_with("nowhere")));
        let below_a_file = survey(&root.join("index/a.jpg/b")).unwrap_err();
        assert!(matches!(below_a_file, Error::MissingRoot(_)));
        assert!(matches!(
            survey(&root.join("index")),
            Err(Error::InsideIndex(_))
        ));
    }

    #[cfg(unix)]
    #[test]
    fn dangling_links_and_loops_are_warnings_and_the_rest_is_visited() {
        use std::os::unix::fs::symlink;
        let (_keep, root) = tree(&["a.jpg", "deep/b.jpg"]);
        symlink(root.join("nowhere.jpg"), root.join("dangling.jpg")).unwrap();
        symlink(&root, root.join("deep/loop")).unwrap();
        for follow in [false, true] {
            let options = WalkOptions {
                follow,
                ..WalkOptions::default()
            };
            let walked =
                Roots::survey(std::slice::from_ref(&root), &root.join("index"), &options).unwrap();
            let (files, warnings) = visit(&walked);
            assert_eq!(
                names(&files, &root),
                ["a.jpg", "deep/b.jpg"],
                "follow: {follow}"
            );
            let expected = if follow { 2 } else { 1 };
            assert_eq!(warnings.len(), expected, "{warnings:?}");
        }
    }

    #[test]
    fn a_path_inside_is_admitted_by_the_same_rules() {
        let (_keep, root) = tree(&["skip/deep/a.jpg", "b.jpg"]);
        let options = WalkOptions {
            exclude: vec!["skip/".into()],
            ..WalkOptions::default()
        };
        let walked =
            Roots::survey(std::slice::from_ref(&root), &root.join("index"), &options).unwrap();
        assert!(walked.admits(&root.join("b.jpg")));
        assert!(!walked.admits(&root.join("skip/deep/a.jpg")));
        assert!(!walked.admits(&root.join(".x/a.jpg")));
        assert!(!walked.admits(Path::new("/elsewhere/a.jpg")));
    }
}
