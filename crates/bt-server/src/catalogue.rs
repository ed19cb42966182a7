//! An index in the orders and with the counts that browsing needs, made once for a state of the index. It
//! takes about 100 bytes a picture; while it is made, the paths as well.

mod build;
mod counts;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bt_store::{Collection, ContentHash, Filter, Record};
use moka::sync::Cache;

use crate::aside;
use crate::engine::{Engine, Snapshot};
use crate::error::ApiError;
use crate::pages::PageCursor;

pub(crate) use build::Order;
pub(crate) use counts::Facets;

/// A state of an index, sorted and counted.
pub(crate) struct Catalogue {
    /// What it was made of. Everything about it is asked there, so that it all fits together.
    snapshot: Arc<Snapshot>,
    /// By id.
    entries: Vec<Entry>,
    /// Places in `entries`, newest first.
    by_date: Vec<u32>,
    /// Places in `entries`, by path.
    by_path: Vec<u32>,
    /// Folders of pictures and those above them; a folder comes after the one that it is in.
    folders: Vec<Folder>,
    /// The deepest folder that holds every picture.
    root: Option<u32>,
    cameras: Vec<String>,
    formats: Vec<String>,
    /// All folders of those that are in several.
    in_several: HashMap<u32, Vec<u32>>,
    /// What a filter allows, for the filters asked last.
    allowed: Cache<String, Arc<Vec<bool>>>,
    /// What there is of it, for the filters asked last.
    facets: Cache<String, Arc<Facets>>,
}

/// What is kept of a picture.
struct Entry {
    id: ContentHash,
    taken: Option<i64>,
    /// Of its first location.
    folder: Option<u32>,
    camera: Option<u32>,
    format: u32,
}

/// A folder of the album.
struct Folder {
    path: std::path::PathBuf,
    parent: Option<u32>,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// At so many pictures from the first one.
    At(usize),
    /// Where another page ended.
    After(PageCursor),
}

/// One page in an order.
pub(crate) struct Page {
    /// The pictures.
    pub(crate) records: Vec<Record>,
    /// On all pages.
    pub(crate) total: usize,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<PageCursor>,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Catalogue of {} pictures", self.entries.len())
    }
}

impl Catalogue {
    /// Some of the pictures that a filter allows. Blocks.
    pub(crate) fn page(
        &self,
        order: Order,
        filter: &Filter,
        begin: Begin,
        n: usize,
    ) -> Result<Page, ApiError> {
        let allowed = self.allowed(filter)?;
        let places = match order {
            Order::Date => &self.by_date,
            Order::Path => &self.by_path,
        };
        let is_allowed = |place: &&u32| {
            let place = **place as usize;
            allowed.as_ref().is_none_or(|allowed| allowed[place])
        };
        let total = allowed.as_ref().map_or(places.len(), |allowed| {
            allowed.iter().filter(|allowed| **allowed).count()
        });
        let begin = match begin {
            Begin::At(0) => 0,
            Begin::At(place) => self.nth(places, place, &is_allowed),
            Begin::After(cursor) => self.begin_after(places, cursor, &is_allowed),
        };
        let mut rest = places[begin..].iter().filter(is_allowed);
        let page: Vec<ContentHash> = rest
            .by_ref()
            .take(n)
            .map(|place| self.entries[*place as usize].id)
            .collect();
        let before = places[..begin].iter().filter(is_allowed).count();
        let next = page.last().filter(|_| rest.next().is_some());
        let next = next.map(|last| PageCursor {
            place: u32::try_from(before + page.len()).unwrap_or(u32::MAX),
            last: *last,
        });
        let records = self.snapshot.reader.fetch(&page)?;
        Ok(Page {
            records: records.into_iter().flatten().collect(),
            total,
            next,
        })
    }

    /// Where a page begins that comes after another: behind its last picture wherever that is now.
    fn begin_after(
        &self,
        places: &[u32],
        cursor: PageCursor,
        is_allowed: &impl Fn(&&u32) -> bool,
    ) -> usize {
        let by_id = self
            .entries
            .binary_search_by(|entry| entry.id.cmp(&cursor.last));
        if let Ok(place) = by_id
            && let Some(at) = places.iter().position(|other| *other as usize == place)
        {
            return at + 1;
        }
        self.nth(places, cursor.place as usize, is_allowed)
    }

    /// Where the allowed one with so many before it stands.
    fn nth(&self, places: &[u32], n: usize, is_allowed: &impl Fn(&&u32) -> bool) -> usize {
        let mut allowed = places
            .iter()
            .enumerate()
            .filter(|(_, place)| is_allowed(place));
        allowed.nth(n).map_or(places.len(), |(at, _)| at)
    }

    /// What there is of what a filter allows. Blocks.
    pub(crate) fn facets(&self, filter: &Filter) -> Result<Arc<Facets>, ApiError> {
        let key = key(filter)?;
        if let Some(facets) = self.facets.get(&key) {
            return Ok(facets);
        }
        let allowed = self.allowed(filter)?;
        let facets = Arc::new(self.count(allowed.as_deref().map(Vec::as_slice)));
        self.facets.insert(key, Arc::clone(&facets));
        Ok(facets)
    }

    /// Which entries a filter allows; `None` when all.
    fn allowed(&self, filter: &Filter) -> Result<Option<Arc<Vec<bool>>>, ApiError> {
        if *filter == Filter::everything() {
            return Ok(None);
        }
        let key = key(filter)?;
        if let Some(allowed) = self.allowed.get(&key) {
            return Ok(Some(allowed));
        }
        let mut ids = self
            .snapshot
            .reader
            .scan(filter, None, usize::MAX)?
            .into_iter()
            .peekable();
        // Both are in the order of ids.
        let mark = |entry: &Entry| {
            while ids.next_if(|id| *id < entry.id).is_some() {}
            ids.next_if_eq(&entry.id).is_some()
        };
        let allowed = Arc::new(self.entries.iter().map(mark).collect());
        self.allowed.insert(key, Arc::clone(&allowed));
        Ok(Some(allowed))
    }
}

/// A filter as a key.
fn key(filter: &Filter) -> Result<String, ApiError> {
    serde_json::to_string(filter).map_err(ApiError::internal)
}

/// A newer state is waited for so long; then the last one is shown once more.
const PATIENCE: Duration = Duration::from_millis(300);

/// The catalogue of each index.
#[derive(Debug, Default)]
pub(crate) struct Catalogues(Mutex<BTreeMap<String, Arc<Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    ready: Mutex<Option<Arc<Catalogue>>>,
    turn: tokio::sync::Mutex<()>,
}

impl Slot {
    fn ready(&self) -> Option<Arc<Catalogue>> {
        self.ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes one of the newest state, unless somebody has done so meanwhile.
    async fn renew(self: Arc<Self>, engine: Arc<Engine>) -> Result<Arc<Catalogue>, ApiError> {
        let _turn = self.turn.lock().await;
        let snapshot = engine.snapshot();
        if let Some(ready) = self.ready()
            && ready.snapshot.serial >= snapshot.serial
        {
            return Ok(ready);
        }
        let made = aside::on_a_thread(move || Catalogue::of(snapshot))
            .await
            .map_err(ApiError::internal)??;
        let made = Arc::new(made);
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl Catalogues {
    /// The catalogue of an index as it is now, or as it was a moment ago while a large one is being made.
    pub(crate) async fn of(&self, engine: &Arc<Engine>) -> Result<Arc<Catalogue>, ApiError> {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(engine.name().to_owned()).or_default())
        };
        let ready = slot.ready();
        if let Some(ready) = &ready {
            let is_being_renewed = slot.turn.try_lock().is_err();
            if is_being_renewed || ready.snapshot.serial >= engine.snapshot().serial {
                return Ok(Arc::clone(ready));
            }
        }
        let renewal = aside::to_the_end(slot.renew(Arc::clone(engine)));
        let renewed = match ready {
            None => renewal.await,
            Some(ready) => match tokio::time::timeout(PATIENCE, renewal).await {
                Ok(renewed) => renewed,
                Err(_) => return Ok(ready),
            },
        };
        renewed.map_err(ApiError::internal)?
    }
}
