//! Where the ITC heads start from, in closed form: the text head keeps the text state as it is (or turns
//! and shortens it), the image head is the ridge regression that foretells the text state from the
//! picture state. With a few hundred captions this is better than what gradient descent finds from
//! nothing, and with many it is a good place to descend from.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::album::{Album, stack};
use super::rng::Random;
use crate::error::{Error, Result};
use crate::heads::normalise;

/// The two heads while they are learnt.
#[derive(Clone, Debug)]
pub(super) struct ItcHeads {
    pub(super) text: Affine,
    pub(super) image: Affine,
    /// exp of it scales the cosines.
    pub(super) logit_scale: f64,
}

/// `weight x + bias`.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    /// [E, inputs].
    pub(super) weight: Tensor,
    /// [E].
    pub(super) bias: Tensor,
}

impl Affine {
    /// Unit-length rows [n, E] of `x` [n, inputs].
    pub(super) fn embed(&self, x: &Tensor) -> Result<Tensor> {
        normalise(&x.matmul(&self.weight.t()?)?.broadcast_add(&self.bias)?)
    }
}

/// Means and covariances of the pairs that are learnt from.
pub(super) struct Moments {
    text_mean: Tensor,
    image_mean: Tensor,
    /// [Di][Di].
    image_covariance: Vec<Vec<f64>>,
    /// [D][Di].
    cross_covariance: Vec<Vec<f64>>,
    text_variance: f64,
}

/// Rows that are multiplied at once: bounds the memory of their copies in f64.
const ROWS_AT_ONCE: usize = 2048;

impl Moments {
    /// Every text of `pictures` with its picture.
    pub(super) fn of(album: &Album, pictures: &[usize]) -> Result<Self> {
        let (texts, places) = album.owned_texts(pictures);
        let owners: Vec<usize> = places.iter().map(|&place| pictures[place]).collect();
        let text_mean = mean(&album.texts, &texts)?;
        let image_mean = mean(&album.pictures, &owners)?;
        let (text_width, image_width) = (text_mean.elem_count(), image_mean.elem_count());
        let mut image_covariance =
            Tensor::zeros((image_width, image_width), DType::F64, &Device::Cpu)?;
        let mut cross_covariance =
            Tensor::zeros((text_width, image_width), DType::F64, &Device::Cpu)?;
        let mut text_variance = 0.0;
        for (texts, owners) in texts.chunks(ROWS_AT_ONCE).zip(owners.chunks(ROWS_AT_ONCE)) {
            let text = stack(&album.texts, texts)?
                .to_dtype(DType::F64)?
                .broadcast_sub(&text_mean)?;
            let image = stack(&album.pictures, owners)?
                .to_dtype(DType::F64)?
                .broadcast_sub(&image_mean)?;
            image_covariance = (image_covariance + image.t()?.matmul(&image)?)?;
            cross_covariance = (cross_covariance + text.t()?.matmul(&image)?)?;
            text_variance += text.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
        let count = texts.len().max(1) as f64;
        Ok(Self {
            text_mean,
            image_mean,
            image_covariance: (image_covariance / count)?.to_vec2()?,
            cross_covariance: (cross_covariance / count)?.to_vec2()?,
            text_variance: text_variance / count,
        })
    }

    /// Heads of `size` for a ridge of `strength` times the mean variance of a picture state.
    pub(super) fn heads(&self, strength: f64, size: usize, seed: u64) -> Result<ItcHeads> {
        let (text_width, image_width) = (self.text_mean.elem_count(), self.image_mean.elem_count());
        let turn = rotation(size, text_width, seed)?;
        let trace: f64 = self
            .image_covariance
            .iter()
            .enumerate()
            .map(|(i, row)| row[i])
            .sum();
        // Never zero, even for an album of one picture many times.
        let ridge = strength * trace / image_width.max(1) as f64 + f64::MIN_POSITIVE.sqrt();
        let mut system = self.image_covariance.clone();
        for (i, row) in system.iter_mut().enumerate() {
            row[i] += ridge;
        }
        let map = solve(system, &self.cross_covariance).ok_or_else(|| {
            Error::Usage("the states of the pictures are not finite numbers".to_owned())
        })?;
        let map = Tensor::from_vec(map.concat(), (text_width, image_width), &Device::Cpu)?;
        let image = turn.matmul(&map)?;
        let shrunk = self.foretold_variance(&map)?;
        Ok(ItcHeads {
            text: affine(&turn, &self.text_mean, self.text_variance)?,
            image: affine(&image, &self.image_mean, shrunk)?,
            logit_scale: super::START_SCALE,
        })
    }

    /// Mean squared length of what `map` [D, Di] foretells.
    fn foretold_variance(&self, map: &Tensor) -> Result<f64> {
        let width = self.image_covariance.len();
        let covariance =
            Tensor::from_vec(self.image_covariance.concat(), (width, width), &Device::Cpu)?;
        Ok((map.matmul(&covariance)? * map)?
            .sum_all()?
            .to_scalar::<f64>()?)
    }
}

/// `weight (x - mean)`, scaled so that its squared length is 1 in the mean.
fn affine(weight: &Tensor, mean: &Tensor, variance: f64) -> Result<Affine> {
    let weight = (weight / variance.max(f64::MIN_POSITIVE).sqrt())?;
    let bias = weight.matmul(&mean.unsqueeze(1)?)?.squeeze(1)?.neg()?;
    Ok(Affine {
        weight: weight.to_dtype(DType::F32)?,
        bias: bias.to_dtype(DType::F32)?,
    })
}

fn mean(rows: &[Vec<f32>], chosen: &[usize]) -> Result<Tensor> {
    let mut sum = vec![0.0; rows.first().map_or(0, Vec::len)];
    for &row in chosen {
        for (sum, value) in sum.iter_mut().zip(&rows[row]) {
            *sum += f64::from(*value);
        }
    }
    let count = chosen.len().max(1) as f64;
    sum.iter_mut().for_each(|sum| *sum /= count);
    let width = sum.len();
    Ok(Tensor::from_vec(sum, width, &Device::Cpu)?)
}

/// `size` orthonormal rows of `width`: the identity where they are equal, else drawn by the seed, which
/// keeps angles nearly as they are (Johnson and Lindenstrauss).
fn rotation(size: usize, width: usize, seed: u64) -> Result<Tensor> {
    if size > width || size == 0 {
        return Err(Error::Usage(format!(
            "embeddings can be 1 to {width} long with this model, not {size}"
        )));
    }
    if size == width {
        return Ok(Tensor::eye(width, DType::F64, &Device::Cpu)?);
    }
    let mut random = Random::new(seed);
    let mut rows: Vec<Vec<f64>> = Vec::with_capacity(size);
    while rows.len() < size {
        let mut row: Vec<f64> = (0..width).map(|_| random.normal()).collect();
        for _ in 0..2 {
            for other in &rows {
                let along = dot(other, &row);
                row.iter_mut()
                    .zip(other)
                    .for_each(|(value, other)| *value -= along * other);
            }
        }
        let length = dot(&row, &row).sqrt();
        if length > 1e-6 {
            row.iter_mut().for_each(|value| *value /= length);
            rows.push(row);
        }
    }
    Ok(Tensor::from_vec(
        rows.concat(),
        (size, width),
        &Device::Cpu,
    )?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The rows x of `a x = b` for each row b of `sides`, by Cholesky's method; none when `a` is not positive definite.
fn solve(a: Vec<Vec<f64>>, sides: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = a.len();
    let mut lower: Vec<Vec<f64>> = Vec::with_capacity(n);
    for (i, given) in a.iter().enumerate() {
        let mut row = vec![0.0; i + 1];
        for (j, known) in lower.iter().enumerate() {
            row[j] = (given[j] - dot(&row[..j], &known[..j])) / known[j];
        }
        let rest = given[i] - dot(&row[..i], &row[..i]);
        if !(rest.is_finite() && rest > 0.0) {
            return None;
        }
        row[i] = rest.sqrt();
        lower.push(row);
    }
    let upper: Vec<Vec<f64>> = (0..n)
        .map(|i| lower[i..].iter().map(|row| row[i]).collect())
        .collect();
    let one = |side: &Vec<f64>| {
        let mut x = side.clone();
        for i in 0..n {
            x[i] = (x[i] - dot(&lower[i][..i], &x[..i])) / lower[i][i];
        }
        for i in (0..n).rev() {
            x[i] = (x[i] - dot(&upper[i][1..], &x[i + 1..])) / upper[i][0];
        }
        x
    };
    Some(sides.par_iter().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures and texts that are two views of the same few hidden numbers.
    fn two_views(count: usize, seed: u64) -> Album {
        let mut random = Random::new(seed);
        let mut matrix = |rows: usize, columns: usize| -> Vec<Vec<f64>> {
            (0..rows)
                .map(|_| (0..columns).map(|_| random.normal()).collect())
                .collect()
        };
        let (text_view, image_view) = (matrix(10, 4), matrix(6, 4));
        let hidden = matrix(count, 4);
        let noise = matrix(count, 16);
        let view = |matrix: &[Vec<f64>], at: usize, hidden: &[f64], noise: &[f64]| -> Vec<f32> {
            matrix
                .iter()
                .enumerate()
                .map(|(i, row)| (3.0 + dot(row, hidden) + 0.1 * noise[at + i]) as f32)
                .collect()
        };
        Album {
            texts: hidden
                .iter()
                .zip(&noise)
                .map(|(hidden, noise)| view(&text_view, 0, hidden, noise))
                .collect(),
            pictures: hidden
                .iter()
                .zip(&noise)
                .map(|(hidden, noise)| view(&image_view, 10, hidden, noise))
                .collect(),
            texts_of: (0..count).map(|i| vec![i]).collect(),
        }
    }

    #[test]
    fn two_views_of_one_thing_are_brought_together() {
        let album = two_views(80, 1);
        let (train, rest): (Vec<usize>, Vec<usize>) = (0..80).partition(|i| *i < 50);
        let heads = Moments::of(&album, &train)
            .unwrap()
            .heads(0.1, 10, 0)
            .unwrap();
        let rows = |head: &Affine, rows: &[Vec<f32>]| {
            head.embed(&stack(rows, &rest).unwrap())
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
        };
        let (texts, pictures) = (
            rows(&heads.text, &album.texts),
            rows(&heads.image, &album.pictures),
        );
        let owner: Vec<usize> = (0..rest.len()).collect();
        let (words, back) = super::super::recall::both_ways(&texts, &pictures, &owner);
        assert!(words.at_1 > 80.0 && back.at_1 > 80.0, "{words:?} {back:?}");
    }

    #[test]
    fn a_shorter_embedding_has_orthonormal_rows() {
        let turn = rotation(5, 12, 3).unwrap();
        let product = turn.matmul(&turn.t().unwrap()).unwrap();
        let off = (product - Tensor::eye(5, DType::F64, &Device::Cpu).unwrap())
            .unwrap()
            .abs()
            .unwrap();
        assert!(off.max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-12);
        assert!(rotation(13, 12, 3).is_err());
    }

    #[test]
    fn an_album_of_one_picture_gives_finite_heads() {
        let album = Album {
            pictures: vec![vec![1.0; 6]],
            texts: vec![vec![2.0; 6]],
            texts_of: vec![vec![0]],
        };
        let heads = Moments::of(&album, &[0])
            .unwrap()
            .heads(10.0, 6, 0)
            .unwrap();
        let embedded = heads
            .image
            .embed(&stack(&album.pictures, &[0]).unwrap())
            .unwrap();
        assert!(
            embedded.to_vec2::<f32>().unwrap()[0]
                .iter()
                .all(|value| value.is_finite())
        );
    }
}
