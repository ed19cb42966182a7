//! Memory for rows on their way to a product: a thread takes it again instead of asking the system for it, which
//! would hand out pages that must be cleared first.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use super::Lines;

/// Buffers that a thread keeps, and the most bytes of one.
const KEPT: usize = 4;
const MOST_BYTES: usize = 16 << 20;

thread_local! {
    static SPARE: RefCell<Vec<Lines>> = const { RefCell::new(Vec::new()) };
}

/// Lines with whatever was in them.
pub(crate) struct Scratch(Lines);

impl Scratch {
    /// Room for `count` values of T.
    pub(crate) fn of<T>(count: usize) -> Self {
        let bytes = count * size_of::<T>();
        let spare = SPARE.with_borrow_mut(|spare| {
            let fits = |lines: &Lines| lines.bytes().len() >= bytes;
            let at = spare.iter().position(fits).or(spare.len().checked_sub(1))?;
            Some(spare.swap_remove(at))
        });
        match spare {
            Some(lines) if lines.bytes().len() >= bytes => Self(lines),
            _ => Self(Lines::zeros::<u8>(bytes)),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::replace(&mut self.0, Lines::zeros::<u8>(0));
        if lines.bytes().len() <= MOST_BYTES {
            // A thread that is ending has nothing to keep it in.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < KEPT {
                    spare.push(lines);
                }
            });
        }
    }
}

impl Deref for Scratch {
    type Target = Lines;

    fn deref(&self) -> &Lines {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut Lines {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_taken_again() {
        let mut first = Scratch::of::<f32>(1000);
        first.of_mut::<f32>().fill(3.0);
        let place = first.bytes().as_ptr();
        drop(first);
        let again = Scratch::of::<u8>(10);
        assert_eq!(again.bytes().as_ptr(), place);
        let other = Scratch::of::<u8>(10);
        assert_ne!(other.bytes().as_ptr(), place);
        assert!(Scratch::of::<f64>(2000).bytes().len() >= 16_000);
    }
}
