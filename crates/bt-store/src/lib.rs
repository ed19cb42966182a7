//! The index on disk: truth in append-only segments, a catalog to find it fast, and derived files
//! (vectors, graph, words) that are published as generations and can be rebuilt at any time.
//!
//! What lies above sees [`Collection`] to read and [`Writer`] to write; nothing here knows of models or
//! pictures.
//!
//! - When [`Writer::commit`] returns `Ok`, its changes survive a kill and a power cut; else all of them
//!   are there or none.
//! - One process writes, any number read meanwhile without a lock, and see whole commits at once.
//! - A damaged byte is noticed, named, and costs at most its record; damage to what is derived costs
//!   nothing. [`verify`] finds all of it.
//!
//! Layout and steps are in docs/store.md and docs/store-derived.md.
//!
//! ```
//! use bt_store::*;
//!
//! # fn main() -> Result<()> {
//! # let folder = tempfile::tempdir()?;
//! # let index = folder.path();
//! let mini = ModelRef { spec: "mini".into(), fit: "reference".into(), id: ModelId("7f3a".into()) };
//! let header = Header { model: mini, rerank: None, dim: 2, aligned_with_text: true };
//! let cat = Record {
//!     id: ContentHash::of(b"the file's bytes"),
//!     locations: vec![Location { path: "/photos/cat.jpg".into(), size: 16, mtime_ns: 0 }],
//!     about: About::default(),
//! };
//!
//! let mut writer = Writer::create_or_open(index, &header)?;
//! writer.commit(&[Change::Put { record: cat.clone(), embedding: vec![0.6, 0.8] }])?;
//!
//! let reader = Reader::open(index)?;
//! let found = reader.nearest(&[0.0, 1.0], &Filter::everything(), 10, Walk::Exact)?;
//! assert_eq!(found.hits[0].id, cat.id);
//! # Ok(())
//! # }
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod collection;
mod error;
mod filter;
mod folder;
mod id;
mod path;
mod record;

pub use collection::{Collection, Facts, Header, Hit, ModelRef, Neighbours, Walk};
pub use error::{Error, Kind, Result};
pub use filter::Filter;
pub use folder::{bytes_below, resolved};
pub use id::{ContentHash, GenerationId, ModelId, NotAHash};
pub use record::{About, Change, Location, Record};
pub use terms::{query_terms, terms};

mod bitset;
mod catalog;
mod dot;
mod generation;
mod graph;
mod header;
mod lock;
mod scan;
mod sealed;
mod segment;
mod stage;
mod storage;
mod terms;
mod words;

mod progress;
mod reader;
mod writer;
pub use progress::Progress;
pub use reader::Reader;
pub use writer::{Stats, Writer};
mod verify;
pub use verify::{Finding, verify};

#[cfg(test)]
mod tests;
