//! Which precision a checkpoint is loaded with: `auto` is the fastest whose loss was measured and is small. Losses are
//! measured once a checkpoint and kept in the cache folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::cache;
use crate::checkpoint::{Checkpoint, Event};
use crate::encoder::Encoder;
use crate::error::Result;
use crate::exec::Exec;
use crate::kernels::Level;
use crate::loss::{Answers, Loss};
use crate::pixels::Fit;
use crate::precision::Precision;

/// `auto` takes nothing that moves a vector further from the exact one: a cosine of 0.995 is an angle of 6 degrees,
/// where the nearest pictures of different things are tens of degrees apart.
const LEAST_COSINE: f32 = 0.995;

/// Weights of fewer bytes stay f32 for `auto`: such a model is waited for less than the pictures' decoding.
const SMALL: u64 = 64 << 20;

/// Counts changes of how numbers are rounded; losses measured before do not count.
const SCHEME: u32 = 1;

#[derive(Default, Serialize, Deserialize)]
struct Known {
    scheme: u32,
    losses: BTreeMap<String, Loss>,
}

/// Loads a checkpoint in the precision that `exec` asks for, or the best one for `auto`.
pub(crate) fn load(
    checkpoint: &Checkpoint,
    fit: Fit,
    exec: &Exec,
    on: &mut dyn FnMut(Event),
) -> Result<Encoder> {
    let with = |precision| Exec {
        precision,
        ..exec.clone()
    };
    let choices = match exec.precision {
        Precision::F32 => Vec::new(),
        _ if !matches!(exec.device, Device::Cpu) => vec![Precision::Bf16],
        Precision::Auto if checkpoint.weight_bytes() < SMALL => Vec::new(),
        Precision::Auto if Level::best() >= Level::Avx512Bf16 => {
            vec![Precision::Int8, Precision::Bf16]
        }
        // Without dot products of bytes f32 is faster.
        Precision::Auto if Level::best() <= Level::Neon => Vec::new(),
        Precision::Auto => vec![Precision::Int8],
        one => vec![one],
    };
    if choices.is_empty() {
        return Encoder::in_precision(checkpoint, fit, &with(Precision::F32), on);
    }
    let place = cache::folder(&checkpoint.identity(fit)?).map(|folder| folder.join("loss.json"));
    let mut known = read(place.as_ref());
    let mut exact = None;
    for precision in choices {
        let name = with(precision).arithmetic();
        let mut loaded = None;
        let loss = match known.losses.get(&name) {
            Some(loss) => *loss,
            None => {
                on(Event::Measuring(precision));
                // One model after the other: where one fits into memory, two may not.
                if exact.is_none() {
                    let encoder =
                        Encoder::in_precision(checkpoint, fit, &with(Precision::F32), on)?;
                    exact = Some(Answers::of(&encoder)?);
                }
                let Some(exact) = &exact else { continue };
                let fast = Encoder::in_precision(checkpoint, fit, &with(precision), on)?;
                let loss = exact.loss(&Answers::of(&fast)?);
                loaded = Some(fast);
                on(Event::Loss { precision, loss });
                known.losses.insert(name, loss);
                write(place.as_ref(), &known);
                loss
            }
        };
        if exec.precision != Precision::Auto || loss.cosine() >= LEAST_COSINE {
            return match loaded {
                Some(fast) => Ok(fast),
                None => Encoder::in_precision(checkpoint, fit, &with(precision), on),
            };
        }
    }
    Encoder::in_precision(checkpoint, fit, &with(Precision::F32), on)
}

fn read(place: Option<&PathBuf>) -> Known {
    let fresh = || Known {
        scheme: SCHEME,
        ..Known::default()
    };
    let known = place
        .and_then(|place| fs_err::read(place).ok())
        .and_then(|bytes| serde_json::from_slice::<Known>(&bytes).ok());
    match known {
        Some(known) if known.scheme == SCHEME => known,
        _ => fresh(),
    }
}

fn write(place: Option<&PathBuf>, known: &Known) {
    if let (Some(place), Ok(text)) = (place, serde_json::to_vec_pretty(known)) {
        // What cannot be kept is measured again.
        let _ = cache::put(place, &text);
    }
}

#[cfg(all(test, feature = "cuda"))]
mod tests {
    use super::*;
    use crate::encoder::ModelChoice;

    #[test]
    #[ignore = "needs a GPU"]
    fn on_a_gpu_auto_is_bf16_whose_loss_is_small() {
        let choice = ModelChoice {
            spec: "mini".to_owned(),
            fit: Fit::Reference,
        };
        let exec = Exec::parse("cuda").unwrap();
        let load = |exec: &Exec| Encoder::load(&choice, exec, &mut |_| {}).unwrap();
        let fast = load(&exec);
        assert_eq!(fast.precision(), Precision::Bf16);
        let exact = load(&exec.with_precision(Precision::F32).unwrap());
        let loss = Answers::of(&exact).unwrap();
        let loss = loss.loss(&Answers::of(&fast).unwrap());
        eprintln!("mini in bf16: {loss}");
        assert!(loss.cosine() >= LEAST_COSINE, "{loss}");
    }
}
