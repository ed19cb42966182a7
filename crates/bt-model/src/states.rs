//! What the cross-modal layers read of a picture, as bytes: for a cache that lives longer than a program.
//!
//! In f16, half the memory of f32: a value moves by at most one part in 2,000, and mini's ITM logits by about as
//! much (`tests/states.rs`). Bytes a picture: 2 C (P + 1) D, which is 75 kB for mini and 3.0 MB for base.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::f16;

use crate::encoder::{Encoder, PictureStates};
use crate::error::Result;
use crate::model::ImageStates;

/// The first bytes. Other contents are another number.
const KIND: &[u8; 8] = b"BTSTATE1";

impl PictureStates {
    /// For [`PictureStates::from_bytes`]; `None` where a value is beyond what f16 can say.
    ///
    /// # Errors
    /// What copying tensors from a device can meet.
    pub fn to_bytes(&self) -> Result<Option<Vec<u8>>> {
        let mut bytes = KIND.to_vec();
        for tensor in self.states.bridges.iter().chain([&self.states.itc_input]) {
            let values = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F16)?;
            let values = values.flatten_all()?.to_vec1::<f16>()?;
            if values.iter().any(|value| !value.is_finite()) {
                return Ok(None);
            }
            bytes.extend_from_slice(bytemuck::cast_slice(&values));
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        Ok(Some(bytes))
    }

    /// States of one picture for this model; `None` when the bytes are damaged or of another model's shape.
    ///
    /// # Errors
    /// What copying tensors to a device can meet.
    pub fn from_bytes(bytes: &[u8], encoder: &Encoder) -> Result<Option<Self>> {
        let model = encoder.model();
        let config = model.config();
        let (width, tokens) = (config.hidden_size, config.vision.tokens());
        let itc = match config.itc_image_from {
            crate::config::ItcImageFrom::Bridge => width,
            crate::config::ItcImageFrom::Tower => config.vision.hidden_size,
        };
        let bridge = tokens * width;
        let count = config.cross_layers * bridge + itc;
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else {
            return Ok(None);
        };
        if body.len() != KIND.len() + 2 * count
            || !body.starts_with(KIND)
            || crc32fast::hash(body) != u32::from_le_bytes(*sum)
        {
            return Ok(None);
        }
        let values: Vec<f16> = body[KIND.len()..]
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| f16::from_le_bytes(*bytes))
            .collect();
        let tensor = |values: &[f16], shape: &[usize]| -> Result<Tensor> {
            let tensor = Tensor::from_slice(values, shape, model.device())?;
            Ok(tensor.to_dtype(model.body_type())?)
        };
        let bridges = (0..config.cross_layers)
            .map(|k| tensor(&values[k * bridge..(k + 1) * bridge], &[1, tokens, width]))
            .collect::<Result<_>>()?;
        let itc_input = tensor(&values[count - itc..], &[1, itc])?;
        Ok(Some(Self {
            states: Arc::new(ImageStates { bridges, itc_input }),
        }))
    }
}
