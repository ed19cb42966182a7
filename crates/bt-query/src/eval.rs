//! Quality, measured: how well a checkpoint finds pictures for captions and captions for pictures, and what
//! its scores are worth as probabilities. `bt-eval` shows it.
//!
//! Measures are in `metrics`, files of pairs in `pairs`, what the model says of them in `scores`, the
//! tables in `retrieval`, probabilities in `platt` and `calibrate`.

mod calibrate;
mod metrics;
mod pairs;
mod platt;
mod retrieval;
mod scores;

pub use calibrate::{Calibrated, Choice, Rates, calibrate};
pub use metrics::Recall;
pub use pairs::{Caption, Pairs, Selection};
pub use retrieval::{Auc, Direction, Measured, PaperDirection, measure, measure_as_the_paper};
pub use scores::Step;
