//! The state of an index that is searched, and its replacement by a newer one between two requests: who
//! holds the old one finishes with it.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bt_store::{Collection, Reader};
use tokio::sync::Notify;

/// How often somebody looks whether there is a newer state.
const EVERY: Duration = Duration::from_secs(1);

/// A consistent state of an index.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// To search it.
    pub(crate) reader: Reader,
    /// Grows with each newer state.
    pub(crate) serial: u64,
}

/// The newest state.
pub(crate) struct Current {
    name: String,
    snapshot: RwLock<Arc<Snapshot>>,
    wake: Notify,
}

impl Current {
    pub(crate) fn open(name: &str, index: &Path) -> bt_store::Result<Self> {
        let snapshot = Arc::new(Snapshot {
            reader: Reader::open(index)?,
            serial: 1,
        });
        tell(name, &snapshot);
        Ok(Self {
            name: name.to_owned(),
            snapshot: RwLock::new(snapshot),
            wake: Notify::new(),
        })
    }

    pub(crate) fn get(&self) -> Arc<Snapshot> {
        let snapshot = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&snapshot)
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Replaces the state whenever there is a newer one; never ends.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            // Woken or not: it is time to look.
            let _ = tokio::time::timeout(EVERY, self.wake.notified()).await;
            let this = Arc::clone(&self);
            if let Err(panic) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!(index = self.name, %panic, "looking for a newer state failed");
            }
        }
    }

    fn look(&self) {
        let old = self.get();
        match old.reader.newer() {
            Ok(None) => {}
            Ok(Some(reader)) => {
                let snapshot = Arc::new(Snapshot {
                    reader,
                    serial: old.serial + 1,
                });
                tell(&self.name, &snapshot);
                let facts = snapshot.reader.facts();
                tracing::info!(
                    index = self.name,
                    pictures = facts.pictures,
                    generation = facts.generation.map(|id| id.0),
                    "a newer state of the index is served"
                );
                *self
                    .snapshot
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = snapshot;
            }
            Err(error) => {
                tracing::warn!(index = self.name, %error, "the newest state cannot be read; the last one is served on");
            }
        }
    }
}

fn tell(name: &str, snapshot: &Snapshot) {
    let facts = snapshot.reader.facts();
    let gauge = |metric: &'static str, value: u64| {
        metrics::gauge!(metric, "index" => name.to_owned()).set(value as f64);
    };
    gauge("bt_index_pictures", facts.pictures);
    gauge("bt_index_tail_rows", facts.tail_rows);
    gauge("bt_index_generation", facts.generation.map_or(0, |id| id.0));
}
