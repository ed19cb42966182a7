//! Picture to pixel values, as transformers' BridgeTowerImageProcessor makes them.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::resize::{Resample, resize};

/// How a picture becomes the model's square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// As transformers does it, black frames included: parity with the public checkpoints.
    #[default]
    Reference,
    /// Edges rounded to the patch size and no limit of the longer edge, so that no frame appears.
    Patch,
    /// The whole picture squeezed to the square: the authors' retrieval setting.
    Squeeze,
}

impl std::str::FromStr for Fit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reference" => Ok(Self::Reference),
            "patch" => Ok(Self::Patch),
            "squeeze" => Ok(Self::Squeeze),
            _ => Err(format!(
                "`{text}` is not a fit: reference, patch or squeeze"
            )),
        }
    }
}

impl std::fmt::Display for Fit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::Patch => "patch",
            Self::Squeeze => "squeeze",
        })
    }
}

/// Normalised pixel values of one picture: [3, side, side], channel first, f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// 3 x side x side values.
    pub values: Vec<f32>,
    /// Edge of the square.
    pub side: usize,
}

/// The part of a picture that the model sees, in pixels of the picture; it reaches over the edges where
/// the model sees black.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// Settings of preprocessor_config.json, and how to fit.
#[derive(Clone, Debug)]
pub struct ImageProcessor {
    fit: Fit,
    /// Edge of the square that comes out.
    side: u32,
    /// What the shorter edge is resized to; `None`: pictures are cropped as they are.
    shorter: Option<u32>,
    /// Edges are rounded down to multiples of this.
    divisor: u32,
    filter: Resample,
    /// Value of each 8-bit level, for red, green and blue.
    values: [[f32; 256]; 3],
}

impl ImageProcessor {
    /// Reads a preprocessor_config.json. `image_side` and `patch` are the vision tower's: what comes out
    /// must be a square of that side. Fields that are absent or null have transformers' defaults, but
    /// for two: an absent `size` is the model's side, and an absent `crop_size` is `size`, without which
    /// the public large checkpoints (294 px) would be cropped to 288.
    ///
    /// # Errors
    /// Says which field makes no sense, or does not fit the model.
    pub fn from_json(
        json: &[u8],
        image_side: usize,
        patch: usize,
        fit: Fit,
    ) -> Result<Self, String> {
        let file: File = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let model_side = edge("the model's image size", image_side as u64)?;
        let shorter = match file.size {
            Some(size) => edge("`size`", size.shortest_edge("size")?)?,
            None => model_side,
        };
        let side = match (fit, file.crop_size) {
            (Fit::Squeeze, _) => model_side,
            _ if !file.do_center_crop.unwrap_or(true) => {
                return Err("`do_center_crop` is false, so pictures would reach the model in sizes that it \
                            cannot read; only the fit `squeeze` needs no crop"
                    .into());
            }
            (_, Some(crop)) => edge("`crop_size`", crop.shortest_edge("crop_size")?)?,
            (_, None) => shorter,
        };
        if side != model_side {
            return Err(format!(
                "pictures are cropped to {side} px (`crop_size`, or `size` where that is absent), but the \
                 model reads {model_side} px"
            ));
        }
        let divisor = match fit {
            Fit::Patch => patch as u64,
            Fit::Reference | Fit::Squeeze => file.size_divisor.unwrap_or(32),
        };
        let number = file.resample.unwrap_or(3);
        let scale = file
            .do_rescale
            .unwrap_or(true)
            .then(|| file.rescale_factor.unwrap_or(1.0 / 255.0));
        let normal = if file.do_normalize.unwrap_or(true) {
            let mean = file
                .image_mean
                .map_or(Ok(CLIP_MEAN), |v| v.three("image_mean"))?;
            let std = file
                .image_std
                .map_or(Ok(CLIP_STD), |v| v.three("image_std"))?;
            if std.contains(&0.0) {
                return Err("`image_std` holds a zero".into());
            }
            Some((mean, std))
        } else {
            None
        };
        Ok(Self {
            fit,
            side,
            shorter: file.do_resize.unwrap_or(true).then_some(shorter),
            divisor: edge("`size_divisor`", divisor)?,
            filter: Resample::from_pillow(number).ok_or_else(|| {
                format!("`resample` is {number}, which is no filter of Pillow's (0 to 5)")
            })?,
            values: values(scale, normal),
        })
    }

    /// Pixel values of an upright RGB picture of any size.
    pub fn process(&self, picture: &RgbImage) -> Pixels {
        if picture.width() == 0 || picture.height() == 0 {
            return self.crop(picture);
        }
        if self.fit == Fit::Squeeze {
            return self.crop(&resize(picture, self.side, self.side, self.filter));
        }
        let Some(shorter) = self.shorter else {
            return self.crop(picture);
        };
        if self.fit == Fit::Patch
            && let Some(middle) = middle_of_a_strip(picture)
        {
            return self.process(&middle);
        }
        let limit = match self.fit {
            Fit::Reference => Some((1333.0 / 800.0 * f64::from(shorter)).floor()),
            Fit::Patch | Fit::Squeeze => None,
        };
        let (width, height) = fitted(picture.dimensions(), shorter, limit, self.divisor);
        self.crop(&resize(picture, width, height, self.filter))
    }

    /// Edge of the square that [`ImageProcessor::process`] makes.
    pub fn side(&self) -> usize {
        self.side as usize
    }

    /// The shorter edge that a decoded picture needs at least for nothing to be lost.
    pub fn enough_pixels(&self) -> u32 {
        match (self.fit, self.shorter) {
            (Fit::Squeeze, _) => self.side,
            (_, Some(shorter)) => shorter,
            (_, None) => u32::MAX,
        }
    }

    /// What [`ImageProcessor::process`] shows the model of a picture of this size, in the picture's pixels.
    pub fn window(&self, width: u32, height: u32) -> Window {
        let whole = Window {
            x: 0.0,
            y: 0.0,
            width: width as f32,
            height: height as f32,
        };
        if self.fit == Fit::Squeeze || width == 0 || height == 0 {
            return whole;
        }
        // As `middle_of_a_strip` cuts.
        let most = match (self.fit, self.shorter) {
            (Fit::Patch, Some(_)) => width.min(height).saturating_mul(STRIP),
            _ => u32::MAX,
        };
        let (seen_width, seen_height) = (width.min(most), height.min(most));
        let (left, top) = ((width - seen_width) / 2, (height - seen_height) / 2);
        let limit = match (self.fit, self.shorter) {
            (Fit::Reference, Some(shorter)) => Some((1333.0 / 800.0 * f64::from(shorter)).floor()),
            _ => None,
        };
        let (new_width, new_height) = match self.shorter {
            None => (seen_width, seen_height),
            Some(shorter) => fitted((seen_width, seen_height), shorter, limit, self.divisor),
        };
        let edge = |start: u32, seen: u32, resized: u32| {
            let overlap = Overlap::new(resized as usize, self.side as usize);
            let scale = seen as f32 / resized.max(1) as f32;
            let from = overlap.source as f32 - overlap.target as f32;
            (start as f32 + from * scale, self.side as f32 * scale)
        };
        let (x, window_width) = edge(left, seen_width, new_width);
        let (y, window_height) = edge(top, seen_height, new_height);
        Window {
            x,
            y,
            width: window_width,
            height: window_height,
        }
    }

    /// The middle of a picture as values, with black (level 0) where the picture does not reach.
    fn crop(&self, picture: &RgbImage) -> Pixels {
        let side = self.side as usize;
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let across = Overlap::new(width, side);
        let down = Overlap::new(height, side);
        let mut pixels = vec![0.0; 3 * side * side];
        for (plane, values) in pixels.chunks_exact_mut(side * side).zip(&self.values) {
            plane.fill(values[0]);
        }
        for row in 0..down.length {
            let from = 3 * ((down.source + row) * width + across.source);
            let Some(source) = picture.as_raw().get(from..from + 3 * across.length) else {
                break;
            };
            let to = (down.target + row) * side + across.target;
            for (channel, values) in self.values.iter().enumerate() {
                let start = channel * side * side + to;
                let target = &mut pixels[start..start + across.length];
                for (value, pixel) in target.iter_mut().zip(source.chunks_exact(3)) {
                    *value = values[usize::from(pixel[channel])];
                }
            }
        }
        Pixels {
            values: pixels,
            side,
        }
    }
}

/// Where an edge of the picture and an edge of the square lie on each other, centre on centre.
struct Overlap {
    source: usize,
    target: usize,
    length: usize,
}

impl Overlap {
    fn new(edge: usize, side: usize) -> Self {
        Self {
            source: edge.saturating_sub(side) / 2,
            // transformers pads with the larger half first.
            target: side.saturating_sub(edge).div_ceil(2),
            length: edge.min(side),
        }
    }
}

/// The size that transformers resizes to, but never an edge of 0: it raises an error there.
fn fitted(
    (width, height): (u32, u32),
    shorter: u32,
    limit: Option<f64>,
    divisor: u32,
) -> (u32, u32) {
    let (width, height, shorter) = (f64::from(width), f64::from(height), f64::from(shorter));
    let scale = shorter / width.min(height);
    let (mut new_width, mut new_height) = if height < width {
        (scale * width, shorter)
    } else {
        (shorter, scale * height)
    };
    let longer = new_width.max(new_height);
    if let Some(limit) = limit.filter(|limit| longer > *limit) {
        let scale = limit / longer;
        (new_width, new_height) = (scale * new_width, scale * new_height);
    }
    let round = |edge: f64| ((edge + 0.5) as u32 / divisor * divisor).max(divisor);
    (round(new_width), round(new_height))
}

/// Without a limit of the longer edge a strip would be resized to any length, though only its middle is
/// seen: the middle of a picture of more than [`STRIP`] to 1.
fn middle_of_a_strip(picture: &RgbImage) -> Option<RgbImage> {
    let (width, height) = picture.dimensions();
    let most = width.min(height).saturating_mul(STRIP);
    (width.max(height) > most).then(|| {
        let (new_width, new_height) = (width.min(most), height.min(most));
        let (left, top) = ((width - new_width) / 2, (height - new_height) / 2);
        image::imageops::crop_imm(picture, left, top, new_width, new_height).to_image()
    })
}

/// Far beyond what the square shows, so that the cut cannot be seen in it.
const STRIP: u32 = 8;

/// What every 8-bit level becomes, with transformers' roundings: scaled in f64, normalised in f32.
fn values(scale: Option<f64>, normal: Option<([f32; 3], [f32; 3])>) -> [[f32; 256]; 3] {
    let mut values = [[0.0; 256]; 3];
    for (channel, values) in values.iter_mut().enumerate() {
        for (level, value) in values.iter_mut().enumerate() {
            let scaled = (level as f64 * scale.unwrap_or(1.0)) as f32;
            *value = normal.map_or(scaled, |(mean, std)| {
                (scaled - mean[channel]) / std[channel]
            });
        }
    }
    values
}

const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// What is read of preprocessor_config.json; the public files hold dozens of training options besides.
#[derive(Deserialize)]
struct File {
    do_resize: Option<bool>,
    size: Option<Size>,
    size_divisor: Option<u64>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Channels>,
    image_std: Option<Channels>,
}

/// An edge, in the forms that files have it.
#[derive(Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "a size is a number of pixels or {\"shortest_edge\": number}"
)]
enum Size {
    Edge(u64),
    Named { shortest_edge: u64 },
    Square { height: u64, width: u64 },
}

impl Size {
    fn shortest_edge(self, field: &str) -> Result<u64, String> {
        match self {
            Self::Edge(edge)
            | Self::Named {
                shortest_edge: edge,
            } => Ok(edge),
            Self::Square { height, width } if height == width => Ok(width),
            Self::Square { height, width } => Err(format!(
                "`{field}` is {width} x {height}, but a model of squares needs a `shortest_edge`"
            )),
        }
    }
}

/// One number a channel, or one for all.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a mean or std is a number or three")]
enum Channels {
    Same(f32),
    Each(Vec<f32>),
}

impl Channels {
    fn three(self, field: &str) -> Result<[f32; 3], String> {
        match self {
            Self::Same(value) => Ok([value; 3]),
            Self::Each(values) => <[f32; 3]>::try_from(values)
                .map_err(|values| format!("`{field}` has {} numbers, not 3", values.len())),
        }
    }
}

/// An edge of a sensible length.
fn edge(what: &str, value: u64) -> Result<u32, String> {
    match u32::try_from(value) {
        Ok(edge @ 1..=MAX_EDGE) => Ok(edge),
        _ => Err(format!("{what} is {value}, not 1 to {MAX_EDGE}")),
    }
}

const MAX_EDGE: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(json: &str, side: usize, fit: Fit) -> Result<ImageProcessor, String> {
        ImageProcessor::from_json(json.as_bytes(), side, 16, fit)
    }

    fn white(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, image::Rgb([255; 3]))
    }

    /// Rows from the top, columns from the left that are black in the first channel.
    fn frame(pixels: &Pixels) -> (usize, usize) {
        let black = pixels.values[..]
            .iter()
            .copied()
            .fold(f32::INFINITY, f32::min);
        let middle = pixels.side / 2;
        let rows = (0..pixels.side)
            .take_while(|y| pixels.values[y * pixels.side + middle] <= black + 1e-6);
        let columns = (0..pixels.side)
            .take_while(|x| pixels.values[middle * pixels.side + x] <= black + 1e-6);
        (rows.count(), columns.count())
    }

    #[test]
    fn the_window_is_what_the_model_is_shown() {
        let window = |json, fit, width, height| {
            let Window {
                x,
                y,
                width,
                height,
            } = processor(json, 288, fit).unwrap().window(width, height);
            [x, y, width, height].map(|value| (value * 100.0).round() / 100.0)
        };
        // 16:9 becomes 448 x 256: the sides are cut, and black is seen above and below.
        assert_eq!(
            window("{}", Fit::Reference, 1600, 900),
            [285.71, -56.25, 1028.57, 1012.5]
        );
        assert_eq!(
            window("{}", Fit::Patch, 1200, 900),
            [150.0, 0.0, 900.0, 900.0]
        );
        assert_eq!(
            window("{}", Fit::Squeeze, 1600, 900),
            [0.0, 0.0, 1600.0, 900.0]
        );
        assert_eq!(
            window("{}", Fit::Patch, 9000, 900),
            [4050.0, 0.0, 900.0, 900.0]
        );
        let as_it_is = r#"{"do_resize": false}"#;
        assert_eq!(
            window(as_it_is, Fit::Reference, 400, 288),
            [56.0, 0.0, 288.0, 288.0]
        );
        assert_eq!(window("{}", Fit::Reference, 0, 5), [0.0, 0.0, 0.0, 5.0]);
    }

    #[test]
    fn an_absent_or_null_crop_size_is_the_size() {
        for json in [
            r#"{"size": 294, "max_text_len": 50, "tokenizer": "roberta-large", "vocab_size": 50265}"#,
            r#"{"size": {"shortest_edge": 294}, "crop_size": null, "size_divisor": 32}"#,
            r#"{"size": {"shortest_edge": 294}, "crop_size": {"shortest_edge": 294}}"#,
            r#"{"size": 294, "crop_size": {"height": 294, "width": 294}}"#,
            "{}",
        ] {
            let processor = processor(json, 294, Fit::Reference).unwrap();
            assert_eq!(
                (processor.side(), processor.enough_pixels()),
                (294, 294),
                "{json}"
            );
        }
    }

    #[test]
    fn a_crop_that_the_model_cannot_read_is_refused_with_both_sizes() {
        let error =
            processor(r#"{"size": 294, "crop_size": 288}"#, 294, Fit::Reference).unwrap_err();
        assert!(error.contains("288") && error.contains("294"), "{error}");
        let error = processor(r#"{"size": 288}"#, 294, Fit::Patch).unwrap_err();
        assert!(error.contains("288") && error.contains("294"), "{error}");
        assert!(processor(r#"{"size": 288}"#, 294, Fit::Squeeze).is_ok());
        assert!(processor(r#"{"do_center_crop": false}"#, 294, Fit::Reference).is_err());
    }

    #[test]
    fn senseless_fields_are_named() {
        for (json, name) in [
            (r#"{"resample": 9}"#, "resample"),
            (r#"{"size": 0}"#, "size"),
            (r#"{"size": 4000000000}"#, "size"),
            (r#"{"size": {"height": 3, "width": 4}}"#, "size"),
            (r#"{"size_divisor": 0}"#, "size_divisor"),
            (r#"{"image_mean": [1, 2]}"#, "image_mean"),
            (r#"{"image_std": 0}"#, "image_std"),
        ] {
            let error = processor(json, 288, Fit::Reference).unwrap_err();
            assert!(error.contains(name), "{json}: {error}");
        }
        assert!(processor("[", 288, Fit::Reference).is_err());
    }

    #[test]
    fn sizes_are_those_of_the_table_of_transformers() {
        let size = |width, height, side: u32, divisor| {
            fitted(
                (width, height),
                side,
                Some((1333.0 / 800.0 * f64::from(side)).floor()),
                divisor,
            )
        };
        for (picture, base, large, large14) in [
            ((640, 480), (384, 288), (384, 288), (392, 294)),
            ((500, 500), (288, 288), (288, 288), (294, 294)),
            ((600, 400), (416, 288), (416, 288), (434, 294)),
            ((1600, 900), (448, 256), (480, 256), (476, 266)),
            ((4000, 1000), (448, 96), (480, 96), (476, 112)),
        ] {
            let (width, height) = picture;
            assert_eq!(size(width, height, 288, 32), base);
            assert_eq!(size(width, height, 294, 32), large);
            assert_eq!(size(width, height, 294, 14), large14);
            assert_eq!(size(height, width, 288, 32), (base.1, base.0));
        }
    }

    #[test]
    fn reference_has_the_black_frames_and_the_other_fits_have_none() {
        let frame_of = |fit, width, height| {
            frame(
                &processor("{}", 288, fit)
                    .unwrap()
                    .process(&white(width, height)),
            )
        };
        assert_eq!(frame_of(Fit::Reference, 1600, 900), (16, 0));
        assert_eq!(frame_of(Fit::Reference, 900, 1600), (0, 16));
        for fit in [Fit::Patch, Fit::Squeeze] {
            for (width, height) in [(1600, 900), (900, 1600), (500, 500), (30, 20), (5000, 7)] {
                assert!(
                    processor("{}", 288, fit)
                        .unwrap()
                        .process(&white(width, height))
                        .values
                        .iter()
                        .all(|v| *v > 1.0),
                    "{fit} {width} x {height}"
                );
            }
        }
    }

    #[test]
    fn extreme_pictures_of_every_fit_give_a_square() {
        for fit in [Fit::Reference, Fit::Patch, Fit::Squeeze] {
            let processor = processor("{}", 288, fit).unwrap();
            for (width, height) in [(1, 1), (1, 20_000), (60_000, 1), (0, 0), (0, 9)] {
                let pixels = processor.process(&RgbImage::new(width, height));
                assert_eq!(
                    pixels.values.len(),
                    3 * 288 * 288,
                    "{fit} {width} x {height}"
                );
            }
        }
    }

    #[test]
    fn steps_that_are_switched_off_are_left_out() {
        let json = r#"{"do_resize": false, "do_rescale": false, "do_normalize": false}"#;
        let pixels = processor(json, 288, Fit::Reference)
            .unwrap()
            .process(&white(285, 300));
        assert_eq!(
            frame(&pixels),
            (0, 2),
            "the larger half of the black comes first"
        );
        assert_eq!(pixels.values[288 * 5 + 100], 255.0);
        let pixels = processor(
            r#"{"do_normalize": false, "rescale_factor": 0.5}"#,
            288,
            Fit::Reference,
        )
        .unwrap();
        assert_eq!(pixels.process(&white(288, 288)).values[7], 127.5);
    }

    #[test]
    fn black_and_white_have_the_values_of_the_reference() {
        let processor = processor("{}", 288, Fit::Reference).unwrap();
        for (picture, expected) in [
            (
                RgbImage::new(288, 288),
                [-1.792_262_7, -1.752_097_2, -1.480_219_8],
            ),
            (white(288, 288), [1.930_336_2, 2.074_884, 2.145_897]),
        ] {
            let pixels = processor.process(&picture);
            for (channel, expected) in expected.into_iter().enumerate() {
                assert!(
                    (pixels.values[channel * 288 * 288] - expected).abs() < 2e-6,
                    "{channel}"
                );
            }
        }
    }

    #[test]
    fn the_middle_of_a_strip_is_what_the_whole_strip_shows() {
        let picture = RgbImage::from_fn(1000, 100, |x, y| {
            image::Rgb([(x / 5) as u8, (y * 2) as u8, (x % 200) as u8])
        });
        let processor = processor("{}", 288, Fit::Patch).unwrap();
        let (width, height) = fitted(picture.dimensions(), 288, None, 16);
        let whole = processor.crop(&resize(&picture, width, height, processor.filter));
        let ours = processor.process(&picture);
        let difference: f32 = whole
            .values
            .iter()
            .zip(&ours.values)
            .map(|(a, b)| (a - b).abs())
            .sum();
        assert!(
            difference / (whole.values.len() as f32) < 0.05,
            "{difference}"
        );
    }
}
