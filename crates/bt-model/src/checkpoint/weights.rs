//! Weights by name, from whichever kind of file a checkpoint has them in. What the graph asks for and what
//! the file holds are compared as a whole: one error lists everything that is missing, surplus or misshapen.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Tensor};

use super::pickle;
use super::prepared::{Prepared, PreparedLinear, Preparing};
use super::shards::Shards;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::kernels::pack::{Format, Packed};
use crate::kernels::{Level, Lines};

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
    Shards(Shards),
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
    prepared: Option<Prepared>,
    preparing: RefCell<Option<Preparing>>,
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
            WeightFiles::Safetensors(paths) => Source::Shards(Shards::open(paths)?),
            WeightFiles::Pickle(path) => Source::Pickle(pickle::open(path, None)?),
        };
        let shapes: BTreeMap<String, Vec<usize>> = match &source {
            Source::Bundled(file) => file
                .tensors()
                .into_iter()
                .map(|(name, view)| (name, view.shape().to_vec()))
                .collect(),
            Source::Shards(files) => files.shapes(),
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
            prepared: None,
            preparing: RefCell::default(),
        })
    }

    /// Takes layers from the file at `path` where it is whole, else writes that file from what is loaded.
    pub(crate) fn kept_at(mut self, path: &Path) -> Self {
        self.prepared = Prepared::open(path, self.exec.precision.format());
        if self.prepared.is_none() {
            self.preparing = RefCell::new(Preparing::begin(path));
        }
        self
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
            format: self.exec.precision.format(),
            kind: self.exec.body_type(),
        }
    }

    /// A head, which has no prefix. Heads are small, and what they say is looked at closely: they stay f32.
    pub(crate) fn head(&self, name: &str) -> Scope<'_> {
        Scope {
            weights: self,
            path: format!("{name}."),
            format: Format::F32,
            kind: DType::F32,
        }
    }

    /// A head as large as a part of the body, and treated like one.
    pub(crate) fn large_head(&self, name: &str) -> Scope<'_> {
        Scope {
            format: self.exec.precision.format(),
            ..self.head(name)
        }
    }

    /// A number without a path, such as `logit_scale`.
    pub(crate) fn scalar(&self, name: &str) -> Result<f32> {
        Ok(self.tensor(name, &[])?.to_scalar::<f32>()?)
    }

    /// A tensor by its whole name, as f32.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if self.claim(name, shape) {
            return self.read(name);
        }
        self.stand_in(shape.len())
    }

    /// A tensor of that many axes for one that is not there, so that loading goes on and the list gets complete;
    /// `finish` refuses.
    fn stand_in(&self, rank: usize) -> Result<Tensor> {
        let shape = vec![1; rank];
        Ok(Tensor::zeros(shape, DType::F32, &self.exec.device)?)
    }

    /// Enters into the account that a tensor is asked for, and says whether it is there in this shape.
    fn claim(&self, name: &str, shape: &[usize]) -> bool {
        let mut account = self.account.borrow_mut();
        account.asked.insert(name.to_owned());
        match self.shapes.get(name) {
            Some(found) if found == shape => return true,
            Some(found) => account
                .misshapen
                .push(format!("{name} {found:?} instead of {shape:?}")),
            None => account.missing.push(format!("{name} {shape:?}")),
        }
        false
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
            Source::Shards(files) => files.load(name, &self.exec.device),
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
        let preparing = self.preparing.into_inner();
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
            if let Some(preparing) = preparing {
                preparing.finish();
            }
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
    /// What the processor computes products with.
    format: Format,
    /// What tensors become.
    kind: DType,
}

impl Scope<'_> {
    /// The place `name` below this one.
    pub(crate) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self {
            weights: self.weights,
            path: format!("{}{name}.", self.path),
            format: self.format,
            kind: self.kind,
        }
    }

    /// The same place, for layers that a whole picture's rows go through.
    pub(crate) fn for_many_rows(mut self) -> Self {
        if self.format == Format::F32 {
            self.format = Format::exact_for_many(Level::best());
        }
        self
    }

    /// The tensor `name` at this place.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self
            .weights
            .tensor(&format!("{}{name}", self.path), shape)?;
        Ok(tensor.to_dtype(self.kind)?)
    }

    /// The number `name` at this place.
    pub(crate) fn scalar(&self, name: &str) -> Result<f32> {
        self.weights.scalar(&format!("{}{name}", self.path))
    }

    /// Whether the tensor `name` is there in this shape; a name that is not is in the list that `finish` gives.
    pub(crate) fn claim(&self, name: &str, shape: &[usize]) -> bool {
        self.weights.claim(&format!("{}{name}", self.path), shape)
    }

    /// A tensor of that many axes for one that [`Scope::claim`] has not found.
    pub(crate) fn stand_in(&self, rank: usize) -> Result<Tensor> {
        self.weights.stand_in(rank)
    }

    /// A layer that an earlier load has prepared, under the name of its first tensor and their number.
    pub(crate) fn prepared(
        &self,
        name: &str,
        count: usize,
        outputs: usize,
        inputs: usize,
    ) -> Option<PreparedLinear> {
        let prepared = self.weights.prepared.as_ref()?;
        if self.format != self.weights.exec.precision.format() {
            return None;
        }
        prepared.linear(&format!("{}{name} {count}", self.path), outputs, inputs)
    }

    /// Keeps a layer for the next load.
    pub(crate) fn keep(&self, name: &str, count: usize, weight: &Packed, bias: Option<&[f32]>) {
        if let Some(preparing) = &mut *self.weights.preparing.borrow_mut()
            && self.format == self.weights.exec.precision.format()
        {
            preparing.linear(format!("{}{name} {count}", self.path), weight, bias);
        }
    }

    /// A table of f32 that an earlier load has kept.
    pub(crate) fn prepared_table(&self, name: &str, rows: usize, width: usize) -> Option<Lines> {
        let prepared = self.weights.prepared.as_ref()?;
        prepared.table(&format!("{}{name}", self.path), rows, width)
    }

    /// Keeps a table of f32, on the processor, for the next load.
    pub(crate) fn keep_table(&self, name: &str, table: &Tensor) -> Result<()> {
        if let Some(preparing) = &mut *self.weights.preparing.borrow_mut() {
            let (rows, width) = table.dims2()?;
            let values: Vec<f32> = table.flatten_all()?.to_vec1()?;
            preparing.table(format!("{}{name}", self.path), &values, rows, width);
        }
        Ok(())
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
