//! Safetensors files on disk, of which one tensor at a time is read: gigabytes are neither held twice nor counted
//! to this process as mapped.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use fs_err::File;
use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::error::{Error, Result};

/// One file, or several that hold different tensors.
pub(crate) struct Shards {
    paths: Vec<PathBuf>,
    tensors: HashMap<String, Place>,
}

struct Place {
    shard: usize,
    at: u64,
    info: TensorInfo,
}

impl Shards {
    /// Reads what the files say they hold.
    ///
    /// # Errors
    /// A file that cannot be read, or whose length or header is not that of a safetensors file.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut tensors = HashMap::new();
        for (shard, path) in paths.iter().enumerate() {
            let (begin, metadata) = header(path)?;
            for (name, info) in metadata.tensors() {
                let at = begin + info.data_offsets.0 as u64;
                let info = info.clone();
                tensors.insert(name, Place { shard, at, info });
            }
        }
        Ok(Self {
            paths: paths.to_vec(),
            tensors,
        })
    }

    pub(crate) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let shape = |(name, place): (&String, &Place)| (name.clone(), place.info.shape.clone());
        self.tensors.iter().map(shape).collect()
    }

    /// A tensor in the type that it is stored in.
    pub(crate) fn load(&self, name: &str, device: &Device) -> candle_core::Result<Tensor> {
        let Some(place) = self.tensors.get(name) else {
            candle_core::bail!("not there")
        };
        let info = &place.info;
        let bytes = info.data_offsets.1 - info.data_offsets.0;
        // Read straight into numbers: copying them once more takes as long as reading.
        match info.dtype {
            Dtype::F32 => Tensor::from_vec(self.read::<f32>(place, bytes)?, &*info.shape, device),
            Dtype::F16 => {
                Tensor::from_vec(self.read::<half::f16>(place, bytes)?, &*info.shape, device)
            }
            Dtype::BF16 => {
                Tensor::from_vec(self.read::<half::bf16>(place, bytes)?, &*info.shape, device)
            }
            Dtype::I64 => Tensor::from_vec(self.read::<i64>(place, bytes)?, &*info.shape, device),
            Dtype::F64 => Tensor::from_vec(self.read::<f64>(place, bytes)?, &*info.shape, device),
            other => candle_core::bail!("its type is {other:?}; f32, f16 and bf16 can be read"),
        }
    }

    fn read<T: bytemuck::Pod>(&self, place: &Place, bytes: usize) -> candle_core::Result<Vec<T>> {
        let mut file = File::open(&self.paths[place.shard])?;
        file.seek(SeekFrom::Start(place.at))?;
        let mut values = vec![T::zeroed(); bytes / size_of::<T>()];
        file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

/// Where the numbers begin, and what there are.
fn header(path: &Path) -> Result<(u64, Metadata)> {
    let bad = |what: String| Error::BadFile {
        path: path.to_owned(),
        what: format!("not a file of weights: {what}"),
    };
    let file = File::open(path)?;
    #[expect(
        unsafe_code,
        reason = "the format's reader wants the whole file, of which it reads the beginning"
    )]
    // SAFETY: a mapping is sound as long as nobody truncates or rewrites the file meanwhile. It lives while the
    // header is read, and checkpoints are replaced by renaming.
    let file = unsafe { Mmap::map(file.file()) }.map_err(|cause| bad(cause.to_string()))?;
    let (length, metadata) =
        SafeTensors::read_metadata(&file).map_err(|cause| bad(cause.to_string()))?;
    Ok((8 + length as u64, metadata))
}
