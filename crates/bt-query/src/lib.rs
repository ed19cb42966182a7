//! From a query to ranked, explained results.
//!
//! A [`Query`] is data; [`search()`] makes a [`Plan`] of it without any I/O, carries that out on a
//! [`bt_store::Collection`] with a [`Scorer`], and gives an [`Answer`]; [`render`] shows it. Neither files of the
//! index nor the graph of the model are known here.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
#[cfg(test)]
mod doubles;
mod error;
pub mod eval;
mod execute;
mod explain;
mod fuse;
mod group;
mod heat;
mod kept;
pub mod parse;
mod pictures;
mod plan;
mod query;
mod rank;
pub mod render;
mod rerank;
mod retrieve;
mod scorer;
pub mod sheet;
mod words;

pub use answer::{Answer, Found, Score, Stage, Why};
pub use error::{Error, Kind, PictureError, Result};
pub use execute::search;
pub use fuse::Ranked;
pub use heat::{Overlay, overlays};
pub use pictures::{ENOUGH_PIXELS, Opened, open, open_query_picture};
pub use plan::{Cut, Fuse, Keep, Plan, QueryVector, Rerank, Retrieve};
pub use query::{DEFAULT_LOOK_AT, DEFAULT_N, DEFAULT_RERANK, Example, Given, Query, Sort};
pub use rerank::Progress;
pub use scorer::{Abilities, Look, Models, Scorer};
