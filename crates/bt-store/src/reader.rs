//! A snapshot for searching: the newest sound generation, and the rows committed after it.
//!
//! The rows after it are read from the segments when the snapshot is opened and laid out in memory as a
//! generation's are ([`Table`]). A picture that they mention hides the row that the generation has for it.
//! Both are asked the same way, and their answers are merged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::bitset::Bitset;
use crate::collection::{Collection, Facts, Header, Hit, Neighbours, Walk};
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::generation::{self, Generation, Table};
use crate::header::read_header;
use crate::id::{ContentHash, GenerationId};
use crate::record::Record;
use crate::scan::{self, Query, Scored, Wanted};
use crate::segment::{Position, Segments, Stored};
use crate::words::{self, Words};

/// Needs no lock: any number may read while one process writes.
#[derive(Debug)]
pub struct Reader {
    index: PathBuf,
    facts: Facts,
    generation: Option<Arc<Generation>>,
    /// Rows of the generation that no later change hides.
    visible: Arc<Bitset>,
    tail: Table,
    tail_words: OnceLock<Words>,
    /// What the snapshot is of, to notice a newer one.
    seen: Seen,
    /// The last filter and what it allows: a search asks for the same one several times.
    last_filter: Mutex<Option<(Filter, Allowed)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    current: Option<GenerationId>,
    end: Position,
}

/// Allowed rows of both parts.
#[derive(Clone, Debug)]
struct Allowed {
    generation: Arc<Bitset>,
    tail: Arc<Bitset>,
}

impl Reader {
    /// Opens the newest state of an index.
    ///
    /// # Errors
    /// `NoIndex`, `NewerFormat`, and `Corrupt` when not even the segments can be read.
    pub fn open(index: &Path) -> Result<Self> {
        Self::open_beside(index, None)
    }

    /// Only the header, without opening any data: to know which model to load beside it.
    ///
    /// # Errors
    /// `NoIndex`, `NewerFormat`, and `Corrupt` when neither `index.json` nor a segment's head can be read.
    pub fn header(index: &Path) -> Result<Header> {
        read_header(index)
    }

    /// A reader of a newer state, if there is one. What has not changed is shared with this one.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn newer(&self) -> Result<Option<Self>> {
        let now = Seen {
            current: generation::current_id(&self.index),
            end: Segments::open(&self.index)?.end(),
        };
        if now == self.seen {
            return Ok(None);
        }
        Self::open_beside(&self.index, self.generation.as_ref()).map(Some)
    }

    fn open_beside(index: &Path, known: Option<&Arc<Generation>>) -> Result<Self> {
        let header = read_header(index)?;
        // Asked before: what is published while this is opened counts as newer.
        let current = generation::current_id(index);
        let (generation, segments, mut warnings) = open_both(index, &header, known)?;
        warnings.extend(segments.warnings().iter().map(ToString::to_string));
        let covers = generation
            .as_ref()
            .map_or(Position::START, |generation| generation.manifest.covers);

        let tail = Tail::read(&segments, covers, generation.as_deref(), &mut warnings)?;
        let table = Table::in_memory(header.dim, &tail.rows, index)?;
        let pictures = tail.visible.count() + table.rows();
        let manifest = generation.as_ref().map(|generation| &generation.manifest);
        let facts = Facts {
            header,
            pictures: pictures as u64,
            generation: manifest.map(|manifest| manifest.id),
            graph_rows: generation
                .as_ref()
                .filter(|generation| generation.graph().is_some())
                .map_or(0, |generation| generation.manifest.graph_rows),
            tail_rows: table.rows() as u64,
            warnings,
        };
        Ok(Self {
            index: index.to_owned(),
            facts,
            visible: Arc::new(tail.visible),
            tail: table,
            tail_words: OnceLock::new(),
            seen: Seen {
                current,
                end: segments.end(),
            },
            generation,
            last_filter: Mutex::new(None),
        })
    }

    fn allowed(&self, filter: &Filter) -> Result<Allowed> {
        // Not held while a filter is evaluated: others ask meanwhile.
        let last = || {
            self.last_filter
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some((of, allowed)) = &*last()
            && of == filter
        {
            return Ok(allowed.clone());
        }
        let everything = *filter == Filter::everything();
        let generation = match &self.generation {
            Some(generation) if !everything => {
                let mut rows = generation.table.allowed(filter)?;
                rows.and(&self.visible);
                Arc::new(rows)
            }
            _ => Arc::clone(&self.visible),
        };
        let allowed = Allowed {
            generation,
            tail: Arc::new(self.tail.allowed(filter)?),
        };
        *last() = Some((filter.clone(), allowed.clone()));
        Ok(allowed)
    }

    /// Merges answers of both parts, best first, ties by id.
    fn merge(&self, generation: &[Scored], tail: &[Scored], n: usize) -> Vec<Hit> {
        let from = |table: Option<&Table>, scored: &Scored| {
            table
                .and_then(|table| table.id(scored.row as usize))
                .map(|id| Hit {
                    id,
                    score: scored.score,
                })
        };
        let table = self.generation.as_ref().map(|generation| &generation.table);
        let mut hits: Vec<Hit> = generation
            .iter()
            .filter_map(|scored| from(table, scored))
            .chain(
                tail.iter()
                    .filter_map(|scored| from(Some(&self.tail), scored)),
            )
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        hits.truncate(n);
        hits
    }

    /// The part and the row that a picture has in this snapshot.
    fn find(&self, id: &ContentHash) -> Option<(&Table, usize)> {
        if let Some(row) = self.tail.find(id) {
            return Some((&self.tail, row));
        }
        let table = &self.generation.as_ref()?.table;
        let row = table.find(id).filter(|row| self.visible.contains(*row))?;
        Some((table, row))
    }

    /// Up to `n` ids from `from` on in order, as long as `go_on` holds.
    fn in_order(
        &self,
        allowed: &Allowed,
        from: &ContentHash,
        n: usize,
        go_on: impl Fn(&ContentHash) -> bool,
    ) -> Vec<ContentHash> {
        let ids = |table: Option<&Table>, rows: &Bitset| -> Vec<ContentHash> {
            let Some(table) = table else {
                return Vec::new();
            };
            (table.first_from(from)..table.rows())
                .filter(|row| rows.contains(*row))
                .filter_map(|row| table.id(row))
                .take_while(|id| go_on(id))
                .take(n)
                .collect()
        };
        let table = self.generation.as_ref().map(|generation| &generation.table);
        let mut found = ids(table, &allowed.generation);
        found.extend(ids(Some(&self.tail), &allowed.tail));
        found.sort_unstable();
        found.truncate(n);
        found
    }

    /// Words of the tail, gathered when first asked for.
    fn tail_words(&self) -> Result<&Words> {
        if let Some(words) = self.tail_words.get() {
            return Ok(words);
        }
        let words = Words::in_memory(self.tail.records())?;
        Ok(self.tail_words.get_or_init(|| words))
    }
}

/// Opens the newest generation and, after it, the segments, so that they hold at least what it covers. A
/// generation that does not fit the segments (a compaction has rewritten them) is left out, unless it
/// was replaced meanwhile.
fn open_both(
    index: &Path,
    header: &Header,
    known: Option<&Arc<Generation>>,
) -> Result<(Option<Arc<Generation>>, Segments, Vec<String>)> {
    const TRIES: usize = 5;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let (generation, mut warnings) = generation::open(index, header, known)?;
        let segments = Segments::open(index)?;
        let Some(generation) = generation else {
            return Ok((None, segments, warnings));
        };
        if segments.continues(generation.manifest.covers) {
            return Ok((Some(generation), segments, warnings));
        }
        if attempt == TRIES || generation::current_id(index) == Some(generation.manifest.id) {
            warnings.push(format!(
                "generation {} was made before the segments were rewritten and is not used; \
                 `bt-index --compact` makes a new one",
                generation.manifest.id.0
            ));
            return Ok((None, segments, warnings));
        }
    }
}

/// What was committed after a generation.
struct Tail {
    /// By id.
    rows: Vec<(Record, Vec<f16>)>,
    visible: Bitset,
}

impl Tail {
    /// Replays the changes after a position; damaged ones are left out with a warning.
    fn read(
        segments: &Segments,
        covers: Position,
        generation: Option<&Generation>,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let table = generation.map(|generation| &generation.table);
        // `None` is a picture that was removed.
        let mut changed: BTreeMap<ContentHash, Option<(Record, Vec<f16>)>> = BTreeMap::new();
        for change in segments.changes_since(covers) {
            match change {
                Ok(Stored::Put { record, embedding }) => {
                    changed.insert(record.id, Some((record, embedding)));
                }
                Ok(Stored::Update(record)) => match changed.get_mut(&record.id) {
                    Some(Some(row)) => row.0 = record,
                    Some(None) => {}
                    None => {
                        let vector = table.and_then(|table| table.vector(table.find(&record.id)?));
                        if let Some(vector) = vector {
                            changed.insert(record.id, Some((record, vector.to_vec())));
                        }
                    }
                },
                Ok(Stored::Remove(id)) => {
                    changed.insert(id, None);
                }
                Err(error @ Error::Corrupt { .. }) => warnings.push(error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let mut visible = Bitset::all(table.map_or(0, Table::rows));
        for id in changed.keys() {
            if let Some(row) = table.and_then(|table| table.find(id)) {
                visible.remove(row);
            }
        }
        Ok(Self {
            rows: changed.into_values().flatten().collect(),
            visible,
        })
    }
}

impl Collection for Reader {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        let allowed = self.allowed(filter)?;
        Ok((allowed.generation.count() + allowed.tail.count()) as u64)
    }

    fn nearest(&self, query: &[f32], filter: &Filter, n: usize, walk: Walk) -> Result<Neighbours> {
        let query = Query::new(query, self.facts.header.dim)?;
        let allowed = self.allowed(filter)?;
        let (mut hits, mut walked) = (Vec::new(), Walk::Exact);
        if let Some(generation) = &self.generation {
            let matrix = generation.table.matrix();
            let by_graph = match walk {
                Walk::Graph { ef_search } => generation.graph().and_then(|graph| {
                    graph.nearest(&matrix, &query, &allowed.generation, n, ef_search)
                }),
                Walk::Exact => None,
            };
            if by_graph.is_some() {
                walked = walk;
            }
            hits = by_graph.unwrap_or_else(|| {
                let wanted = Wanted {
                    query: query.clone(),
                    allowed: Arc::clone(&allowed.generation),
                    n,
                };
                let scans = generation.scans();
                scans.scan(wanted, |all| scan::nearest_of_each(&matrix, all))
            });
        }
        let wanted = Wanted {
            query,
            allowed: allowed.tail,
            n,
        };
        let tail = scan::nearest(&self.tail.matrix(), &wanted);
        Ok(Neighbours {
            hits: self.merge(&hits, &tail, n),
            walk: walked,
        })
    }

    fn by_words(&self, text: &str, filter: &Filter, n: usize) -> Result<Vec<Hit>> {
        let allowed = self.allowed(filter)?;
        let generation = self.generation.as_ref();
        let mut parts: Vec<(&Words, &Bitset)> = Vec::new();
        let generation_words = generation.and_then(|generation| generation.words());
        if let Some(words) = generation_words {
            parts.push((words, &allowed.generation));
        }
        if self.tail.rows() > 0 {
            parts.push((self.tail_words()?, &allowed.tail));
        }
        let mut found = words::search_guarded(&parts, text, n)
            .map_err(|what| Error::Corrupt {
                path: generation.map_or_else(
                    || self.index.clone(),
                    |generation| generation.words_folder(),
                ),
                what,
            })?
            .into_iter();
        let mut next = |there: bool| there.then(|| found.next()).flatten().unwrap_or_default();
        let in_generation = next(generation_words.is_some());
        let in_tail = next(self.tail.rows() > 0);
        Ok(self.merge(&in_generation, &in_tail, n))
    }

    fn fetch(&self, ids: &[ContentHash]) -> Result<Vec<Option<Record>>> {
        ids.iter()
            .map(|id| {
                self.find(id)
                    .map(|(table, row)| table.record(row))
                    .transpose()
            })
            .collect()
    }

    fn embeddings(&self, ids: &[ContentHash]) -> Result<Vec<Option<Vec<f32>>>> {
        let vector = |id| {
            let (table, row) = self.find(id)?;
            Some(table.vector(row)?.to_f32_vec())
        };
        Ok(ids.iter().map(vector).collect())
    }

    fn scan(
        &self,
        filter: &Filter,
        after: Option<ContentHash>,
        n: usize,
    ) -> Result<Vec<ContentHash>> {
        let allowed = self.allowed(filter)?;
        let from = after.unwrap_or(ContentHash([0; 32]));
        // One more, for the one after which it begins.
        let mut ids = self.in_order(&allowed, &from, n.saturating_add(1), |_| true);
        ids.retain(|id| Some(*id) != after);
        ids.truncate(n);
        Ok(ids)
    }

    fn with_id_prefix(&self, prefix: &str, n: usize) -> Result<Vec<ContentHash>> {
        let prefix = prefix.to_ascii_lowercase();
        if prefix.len() > 64 {
            return Ok(Vec::new());
        }
        // What is no number has no pictures.
        let Ok(from) = format!("{prefix:0<64}").parse::<ContentHash>() else {
            return Ok(Vec::new());
        };
        let allowed = self.allowed(&Filter::everything())?;
        Ok(self.in_order(&allowed, &from, n, |id| id.to_string().starts_with(&prefix)))
    }
}

#[cfg(test)]
mod tests;
