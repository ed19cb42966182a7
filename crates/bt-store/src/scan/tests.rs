//! Exact search against comparing every row; vectors for the tests of others.

use super::*;

/// A small generator, so that a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 33);
        x.wrapping_mul(0xff51_afd7_ed55_8ccd) ^ (x >> 29)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n
    }

    /// Roughly normal.
    pub(crate) fn normal(&mut self) -> f32 {
        let sum: f32 = (0..4)
            .map(|_| (self.next() >> 40) as f32 / (1u64 << 24) as f32)
            .sum();
        (sum - 2.0) * 1.732
    }

    pub(crate) fn unit(&mut self, dim: usize) -> Vec<f32> {
        unit((0..dim).map(|_| self.normal()).collect())
    }
}

pub(crate) fn unit(vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.into_iter().map(|x| x / length).collect()
}

/// Unit vectors around `centres` directions, as embeddings of pictures are.
pub(crate) fn clustered(seed: u64, rows: usize, dim: usize, centres: usize) -> Vec<Vec<f32>> {
    let mut random = Random(seed);
    let centres: Vec<_> = (0..centres).map(|_| random.unit(dim)).collect();
    (0..rows)
        .map(|_| {
            let centre = &centres[random.below(centres.len())];
            let noise = random.unit(dim);
            unit(
                centre
                    .iter()
                    .zip(&noise)
                    .map(|(c, x)| c + 0.8 * x)
                    .collect(),
            )
        })
        .collect()
}

#[derive(Default)]
pub(crate) struct Owned {
    pub(crate) dim: usize,
    pub(crate) vectors: Vec<f16>,
    pub(crate) codes: Vec<i8>,
    pub(crate) scales: Vec<RowScale>,
}

impl Owned {
    pub(crate) fn new(dim: usize, rows: &[Vec<f32>]) -> Self {
        let mut owned = Self {
            dim,
            ..Self::default()
        };
        for row in rows {
            let row: Vec<f16> = row.iter().map(|&x| f16::from_f32(x)).collect();
            let mut codes = vec![0; code_stride(dim)];
            owned.scales.push(encode(&row, &mut codes));
            owned.codes.extend(codes);
            owned.vectors.extend(row);
        }
        owned
    }

    pub(crate) fn matrix(&self) -> Matrix<'_> {
        Matrix {
            dim: self.dim,
            vectors: &self.vectors,
            codes: &self.codes,
            scales: &self.scales,
        }
    }
}

pub(crate) fn naive(matrix: &Matrix<'_>, query: &Query, allowed: &Bitset, n: usize) -> Vec<Scored> {
    let mut all: Vec<_> = (0..allowed.rows())
        .filter(|row| allowed.contains(*row))
        .map(|row| Scored {
            score: query.exact(matrix, row, &mut Vec::new()),
            row: row as u32,
        })
        .collect();
    all.sort();
    all.truncate(n);
    all
}

/// What a scan for this query alone finds.
pub(crate) fn scan(matrix: &Matrix<'_>, query: &Query, allowed: &Bitset, n: usize) -> Vec<Scored> {
    let wanted = Wanted {
        query: query.clone(),
        allowed: Arc::new(allowed.clone()),
        n,
    };
    nearest(matrix, &wanted)
}

#[test]
fn the_result_is_that_of_comparing_every_row() {
    let mut random = Random(7);
    for dim in [1, 3, 8, 31, 32, 100, 192] {
        for rows in [0, 1, 63, 64, 65, 3000, 20_000] {
            if rows > 3000 && dim != 100 {
                continue;
            }
            let owned = Owned::new(dim, &clustered(random.next(), rows, dim, 7));
            let matrix = owned.matrix();
            for n in [0, 1, 10, rows / 2 + 1, rows + 5] {
                let query = Query::new(&random.unit(dim), dim).unwrap();
                for keep in [1, 2, 50] {
                    let allowed = Bitset::of(rows, |_| random.below(keep) == 0);
                    let got = scan(&matrix, &query, &allowed, n);
                    assert_eq!(got, naive(&matrix, &query, &allowed, n));
                    assert_eq!(got.len(), n.min(allowed.count()));
                }
            }
        }
    }
}

#[test]
fn queries_that_share_a_pass_find_what_each_finds_alone() {
    let mut random = Random(8);
    for rows in [0, 65, 3000, 20_000] {
        let owned = Owned::new(40, &clustered(random.next(), rows, 40, 7));
        let matrix = owned.matrix();
        for queries in [0, 1, 2, 3, 7, 16] {
            let wanted: Vec<Wanted> = (0..queries)
                .map(|_| {
                    let keep = [1, 3, 100][random.below(3)];
                    Wanted {
                        query: Query::new(&random.unit(40), 40).unwrap(),
                        // An index that grew since a filter was evaluated has more rows than it speaks of.
                        allowed: Arc::new(Bitset::of(rows - random.below(rows / 4 + 1), |_| {
                            random.below(keep) == 0
                        })),
                        n: [0, 1, 10, 200, rows + 1][random.below(5)],
                    }
                })
                .collect();
            let found = nearest_of_each(&matrix, &wanted.iter().collect::<Vec<_>>());
            assert_eq!(found.len(), queries);
            for (wanted, found) in wanted.iter().zip(found) {
                let Wanted { query, allowed, n } = wanted;
                assert_eq!(found, naive(&matrix, query, allowed, *n));
            }
        }
    }
}

#[test]
fn equal_scores_are_ordered_by_row() {
    let one = Random(1).unit(48);
    let other = Random(2).unit(48);
    let rows: Vec<_> = (0..2000)
        .map(|i| {
            if i % 3 == 0 {
                one.clone()
            } else {
                other.clone()
            }
        })
        .collect();
    let owned = Owned::new(48, &rows);
    let query = Query::new(&one, 48).unwrap();
    let got = scan(&owned.matrix(), &query, &Bitset::all(2000), 700);
    let first: Vec<u32> = got.iter().map(|scored| scored.row).take(667).collect();
    assert_eq!(first, (0..2000).step_by(3).collect::<Vec<u32>>());
    assert_eq!(got[667].row, 1);
}

#[test]
fn the_interval_holds_the_exact_score() {
    let mut random = Random(3);
    for dim in [5, 64, 512, 1000] {
        let owned = Owned::new(dim, &clustered(9, 500, dim, 3));
        let matrix = owned.matrix();
        for _ in 0..20 {
            let query = Query::new(&random.unit(dim), dim).unwrap();
            for row in 0..500 {
                let exact = query.exact(&matrix, row, &mut Vec::new());
                let off = (exact - query.approximate(&matrix, row)).abs();
                assert!(off <= query.bound(&matrix.scales[row]));
                let RowScale {
                    scale,
                    length,
                    lost,
                } = matrix.scales[row];
                let codes = &matrix.codes[row * code_stride(dim)..][..code_stride(dim)];
                let dot = dot::row_with_row(&query.coarse.codes, codes) as f32;
                let off = (exact - query.coarse.scale * scale * dot).abs();
                assert!(off <= query.coarse.bound(length, lost, query.rounding));
            }
        }
    }
}

#[test]
fn a_query_that_does_not_fit_is_refused() {
    for (query, word) in [
        (vec![1.0, 0.0], "2 components"),
        (vec![1.0, f32::NAN, 0.0], "component 1"),
        (vec![f32::INFINITY, 0.0, 0.0], "component 0"),
        (vec![0.0; 3], "zero vector"),
    ] {
        let error = Query::new(&query, 3).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn rows_that_are_no_numbers_come_last() {
    let mut rows = clustered(4, 100, 16, 2);
    rows[5] = vec![f32::NAN; 16];
    rows[6] = vec![0.0; 16];
    let owned = Owned::new(16, &rows);
    let query = Query::new(&rows[7], 16).unwrap();
    let got = scan(&owned.matrix(), &query, &Bitset::all(100), 100);
    assert_eq!(got.len(), 100);
    assert_eq!(got[0].row, 7);
    assert_eq!(got[99].row, 5);
}

/// Prints a figure; run with `--ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn time_of_a_scan() {
    for (rows, dim) in [(100_000, 192), (100_000, 512), (1_000_000, 512)] {
        let mut owned = Owned {
            dim,
            ..Owned::default()
        };
        let mut random = Random(1);
        let pool = clustered(1, 2000, dim, 50);
        let mut codes = vec![0; code_stride(dim)];
        for _ in 0..rows {
            let (a, b) = (&pool[random.below(2000)], &pool[random.below(2000)]);
            let row: Vec<f16> = unit(a.iter().zip(b).map(|(a, b)| a + 0.5 * b).collect())
                .iter()
                .map(|&x| f16::from_f32(x))
                .collect();
            owned.scales.push(encode(&row, &mut codes));
            owned.codes.extend(&codes);
            owned.vectors.extend(row);
        }
        let matrix = owned.matrix();
        let all = Bitset::all(rows);
        for n in [10, 100] {
            let mut times: Vec<f64> = (0..20)
                .map(|_| {
                    let query = Query::new(&random.unit(dim), dim).unwrap();
                    let start = std::time::Instant::now();
                    std::hint::black_box(scan(&matrix, &query, &all, n));
                    start.elapsed().as_secs_f64() * 1e3
                })
                .collect();
            times.sort_by(f64::total_cmp);
            eprintln!(
                "{rows} rows of {dim}, n {n}: {:.1} ms (median of 20), best {:.1}",
                times[10], times[0]
            );
        }
        // As on a busy server: no other thread helps.
        let _busy = Running::begin();
        for queries in [1, 2, 4, 8, 16] {
            let wanted: Vec<Wanted> = (0..queries)
                .map(|_| Wanted {
                    query: Query::new(&random.unit(dim), dim).unwrap(),
                    allowed: Arc::new(all.clone()),
                    n: 100,
                })
                .collect();
            let wanted: Vec<&Wanted> = wanted.iter().collect();
            let mut times: Vec<f64> = (0..20)
                .map(|_| {
                    let start = std::time::Instant::now();
                    std::hint::black_box(nearest_of_each(&matrix, &wanted));
                    start.elapsed().as_secs_f64() * 1e3 / queries as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            eprintln!(
                "{rows} rows of {dim}, {queries} queries in a pass of one thread: {:.2} ms each",
                times[10]
            );
        }
    }
}
