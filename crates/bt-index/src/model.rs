//! Which model embeds: the one asked for, or the one that the index was made with; loaded when the
//! first new picture needs it, so that a run over unchanged pictures never pays for it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bt_model::{Encoder, Exec, Fit, ModelChoice, Precision};
use bt_store::{Header, ModelId, ModelRef, Reader, Writer};

use crate::error::{Error, Result};

/// Embeds pictures when nothing else is said.
pub const DEFAULT_MODEL: &str = "mini";

/// What a user says about models; what is left out comes from the index, else from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelOptions {
    /// A name, a Hub id or a folder.
    pub spec: Option<String>,
    /// How pictures become squares.
    pub fit: Option<Fit>,
    /// Another model that reranks; fixed when the index is made.
    pub rerank: Option<String>,
    /// `auto`, `cpu`, `cuda[:N]`, `metal[:N]`; several with commas share the work.
    pub device: String,
    /// With which numbers.
    pub precision: Precision,
}

/// Called with what loading a model is doing.
pub(crate) type OnModel<'a> = &'a mut dyn FnMut(bt_model::Event);

/// Pictures a batch on a GPU, when the user names no number.
const BATCH_ON_GPU: usize = 128;
/// The same on the processor.
const BATCH: usize = 16;

/// A model that is loaded at most once on each device, by whoever needs it there first.
#[derive(Debug)]
pub(crate) struct LazyModel {
    choice: ModelChoice,
    expected: ModelId,
    /// At least one; several where GPUs share the work.
    devices: Vec<(Exec, Mutex<Slot>)>,
}

#[derive(Debug)]
enum Slot {
    Unloaded,
    Loaded(Arc<Encoder>),
    /// The error went to the first who asked.
    Failed,
}

impl LazyModel {
    fn new(choice: ModelChoice, expected: ModelId, execs: Vec<Exec>) -> Self {
        let devices = execs
            .into_iter()
            .map(|exec| (exec, Mutex::new(Slot::Unloaded)));
        Self {
            choice,
            expected,
            devices: devices.collect(),
        }
    }

    /// Takes one that is loaded, if it is the same, for the first device.
    pub(crate) fn provide(&self, encoder: Arc<Encoder>) {
        if encoder.id() == self.expected.0
            && let Some((_, slot)) = self.devices.first()
        {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Slot::Loaded(encoder);
        }
    }

    /// How many devices share the work.
    pub(crate) fn devices(&self) -> usize {
        self.devices.len()
    }

    /// Pictures a batch, when the user names no number.
    pub(crate) fn batch_size(&self) -> usize {
        match self.devices.iter().any(|(exec, _)| exec.is_gpu()) {
            true => BATCH_ON_GPU,
            false => BATCH,
        }
    }

    /// The model on the first device; loads it when it is not there yet.
    pub(crate) fn get(&self, on: OnModel<'_>) -> Result<Arc<Encoder>> {
        self.get_on(0, on)
    }

    /// The model on one of the devices.
    pub(crate) fn get_on(&self, device: usize, on: OnModel<'_>) -> Result<Arc<Encoder>> {
        let (exec, slot) = &self.devices[device];
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Slot::Loaded(encoder) => return Ok(Arc::clone(encoder)),
            Slot::Failed => return Err(Error::StageDied("model")),
            Slot::Unloaded => *slot = Slot::Failed,
        }
        let encoder = Arc::new(Encoder::load(&self.choice, exec, on)?);
        if encoder.id() != self.expected.0 {
            return Err(Error::ModelChanged {
                spec: self.choice.spec.clone(),
            });
        }
        *slot = Slot::Loaded(Arc::clone(&encoder));
        Ok(encoder)
    }
}

/// Opens the index that the options agree with, making it when there is none.
pub(crate) fn open(
    index: &Path,
    options: &ModelOptions,
    on: OnModel<'_>,
) -> Result<(Writer, LazyModel)> {
    let execs = Exec::parse_all(&options.device)?
        .into_iter()
        .map(|exec| exec.with_precision(options.precision))
        .collect::<bt_model::Result<Vec<_>>>()?;
    let existing = match Reader::header(index) {
        Ok(header) => Some(header),
        Err(bt_store::Error::NoIndex(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(header) = &existing
        && options.agree_with(header)
    {
        let writer = Writer::open(index)?;
        let expected = header.model.id.clone();
        let model = LazyModel::new(choice(&header.model)?, expected, execs);
        return Ok((writer, model));
    }
    let choice = options.choice(existing.as_ref())?;
    let encoder = Encoder::load(&choice, &execs[0], on)?;
    let rerank = match &options.rerank {
        Some(spec) => Some(reranker(spec, choice.fit, &execs[0], on)?),
        None => existing.and_then(|header| header.rerank),
    };
    let header = Header {
        model: reference(&encoder),
        rerank,
        dim: encoder.embedding_dim(),
        aligned_with_text: encoder.heads().itc,
    };
    let writer = Writer::create_or_open(index, &header)?;
    let model = LazyModel::new(choice, header.model.id, execs);
    model.provide(Arc::new(encoder));
    Ok((writer, model))
}

impl ModelOptions {
    /// Whether an index, by its header alone, is what they ask for.
    fn agree_with(&self, header: &Header) -> bool {
        let spec = self.spec.as_deref().map(stable_spec);
        let rerank = self.rerank.as_deref().map(stable_spec);
        let fit = self.fit.map(|fit| fit.to_string());
        spec.is_none_or(|spec| spec == header.model.spec)
            && fit.is_none_or(|fit| fit == header.model.fit)
            && (rerank.is_none()
                || rerank == header.rerank.as_ref().map(|model| model.spec.clone()))
    }

    fn choice(&self, existing: Option<&Header>) -> Result<ModelChoice> {
        let mut found = match existing {
            Some(header) => choice(&header.model)?,
            None => ModelChoice {
                spec: DEFAULT_MODEL.to_owned(),
                fit: Fit::default(),
            },
        };
        if let Some(spec) = &self.spec {
            found.spec = stable_spec(spec);
        }
        if let Some(fit) = self.fit {
            found.fit = fit;
        }
        Ok(found)
    }
}

/// A folder is remembered by its absolute path: the next run may start elsewhere.
fn stable_spec(spec: &str) -> String {
    let path = Path::new(spec);
    let is_spelled_as_path =
        spec.starts_with(['.', '/']) || spec.contains(std::path::MAIN_SEPARATOR);
    if is_spelled_as_path && path.is_dir() {
        let absolute = fs_err::canonicalize(path).ok();
        if let Some(text) = absolute.as_deref().and_then(Path::to_str) {
            return text.to_owned();
        }
    }
    spec.to_owned()
}

fn choice(model: &ModelRef) -> Result<ModelChoice> {
    let fit = model.fit.parse().map_err(bt_model::Error::Usage)?;
    Ok(ModelChoice {
        spec: model.spec.clone(),
        fit,
    })
}

fn reference(encoder: &Encoder) -> ModelRef {
    ModelRef {
        spec: encoder.choice().spec.clone(),
        fit: encoder.choice().fit.to_string(),
        id: ModelId(encoder.id().to_owned()),
    }
}

/// Loads the model that is to rerank, to see that it can, and for its fingerprint.
fn reranker(spec: &str, fit: Fit, exec: &Exec, on: OnModel<'_>) -> Result<ModelRef> {
    let spec = stable_spec(spec);
    let encoder = Encoder::load(&ModelChoice { spec, fit }, exec, on)?;
    if !encoder.heads().itm {
        return Err(Error::CannotRerank(encoder.choice().spec.clone()));
    }
    Ok(reference(&encoder))
}
