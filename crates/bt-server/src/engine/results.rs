//! Answers that were given, kept as long as the state of the index that they are of, within a bound in
//! bytes.

use bt_query::{Found, Query};
use moka::sync::Cache;

use super::{Searched, Snapshot};

/// Answers by state and query.
pub(crate) struct Results(Cache<Key, Searched>);

/// The state's serial number, and the query as text.
pub(crate) type Key = (u64, String);

impl Results {
    pub(crate) fn new(bytes: u64) -> Self {
        Self(
            Cache::builder()
                .max_capacity(bytes)
                .weigher(|(_, query): &Key, searched: &Searched| {
                    let found: usize = searched.answer.results.iter().map(weight).sum();
                    u32::try_from(found + query.len() + 1024).unwrap_or(u32::MAX)
                })
                .build(),
        )
    }

    /// `None` for a query that is not kept: one that shows a picture from outside.
    pub(crate) fn key(snapshot: &Snapshot, query: &Query) -> Option<Key> {
        Some((snapshot.serial, serde_json::to_string(query).ok()?))
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Searched> {
        let known = self.0.get(key);
        let counter = match known {
            Some(_) => "bt_cache_hits_total",
            None => "bt_cache_misses_total",
        };
        metrics::counter!(counter, "cache" => "results").increment(1);
        known
    }

    pub(crate) fn keep(&self, key: Key, searched: &Searched) {
        self.0.insert(key, searched.clone());
    }
}

/// About how many bytes a result holds.
fn weight(found: &Found) -> usize {
    let one = |record: &bt_store::Record| {
        let about = &record.about;
        let texts = about.captions.iter().chain(&about.keywords);
        let places = record.locations.iter();
        400 + texts.map(|text| text.len() + 24).sum::<usize>()
            + places
                .map(|place| place.path.as_os_str().len() + 40)
                .sum::<usize>()
    };
    one(&found.record) + found.folded.iter().map(one).sum::<usize>() + 200
}
