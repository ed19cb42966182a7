//! Weights by name, from whichever kind of file a checkpoint has them in. What the graph asks for and what
//! the file holds are compared as a whole: one error lists everything that is missing, surplus or misshapen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::{Load, MmapedSafetensors, SliceSafetensors};
use candle_core::{DType, Tensor};

use super::pickle;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::kernels::pack::Format;
use crate::precision::Precision;

/// Where the weights are.
#[derive(Clone, Debug)]
pub(crate) enum WeightFiles {
    /// A safetensors file compiled into the program.
    Bundled(&'static [u8]),
    /// One safetensors file, or the shards of one.
    Safetensors(Vec<PathBuf>),
    /// A state dict that torch.save wrote; read as data, nothing in it is run.
    Pickle(PathBuf),
}

enum Source {
    Bundled(SliceSafetensors<'static>),
    Mapped(MmapedSafetensors),
    Pickle(PthTensors),
}

/// An open file of weights, and the account of what was asked of it.
pub(crate) struct Weights {
    source: Source,
    place: PathBuf,
    shapes: BTreeMap<String, Vec<usize>>,
    prefix: &'static str,
    exec: Exec,
    account: RefCell<Account>,
}

#[derive(Default)]
struct Account {
    asked: BTreeSet<String>,
    missing: Vec<String>,
    misshapen: Vec<String>,
}

/// What the body's keys begin with in most checkpoints.
const BODY: &str = "bridgetower.";

impl Weights {
    pub(crate) fn open(files: &WeightFiles, place: &Path, exec: &Exec) -> Result<Self> {
        let bad = |path: &Path, cause: candle_core::Error| Error::BadFile {
            path: path.to_owned(),
            what: format!("not a file of weights: {cause}"),
        };
        let source = match files {
            WeightFiles::Bundled(bytes) => {
                Source::Bundled(SliceSafetensors::new(bytes).map_err(|cause| bad(place, cause))?)
            }
            WeightFiles::Safetensors(paths) => {
                Source::Mapped(map(paths).map_err(|cause| bad(place, cause))?)
            }
            WeightFiles::Pickle(path) => Source::Pickle(pickle::open(path, None)?),
        };
        let shapes: BTreeMap<String, Vec<usize>> = match &source {
            Source::Bundled(file) => file
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.shape().to_vec()))
                .collect(),
            Source::Mapped(file) => file
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.shape().to_vec()))
                .collect(),
            Source::Pickle(file) => file
                .tensor_infos()
                .iter()
                .map(|(name, info)| (name.clone(), info.layout.dims().to_vec()))
                .collect(),
        };
        let prefix = if shapes.keys().any(|name| name.starts_with(BODY)) {
            BODY
        } else {
            ""
        };
        Ok(Self {
            source,
            place: place.to_owned(),
            shapes,
            prefix,
            exec: exec.clone(),
            account: RefCell::default(),
        })
    }

    /// Names and shapes as they stand in the file.
    pub(crate) fn shapes(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.shapes
    }

    /// Whether any tensor's name begins so.
    pub(crate) fn any(&self, beginning: &str) -> bool {
        self.shapes.keys().any(|name| name.starts_with(beginning))
    }

    /// The body of the model, below its prefix.
    pub(crate) fn body(&self) -> Scope<'_> {
        Scope {
            weights: self,
            path: self.prefix.to_owned(),
            format: match self.exec.precision {
                Precision::Int8 => Format::Int8,
                Precision::Bf16 => Format::Bf16,
                _ => Format::F32,
            },
        }
    }

    /// A head, which has no prefix. Heads are small, and what they say is looked at closely: they stay f32.
    pub(crate) fn head(&self, name: &str) -> Scope<'_> {
        Scope {
            weights: self,
            path: format!("{name}."),
            format: Format::F32,
        }
    }

    /// A tensor without a path, such as `logit_scale`.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.account.borrow_mut().asked.insert(name.to_owned());
        match self.shapes.get(name) {
            Some(found) if found == shape => return self.read(name),
            Some(found) => self
                .account
                .borrow_mut()
                .misshapen
                .push(format!("{name} {found:?} instead of {shape:?}")),
            None => self
                .account
                .borrow_mut()
                .missing
                .push(format!("{name} {shape:?}")),
        }
        // A stand-in of the same rank, so that loading goes on and the list gets complete; `finish` refuses.
        Ok(Tensor::zeros(
            vec![1; shape.len()],
            DType::F32,
            &self.exec.device,
        )?)
    }

    /// A tensor of any shape, as f32.
    pub(crate) fn read(&self, name: &str) -> Result<Tensor> {
        let tensor = self.stored(name)?;
        if !matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16) {
            return Err(self.bad(
                name,
                format!(
                    "its type is {:?}; f32, f16 and bf16 can be read",
                    tensor.dtype()
                ),
            ));
        }
        Ok(tensor.to_dtype(DType::F32)?.contiguous()?)
    }

    /// A tensor of any shape, in the type that it is stored in.
    pub(crate) fn stored(&self, name: &str) -> Result<Tensor> {
        match &self.source {
            Source::Bundled(file) => file.load(name, &self.exec.device),
            Source::Mapped(file) => file.get(name).and_then(|view| view.load(&self.exec.device)),
            Source::Pickle(file) => match file.get(name) {
                Ok(Some(tensor)) => tensor.to_device(&self.exec.device),
                Ok(None) => return Err(self.bad(name, "not there".to_owned())),
                Err(cause) => Err(cause),
            },
        }
        .map_err(|cause| self.bad(name, cause.to_string()))
    }

    fn bad(&self, name: &str, what: String) -> Error {
        Error::BadFile {
            path: self.place.clone(),
            what: format!("tensor `{name}`: {what}"),
        }
    }

    /// Settles the account. `unused` says which names, less the body's prefix, may be there without being read.
    pub(crate) fn finish(self, unused: impl Fn(&str) -> bool) -> Result<()> {
        let Account {
            asked,
            missing,
            misshapen,
        } = self.account.into_inner();
        let surplus: Vec<String> = self
            .shapes
            .into_keys()
            .filter(|name| {
                !asked.contains(name) && !unused(name.strip_prefix(self.prefix).unwrap_or(name))
            })
            .collect();
        if missing.is_empty() && surplus.is_empty() && misshapen.is_empty() {
            return Ok(());
        }
        Err(Error::Weights {
            path: self.place,
            missing,
            surplus,
            misshapen,
        })
    }
}

/// A place in the tree of names.
#[derive(Clone)]
pub(crate) struct Scope<'a> {
    weights: &'a Weights,
    path: String,
    format: Format,
}

impl Scope<'_> {
    /// The place `name` below this one.
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self {
            weights: self.weights,
            path: format!("{}{name}.", self.path),
            format: self.format,
        }
    }

    /// The tensor `name` at this place.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.weights.tensor(&format!("{}{name}", self.path), shape)
    }

    /// What the processor computes with here.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether the file has the tensor `name` at this place.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights
            .shapes
            .contains_key(&format!("{}{name}", self.path))
    }
}

#[expect(
    unsafe_code,
    reason = "weights of gigabytes are mapped, not read twice"
)]
fn map(paths: &[PathBuf]) -> candle_core::Result<MmapedSafetensors> {
    // SAFETY: a mapping is sound as long as nobody truncates or rewrites the file meanwhile. It lives only
    // while a model is being loaded (every tensor is copied out), and checkpoints are replaced by renaming.
    unsafe { MmapedSafetensors::multi(paths) }
}
