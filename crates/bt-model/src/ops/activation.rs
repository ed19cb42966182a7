//! Activation functions of tensors.

use candle_core::Tensor;

use crate::error::Result;
use crate::kernels::Activation;

/// Elementwise, on any device.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Gelu => x.gelu_erf()?,
        Activation::GeluTanh => x.gelu()?,
        Activation::QuickGelu => (x * candle_nn::ops::sigmoid(&(x * 1.702)?)?)?,
        Activation::Relu => x.relu()?,
        Activation::Silu => x.silu()?,
        Activation::Tanh => x.tanh()?,
        Activation::Sigmoid => candle_nn::ops::sigmoid(x)?,
        Activation::Linear => x.clone(),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_fast_form_is_the_plain_one() {
        let xs: Vec<f32> = (-4000..=4000)
            .map(|i| i as f32 / 200.0)
            .chain([-100.0, 100.0, -0.0, 1e-20])
            .collect();
        let tensor = Tensor::new(xs.as_slice(), &Device::Cpu).unwrap();
        for name in Activation::NAMES.split(", ").map(str::trim) {
            let activation = Activation::by_name(name).unwrap();
            let plain: Vec<f32> = activate(&tensor, activation).unwrap().to_vec1().unwrap();
            let (mut fused, mut apart) = (xs.clone(), xs.clone());
            activation.apply::<true>(&mut fused);
            activation.apply::<false>(&mut apart);
            for fast in [fused, apart] {
                for ((x, plain), fast) in xs.iter().zip(&plain).zip(fast) {
                    assert!(
                        (plain - fast).abs() <= 1e-6 * plain.abs().max(1.0),
                        "{name}({x}): {fast}, plainly {plain}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for name in Activation::NAMES.split(", ").map(str::trim) {
            let mut value = [f32::NAN];
            Activation::by_name(name).unwrap().apply::<true>(&mut value);
            assert!(value[0].is_nan(), "{name}");
        }
    }
}
