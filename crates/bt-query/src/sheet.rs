//! What a contact sheet shows beside the answer itself: thumbnails, and the heat of the words. Reading
//! and drawing is here, the page in `render/html.rs`.

use std::io::Cursor;

use bt_picture::JPEG_QUALITY;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use rayon::prelude::*;

use crate::answer::{Answer, Found};
use crate::error::Result;
use crate::heat::{Overlay, overlays};
use crate::pictures;
use crate::scorer::Scorer;

/// Longer edge of the pictures on a sheet.
const SHEET_EDGE: u32 = 480;
/// Longer edge of overlays that are written as files.
const FILE_EDGE: u32 = 1024;

/// One result with its pictures, encoded as JPEG.
#[derive(Clone, Debug)]
pub struct Card<'a> {
    /// The result.
    pub found: &'a Found,
    /// The picture, or why it cannot be shown.
    pub thumbnail: Result<Vec<u8>, String>,
    /// Each telling word of the query, and the picture with its heat.
    pub words: Vec<(String, Vec<u8>)>,
}

/// Reads the pictures of a page of results again. `why`: the words to draw heat for, and the model.
///
/// # Errors
/// Those of the model. A picture that cannot be read is no error: its card says why.
pub fn cards<'a>(answer: &'a Answer, why: Option<(&str, &dyn Scorer)>) -> Result<Vec<Card<'a>>> {
    let opened: Vec<_> = answer
        .results
        .par_iter()
        .map(|found| (found, pictures::open(&found.record, Some(SHEET_EDGE))))
        .collect();
    opened
        .into_iter()
        .map(|(found, opened)| {
            let opened = match opened {
                Ok(opened) => opened,
                Err(failure) => {
                    return Ok(Card {
                        found,
                        thumbnail: Err(failure.to_string()),
                        words: Vec::new(),
                    });
                }
            };
            let rgb = &opened.picture.rgb;
            let words = match why {
                None => Vec::new(),
                Some((text, scorer)) => overlays(text, rgb, SHEET_EDGE, scorer)?
                    .into_iter()
                    .map(|overlay| Ok((overlay.word, jpeg(&overlay.picture)?)))
                    .collect::<Result<_>>()?,
            };
            Ok(Card {
                found,
                thumbnail: Ok(jpeg(&bt_picture::thumbnail(rgb, SHEET_EDGE))?),
                words,
            })
        })
        .collect()
}

/// The heat of a text's words over one result's picture, as PNG files of at most 1024 pixels.
///
/// # Errors
/// Those of the model, and the reason why the picture cannot be read.
pub fn word_pngs(found: &Found, text: &str, scorer: &dyn Scorer) -> Result<Vec<(String, Vec<u8>)>> {
    let opened = pictures::open(&found.record, Some(FILE_EDGE)).map_err(|source| {
        crate::Error::ResultPicture {
            path: found.path().map(ToOwned::to_owned).unwrap_or_default(),
            source,
        }
    })?;
    let png = |Overlay { word, picture }| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png)?;
        Ok((word, bytes.into_inner()))
    };
    overlays(text, &opened.picture.rgb, FILE_EDGE, scorer)?
        .into_iter()
        .map(png)
        .collect()
}

fn jpeg(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(picture)?;
    Ok(bytes)
}
