//! Picture file to pixel values, compared with what transformers makes of the same file.
//! The expectations are written by tools/golden/make_preprocess.py.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use bt_model::{Fit, ImageProcessor};
use bt_picture::{Limits, decode};

const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

#[derive(serde::Deserialize)]
struct Row {
    file: String,
    levels: String,
    size: usize,
    size_divisor: usize,
    /// Channel, row, column, value.
    values: Vec<(usize, usize, usize, f32)>,
}

fn golden() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/preprocess"
    ))
}

/// The settings of a public base model.
fn base() -> ImageProcessor {
    ImageProcessor::from_json(b"{}", 288, 16, Fit::Reference).unwrap()
}

fn rgb(path: &Path) -> image::RgbImage {
    decode(&fs_err::read(path).unwrap(), &Limits::default(), None)
        .unwrap()
        .rgb
}

#[test]
fn every_picture_and_setting_has_the_pixels_of_transformers() {
    let rows: Vec<Row> =
        serde_json::from_slice(&fs_err::read(golden().join("expected.json")).unwrap()).unwrap();
    assert!(rows.len() >= 27, "only {} rows", rows.len());
    let mut faults = Vec::new();
    for row in rows {
        let json = format!(
            r#"{{"size": {{"shortest_edge": {}}}, "size_divisor": {}}}"#,
            row.size, row.size_divisor
        );
        let processor =
            ImageProcessor::from_json(json.as_bytes(), row.size, row.size_divisor, Fit::Reference)
                .unwrap();
        let pixels = processor.process(&rgb(&golden().join(&row.file)));
        let expected = rgb(&golden().join(&row.levels));
        assert_eq!(pixels.side, row.size);
        assert_eq!(expected.dimensions(), (row.size as u32, row.size as u32));

        let (mut sum, mut most) = (0.0, 0.0_f32);
        for (i, value) in pixels.values.iter().enumerate() {
            let (channel, place) = (i / (row.size * row.size), i % (row.size * row.size));
            let level = (value * STD[channel] + MEAN[channel]) * 255.0;
            let difference = (level - f32::from(expected.as_raw()[place * 3 + channel])).abs();
            sum += f64::from(difference);
            most = most.max(difference);
        }
        let mean = sum / pixels.values.len() as f64;
        println!("{}: mean {mean:.4}, most {most:.1} levels", row.levels);
        if mean > 0.6 || most > 3.01 {
            faults.push(format!(
                "{}: mean {mean:.4}, most {most:.1} levels",
                row.levels
            ));
        }
        for (channel, y, x, expected) in row.values {
            let got = pixels.values[(channel * row.size + y) * row.size + x];
            // One level is 1 / 255 before normalisation; where the level is the same, so is the value.
            let levels = (got - expected) * STD[channel] * 255.0;
            if levels.abs() > 3.01 || (levels - levels.round()).abs() > 1e-3 {
                faults.push(format!(
                    "{} [{channel}, {y}, {x}]: {got}, expected {expected}",
                    row.levels
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_jpeg_that_is_decoded_at_a_smaller_size_looks_the_same() {
    let large = image::imageops::resize(
        &rgb(&golden().join("images/landscape.png")),
        2560,
        1920,
        image::imageops::FilterType::CatmullRom,
    );
    let mut jpeg = std::io::Cursor::new(Vec::new());
    large.write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
    let processor = base();
    let seen = |enough| {
        let picture = decode(jpeg.get_ref(), &Limits::default(), enough).unwrap();
        assert_eq!((picture.width, picture.height), (2560, 1920));
        (picture.rgb.dimensions(), processor.process(&picture.rgb))
    };
    let (full, whole) = seen(None);
    let (smaller, scaled) = seen(Some(processor.enough_pixels()));
    assert_eq!((full, smaller), ((2560, 1920), (1280, 960)));
    let sum: f32 = whole
        .values
        .iter()
        .zip(&scaled.values)
        .map(|(a, b)| (a - b).abs())
        .sum();
    let levels = sum / whole.values.len() as f32 * STD[0] * 255.0;
    println!("{levels} levels on average");
    assert!(levels < 0.6, "{levels} levels on average");
}
