//! Where in a picture the words of a query were found, drawn over the picture.

use bt_model::{Window, WordHeat};
use image::{Rgb, RgbImage};

use crate::error::{Error, Result};
use crate::scorer::Scorer;
use crate::words::tells;

/// A picture with the heat of one word over it.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The word as it stands in the query.
    pub word: String,
    /// The picture with its heat.
    pub picture: RgbImage,
}

/// One overlay a telling word of the text (all words, when none tells anything). `edge`: the longer edge
/// of the overlays; pictures are not enlarged.
///
/// # Errors
/// Those of the model; heat that is not a number.
pub fn overlays(
    text: &str,
    picture: &RgbImage,
    edge: u32,
    scorer: &dyn Scorer,
) -> Result<Vec<Overlay>> {
    let mut heats = scorer.word_heat(text, &scorer.prepare(picture))?;
    heats.retain(|heat| tells(&heat.word, text));
    let base = bt_picture::thumbnail(picture, edge);
    let window = scorer.window(base.width(), base.height());
    // One scale for all words: a word that was found nowhere stays pale.
    let hottest = heats.iter().map(rise).fold(0.0, f32::max);
    heats
        .into_iter()
        .map(|heat| {
            let sound = heat.grid > 0
                && heat.heat.len() == heat.grid * heat.grid
                && heat.heat.iter().all(|value| value.is_finite());
            if !sound {
                return Err(Error::BadHeat { word: heat.word });
            }
            Ok(Overlay {
                picture: draw(&base, &heat, window, hottest),
                word: heat.word,
            })
        })
        .collect()
}

fn lowest(heat: &WordHeat) -> f32 {
    heat.heat.iter().copied().fold(f32::INFINITY, f32::min)
}

/// How far the hottest patch stands out of the coldest.
fn rise(heat: &WordHeat) -> f32 {
    heat.heat.iter().copied().fold(0.0, f32::max) - lowest(heat)
}

/// How strongly heat covers the picture, at least and at most.
const ALPHA: (f32, f32) = (0.10, 0.70);
/// What the model does not see is darkened to this.
const UNSEEN: f32 = 0.35;

fn draw(base: &RgbImage, heat: &WordHeat, window: Window, hottest: f32) -> RgbImage {
    let lowest = lowest(heat);
    let mut drawn = base.clone();
    for (x, y, pixel) in drawn.enumerate_pixels_mut() {
        let across = (x as f32 + 0.5 - window.x) / window.width;
        let down = (y as f32 + 0.5 - window.y) / window.height;
        // Colours of the picture would be mistaken for heat.
        let Rgb([r, g, b]) = *pixel;
        let grey = 0.299 * f32::from(r) + 0.587 * f32::from(g) + 0.114 * f32::from(b);
        let pale = [r, g, b].map(|level| 0.25 * f32::from(level) + 0.75 * grey);
        let inside = (0.0..1.0).contains(&across) && (0.0..1.0).contains(&down);
        *pixel = Rgb(if inside {
            let value = interpolated(heat, across, down) - lowest;
            let warmth = if hottest > 0.0 {
                (value / hottest).clamp(0.0, 1.0)
            } else {
                0.0
            };
            let alpha = ALPHA.0 + (ALPHA.1 - ALPHA.0) * warmth;
            let colour = colour(warmth);
            [0, 1, 2].map(|channel| {
                let mixed = (1.0 - alpha) * pale[channel] + alpha * colour[channel];
                mixed.round() as u8
            })
        } else {
            pale.map(|level| (level * UNSEEN).round() as u8)
        });
    }
    drawn
}

/// Heat between the centres of patches, bilinear; beyond the outermost centres that of the patch.
fn interpolated(heat: &WordHeat, across: f32, down: f32) -> f32 {
    let last = heat.grid - 1;
    let place = |part: f32| {
        let at = (part * heat.grid as f32 - 0.5).clamp(0.0, last as f32);
        let from = at.floor();
        (from as usize, (from as usize + 1).min(last), at - from)
    };
    let (left, right, x) = place(across);
    let (top, bottom, y) = place(down);
    let value = |row: usize, column: usize| {
        heat.heat
            .get(row * heat.grid + column)
            .copied()
            .unwrap_or(0.0)
    };
    let upper = value(top, left) * (1.0 - x) + value(top, right) * x;
    let lower = value(bottom, left) * (1.0 - x) + value(bottom, right) * x;
    upper * (1.0 - y) + lower * y
}

/// Dark violet over red to light yellow, evenly brighter (points of matplotlib's `inferno`), so that it
/// reads in print and with any colour vision.
const COLOURS: [[f32; 3]; 6] = [
    [0.0, 0.0, 4.0],
    [66.0, 10.0, 104.0],
    [147.0, 38.0, 103.0],
    [221.0, 81.0, 58.0],
    [252.0, 165.0, 10.0],
    [252.0, 255.0, 164.0],
];

fn colour(warmth: f32) -> [f32; 3] {
    let at = warmth.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f32;
    let from = (at as usize).min(COLOURS.len() - 2);
    let part = at - from as f32;
    [0, 1, 2]
        .map(|channel| COLOURS[from][channel] * (1.0 - part) + COLOURS[from + 1][channel] * part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::Colours;

    #[test]
    fn heat_lies_where_the_model_looked() {
        let picture = RgbImage::from_pixel(200, 100, Rgb([128, 128, 128]));
        // The double finds each word in the upper left and lower right quarter.
        let drawn = overlays("the red", &picture, 100, &Colours::default()).unwrap();
        assert_eq!(drawn.len(), 1);
        assert_eq!(drawn[0].word, "red");
        let overlay = &drawn[0].picture;
        assert_eq!(overlay.dimensions(), (100, 50));
        let brightness = |x, y| {
            overlay
                .get_pixel(x, y)
                .0
                .iter()
                .map(|v| u32::from(*v))
                .sum::<u32>()
        };
        assert!(brightness(5, 5) > brightness(95, 5) + 100);
        assert!(brightness(95, 45) > brightness(5, 45) + 100);
    }

    #[test]
    fn what_the_model_does_not_see_is_dark() {
        let base = RgbImage::from_pixel(100, 50, Rgb([200, 200, 200]));
        let heat = WordHeat {
            word: "x".into(),
            heat: vec![0.0; 4],
            grid: 2,
        };
        let window = Window {
            x: 25.0,
            y: 0.0,
            width: 50.0,
            height: 50.0,
        };
        let drawn = draw(&base, &heat, window, 0.0);
        assert_eq!(drawn.get_pixel(10, 25).0, [70; 3]);
        assert!(drawn.get_pixel(50, 25).0[0] > 150);
    }

    #[test]
    fn colours_grow_brighter_with_heat() {
        let light = |warmth: f32| {
            let [r, g, b] = colour(warmth);
            0.299 * r + 0.587 * g + 0.114 * b
        };
        let steps: Vec<f32> = (0..=20u8)
            .map(|step| light(f32::from(step) / 20.0))
            .collect();
        assert!(steps.is_sorted(), "{steps:?}");
        assert_eq!(colour(f32::NAN.max(0.0)), COLOURS[0]);
    }
}
