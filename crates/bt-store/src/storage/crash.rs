//! A storage double for tests: real files, of which a crash keeps only what was synced, and of which the
//! n-th operation can be made to fail.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::storage::{Append, Disk, Storage};

/// What a power cut leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// Nothing.
    None,
    /// Half of the bytes at the end of each file, no names.
    Torn,
    /// All of it, as when only the process dies.
    All,
}

/// Real files under a crash test's control.
#[derive(Clone, Debug, Default)]
pub(crate) struct Crash(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    operations: u64,
    fail_at: Option<u64>,
    /// By number; a name points to one.
    files: Vec<Content>,
    names: HashMap<PathBuf, usize>,
    synced_names: HashMap<PathBuf, usize>,
}

#[derive(Debug, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

impl Crash {
    /// Fails the n-th operation from now on (counted from 1), as a full disk does.
    pub(crate) fn fail_at(&self, n: u64) {
        let mut state = self.0.lock().unwrap();
        state.fail_at = Some(state.operations + n);
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// Leaves of all files what a power cut would leave.
    pub(crate) fn cut_power(&self, luck: Luck) {
        let mut state = self.0.lock().unwrap();
        if luck == Luck::All {
            return;
        }
        for path in state.names.keys() {
            let _absent = fs_err::remove_file(path);
        }
        for (path, file) in &state.synced_names {
            let Content { written, synced } = &state.files[*file];
            let mut bytes = synced.clone();
            if luck == Luck::Torn && written.starts_with(synced) {
                let torn = (written.len() - synced.len()).div_ceil(2);
                bytes.extend_from_slice(&written[synced.len()..][..torn]);
            }
            fs_err::write(path, bytes).unwrap();
        }
        state.names = state.synced_names.clone();
    }

    fn step(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.operations += 1;
        if state.fail_at == Some(state.operations) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no space left"));
        }
        Ok(())
    }
}

impl Storage for Crash {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        Disk.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        self.step()?;
        let real = Disk.create(path)?;
        let mut state = self.0.lock().unwrap();
        let number = state.files.len();
        state.files.push(Content::default());
        state.names.insert(path.to_owned(), number);
        drop(state);
        Ok(Box::new(CrashFile {
            crash: self.clone(),
            number,
            real,
        }))
    }

    fn reopen(&self, path: &Path, len: u64) -> io::Result<Box<dyn Append>> {
        self.step()?;
        let real = Disk.reopen(path, len)?;
        let bytes = fs_err::read(path)?;
        let mut state = self.0.lock().unwrap();
        let number = state.files.len();
        state.files.push(Content {
            written: bytes.clone(),
            synced: bytes,
        });
        state.names.insert(path.to_owned(), number);
        state.synced_names.insert(path.to_owned(), number);
        drop(state);
        Ok(Box::new(CrashFile {
            crash: self.clone(),
            number,
            real,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        Disk.rename(from, to)?;
        let mut state = self.0.lock().unwrap();
        if let Some(number) = state.names.remove(from) {
            state.names.insert(to.to_owned(), number);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        Disk.remove(path)?;
        self.0.lock().unwrap().names.remove(path);
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut state = self.0.lock().unwrap();
        state
            .synced_names
            .retain(|name, _| name.parent() != Some(path));
        let names: Vec<_> = state
            .names
            .iter()
            .filter(|(name, _)| name.parent() == Some(path))
            .map(|(name, number)| (name.clone(), *number))
            .collect();
        state.synced_names.extend(names);
        Ok(())
    }
}

#[derive(Debug)]
struct CrashFile {
    crash: Crash,
    number: usize,
    real: Box<dyn Append>,
}

impl Append for CrashFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let failed = self.crash.step();
        // A disk that fills up takes a part of a write.
        let taken = match failed {
            Ok(()) => bytes,
            Err(_) => &bytes[..bytes.len() / 2],
        };
        self.real.append(taken)?;
        let mut state = self.crash.0.lock().unwrap();
        state.files[self.number].written.extend_from_slice(taken);
        failed
    }

    fn sync(&mut self) -> io::Result<()> {
        self.crash.step()?;
        let mut state = self.crash.0.lock().unwrap();
        let content = &mut state.files[self.number];
        content.synced = content.written.clone();
        Ok(())
    }
}
