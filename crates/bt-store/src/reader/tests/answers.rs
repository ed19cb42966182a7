//! What a reader finds: the same as a plain walk through the records, before and after a generation.

use super::*;

#[test]
fn an_index_without_a_generation_is_searched_from_the_segments() {
    let index = Index::new(100);
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..100).map(put).collect::<Vec<_>>());
    let reader = index.open();
    assert_eq!(reader.facts().generation, None);
    assert_eq!(reader.facts().tail_rows, 100);
    assert!(reader.facts().warnings.is_empty());
    assert_holds(&reader, &pictures);
    assert!(reader.newer().unwrap().is_none());
}

#[test]
fn an_empty_index_answers_with_nothing() {
    let mut index = Index::new(0);
    for _ in 0..2 {
        let reader = index.open();
        assert_holds(&reader, &BTreeMap::new());
        index.publish();
    }
}

#[test]
fn what_was_committed_after_a_generation_overrides_it() {
    let mut index = Index::new(150);
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..150).map(put).collect::<Vec<_>>());
    let first = index.publish();
    let reader = index.open();
    assert_eq!(reader.facts().generation, Some(first));
    assert_eq!(reader.facts().tail_rows, 0);
    assert_holds(&reader, &pictures);

    let again = Change::Put {
        record: record(5),
        embedding: Random(999).unit(DIM),
    };
    let changes = [
        Change::Remove(record(0).id),
        updated(1, "a giraffe"),
        put(200),
        put(201),
        again,
        updated(2, "gone soon"),
        Change::Remove(record(2).id),
        updated(200, "a zebra"),
        Change::Remove(record(3).id),
        put(3),
    ];
    index.writer.commit(&changes).unwrap();
    let before = pictures.clone();
    apply(&mut pictures, &changes);
    let newer = reader.newer().unwrap().unwrap();
    assert_eq!(newer.facts().tail_rows, 5);
    assert_holds(&newer, &pictures);
    assert_holds(&reader, &before);
    let all = Filter::everything();
    assert_eq!(
        newer.by_words("giraffes", &all, 3).unwrap()[0].id,
        record(1).id
    );
    assert_eq!(
        newer.by_words("zebra", &all, 3).unwrap()[0].id,
        record(200).id
    );
    assert!(newer.newer().unwrap().is_none());

    let second = index.publish();
    assert!(second > first);
    let third = newer.newer().unwrap().unwrap();
    assert_eq!(third.facts().tail_rows, 0);
    assert_eq!(third.facts().generation, Some(second));
    assert_holds(&third, &pictures);
    assert_holds(&newer, &pictures);
    assert_eq!(verify_beside(&mut index), []);
}

#[test]
fn pages_follow_one_another_without_gap_or_overlap() {
    let mut index = Index::new(90);
    index.publish();
    index
        .writer
        .commit(&(90..130).map(put).collect::<Vec<_>>())
        .unwrap();
    let reader = index.open();
    let all = reader
        .scan(&Filter::everything(), None, usize::MAX)
        .unwrap();
    assert_eq!(all.len(), 130);
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = reader.scan(&Filter::everything(), after, 7).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(*last);
        paged.extend(page);
    }
    assert_eq!(paged, all);
    // After an id that is not there.
    let mut between = all[10];
    between.0[31] ^= 1;
    assert_eq!(
        reader
            .scan(&Filter::everything(), Some(between), 1)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_prefix_that_is_no_number_finds_nothing() {
    let index = Index::new(20);
    let reader = index.open();
    for prefix in ["g", "0x", "é", &"0".repeat(65), " ", "-1"] {
        assert!(
            reader.with_id_prefix(prefix, 5).unwrap().is_empty(),
            "{prefix}"
        );
    }
    assert_eq!(reader.with_id_prefix("", 5).unwrap().len(), 5);
    assert_eq!(reader.with_id_prefix("", 50).unwrap().len(), 20);
}

#[test]
fn a_query_that_does_not_fit_is_the_callers_fault() {
    let index = Index::new(5);
    let reader = index.open();
    for query in [vec![1.0; DIM - 1], vec![f32::NAN; DIM], vec![0.0; DIM]] {
        let error = reader
            .nearest(&query, &Filter::everything(), 3, Walk::Exact)
            .unwrap_err();
        assert_eq!(error.kind(), crate::Kind::Usage);
    }
}

#[test]
fn any_history_reads_as_a_plain_map_does() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut index = Index::new(0);
        let mut pictures = BTreeMap::new();
        let mut reader = index.open();
        for step in 0..25 {
            let mut changes: Vec<Change> = Vec::new();
            for _ in 0..random.below(8) {
                let number = random.below(40) as u64;
                let known = pictures.contains_key(&record(number).id);
                let change = match random.below(5) {
                    0 if known => Change::Remove(record(number).id),
                    1 | 2 if known => updated(number, &format!("word{step}")),
                    _ => put(number),
                };
                apply(&mut pictures, std::slice::from_ref(&change));
                changes.push(change);
            }
            index.writer.commit(&changes).unwrap();
            match random.below(6) {
                0 | 1 => drop(index.publish()),
                2 => drop(index.writer.compact(&mut quiet()).unwrap()),
                _ => {}
            }
            if let Some(newer) = reader.newer().unwrap() {
                reader = newer;
            }
            assert!(
                reader.facts().warnings.is_empty(),
                "seed {seed}, step {step}"
            );
            assert_holds(&reader, &pictures);
        }
        assert_eq!(verify_beside(&mut index), [], "seed {seed}");
    }
}

#[test]
fn a_graph_is_walked_when_asked_and_a_damaged_one_is_done_without() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create_or_open(folder.path(), &header()).unwrap();
    let rows = 3000;
    let vectors = clustered(5, rows, DIM, 60);
    let changes: Vec<Change> = (0..)
        .zip(&vectors)
        .map(|(number, vector)| Change::Put {
            record: record(number),
            embedding: vector.clone(),
        })
        .collect();
    writer.commit(&changes).unwrap();
    let segments = Segments::open(folder.path()).unwrap();
    let built = build_with(folder.path(), &header(), &segments, 1000, &mut quiet()).unwrap();
    let id = generation::publish(folder.path(), built).unwrap();
    writer
        .commit(&[Change::Remove(record(0).id), put(5000)])
        .unwrap();

    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.facts().graph_rows, rows as u64);
    let walk = Walk::Graph { ef_search: 64 };
    let all = Filter::everything();
    let mut random = Random(2);
    let (mut same, mut asked) = (0, 0);
    for vector in vectors.iter().step_by(60) {
        let noise = random.unit(DIM);
        let query = unit(
            vector
                .iter()
                .zip(&noise)
                .map(|(a, b)| a + 0.2 * b)
                .collect(),
        );
        let exact = reader.nearest(&query, &all, 10, Walk::Exact).unwrap();
        let found = reader.nearest(&query, &all, 10, walk).unwrap();
        assert_eq!((exact.walk, found.walk), (Walk::Exact, walk));
        assert_eq!(found.hits.len(), 10);
        same += found
            .hits
            .iter()
            .filter(|hit| exact.hits.contains(hit))
            .count();
        asked += 10;
    }
    assert!(same * 100 >= asked * 95, "{same} of {asked}");
    let removed = reader.nearest(&vectors[0], &all, rows, walk).unwrap();
    assert_eq!(removed.walk, Walk::Exact);
    assert_eq!(removed.hits.len(), rows);
    assert!(removed.hits.iter().all(|hit| hit.id != record(0).id));
    let few = Filter::TakenBefore(4);
    let found = reader.nearest(&vectors[9], &few, 10, walk).unwrap();
    assert_eq!((found.walk, found.hits.len()), (Walk::Exact, 3));

    let path = folder.path().join(format!("generations/{:06}/graph", id.0));
    let mut bytes = fs_err::read(&path).unwrap();
    bytes[70] ^= 1;
    fs_err::write(&path, bytes).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    assert_eq!(reader.facts().graph_rows, 0);
    assert!(
        reader.facts().warnings[0].contains("graph"),
        "{:?}",
        reader.facts().warnings
    );
    let found = reader.nearest(&vectors[9], &all, 10, walk).unwrap();
    assert_eq!((found.walk, found.hits.len()), (Walk::Exact, 10));
}

/// Prints figures; run with `--ignored --nocapture`. `ROWS` and `GRAPH=1` in the environment change what
/// is measured.
#[test]
#[ignore = "a measurement"]
fn times_of_a_large_index() {
    let rows: u64 = std::env::var("ROWS").map_or(200_000, |rows| rows.parse().unwrap());
    let graph_from = if std::env::var_os("GRAPH").is_some() {
        1
    } else {
        u64::MAX
    };
    let dim = 512;
    let header = Header { dim, ..header() };
    let folder = tempfile::tempdir().unwrap();
    let pool = clustered(1, 2000, dim, 50);
    let mut random = Random(9);
    let mut writer = Writer::create_or_open(folder.path(), &header).unwrap();
    fn timed<T>(what: &str, f: impl FnOnce() -> T) -> T {
        let start = std::time::Instant::now();
        let value = f();
        eprintln!("{what}: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
        value
    }
    timed("commits", || {
        for start in (0..rows).step_by(2000) {
            let changes: Vec<Change> = (start..(start + 2000).min(rows))
                .map(|number| {
                    let (a, b) = (&pool[random.below(2000)], &pool[random.below(2000)]);
                    let mut record = record(number);
                    record.locations[0].path =
                        format!("/photos/{}/{}/IMG_{number}.jpg", number % 20, number % 700).into();
                    record.about.camera = Some(format!("Canon EOS {}", number % 30));
                    Change::Put {
                        record,
                        embedding: unit(a.iter().zip(b).map(|(a, b)| a + 0.5 * b).collect()),
                    }
                })
                .collect();
            writer.commit(&changes).unwrap();
        }
    });
    let tail = timed("open without a generation", || {
        Reader::open(folder.path()).unwrap()
    });
    let query = random.unit(dim);
    let all = Filter::everything();
    timed("words of the tail", || {
        tail.by_words("img 77", &all, 10).unwrap()
    });
    drop(tail);
    let segments = Segments::open(folder.path()).unwrap();
    let built = timed("build", || {
        build_with(folder.path(), &header, &segments, graph_from, &mut quiet()).unwrap()
    });
    generation::publish(folder.path(), built).unwrap();
    timed("verify of the generation", || {
        generation::verify(folder.path()).unwrap()
    });
    let mut bytes: Vec<(String, u64)> = Vec::new();
    for place in ["generations/000001", "generations/000001/words"] {
        for entry in fs_err::read_dir(folder.path().join(place)).unwrap() {
            let entry = entry.unwrap();
            bytes.push((
                entry.file_name().into_string().unwrap(),
                entry.metadata().unwrap().len() / rows,
            ));
        }
    }
    eprintln!("bytes a picture: {bytes:?}");
    for _ in 0..2 {
        let reader = timed("open", || Reader::open(folder.path()).unwrap());
        assert!(reader.facts().warnings.is_empty());
        timed("exact, first", || {
            reader.nearest(&query, &all, 20, Walk::Exact).unwrap()
        });
        timed("exact, again", || {
            reader.nearest(&query, &all, 20, Walk::Exact).unwrap()
        });
        for ef_search in [64, 128] {
            let walk = Walk::Graph { ef_search };
            timed("graph", || reader.nearest(&query, &all, 20, walk).unwrap());
        }
        let folder = Filter::InFolder("/photos/7".into());
        timed("count in a folder, first", || {
            reader.count(&folder).unwrap()
        });
        let two = Filter::All(vec![folder, Filter::Camera("eos 7".into())]);
        timed("count in a folder by camera", || {
            reader.count(&two).unwrap()
        });
        timed("exact, filtered", || {
            reader.nearest(&query, &two, 20, Walk::Exact).unwrap()
        });
        let date = Filter::All(vec![Filter::TakenFrom(5000), Filter::TakenBefore(100_000)]);
        timed("count by date", || reader.count(&date).unwrap());
        for text in ["thing777", "picture of a thing", "img", "IMG_777.jpg"] {
            timed(&format!("words `{text}`"), || {
                reader.by_words(text, &all, 50).unwrap()
            });
        }
        let ids = reader.scan(&all, None, 50).unwrap();
        timed("fetch 50", || reader.fetch(&ids).unwrap());
        timed("newer", || reader.newer().unwrap().is_none());
    }
}
