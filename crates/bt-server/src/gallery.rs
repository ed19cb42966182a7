//! What pictures need to be shown, shared by the handlers: files, thumbnails, catalogues, the folders for
//! uploads, and a bounded number of threads for it all.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::album::Album;
use crate::aside;
use crate::catalogue::Catalogues;
use crate::decoder::Decoder;
use crate::error::ApiError;
use crate::original::Originals;
use crate::state::{Named, Options};
use crate::thumbnails::{HeatMaps, Thumbnails};

/// Behind `AppState`.
#[derive(Debug)]
pub(crate) struct Gallery {
    /// Files.
    pub(crate) originals: Arc<Originals>,
    /// From bytes to pixels.
    pub(crate) decoder: Arc<Decoder>,
    /// Small copies.
    pub(crate) thumbnails: Arc<Thumbnails>,
    /// Overlays of words.
    pub(crate) heat_maps: Arc<HeatMaps>,
    /// Orders and counts.
    pub(crate) catalogues: Catalogues,
    /// Where uploads go, by the name of the index, where the operator has opened one.
    pub(crate) albums: BTreeMap<String, Arc<Album>>,
    /// For work that blocks.
    pub(crate) work: Pool,
    /// For archives, which take long.
    pub(crate) exports: Arc<Semaphore>,
}

/// Archives that are written at one time.
pub(crate) const EXPORTS: usize = 4;
/// Requests that wait for a thread; further ones are told to come again.
const WAITING: usize = 512;

impl Gallery {
    /// Makes everything ready.
    ///
    /// # Errors
    /// An album's folder cannot be used, or is that of another one.
    pub(crate) fn open(options: &Options) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let mut albums: BTreeMap<String, Arc<Album>> = BTreeMap::new();
        for Named { name, path } in &options.albums {
            let album = Album::open(path)?;
            if albums.values().any(|other| other.overlaps(&album)) {
                let what = format!("two indexes cannot share the album `{}`", path.display());
                return Err(io::Error::other(what));
            }
            albums.insert(name.clone(), Arc::new(album));
        }
        let decoder = Arc::new(Decoder::new(options.limits.upload_pixels));
        Ok(Self {
            originals: Arc::default(),
            thumbnails: Arc::new(Thumbnails::new(
                options.limits.thumbnail_bytes,
                Arc::clone(&decoder),
            )),
            decoder,
            heat_maps: Arc::default(),
            catalogues: Catalogues::default(),
            albums,
            work: Pool::new(threads, WAITING),
            exports: Arc::new(Semaphore::new(EXPORTS)),
        })
    }
}

/// Threads for work that blocks and needs no model.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Pool {
    pub(crate) fn new(threads: usize, waiting: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(threads)),
            admitted: Arc::new(Semaphore::new(threads.saturating_add(waiting))),
        }
    }

    /// Does it on another thread, when one is free. A caller that goes away while it waits frees its place.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let place = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| {
                ApiError::overloaded(
                    "as many requests wait for files, thumbnails or uploads as may",
                    1,
                )
            })?;
        let thread = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(ApiError::internal)?;
        // Both are held until the work is done, whether anybody still waits for it or not.
        let task = move || {
            let _held = (place, thread);
            work()
        };
        aside::on_a_thread(task).await.map_err(ApiError::internal)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_place_is_refused_and_places_come_back() {
        let pool = Pool::new(1, 1);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.run(move || wait.recv().map_err(ApiError::internal))
                    .await
            }
        });
        let second = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| Ok(2)).await }
        });
        while pool.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = pool.run(|| Ok(3)).await.unwrap_err();
        assert!(refused.problem().detail.contains("thumbnails"));
        go.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 2);
        assert_eq!(pool.run(|| Ok(4)).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_frees_its_place() {
        let pool = Pool::new(1, 0);
        for _ in 0..3 {
            assert!(pool.run::<()>(|| panic!("as a test")).await.is_err());
        }
        assert_eq!(pool.run(|| Ok(1)).await.unwrap(), 1);
    }
}
