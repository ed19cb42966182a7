//! Pictures to where the model runs and vectors back. On a GPU both go beside the computing, on a stream of
//! their own and through memory that the GPU reads by itself, so that a batch can be on its way while another
//! one is worked on; elsewhere nothing has to be moved.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// The way to one device and back.
#[derive(Debug)]
pub(crate) struct Transfer {
    device: Device,
    #[cfg(feature = "cuda")]
    lane: Option<cuda::Lane>,
}

impl Transfer {
    pub(crate) fn to(device: &Device) -> Result<Self> {
        Ok(Self {
            #[cfg(feature = "cuda")]
            lane: match device {
                Device::Cuda(gpu) => Some(cuda::Lane::new(gpu)?),
                _ => None,
            },
            device: device.clone(),
        })
    }

    /// Pictures as one tensor [B, 3, side, side]; `pictures`: 3 x side x side values each, at least one.
    pub(crate) fn upload(&self, pictures: &[&[f32]], side: usize) -> Result<Tensor> {
        let shape = (pictures.len(), 3, side, side);
        #[cfg(feature = "cuda")]
        if let (Some(lane), Device::Cuda(gpu)) = (&self.lane, &self.device) {
            return lane.upload(gpu, pictures, shape.into());
        }
        let mut values = Vec::with_capacity(pictures.len() * 3 * side * side);
        for picture in pictures {
            values.extend_from_slice(picture);
        }
        Ok(Tensor::from_vec(values, shape, &self.device)?)
    }

    /// Sends the rows of `x` [B, E] back once they are computed; [`Coming::rows`] waits for them, and for
    /// nothing that is computed later.
    pub(crate) fn download(&self, x: &Tensor) -> Result<Coming> {
        let x = x.to_dtype(DType::F32)?.contiguous()?;
        Ok(Coming {
            #[cfg(feature = "cuda")]
            computed: match &self.lane {
                Some(lane) => Some(lane.after(&x)?),
                None => None,
            },
            x,
        })
    }
}

/// Rows on their way back.
#[derive(Debug)]
pub(crate) struct Coming {
    x: Tensor,
    #[cfg(feature = "cuda")]
    computed: Option<cuda::Computed>,
}

impl Coming {
    pub(crate) fn rows(self) -> Result<Vec<Vec<f32>>> {
        #[cfg(feature = "cuda")]
        if let Some(computed) = &self.computed {
            let (_, width) = self.x.dims2()?;
            let values = computed.fetch(&self.x)?;
            return Ok(values.chunks(width).map(<[f32]>::to_vec).collect());
        }
        Ok(self.x.to_device(&Device::Cpu)?.to_vec2()?)
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::sync::{Arc, Mutex, PoisonError};

    use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, PinnedHostSlice};
    use candle_core::cuda_backend::{CudaDevice, WrapErr};
    use candle_core::op::BackpropOp;
    use candle_core::{CudaStorage, Shape, Storage, Tensor};
    use rayon::prelude::*;

    use crate::error::Result;

    /// Pieces of memory that are kept.
    const SPARE: usize = 4;

    /// A stream for copies, and memory that a GPU reads by itself, kept because getting it takes long.
    #[derive(Debug)]
    pub(super) struct Lane {
        computing: Arc<CudaStream>,
        copying: Arc<CudaStream>,
        spare: Mutex<Vec<PinnedHostSlice<f32>>>,
    }

    impl Lane {
        pub(super) fn new(gpu: &CudaDevice) -> Result<Self> {
            let computing = gpu.cuda_stream();
            Ok(Self {
                copying: computing.context().new_stream().w()?,
                computing,
                spare: Mutex::default(),
            })
        }

        #[expect(unsafe_code, reason = "memory that is written before it is read")]
        pub(super) fn upload(
            &self,
            gpu: &CudaDevice,
            pictures: &[&[f32]],
            shape: Shape,
        ) -> Result<Tensor> {
            let length = shape.elem_count();
            let found = {
                let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
                // All of it will be copied, so it must not be much too long.
                let fits =
                    |memory: &PinnedHostSlice<f32>| (length..=2 * length).contains(&memory.len());
                let place = spare.iter().position(fits);
                if place.is_none() && spare.len() >= SPARE {
                    spare.remove(0);
                }
                place.map(|place| spare.remove(place))
            };
            let mut memory = match found {
                Some(memory) => memory,
                // SAFETY: the values that are copied from it are written below.
                None => unsafe { self.copying.context().alloc_pinned::<f32>(length) }.w()?,
            };
            // Waits until the GPU has read what was in it.
            let values = &mut memory.as_mut_slice().w()?[..length];
            values
                .par_chunks_mut(length / pictures.len())
                .zip(pictures)
                .for_each(|(to, picture)| to.copy_from_slice(picture));
            // SAFETY: all of it is written by the copy, which goes first on this stream.
            let mut on_gpu = unsafe { self.copying.alloc::<f32>(memory.len()) }.w()?;
            self.copying.memcpy_htod(&memory, &mut on_gpu).w()?;
            // What is computed from now on comes after the copy.
            self.computing.join(&self.copying).w()?;
            let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
            spare.push(memory);
            let storage = CudaStorage::wrap_cuda_slice(on_gpu, gpu.clone());
            Ok(Tensor::from_storage(
                Storage::Cuda(storage),
                shape,
                BackpropOp::none(),
                false,
            ))
        }

        pub(super) fn after(&self, _: &Tensor) -> Result<Computed> {
            Ok(Computed {
                event: self.computing.record_event(None).w()?,
                copying: Arc::clone(&self.copying),
            })
        }
    }

    /// A moment in the computing stream.
    #[derive(Debug)]
    pub(super) struct Computed {
        event: CudaEvent,
        copying: Arc<CudaStream>,
    }

    impl Computed {
        /// The values of `x`, which was computed by that moment.
        pub(super) fn fetch(&self, x: &Tensor) -> Result<Vec<f32>> {
            self.copying.wait(&self.event).w()?;
            let (storage, layout) = x.storage_and_layout();
            let Storage::Cuda(storage) = &*storage else {
                return Err(candle_core::Error::Msg("not in a GPU's memory".to_owned()).into());
            };
            let values = storage
                .as_cuda_slice::<f32>()?
                .slice(layout.start_offset()..);
            let values = values.slice(..x.elem_count());
            let fetched = self.copying.clone_dtoh(&values).w()?;
            self.copying.synchronize().w()?;
            Ok(fetched)
        }
    }
}
