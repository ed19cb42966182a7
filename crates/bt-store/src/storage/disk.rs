//! The real file system.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use fs_err::File;

use crate::storage::{Append, Storage};

/// Files and folders of the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk;

impl Storage for Disk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let above = path
            .parent()
            .filter(|above| !above.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        self.create_folder(above)?;
        fs_err::create_dir_all(path)?;
        match self.sync_folder(above) {
            // A folder that may be written to but not read cannot be synced.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(File::create(path)?))
    }

    fn reopen(&self, path: &Path, len: u64) -> io::Result<Box<dyn Append>> {
        let mut file = File::options().write(true).open(path)?;
        if file.metadata()?.len() != len {
            file.set_len(len)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(len))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs_err::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs_err::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    /// Windows keeps names in its journal and has no call for this.
    #[cfg(not(unix))]
    fn sync_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl Append for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
