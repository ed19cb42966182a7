//! Every format and form, compared with what Pillow makes of the same file.
//! The files and expectations are written by tools/golden/make_decode.py.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use bt_picture::{Error, Format, Kind, Limits, decode, identify};
use image::{ImageFormat, RgbImage};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/decode")
}

fn read(path: &Path) -> Vec<u8> {
    fs_err::read(path).unwrap()
}

struct Row {
    file: String,
    expected: String,
    most: u8,
    mean: f64,
    size: (u32, u32),
}

fn rows() -> Vec<Row> {
    let json: serde_json::Value =
        serde_json::from_slice(&read(&golden().join("expected.json"))).unwrap();
    let rows = json.as_array().unwrap().iter().map(|row| Row {
        file: row["file"].as_str().unwrap().into(),
        expected: row["expected"].as_str().unwrap().into(),
        most: row["most"].as_u64().unwrap() as u8,
        mean: row["mean"].as_f64().unwrap(),
        size: (
            row["width"].as_u64().unwrap() as u32,
            row["height"].as_u64().unwrap() as u32,
        ),
    });
    rows.collect()
}

/// Largest and mean difference of two pictures of one size.
fn difference(a: &RgbImage, b: &RgbImage) -> (u8, f64) {
    assert_eq!(a.dimensions(), b.dimensions());
    let differences = a
        .as_raw()
        .iter()
        .zip(b.as_raw())
        .map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = differences.clone().map(u64::from).sum();
    (
        differences.max().unwrap(),
        sum as f64 / a.as_raw().len() as f64,
    )
}

#[test]
fn every_file_has_the_pixels_of_pillow() {
    let rows = rows();
    assert!(rows.len() >= 70, "only {} files", rows.len());
    let mut faults = Vec::new();
    for row in rows {
        let expected = image::load_from_memory_with_format(
            &read(&golden().join(&row.expected)),
            ImageFormat::Png,
        );
        let expected = expected.unwrap().into_rgb8();
        match decode(&read(&golden().join(&row.file)), &Limits::default(), None) {
            Err(error) => faults.push(format!("{}: {error}", row.file)),
            Ok(picture) => {
                let size = picture.rgb.dimensions();
                if size != row.size || (picture.width, picture.height) != row.size {
                    faults.push(format!("{}: {size:?}, expected {:?}", row.file, row.size));
                    continue;
                }
                if let Some(damage) = picture.damaged {
                    faults.push(format!("{}: said to be damaged: {damage}", row.file));
                }
                let (most, mean) = difference(&picture.rgb, &expected);
                if most > row.most || mean > row.mean {
                    faults.push(format!(
                        "{}: at most {most} levels off, {mean:.3} on average",
                        row.file
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn formats_are_known_by_content_alone() {
    for row in rows() {
        let format = match Path::new(&row.file).extension().unwrap().to_str().unwrap() {
            "jpg" => Format::Jpeg,
            "png" => Format::Png,
            "webp" => Format::WebP,
            "gif" => Format::Gif,
            "tif" => Format::Tiff,
            "bmp" => Format::Bmp,
            "ico" => Format::Ico,
            "tga" => Format::Tga,
            "ppm" | "pgm" | "pbm" => Format::Pnm,
            "qoi" => Format::Qoi,
            "jxl" => Format::JpegXl,
            other => panic!("{other}"),
        };
        assert_eq!(
            identify(&read(&golden().join(&row.file))),
            Kind::Picture(format),
            "{}",
            row.file
        );
    }
}

/// A picture without symmetry, in a form that `image` writes and Pillow does not.
fn written(format: ImageFormat, colour: image::ColorType) -> (RgbImage, Vec<u8>) {
    let rgb = RgbImage::from_fn(23, 11, |x, y| {
        image::Rgb([(x * 11) as u8, (y * 23) as u8, 200])
    });
    let picture = image::DynamicImage::ImageRgb8(rgb.clone());
    let picture: image::DynamicImage = match colour {
        image::ColorType::Rgba16 => picture.to_rgba16().into(),
        image::ColorType::Rgb32F => {
            // Linear light, of which sRGB is made again.
            let mut light = picture.to_rgb32f();
            for level in light.iter_mut() {
                *level = if *level <= 0.040_45 {
                    *level / 12.92
                } else {
                    ((*level + 0.055) / 1.055).powf(2.4)
                };
            }
            light.into()
        }
        _ => picture,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    (rgb, bytes.into_inner())
}

#[test]
fn farbfeld_hdr_and_exr_come_out_as_they_went_in() {
    for (format, colour, ours, most) in [
        (
            ImageFormat::Farbfeld,
            image::ColorType::Rgba16,
            Format::Farbfeld,
            0,
        ),
        (
            ImageFormat::OpenExr,
            image::ColorType::Rgb32F,
            Format::Exr,
            1,
        ),
        // A shared exponent leaves eight bits for the brightest colour and fewer for the others.
        (ImageFormat::Hdr, image::ColorType::Rgb32F, Format::Hdr, 12),
    ] {
        let (rgb, bytes) = written(format, colour);
        let picture = decode(&bytes, &Limits::default(), None).unwrap();
        assert_eq!(picture.format, ours);
        let (off, _) = difference(&picture.rgb, &rgb);
        assert!(off <= most, "{format:?}: {off} levels off");
    }
}

#[test]
fn what_is_no_picture_says_so() {
    let limits = Limits::default();
    assert!(matches!(
        decode(b"", &limits, None),
        Err(Error::NotAPicture)
    ));
    assert!(matches!(
        decode(b"hello, world", &limits, None),
        Err(Error::NotAPicture)
    ));
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    let error = decode(heic, &limits, None).unwrap_err();
    assert_eq!(error.to_string(), "HEIC is not supported");
}
