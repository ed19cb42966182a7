//! Approximate nearest neighbours: a navigable small-world graph over the rows of a generation.
//!
//! `hnsw_rs` builds the graph (Malkov and Yashunin, arXiv 1603.09320), over row numbers, with distances
//! taken from the generation's 8-bit codes, so that no vector is copied. What is kept on disk is our own
//! flat form of its bottom layer, which is mapped and walked in place: opening costs nothing, a damaged
//! number can lead to a wrong row but never out of bounds, and a filter is part of the walk. The upper
//! layers serve to find an entry; comparing a few thousand of their rows does that as fast and more surely.
//!
//! Rows that a walk does not reach (`hnsw_rs` leaves some when it inserts in parallel) are linked again,
//! or listed and compared beside every walk. The exact scan is in `scan`.
//!
//! Body of the file, in 32-bit words: rows, links per row, number of entries, number of stray rows; the
//! entries; the stray rows; then for each row its links, padded with [`NO_LINK`].

use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use hnsw_rs::prelude::{Distance, Hnsw};
use rayon::prelude::*;

use crate::bitset::Bitset;
use crate::dot;
use crate::scan::{self, Best, Matrix, Query, Scored};

/// Links of a row in the upper layers; twice as many at the bottom. 16 is the value of the paper's
/// experiments for some hundred dimensions: 128 bytes a row.
const LINKS: usize = 16;
const BOTTOM_LINKS: usize = 2 * LINKS;

/// Breadth while building. Over 10,000 rows without structure (128 components), recall@10 of a walk of
/// breadth 64 was 0.954, and 0.976 with 200 here, which took half as long again; a walk of breadth 128
/// (0.979) makes up for that at a fifth of a millisecond a query.
const EF_CONSTRUCTION: usize = 100;

/// Layers that `hnsw_rs` allows at most.
const LAYERS: usize = 16;

/// Entries compared at the start of a walk, at most.
const MAX_ENTRIES: usize = 4096;

/// Entries a walk starts from: several, so that no cluster hides the others.
const STARTS: usize = 8;

/// Every row is searched by itself after a build of at most this many rows, else a sample.
const CHECK_ALL: usize = 50_000;
const CHECK_SAMPLE: usize = 10_000;
const CHECK_EF: usize = 64;

/// The rows that a filter leaves are compared directly when there are at most this many...
const ALLOWED_FEW: usize = 10_000;
/// ... or when a walk would meet less than one of them in this many rows.
const ALLOWED_SPARSE: usize = 10;

/// A walk that has seen this part of all rows costs more than comparing them all in order.
const SEEN_AT_MOST: usize = 8;

/// Fills the unused links of a row.
const NO_LINK: u32 = u32::MAX;

const HEAD_WORDS: usize = 4;

/// A graph as it is built, before it is written.
#[derive(Debug)]
pub(crate) struct Built {
    entries: Vec<u32>,
    stray: Vec<u32>,
    links: Vec<u32>,
}

/// A graph as it lies in a mapped file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Graph<'a> {
    entries: &'a [u32],
    stray: &'a [u32],
    links: &'a [u32],
    per_row: usize,
}

/// Distances between coded rows.
struct CodeDistance<'a> {
    matrix: Matrix<'a>,
    stride: usize,
}

impl Distance<u32> for CodeDistance<'_> {
    fn eval(&self, a: &[u32], b: &[u32]) -> f32 {
        let part = |row: &[u32]| {
            let row = *row.first()? as usize;
            let codes = self
                .matrix
                .codes
                .get(row * self.stride..(row + 1) * self.stride)?;
            Some((codes, self.matrix.scales.get(row)?.scale))
        };
        match (part(a), part(b)) {
            (Some((a, scale_a)), Some((b, scale_b))) => {
                let cosine = scale_a * scale_b * dot::row_with_row(a, b) as f32;
                // `hnsw_rs` panics on a distance that is negative or no number.
                if cosine < 1.0 { 1.0 - cosine } else { 0.0 }
            }
            _ => 2.0,
        }
    }
}

impl Built {
    /// Builds over all rows; `on` hears how many are in. `None` when `hnsw_rs` gave up.
    pub(crate) fn new(matrix: &Matrix<'_>, on: &mut dyn FnMut(usize)) -> Option<Self> {
        let built = catch_unwind(AssertUnwindSafe(|| Self::insert_all(matrix, on))).ok()?;
        let mut built = built?;
        built.link_islands(matrix);
        built.list_strays(matrix);
        Some(built)
    }

    fn insert_all(matrix: &Matrix<'_>, on: &mut dyn FnMut(usize)) -> Option<Self> {
        /// The first rows go in one by one: a sound core loses fewer rows later.
        const CORE: usize = 512;
        const BATCH: usize = 2048;
        let rows = matrix.scales.len();
        let distance = CodeDistance {
            matrix: *matrix,
            stride: scan::code_stride(matrix.dim),
        };
        let hnsw = Hnsw::new(LINKS, rows, LAYERS, EF_CONSTRUCTION, distance);
        let numbers: Vec<u32> = (0..u32::try_from(rows).ok()?).collect();
        for (row, number) in numbers.chunks(1).enumerate().take(CORE) {
            hnsw.insert((number, row));
        }
        for batch in numbers.get(CORE..).unwrap_or_default().chunks(BATCH) {
            let batch: Vec<(&[u32], usize)> = batch
                .chunks(1)
                .map(|number| (number, number[0] as usize))
                .collect();
            hnsw.parallel_insert_slice(&batch);
            on(batch.last().map_or(0, |(_, row)| row + 1));
        }

        let mut links = vec![NO_LINK; rows * BOTTOM_LINKS];
        let mut layers = vec![Vec::new(); LAYERS];
        let points = hnsw.get_point_indexation();
        for (layer, in_layer) in layers.iter_mut().enumerate() {
            if layer > usize::from(points.get_max_level_observed()) {
                break;
            }
            for point in points.get_layer_iterator(layer) {
                let row = point.get_origin_id();
                in_layer.push(u32::try_from(row).ok()?);
                let neighbours = point.get_neighborhood_id();
                let mut slots = links
                    .get_mut(row * BOTTOM_LINKS..(row + 1) * BOTTOM_LINKS)?
                    .iter_mut();
                for neighbour in neighbours.first()? {
                    if neighbour.d_id != row
                        && let Some(slot) = slots.next()
                    {
                        *slot = u32::try_from(neighbour.d_id).ok()?;
                    }
                }
            }
        }
        let entries = choose_entries(&layers);
        Some(Self {
            entries,
            stray: Vec::new(),
            links,
        })
    }

    fn view(&self) -> Graph<'_> {
        Graph {
            entries: &self.entries,
            stray: &self.stray,
            links: &self.links,
            per_row: BOTTOM_LINKS,
        }
    }

    /// Gives every row that no path leads to a link from a row near it.
    fn link_islands(&mut self, matrix: &Matrix<'_>) {
        let rows = matrix.scales.len();
        let mut reached = Bitset::none(rows);
        self.reach(&mut reached, self.entries.clone());
        for row in 0..rows {
            if reached.contains(row) {
                continue;
            }
            let Some(query) = Query::of_row(matrix, row) else {
                continue;
            };
            let near = self.view().walk(matrix, &query, CHECK_EF, &reached);
            let free = near.unwrap_or_default().into_iter().find_map(|scored| {
                let start = scored.row as usize * BOTTOM_LINKS;
                (start..start + BOTTOM_LINKS).find(|&slot| self.links.get(slot) == Some(&NO_LINK))
            });
            if let Some(slot) = free {
                self.links[slot] = row as u32;
                self.reach(&mut reached, vec![row as u32]);
            }
        }
        self.stray = (0..rows)
            .filter(|&row| !reached.contains(row))
            .map(|row| row as u32)
            .collect();
    }

    /// Marks what can be reached from `open`.
    fn reach(&self, reached: &mut Bitset, mut open: Vec<u32>) {
        while let Some(row) = open.pop() {
            if reached.contains(row as usize) {
                continue;
            }
            reached.insert(row as usize);
            open.extend(self.view().links_of(row));
        }
    }

    /// Searches rows by themselves and lists those that are not found.
    fn list_strays(&mut self, matrix: &Matrix<'_>) {
        let rows = matrix.scales.len();
        let step = if rows <= CHECK_ALL {
            1
        } else {
            rows / CHECK_SAMPLE
        };
        let all = Bitset::all(rows);
        let found: Vec<u32> = (0..rows.div_ceil(step))
            .into_par_iter()
            .map(|index| index * step)
            .filter(|&row| {
                let Some(query) = Query::of_row(matrix, row) else {
                    return true;
                };
                let near = self
                    .view()
                    .walk(matrix, &query, CHECK_EF, &all)
                    .unwrap_or_default();
                let own = query.approximate(matrix, row);
                // Found, or hidden only by rows just as near.
                !near.iter().any(|scored| scored.row as usize == row)
                    && near.last().is_none_or(|last| last.score < own)
            })
            .map(|row| row as u32)
            .collect();
        self.stray.extend(found);
        self.stray.sort_unstable();
        self.stray.dedup();
    }

    /// The body of the file.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let head = [
            self.links.len() / BOTTOM_LINKS,
            BOTTOM_LINKS,
            self.entries.len(),
            self.stray.len(),
        ];
        for word in head {
            let word = u32::try_from(word).map_err(io::Error::other)?;
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(bytemuck::cast_slice(&self.entries))?;
        out.write_all(bytemuck::cast_slice(&self.stray))?;
        out.write_all(bytemuck::cast_slice(&self.links))
    }
}

/// The upper layers from the top, and of the first that is too large as many as there is room for,
/// spread over all of it: rows come in folder by folder, and each cluster should have an entry.
fn choose_entries(layers: &[Vec<u32>]) -> Vec<u32> {
    let mut entries: Vec<u32> = Vec::new();
    for layer in layers.iter().rev() {
        let room = MAX_ENTRIES - entries.len();
        if layer.len() > room {
            entries.extend((0..room).filter_map(|place| layer.get(place * layer.len() / room)));
            break;
        }
        entries.extend(layer);
    }
    entries
}

impl<'a> Graph<'a> {
    /// Reads the body of a file; an error says what is wrong with it.
    pub(crate) fn read(body: &'a [u8], rows: usize) -> Result<Self, String> {
        let words: &[u32] =
            bytemuck::try_cast_slice(body).map_err(|_| "its length is odd".to_owned())?;
        let Some((&[of_rows, per_row, entries, stray], rest)) =
            words.split_first_chunk::<HEAD_WORDS>()
        else {
            return Err("it ends within its head".into());
        };
        let (of_rows, per_row) = (of_rows as usize, per_row as usize);
        let (entries, stray) = (entries as usize, stray as usize);
        if of_rows != rows || per_row == 0 {
            return Err(format!("it covers {of_rows} rows instead of {rows}"));
        }
        let expected = rows
            .checked_mul(per_row)
            .and_then(|links| links.checked_add(entries + stray));
        if expected != Some(rest.len()) {
            return Err(format!("it has {} words behind its head", rest.len()));
        }
        let (entries, rest) = rest.split_at(entries);
        let (stray, links) = rest.split_at(stray);
        Ok(Self {
            entries,
            stray,
            links,
            per_row,
        })
    }

    fn links_of(&self, row: u32) -> impl Iterator<Item = u32> + use<'a> {
        let start = row as usize * self.per_row;
        self.links
            .get(start..start + self.per_row)
            .unwrap_or_default()
            .iter()
            .copied()
            .take_while(|&link| link != NO_LINK)
    }

    /// The best `n` of the allowed rows, exactly `min(n, allowed)`, or `None` where comparing all allowed
    /// rows is the better way: few of them, or too few reached.
    pub(crate) fn nearest(
        &self,
        matrix: &Matrix<'_>,
        query: &Query,
        allowed: &Bitset,
        n: usize,
        ef_search: usize,
    ) -> Option<Vec<Scored>> {
        let rows = matrix.scales.len();
        let count = allowed.count();
        let few = count <= ALLOWED_FEW && count < rows / 2;
        if few || count < rows / ALLOWED_SPARSE {
            return None;
        }
        let ef = ef_search.max(n);
        if ef >= rows / SEEN_AT_MOST {
            return None;
        }
        let walked = self.walk(matrix, query, ef, allowed)?;
        if walked.len() < n.min(count) {
            return None;
        }
        let mut candidates: Vec<u32> = walked.into_iter().map(|scored| scored.row).collect();
        candidates.extend(
            self.stray
                .iter()
                .filter(|&&row| allowed.contains(row as usize)),
        );
        candidates.sort_unstable();
        candidates.dedup();
        Some(scan::rescore(matrix, query, candidates, n))
    }

    /// The `ef` best allowed rows reached, by codes, best first. `None` when too many rows were seen.
    fn walk(
        &self,
        matrix: &Matrix<'_>,
        query: &Query,
        ef: usize,
        allowed: &Bitset,
    ) -> Option<Vec<Scored>> {
        let rows = matrix.scales.len();
        let score = |row: u32| Scored {
            score: query.approximate(matrix, row as usize),
            row,
        };
        let mut starts = Best::new(STARTS);
        for &row in self.entries.iter().filter(|&&row| (row as usize) < rows) {
            starts.offer(score(row));
        }
        let mut seen = Bitset::none(rows);
        let mut seen_count = 0;
        let mut found = Best::new(ef);
        // The best on top.
        let mut open = BinaryHeap::new();
        for start in starts.into_sorted() {
            seen.insert(start.row as usize);
            open.push(std::cmp::Reverse(start));
            if allowed.contains(start.row as usize) {
                found.offer(start);
            }
        }
        while let Some(std::cmp::Reverse(next)) = open.pop() {
            if found.worst().is_some_and(|worst| next > worst) {
                break;
            }
            for row in self.links_of(next.row) {
                if row as usize >= rows || seen.contains(row as usize) {
                    continue;
                }
                seen.insert(row as usize);
                seen_count += 1;
                let scored = score(row);
                if found.worst().is_none_or(|worst| scored < worst) {
                    open.push(std::cmp::Reverse(scored));
                    if allowed.contains(row as usize) {
                        found.offer(scored);
                    }
                }
            }
            if seen_count > ef.max(rows / SEEN_AT_MOST).max(MAX_ENTRIES) {
                return None;
            }
        }
        Some(found.into_sorted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::{Owned, Random, clustered, naive, scan};

    const DIM: usize = 32;

    #[test]
    fn entries_fill_what_is_allowed_and_are_spread_over_the_layer_that_does_not_fit() {
        let upper: Vec<u32> = (0..260).collect();
        let lower: Vec<u32> = (1_000..5_000).collect();
        let bottom: Vec<u32> = (10_000..90_000).collect();
        let few = choose_entries(&[Vec::new(), lower.clone(), upper.clone()]);
        assert_eq!(few.len(), MAX_ENTRIES);
        let many = choose_entries(&[bottom, lower, upper]);
        assert_eq!(many.len(), MAX_ENTRIES);
        assert!(few.starts_with(&many[..260]));
        assert!(many.contains(&1_000) && many.iter().any(|row| (4_990..5_000).contains(row)));
        let all = choose_entries(&[vec![7, 8, 9], vec![4]]);
        assert_eq!(all, [4, 7, 8, 9]);
    }

    fn built(rows: usize) -> (Owned, Vec<u8>) {
        let owned = Owned::new(DIM, &clustered(11, rows, DIM, 200));
        let mut told = 0;
        let graph = Built::new(&owned.matrix(), &mut |done| told = done).unwrap();
        assert_eq!(told, rows);
        let mut body = Vec::new();
        graph.write(&mut body).unwrap();
        (owned, body)
    }

    /// Bytes that begin at a multiple of four.
    fn aligned(body: &[u8]) -> Vec<u32> {
        body.chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    }

    #[test]
    fn a_walk_finds_nearly_all_and_a_filter_is_never_broken() {
        let rows = 12_000;
        let (owned, body) = built(rows);
        let matrix = owned.matrix();
        let words = aligned(&body);
        let graph = Graph::read(bytemuck::cast_slice(&words), rows).unwrap();
        let mut random = Random(5);
        let queries: Vec<Query> = clustered(11, 100, DIM, 200)
            .iter()
            .map(|row| {
                let noise = random.unit(DIM);
                let query: Vec<f32> = row.iter().zip(&noise).map(|(a, b)| a + 0.3 * b).collect();
                Query::new(&query, DIM).unwrap()
            })
            .collect();
        for (keep, must_walk) in [(1, true), (2, false), (100, false), (1000, false)] {
            let allowed = Bitset::of(rows, |_| random.below(keep) == 0);
            let (mut hits, mut wanted) = (0, 0);
            for query in &queries {
                let exact = naive(&matrix, query, &allowed, 10);
                let got = graph.nearest(&matrix, query, &allowed, 10, 100);
                assert!(got.is_some() || !must_walk);
                let got = got.unwrap_or_else(|| scan(&matrix, query, &allowed, 10));
                assert_eq!(got.len(), exact.len());
                assert!(
                    got.iter()
                        .all(|scored| allowed.contains(scored.row as usize))
                );
                assert!(got.is_sorted());
                wanted += exact.len();
                hits += got.iter().filter(|scored| exact.contains(scored)).count();
            }
            let recall = hits as f64 / wanted as f64;
            assert!(
                recall >= 0.95,
                "recall@10 {recall} with one row in {keep} allowed"
            );
        }
    }

    #[test]
    fn every_row_finds_itself() {
        let rows = 5000;
        let (owned, body) = built(rows);
        let matrix = owned.matrix();
        let words = aligned(&body);
        let graph = Graph::read(bytemuck::cast_slice(&words), rows).unwrap();
        let all = Bitset::all(rows);
        for row in 0..rows {
            let query = Query::of_row(&matrix, row).unwrap();
            let got = graph.nearest(&matrix, &query, &all, 1, CHECK_EF).unwrap();
            assert_eq!(got[0].row as usize, row);
        }
    }

    #[test]
    fn rows_cut_off_from_the_graph_are_linked_again_or_listed() {
        let rows = 3000;
        let owned = Owned::new(DIM, &clustered(3, rows, DIM, 20));
        let matrix = owned.matrix();
        let mut graph = Built::new(&matrix, &mut |_| ()).unwrap();
        for cut in [17u32, 99, 1234] {
            for link in &mut graph.links {
                if *link == cut {
                    *link = graph.entries[0];
                }
            }
            graph.entries.retain(|&entry| entry != cut);
        }
        graph.link_islands(&matrix);
        graph.list_strays(&matrix);
        let all = Bitset::all(rows);
        for row in [17, 99, 1234] {
            let query = Query::of_row(&matrix, row).unwrap();
            let got = graph
                .view()
                .nearest(&matrix, &query, &all, 1, CHECK_EF)
                .unwrap();
            assert_eq!(got[0].row as usize, row);
        }
    }

    #[test]
    fn damage_is_an_error_or_a_worse_answer_but_never_a_panic() {
        let rows = 2000;
        let (owned, body) = built(rows);
        let matrix = owned.matrix();
        let all = Bitset::all(rows);
        let query = Query::of_row(&matrix, 3).unwrap();
        for cut in [0, 3, 8, 16, 400, body.len() - 4] {
            let words = aligned(&body[..cut]);
            assert!(Graph::read(bytemuck::cast_slice(&words), rows).is_err());
        }
        assert!(Graph::read(bytemuck::cast_slice(&aligned(&body)), rows + 1).is_err());
        let mut random = Random(1);
        for _ in 0..300 {
            let mut words = aligned(&body);
            for _ in 0..20 {
                let at = random.below(words.len());
                words[at] ^= 1 << random.below(32);
            }
            if let Ok(graph) = Graph::read(bytemuck::cast_slice(&words), rows)
                && let Some(got) = graph.nearest(&matrix, &query, &all, 10, 50)
            {
                assert_eq!(got.len(), 10);
            }
        }
    }

    /// Prints figures; run with `--ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn building_and_walking_a_large_graph() {
        let (rows, dim) = (20_000, 512);
        let owned = Owned::new(dim, &clustered(1, rows, dim, 500));
        let matrix = owned.matrix();
        let start = std::time::Instant::now();
        let graph = Built::new(&matrix, &mut |_| ()).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "built {rows} x {dim} in {seconds:.1} s, {:.0} rows/s; {} entries, {} stray",
            rows as f64 / seconds,
            graph.entries.len(),
            graph.stray.len()
        );
        let mut random = Random(5);
        let all = Bitset::all(rows);
        let queries: Vec<Query> = (0..200)
            .map(|_| {
                let row = random.below(rows);
                let noise = random.unit(dim);
                let row = &owned.vectors[row * dim..(row + 1) * dim];
                let query: Vec<f32> = row
                    .iter()
                    .zip(&noise)
                    .map(|(a, b)| a.to_f32() + 0.3 * b)
                    .collect();
                Query::new(&query, dim).unwrap()
            })
            .collect();
        for ef in [32, 64, 128, 256] {
            let (mut hits, mut seconds) = (0, 0.0);
            for query in &queries {
                let exact = scan(&matrix, query, &all, 10);
                let start = std::time::Instant::now();
                let got = graph.view().nearest(&matrix, query, &all, 10, ef).unwrap();
                seconds += start.elapsed().as_secs_f64();
                hits += got.iter().filter(|scored| exact.contains(scored)).count();
            }
            eprintln!(
                "ef {ef}: recall@10 {:.4}, {:.3} ms a query",
                hits as f64 / 2000.0,
                seconds * 1e3 / 200.0
            );
        }
    }
}
