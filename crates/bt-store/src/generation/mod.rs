//! Generations: everything that is derived from the segments, built aside and published as a whole.
//!
//! ```text
//! generations/
//!   current.json     the manifest of the current generation; replacing it publishes
//!   000007/          manifest.json, ids, vectors, codes, records, columns, graph (large indexes), words/
//!   000006/          the one before, for readers that are about to open it and as a fallback
//! ```
//!
//! `build` writes a folder, `publish` makes it current, `open` finds the newest sound one, `check` reads
//! every byte. Layouts: `layout` (heads), `table` and `columns` (rows), [`crate::graph`], [`crate::words`].
//! All of it can be deleted at any time: the truth is in [`crate::segment`].

mod build;
mod bytes;
mod check;
mod columns;
pub(crate) mod layout;
mod manifest;
mod open;
mod publish;
mod table;

#[cfg(test)]
pub(crate) use build::build_with;
pub(crate) use build::{Unpublished, build};
pub(crate) use check::verify;
pub(crate) use manifest::current;
pub(crate) use open::{Generation, current_id, open};
pub(crate) use publish::{collect_garbage, publish};
pub(crate) use table::Table;
