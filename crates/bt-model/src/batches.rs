//! How many go through the model together: by the device and its free memory, fewer once memory ran out.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::gpu;

/// Rows of tokens or patches that go through a layer together on the processor: enough that reading its
/// weights costs little, few enough that what lies between two layers stays near.
const ROWS_AT_ONCE: usize = 2048;

/// The most texts, pictures or pairs that go through the processor together, however small the model is.
pub(crate) const MOST_AT_ONCE: usize = 32;

/// The most on a GPU: more is not faster, and takes longer to gather.
const MOST_ON_GPU: usize = 128;

/// Pictures, or pairs of a text and a picture, that go through together.
#[derive(Debug)]
pub(crate) struct Batches(AtomicUsize);

impl Batches {
    /// Asks the device how much memory is free, so the model should be loaded.
    pub(crate) fn new(exec: &Exec, config: &Config) -> Self {
        let most = if exec.is_gpu() {
            match gpu::free_bytes(&exec.device) {
                // Half: others want memory too, and what is estimated may be wrong.
                Some(free) => (free / 2 / bytes_of_one(exec, config)).min(MOST_ON_GPU),
                None => MOST_AT_ONCE,
            }
        } else {
            (ROWS_AT_ONCE / config.vision.tokens()).min(MOST_AT_ONCE)
        };
        Self::of(most)
    }

    fn of(most: usize) -> Self {
        Self(AtomicUsize::new(most.max(1)))
    }

    pub(crate) fn most(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Gives `work` all of `items` in order, some at a time. When memory runs out, those are tried again half
    /// as many at a time, and so are all that come later.
    ///
    /// # Errors
    /// Those of `work`; `OutOfMemory` once one alone is too much.
    pub(crate) fn each<T>(
        &self,
        mut items: &[T],
        mut work: impl FnMut(&[T]) -> Result<()>,
    ) -> Result<()> {
        while !items.is_empty() {
            let (now, later) = items.split_at(self.most().min(items.len()));
            match work(now) {
                Ok(()) => items = later,
                Err(error) if !error.is_out_of_memory() => return Err(error),
                Err(_) if now.len() > 1 => {
                    self.0.fetch_min(now.len() / 2, Ordering::Relaxed);
                }
                Err(_) => return Err(Error::OutOfMemory),
            }
        }
        Ok(())
    }
}

/// What a picture takes on its way: at the widest place of a block its rows are there twice, normed, and four
/// times as wide; the states of both sides of the bridges are kept.
fn bytes_of_one(exec: &Exec, config: &Config) -> usize {
    let vision = &config.vision;
    let row = vision.hidden_size.max(config.hidden_size) * exec.body_type().size_in_bytes();
    let rows = 8 + 2 * config.cross_layers;
    vision.tokens() * row * rows + 2 * 3 * vision.image_size * vision.image_size * size_of::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Error {
        Error::Tensor(candle_core::Error::Msg(
            r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#.to_owned(),
        ))
    }

    #[test]
    fn when_memory_runs_out_halves_are_tried_and_nothing_is_lost_or_done_twice() {
        let items: Vec<usize> = (0..100).collect();
        let batches = Batches::of(64);
        let (mut done, mut sizes) = (Vec::new(), Vec::new());
        batches
            .each(&items, |some| {
                sizes.push(some.len());
                if some.len() > 20 {
                    return Err(full());
                }
                done.extend_from_slice(some);
                Ok(())
            })
            .unwrap();
        assert_eq!(done, items);
        assert_eq!(sizes, [64, 32, 16, 16, 16, 16, 16, 16, 4]);
        assert_eq!(batches.most(), 16);
    }

    #[test]
    fn a_single_one_that_does_not_fit_is_an_error_with_advice() {
        let error = Batches::of(4)
            .each(&[1, 2, 3], |_| Err(full()))
            .unwrap_err();
        assert!(matches!(error, Error::OutOfMemory), "{error}");
        assert!(error.hint().unwrap().contains("--device cpu"));
    }

    #[test]
    fn another_error_ends_it_at_once() {
        let mut tries = 0;
        let error = Batches::of(4)
            .each(&[1, 2, 3], |_| {
                tries += 1;
                Err(Error::Usage("no".to_owned()))
            })
            .unwrap_err();
        assert_eq!((tries, error.to_string().as_str()), (1, "no"));
    }
}
