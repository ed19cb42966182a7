//! A snapshot for searching: the newest sound generation, and the rows committed after it.

use std::path::Path;

use crate::collection::{Collection, Facts, Header, Hit, Neighbours, Walk};
use crate::error::Result;
use crate::filter::Filter;
use crate::id::ContentHash;
use crate::record::Record;

/// Needs no lock: any number may read while one process writes.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Opens the newest state of an index.
    pub fn open(_index: &Path) -> Result<Self> {
        unimplemented!()
    }
    /// Only the header, without opening any data: to know which model to load beside it.
    pub fn header(_index: &Path) -> Result<Header> {
        unimplemented!()
    }
    /// A reader of a newer state, if there is one.
    pub fn newer(&self) -> Result<Option<Self>> {
        unimplemented!()
    }
}

impl Collection for Reader {
    fn facts(&self) -> &Facts {
        unimplemented!()
    }
    fn count(&self, _filter: &Filter) -> Result<u64> {
        unimplemented!()
    }
    fn nearest(&self, _q: &[f32], _f: &Filter, _n: usize, _w: Walk) -> Result<Neighbours> {
        unimplemented!()
    }
    fn by_words(&self, _text: &str, _filter: &Filter, _n: usize) -> Result<Vec<Hit>> {
        unimplemented!()
    }
    fn fetch(&self, _ids: &[ContentHash]) -> Result<Vec<Option<Record>>> {
        unimplemented!()
    }
    fn embeddings(&self, _ids: &[ContentHash]) -> Result<Vec<Option<Vec<f32>>>> {
        unimplemented!()
    }
    fn scan(
        &self,
        _filter: &Filter,
        _after: Option<ContentHash>,
        _n: usize,
    ) -> Result<Vec<ContentHash>> {
        unimplemented!()
    }
    fn with_id_prefix(&self, _prefix: &str, _n: usize) -> Result<Vec<ContentHash>> {
        unimplemented!()
    }
}
