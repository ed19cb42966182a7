//! Readers while a writer commits, publishes and compacts: whole states, never a mixture.

use super::*;

#[test]
fn a_compaction_takes_no_reader_by_surprise() {
    let mut index = Index::new(80);
    index.publish();
    index
        .writer
        .commit(&[Change::Remove(record(7).id), updated(8, "new words")])
        .unwrap();
    let mut pictures = BTreeMap::new();
    apply(&mut pictures, &(0..80).map(put).collect::<Vec<_>>());
    apply(
        &mut pictures,
        &[Change::Remove(record(7).id), updated(8, "new words")],
    );
    let old = index.open();
    index.writer.compact(&mut quiet()).unwrap();
    assert_holds(&old, &pictures);
    let new = old.newer().unwrap().unwrap();
    assert!(
        new.facts().warnings.is_empty(),
        "{:?}",
        new.facts().warnings
    );
    assert_holds(&new, &pictures);
    assert_eq!(verify_beside(&mut index), []);
}

#[test]
fn only_two_generations_are_kept_and_no_leftovers() {
    let mut index = Index::new(10);
    let leftover = index.path().join("generations/000001");
    fs_err::create_dir_all(leftover.join("words")).unwrap();
    fs_err::write(leftover.join("ids"), b"half").unwrap();
    let mut published = Vec::new();
    for number in 10..14 {
        index.writer.commit(&[put(number)]).unwrap();
        published.push(index.publish());
    }
    assert!(published.is_sorted() && published[0].0 > 1);
    let mut left: Vec<String> = fs_err::read_dir(index.path().join("generations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut wanted: Vec<String> = published[2..]
        .iter()
        .map(|id| format!("{:06}", id.0))
        .collect();
    wanted.push("current.json".into());
    assert_eq!(left, wanted);
}

/// Every snapshot must be one of the states that were committed, never a mixture.
#[test]
fn readers_beside_a_writer_see_whole_commits() {
    let mut index = Index::new(50);
    index.publish();
    let path = index.path().to_owned();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reader = Reader::open(&path).unwrap();
                    let mut opened = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        // A commit replaces ten pictures by ten others.
                        assert_eq!(reader.facts().pictures, 50);
                        // Between the two steps of a compaction no generation fits the segments.
                        let warnings = &reader.facts().warnings;
                        let compacting = |warning: &String| warning.contains("were rewritten");
                        assert!(warnings.iter().all(compacting), "{warnings:?}");
                        let ids = reader.scan(&Filter::everything(), None, 100).unwrap();
                        assert_eq!(ids.len(), 50);
                        assert!(reader.fetch(&ids).unwrap().iter().all(Option::is_some));
                        let query = Random(opened).unit(DIM);
                        let found = reader
                            .nearest(&query, &Filter::everything(), 50, Walk::Exact)
                            .unwrap();
                        assert_eq!(found.hits.len(), 50);
                        assert_eq!(
                            reader
                                .by_words("picture", &Filter::everything(), 50)
                                .unwrap()
                                .len(),
                            50
                        );
                        if let Some(newer) = reader.newer().unwrap() {
                            reader = newer;
                            opened += 1;
                        }
                    }
                    opened
                })
            })
            .collect();
        for round in 0..12u64 {
            let changes: Vec<Change> = (round * 10..round * 10 + 10)
                .map(|number| Change::Remove(record(number).id))
                .chain((round * 10 + 50..round * 10 + 60).map(put))
                .collect();
            index.writer.commit(&changes).unwrap();
            match round % 4 {
                1 | 2 => drop(index.publish()),
                3 => drop(index.writer.compact(&mut quiet()).unwrap()),
                _ => {}
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}
