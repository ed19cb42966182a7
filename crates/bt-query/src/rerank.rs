//! Candidates looked at with the cross-modal layers: files (but for those that the scorer still knows)
//! decoded on all cores beside the model, in bounded batches, and matched with the query's words. What the
//! scores mean for the order is in `rank.rs`.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use bt_store::{ContentHash, Record};
use rayon::prelude::*;

use crate::answer::Score;
use crate::error::{Error, PictureError, Result};
use crate::pictures;
use crate::scorer::{Look, Scorer};

/// Pictures that are matched at once. Two batches are in memory at any time: one with the model, one
/// being decoded.
const BATCH: usize = 10;

/// How far the reranking is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Pictures looked at.
    pub done: usize,
    /// Pictures to look at.
    pub total: usize,
    /// Those that were looked at since this was told before, with the scores that they will have.
    pub judged: Vec<(ContentHash, Score)>,
}

/// What the model says about one candidate: an ITM logit difference for each text asked.
pub(crate) type Judgement = Result<Vec<f32>, PictureError>;

/// Matches each picture with each text. A picture that cannot be read gets the reason instead. `on` is told
/// what each batch has brought, and the place of its first picture.
pub(crate) fn judge(
    texts: &[&str],
    records: &[&Record],
    scorer: &dyn Scorer,
    on: &mut dyn FnMut(usize, &[Judgement]),
) -> Result<Vec<Judgement>> {
    let enough = Some(scorer.enough_pixels());
    let mut judgements = Vec::with_capacity(records.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(0);
        scope.spawn(move || {
            for batch in records.chunks(BATCH) {
                // A picture travels with its identity, so that one failure cannot shift the others.
                let ready: Vec<(ContentHash, Result<Look, PictureError>)> = batch
                    .par_iter()
                    .map(|record| {
                        let look = match scorer.states(record.id) {
                            Some(states) => Ok(Look::Known(states)),
                            None => pictures::open(record, enough).map(|opened| Look::Fresh {
                                id: record.id,
                                pixels: Arc::new(scorer.prepare(&opened.picture.rgb)),
                            }),
                        };
                        (record.id, look)
                    })
                    .collect();
                // The receiver is gone when the model failed; its error is returned below.
                if sender.send(ready).is_err() {
                    return;
                }
            }
        });
        for batch in receiver {
            let first = judgements.len();
            match_batch(texts, batch, scorer, &mut judgements)?;
            on(first, &judgements[first..]);
        }
        Ok(judgements)
    })
}

fn match_batch(
    texts: &[&str],
    batch: Vec<(ContentHash, Result<Look, PictureError>)>,
    scorer: &dyn Scorer,
    judgements: &mut Vec<Judgement>,
) -> Result<()> {
    let readable: Vec<Look> = batch
        .iter()
        .filter_map(|(_, look)| look.as_ref().ok().cloned())
        .collect();
    let by_text = if readable.is_empty() {
        Vec::new()
    } else {
        scorer.match_logits(texts, &readable)?
    };
    let mut column = 0;
    for (id, look) in batch {
        judgements.push(match look {
            Err(failure) => Err(failure),
            Ok(_) => {
                let logits: Option<Vec<f32>> =
                    by_text.iter().map(|row| row.get(column).copied()).collect();
                column += 1;
                let logits = logits.filter(|logits| logits.iter().all(|logit| logit.is_finite()));
                Ok(logits.ok_or(Error::NotANumber {
                    stage: "the reranker",
                    id,
                })?)
            }
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::{Colours, Memory};

    fn reds(folder: &std::path::Path, count: u8) -> Memory {
        let names: Vec<String> = (0..count).map(|i| format!("{i:02}.png")).collect();
        let colours: Vec<(&str, [u8; 3])> = names
            .iter()
            .zip(0u8..)
            .map(|(name, i)| (name.as_str(), [255, i * 8, 0]))
            .collect();
        Memory::of_colours(folder, &colours)
    }

    #[test]
    fn a_failure_at_any_place_of_a_batch_shifts_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let memory = reds(folder.path(), 23);
        let records: Vec<&Record> = memory.pictures.iter().map(|(record, _)| record).collect();
        let whole = judge(
            &["red", "green"],
            &records,
            &Colours::default(),
            &mut |_, _| {},
        )
        .unwrap();
        let whole: Vec<Vec<f32>> = whole.into_iter().map(Result::unwrap).collect();
        for broken in [0, 1, 9, 10, 15, 22] {
            let mut damaged: Vec<Record> = records.iter().map(|record| (*record).clone()).collect();
            damaged[broken].locations[0].path = folder.path().join("gone");
            let damaged: Vec<&Record> = damaged.iter().collect();
            let mut seen = Vec::new();
            let judged = judge(
                &["red", "green"],
                &damaged,
                &Colours::default(),
                &mut |first, batch| {
                    seen.push((first, batch.len()));
                },
            )
            .unwrap();
            assert_eq!(seen, [(0, 10), (10, 10), (20, 3)]);
            for (place, judgement) in judged.into_iter().enumerate() {
                match judgement {
                    Ok(logits) => assert_eq!(logits, whole[place]),
                    Err(failure) => {
                        assert_eq!(place, broken);
                        assert!(failure.to_string().contains("gone"), "{failure}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_score_that_is_no_number_is_an_error_and_ends_the_work() {
        let folder = tempfile::tempdir().unwrap();
        let memory = reds(folder.path(), 25);
        let records: Vec<&Record> = memory.pictures.iter().map(|(record, _)| record).collect();
        let scorer = Colours {
            broken: true,
            ..Colours::default()
        };
        let error = judge(&["red"], &records, &scorer, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, Error::NotANumber { .. }), "{error}");
    }
}
