//! What is kept of an album while heads are learnt: one vector a picture and one a text, and nothing
//! else. Memory: 4 (pictures Di + texts D) bytes.

use candle_core::{Device, Tensor};

use super::rng::Random;
use crate::captions::{Captioned, Part};
use crate::error::Result;

/// The frozen towers' outputs that the ITC heads read.
#[derive(Debug, Default)]
pub(super) struct Album {
    /// [Di] each.
    pub(super) pictures: Vec<Vec<f32>>,
    /// [D] each.
    pub(super) texts: Vec<Vec<f32>>,
    /// The texts of each picture; at least one.
    pub(super) texts_of: Vec<Vec<usize>>,
}

/// Pictures by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) train: Vec<usize>,
    pub(super) validation: Vec<usize>,
    pub(super) held_out: Vec<usize>,
}

/// Of the pictures that are not held out, this share is for validation.
const VALIDATION_SHARE: f64 = 0.15;

impl Parts {
    /// As the file says, or drawn by the seed where it does not. `album`: the pictures that could be read.
    pub(super) fn of(album: &[&Captioned], held_out_share: f64, seed: u64) -> Self {
        let mut parts = Self::default();
        let mut undecided = Vec::new();
        for (picture, one) in album.iter().enumerate() {
            match one.part() {
                Some(Part::Train) => parts.train.push(picture),
                Some(Part::Validation) => parts.validation.push(picture),
                Some(Part::HeldOut) => parts.held_out.push(picture),
                None => undecided.push(picture),
            }
        }
        Random::new(seed).shuffle(&mut undecided);
        let mut take = |share: f64| {
            let count = (undecided.len() as f64 * share).round() as usize;
            undecided.split_off(undecided.len() - count.min(undecided.len()))
        };
        parts.held_out.extend(take(held_out_share));
        parts.validation.extend(take(VALIDATION_SHARE));
        parts.train.extend(undecided);
        for part in [&mut parts.train, &mut parts.validation, &mut parts.held_out] {
            part.sort_unstable();
        }
        parts
    }
}

impl Album {
    /// The texts of `pictures`, each with its picture's place among them.
    pub(super) fn owned_texts(&self, pictures: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let pairs = pictures.iter().enumerate();
        pairs
            .flat_map(|(place, &picture)| {
                self.texts_of[picture]
                    .iter()
                    .map(move |&text| (text, place))
            })
            .unzip()
    }
}

/// The chosen rows as one tensor [n, width].
pub(super) fn stack(rows: &[Vec<f32>], chosen: &[usize]) -> Result<Tensor> {
    let width = rows.first().map_or(0, Vec::len);
    let values: Vec<f32> = chosen
        .iter()
        .flat_map(|&row| rows[row].iter().copied())
        .collect();
    Ok(Tensor::from_vec(
        values,
        (chosen.len(), width),
        &Device::Cpu,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captioned(split: Option<&str>) -> Captioned {
        Captioned {
            picture: "a.jpg".into(),
            captions: vec!["a".to_owned()],
            split: split.map(str::to_owned),
            ..Captioned::default()
        }
    }

    #[test]
    fn a_seed_means_one_split_and_every_picture_is_for_one_thing() {
        let album: Vec<Captioned> = (0..50).map(|_| captioned(None)).collect();
        let album: Vec<&Captioned> = album.iter().collect();
        let parts = Parts::of(&album, 0.2, 7);
        assert_eq!(
            (
                parts.train.len(),
                parts.validation.len(),
                parts.held_out.len()
            ),
            (34, 6, 10)
        );
        let mut all = [
            parts.train.clone(),
            parts.validation.clone(),
            parts.held_out.clone(),
        ]
        .concat();
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        assert_eq!(parts, Parts::of(&album, 0.2, 7));
        assert_ne!(parts, Parts::of(&album, 0.2, 8));
    }

    #[test]
    fn a_split_in_the_file_is_kept() {
        let album = [
            captioned(Some("test")),
            captioned(Some("train")),
            captioned(Some("val")),
        ];
        let album: Vec<&Captioned> = album.iter().collect();
        let parts = Parts::of(&album, 0.9, 0);
        assert_eq!(
            (parts.train, parts.validation, parts.held_out),
            (vec![1], vec![2], vec![0])
        );
    }
}
