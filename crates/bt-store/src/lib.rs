//! The index on disk: truth in append-only segments, a catalog to find it fast, and derived files
//! (vectors, graph, words) that are published as generations and can be rebuilt at any time.
//!
//! What lies above sees [`Collection`] to read and [`Writer`] to write; nothing here knows of models or
//! pictures.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod collection;
mod error;
mod filter;
mod id;
mod path;
mod record;

pub use collection::{Collection, Facts, Header, Hit, ModelRef, Neighbours, Walk};
pub use error::{Error, Kind, Result};
pub use filter::Filter;
pub use id::{ContentHash, GenerationId, ModelId, NotAHash};
pub use record::{About, Change, Location, Record};

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

mod reader;
mod writer;
pub use reader::Reader;
pub use writer::{Progress, Stats, Writer};
mod verify;
pub use verify::{Finding, verify};

#[cfg(test)]
mod tests;
