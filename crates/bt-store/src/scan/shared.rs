//! Scans of the same rows that are asked for at the same time share their passes: as many run as there are
//! cores, and all that wait meanwhile go over the rows together in the next one.
//!
//! A pass that ends gives its place to whoever has waited longest, who takes along what all the others that
//! wait are looking for and hands out what it finds. So nobody waits for more than the passes that run and one
//! more, and nobody works for others but in a pass of their own.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Scored, Wanted};

/// Who scans now, and who waits.
#[derive(Debug)]
pub(crate) struct SharedScans {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// Longest first; empty unless as many run as may.
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    wanted: Arc<Wanted>,
    turn: SyncSender<Turn>,
}

/// What ends the waiting.
#[derive(Debug)]
enum Turn {
    /// The pass of another has found it.
    Found(Vec<Scored>),
    /// The next pass is one's own.
    Pass,
}

impl Default for SharedScans {
    fn default() -> Self {
        Self::at_most(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl SharedScans {
    /// So many passes run at a time.
    fn at_most(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// What `pass` finds of `wanted`, which may go through the pass of somebody else, and others through this.
    pub(crate) fn scan(
        &self,
        wanted: Wanted,
        pass: impl Fn(&[&Wanted]) -> Vec<Vec<Scored>>,
    ) -> Vec<Scored> {
        if rayon::current_thread_index().is_some() {
            // This thread may have been lent by a pass that waits for it, so it must not wait for that pass.
            return first(pass(&[&wanted]));
        }
        let wanted = Arc::new(wanted);
        if let Some(turn) = self.begin_or_wait(&wanted) {
            match turn.recv() {
                Ok(Turn::Found(found)) => return found,
                Ok(Turn::Pass) => {}
                // The pass that it went with did not come to its end.
                Err(_) => return first(pass(&[&wanted])),
            }
        }
        let _place = Place(self);
        let others = std::mem::take(&mut self.state().waiting);
        let mut all = vec![&*wanted];
        all.extend(others.iter().map(|other| &*other.wanted));
        let mut found = pass(&all).into_iter();
        let own = found.next().unwrap_or_default();
        for (other, found) in others.iter().zip(found) {
            // Whoever waits takes it.
            let _ = other.turn.send(Turn::Found(found));
        }
        own
    }

    /// Takes a place, or joins those that wait for one.
    fn begin_or_wait(&self, wanted: &Arc<Wanted>) -> Option<Receiver<Turn>> {
        let mut state = self.state();
        if state.running < self.most {
            state.running += 1;
            return None;
        }
        let (turn, told) = sync_channel(1);
        state.waiting.push(Waiting {
            wanted: Arc::clone(wanted),
            turn,
        });
        Some(told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn first(found: Vec<Vec<Scored>>) -> Vec<Scored> {
    found.into_iter().next().unwrap_or_default()
}

/// The right to run a pass; handed on when it is dropped.
struct Place<'a>(&'a SharedScans);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if state.waiting.is_empty() {
            state.running -= 1;
        } else {
            let next = state.waiting.remove(0);
            // Whoever waits takes it.
            let _ = next.turn.send(Turn::Pass);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::tests::{Owned, Random, clustered, naive};
    use super::super::{Query, nearest_of_each};
    use super::*;
    use crate::bitset::Bitset;

    /// Different questions about 1000 rows of 16 components.
    fn questions() -> Vec<Wanted> {
        let mut random = Random(11);
        (0..9)
            .map(|n| Wanted {
                query: Query::new(&random.unit(16), 16).unwrap(),
                allowed: Arc::new(Bitset::of(1000, |row| row % (n + 1) == 0)),
                n,
            })
            .collect()
    }

    /// Asks all questions while the only place is taken; `pass` runs when it is given free.
    fn ask_all_at_once(
        questions: &[Wanted],
        pass: impl Fn(&[&Wanted]) -> Vec<Vec<Scored>> + Sync,
    ) -> Vec<std::thread::Result<Vec<Scored>>> {
        let shared = SharedScans::at_most(1);
        shared.state().running = 1;
        let busy = Place(&shared);
        let answers = std::thread::scope(|scope| {
            let asking: Vec<_> = questions
                .iter()
                .map(|wanted| scope.spawn(|| shared.scan(wanted.clone(), &pass)))
                .collect();
            while shared.state().waiting.len() < questions.len() {
                std::thread::yield_now();
            }
            drop(busy);
            asking.into_iter().map(|asked| asked.join()).collect()
        });
        assert_eq!(shared.state().running, 0);
        assert!(shared.state().waiting.is_empty());
        answers
    }

    #[test]
    fn all_that_wait_go_through_the_next_pass_and_find_what_they_would_alone() {
        let owned = Owned::new(16, &clustered(5, 1000, 16, 7));
        let (matrix, questions) = (owned.matrix(), questions());
        let passes = Mutex::new(Vec::new());
        let answers = ask_all_at_once(&questions, |all| {
            passes.lock().unwrap().push(all.len());
            nearest_of_each(&matrix, all)
        });
        for (wanted, found) in questions.iter().zip(answers) {
            let expected = naive(&matrix, &wanted.query, &wanted.allowed, wanted.n);
            assert_eq!(found.unwrap(), expected);
        }
        assert_eq!(passes.into_inner().unwrap(), [9]);
    }

    #[test]
    fn a_thread_of_a_pool_does_not_wait() {
        let shared = SharedScans::at_most(1);
        shared.state().running = 1;
        let wanted = questions().remove(3);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        let found = pool.build().unwrap().install(|| {
            shared.scan(wanted, |all| {
                assert_eq!(all.len(), 1);
                vec![vec![Scored { score: 0.5, row: 7 }]]
            })
        });
        assert_eq!(found[0].row, 7);
    }

    #[test]
    fn a_pass_that_fails_costs_nobody_else_the_answer() {
        let answers = ask_all_at_once(&questions(), |all| {
            assert_eq!(all.len(), 1, "fails where several go together");
            vec![Vec::new()]
        });
        let failed = answers.iter().filter(|answer| answer.is_err());
        assert_eq!(failed.count(), 1);
    }
}
