//! The graph against reference tensors that transformers computed (tools/golden): every stage of every case,
//! and the invariances that batching and caching rest on. One test a case folder and property, found by
//! walking tests/golden, ../shared/golden (where it is there) and the folder that BT_GOLDEN_FULL names
//! (a full-size case, or a folder of such; minutes and gigabytes). Into an empty one the base case is made.
//!
//! BT_GOLDEN_DEVICE (`cpu`, `cuda`, ...) and BT_GOLDEN_PRECISION say where and with which numbers; with others
//! than f32, stages are compared by their cosine.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context, bail, ensure};
use bt_model::{
    BridgeTower, Checkpoint, Encoder, Exec, Fit, ModelChoice, Need, Pixels, Precision, Probe,
    Result, Stage, TokenBatch,
};
use candle_core::{DType, Device, IndexOp, Tensor};
use libtest_mimic::{Arguments, Failed, Trial};

/// Largest absolute difference from the reference, in f32.
const TOLERANCE: f32 = 1e-4;

/// Largest difference between two ways of computing the same thing here.
const SAME: f32 = 2e-5;

/// Smallest cosine with the reference, with numbers of less precision.
const LEAST_COSINE: f64 = 0.999;

/// Where the model runs, and with which numbers.
static EXEC: LazyLock<Exec> = LazyLock::new(|| {
    let said = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.into());
    let precision: Precision = said("BT_GOLDEN_PRECISION", "f32").parse().unwrap();
    let exec = Exec::parse(&said("BT_GOLDEN_DEVICE", "cpu")).unwrap();
    exec.with_precision(precision).unwrap()
});

type Tensors = HashMap<String, Tensor>;

fn main() {
    let arguments = Arguments::from_args();
    // Where the tests run on another machine than they were built on, BT_TREE names the tree.
    let root = std::env::var_os("BT_TREE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
        PathBuf::from,
    );
    let mut trials = Vec::new();
    for (set, folder) in [
        ("own", root.join("tests/golden")),
        ("shared", root.join("../shared/golden")),
    ] {
        let cases = cases(&folder);
        assert!(
            set != "own" || !cases.is_empty(),
            "no cases in `{}`",
            folder.display()
        );
        if cases.is_empty() {
            println!("skipped: `{}` holds no cases", folder.display());
        }
        for case in cases {
            trials.extend(trials_of(set, &case));
        }
    }
    match std::env::var_os("BT_GOLDEN_FULL") {
        None => println!("skipped: full-size cases (BT_GOLDEN_FULL names no folder)"),
        Some(folder) => {
            let folder = PathBuf::from(folder);
            if !is_case(&folder) && cases(&folder).is_empty() {
                make_base(&root, &folder);
            }
            let cases = if is_case(&folder) {
                vec![folder.clone()]
            } else {
                cases(&folder)
            };
            assert!(!cases.is_empty(), "`{}` holds no case", folder.display());
            for case in cases {
                let name = format!("full::{}::every_stage_is_the_reference's", name_of(&case));
                trials.push(Trial::test(name, move || outcome(every_stage(&case))));
            }
        }
    }
    let mini = root.join("tests/golden/mini/expected.safetensors");
    trials.push(Trial::test(
        "mini::embeddings_and_logits_are_the_reference's",
        move || outcome(mini_is_exact(&mini)),
    ));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Makes the full-size base case with random weights (1.5 GB) by tools/golden, whose requirements.txt says
/// what the Python that BT_PYTHON names (else `python3`) must have.
fn make_base(root: &Path, folder: &Path) {
    let python = std::env::var_os("BT_PYTHON").unwrap_or_else(|| "python3".into());
    let made = std::process::Command::new(python)
        .arg(root.join("tools/golden/make_golden.py"))
        .arg(folder)
        .args(["--only", "base"])
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "make_golden.py could not make the base case in `{}`",
        folder.display()
    );
}

/// What is true of every case.
type Property = fn(&Path) -> anyhow::Result<()>;

fn trials_of(set: &str, case: &Path) -> Vec<Trial> {
    let properties: [(&str, Property); 4] = [
        ("every_stage_is_the_reference's", every_stage),
        ("a_text_gives_the_same_alone_and_padded", texts_alone),
        (
            "a_picture_gives_the_same_alone_first_last_and_between",
            pictures_alone,
        ),
        (
            "cached_states_and_first_rows_give_the_same_logits",
            cached_states,
        ),
    ];
    let trial = |(name, run): (&str, Property)| {
        let case = case.to_owned();
        Trial::test(format!("{set}::{}::{name}", name_of(&case)), move || {
            outcome(run(&case))
        })
    };
    properties.into_iter().map(trial).collect()
}

fn outcome(result: anyhow::Result<()>) -> std::result::Result<(), Failed> {
    result.map_err(|error| format!("{error:#}").into())
}

fn is_case(folder: &Path) -> bool {
    ["config.json", "expected.safetensors"]
        .iter()
        .all(|file| folder.join(file).is_file())
}

fn cases(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_case(path))
        .collect();
    cases.sort();
    cases
}

fn name_of(case: &Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

/// A model, the inputs and what the reference made of them.
struct Case {
    model: BridgeTower,
    expected: Tensors,
    rows: Vec<Vec<u32>>,
    pixels: Tensor,
}

impl Case {
    fn open(folder: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::find(&folder.display().to_string(), &mut |event| {
            panic!("{event:?}")
        })?;
        let model = BridgeTower::load(&checkpoint, &EXEC, &mut |_| {})?;
        let mut expected =
            candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu)?;
        let ids = expected.remove("input_ids").unwrap();
        let rows = unpadded(&ids, &expected.remove("attention_mask").unwrap())?;
        let pixels = expected.remove("pixel_values").unwrap();
        let pixels = pixels.to_device(&EXEC.device)?;
        Ok(Self {
            model,
            expected,
            rows,
            pixels,
        })
    }

    fn tokens(&self, rows: &[Vec<u32>]) -> Result<TokenBatch> {
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        TokenBatch::new(&rows, self.model.config(), self.model.device())
    }
}

fn unpadded(ids: &Tensor, mask: &Tensor) -> Result<Vec<Vec<u32>>> {
    let ids: Vec<Vec<u32>> = ids.to_dtype(DType::U32)?.to_vec2()?;
    let mask: Vec<Vec<u32>> = mask.to_dtype(DType::U32)?.to_vec2()?;
    let rows = ids.into_iter().zip(mask).map(|(mut ids, mask)| {
        let kept = mask.iter().sum::<u32>() as usize;
        assert!(
            mask[..kept].iter().all(|one| *one == 1),
            "the reference pads on the left"
        );
        ids.truncate(kept);
        ids
    });
    Ok(rows.collect())
}

/// Keeps every stage under the name that the reference gives it.
#[derive(Default)]
struct Record(BTreeMap<String, Tensor>);

impl Probe for Record {
    fn see(&mut self, stage: Stage, tensor: &Tensor) -> Result<()> {
        let name = match stage {
            Stage::TextHidden(i) => format!("text_hidden.{i}"),
            Stage::ImageHidden(i) => format!("image_hidden.{i}"),
            Stage::CrossText(i) => format!("cross_text.{i}"),
            Stage::CrossImage(i) => format!("cross_image.{i}"),
            _ => return Ok(()),
        };
        self.0.insert(name, tensor.copy()?);
        Ok(())
    }
}

fn every_stage(folder: &Path) -> anyhow::Result<()> {
    let case = Case::open(folder)?;
    let model = &case.model;
    let mut stages = Record::default();
    let text = model.text_states(&case.tokens(&case.rows)?, &mut stages)?;
    let image = model.image_states(&case.pixels, &mut stages)?;
    let fused = model.fuse(&text, &image, Need::AllTokens, &mut stages)?;
    let pooled = model.pooler_output(&fused)?;
    let mut got = stages.0;
    let heads = model.heads();
    if heads.itc {
        got.insert("text_embeds".into(), model.itc_text(text.itc_input())?);
        got.insert("image_embeds".into(), model.itc_image(image.itc_input())?);
    }
    if heads.itc_cross {
        got.insert("cross_embeds".into(), model.itc_cross(&pooled)?);
    }
    if heads.itm {
        got.insert("itm_logits".into(), model.itm(&pooled)?);
    }
    if heads.mlm {
        got.insert("mlm_logits".into(), model.mlm(&fused.text)?);
    }
    got.insert("pooler_output".into(), pooled);
    assert!(
        case.expected.len() >= 3,
        "hardly anything is expected: {:?}",
        case.expected.keys()
    );
    for (stage, expected) in &case.expected {
        let got = got
            .get(stage)
            .with_context(|| format!("stage `{stage}` is expected and was not computed"))?;
        compare(stage, got, expected, TOLERANCE)?;
    }
    Ok(())
}

fn texts_alone(folder: &Path) -> anyhow::Result<()> {
    let case = Case::open(folder)?;
    let mut together = Record::default();
    let batch = case
        .model
        .text_states(&case.tokens(&case.rows)?, &mut together)?;
    assert!(
        case.rows.iter().any(|row| row.len() < case.rows[0].len()),
        "nothing is padded"
    );
    for (i, row) in case.rows.iter().enumerate() {
        let mut alone = Record::default();
        let states = case
            .model
            .text_states(&case.tokens(std::slice::from_ref(row))?, &mut alone)?;
        for (stage, got) in &alone.0 {
            let padded = together.0[stage]
                .i(i)?
                .narrow(0, 0, row.len())?
                .unsqueeze(0)?;
            compare(&format!("{stage} of text {i}"), got, &padded, SAME)?;
        }
        compare(
            &format!("ITC input of text {i}"),
            states.itc_input(),
            &batch.itc_input().narrow(0, i, 1)?,
            SAME,
        )?;
        let short = case
            .model
            .text_itc_input(&case.tokens(std::slice::from_ref(row))?)?;
        compare(
            &format!("ITC input alone of text {i}"),
            &short,
            states.itc_input(),
            SAME,
        )?;
    }
    Ok(())
}

fn pictures_alone(folder: &Path) -> anyhow::Result<()> {
    let case = Case::open(folder)?;
    let count = case.pixels.dim(0)?;
    let picture = |i: usize| case.pixels.narrow(0, i % count, 1);
    for i in 0..count {
        let mut alone = Record::default();
        let states = case.model.image_states(&picture(i)?, &mut alone)?;
        let short = case.model.image_itc_input(&picture(i)?)?;
        compare("ITC input alone", &short, states.itc_input(), SAME)?;
        for place in 0..3 {
            let order: Vec<usize> = (0..3)
                .map(|p| if p == place { i } else { i + 1 + p })
                .collect();
            let batch = Tensor::cat(
                &[picture(order[0])?, picture(order[1])?, picture(order[2])?],
                0,
            )?;
            let mut beside = Record::default();
            case.model.image_states(&batch, &mut beside)?;
            for (stage, got) in &alone.0 {
                let other = beside.0[stage].narrow(0, place, 1)?;
                compare(
                    &format!("{stage} of picture {i} at place {place}"),
                    got,
                    &other,
                    SAME,
                )?;
            }
        }
    }
    Ok(())
}

fn cached_states(folder: &Path) -> anyhow::Result<()> {
    let case = Case::open(folder)?;
    let model = &case.model;
    let images = model.image_states(&case.pixels, &mut ())?;
    for row in &case.rows {
        let text = model.text_states(&case.tokens(std::slice::from_ref(row))?, &mut ())?;
        // One text for all pictures, last layer for first rows only ...
        let fused = model.fuse(&text, &images, Need::FirstTokens, &mut ())?;
        let shared = model.pooler_output(&fused)?;
        // ... against each pair in full.
        for i in 0..case.pixels.dim(0)? {
            let image = model.image_states(&case.pixels.narrow(0, i, 1)?, &mut ())?;
            let full = model.fuse(&text, &image, Need::AllTokens, &mut ())?;
            let pooled = model.pooler_output(&full)?;
            compare(
                &format!("pooler_output with picture {i}"),
                &shared.narrow(0, i, 1)?,
                &pooled,
                SAME,
            )?;
            if model.heads().itm {
                compare(
                    "itm_logits",
                    &model.itm(&shared.narrow(0, i, 1)?)?,
                    &model.itm(&pooled)?,
                    5.0 * SAME,
                )?;
            }
        }
    }
    Ok(())
}

/// The shipped model through [`Encoder`]: its own tokenizer on the texts, the reference's pixel values.
fn mini_is_exact(expected: &Path) -> anyhow::Result<()> {
    let bytes = fs_err::read(expected)?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes)?;
    let about = header.metadata().clone().unwrap();
    let texts: Vec<String> = serde_json::from_str(&about["texts"])?;
    let mut expected = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    let mut take = |name: &str| expected.remove(name).unwrap();

    let choice = ModelChoice {
        spec: "mini".into(),
        fit: Fit::Reference,
    };
    let encoder = Encoder::load(&choice, &EXEC, &mut |event| panic!("{event:?}"))?;
    let model = encoder.model();
    let pixels = take("pixel_values");
    let side = pixels.dim(2)?;
    let pictures: Vec<Pixels> = (0..pixels.dim(0)?)
        .map(|i| Pixels {
            values: pixels
                .i(i)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap(),
            side,
        })
        .collect();
    let pictures: Vec<&Pixels> = pictures.iter().collect();

    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let rows = unpadded(&take("input_ids"), &take("attention_mask"))?;
    for (text, row) in texts.iter().zip(&rows) {
        assert_eq!(&encoder.token_ids(text)?.0, row, "token ids of `{text}`");
    }
    let vectors = |embeddings: Vec<Vec<f32>>| Tensor::new(embeddings, &Device::Cpu);
    let text_embeds = encoder
        .embed_texts(&texts)?
        .into_iter()
        .map(|embedding| embedding.vector)
        .collect();
    compare(
        "text_embeds",
        &vectors(text_embeds)?,
        &take("text_embeds"),
        TOLERANCE,
    )?;
    compare(
        "image_embeds",
        &vectors(encoder.embed_pictures(&pictures)?)?,
        &take("image_embeds"),
        TOLERANCE,
    )?;

    let (cross_embeds, itm_logits) = (take("cross_embeds"), take("itm_logits"));
    let states = encoder.picture_states(&pictures)?;
    let states: Vec<_> = states.iter().collect();
    for (j, text) in texts.iter().enumerate() {
        for (i, picture) in pictures.iter().enumerate() {
            let got = Tensor::new(encoder.embed_pair(text, picture)?, &Device::Cpu)?;
            compare("cross_embeds", &got, &cross_embeds.i((i, j))?, TOLERANCE)?;
            let features = encoder.features(text, picture)?;
            let got = Tensor::new(features.itm_logits.unwrap(), &Device::Cpu)?;
            compare("itm_logits", &got, &itm_logits.i((i, j))?, TOLERANCE)?;
        }
        let expected: Tensor = (itm_logits.i((.., j, 1))? - itm_logits.i((.., j, 0))?)?;
        let got = Tensor::new(encoder.match_logits(text, &states)?, &Device::Cpu)?;
        compare("match_logits", &got, &expected, 2.0 * TOLERANCE)?;
    }

    let logit_scale = Tensor::new(&[model.logit_scale().unwrap()], &Device::Cpu)?;
    compare("logit_scale", &logit_scale, &take("logit_scale"), TOLERANCE)?;
    let masked: Vec<Vec<u32>> = take("mlm_input_ids").to_dtype(DType::U32)?.to_vec2()?;
    let expected_mlm = take("mlm_logits_at_2");
    for (i, (masked, row)) in masked.iter().zip(&rows).enumerate() {
        let tokens = TokenBatch::new(&[&masked[..row.len()]], model.config(), model.device())?;
        let text = model.text_states(&tokens, &mut ())?;
        let pixels = pixels.narrow(0, i, 1)?.to_device(&EXEC.device)?;
        let image = model.image_states(&pixels, &mut ())?;
        let fused = model.fuse(&text, &image, Need::AllTokens, &mut ())?;
        let got = model.mlm(&fused.text)?.i((0, 2))?;
        compare("mlm_logits_at_2", &got, &expected_mlm.i(i)?, TOLERANCE)?;
    }
    assert!(expected.is_empty(), "not compared: {:?}", expected.keys());
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Fails with stage, index, got and expected of the first value that is off, and how many are.
fn compare(stage: &str, got: &Tensor, expected: &Tensor, tolerance: f32) -> anyhow::Result<()> {
    ensure!(
        got.dims() == expected.dims(),
        "{stage}: shape {:?}, expected {:?}",
        got.dims(),
        expected.dims()
    );
    let values = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (got_values, expected_values) = (values(got)?, values(expected)?);
    if EXEC.precision != Precision::F32 {
        let cosine = cosine(&got_values, &expected_values);
        // NaN is not at least anything.
        ensure!(
            cosine >= LEAST_COSINE,
            "{stage}: cosine {cosine}, at least {LEAST_COSINE} is expected; got {got_values:.4?}, expected {expected_values:.4?}"
        );
        return Ok(());
    }
    // A GPU's library takes other kernels for other sizes, so nothing is the same to the last bits there.
    let tolerance = if EXEC.is_gpu() {
        tolerance.max(TOLERANCE)
    } else {
        tolerance
    };
    let off = |(got, expected): (&f32, &f32)| got.is_nan() || (got - expected).abs() > tolerance;
    let pairs = || got_values.iter().zip(&expected_values);
    let Some(first) = pairs().position(off) else {
        return Ok(());
    };
    let count = pairs()
        .filter(|(got, expected)| off((*got, *expected)))
        .count();
    let largest = pairs()
        .map(|(got, expected)| (got - expected).abs())
        .fold(0f32, f32::max);
    let mut index = Vec::new();
    let mut rest = first;
    for &dim in got.dims().iter().rev() {
        index.insert(0, rest % dim);
        rest /= dim;
    }
    bail!(
        "{stage} {index:?}: got {}, expected {}, tolerance {tolerance}; {count} of {} values are off, by {largest} at most",
        got_values[first],
        expected_values[first],
        got_values.len()
    )
}
