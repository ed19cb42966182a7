//! The first frame of a GIF on its canvas.

use std::num::NonZeroU64;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::Decoded;
use super::limits::Limits;
use super::rgb;
use crate::error::{Error, Result};
use crate::kind::Format;

pub(super) fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.allow_unknown_blocks(true);
    if let Some(bytes) = NonZeroU64::new(limits.max_bytes) {
        options.set_memory_limit(MemoryLimit::Bytes(bytes));
    }
    let mut decoder = options.read_info(bytes).map_err(error)?;
    let screen = (u32::from(decoder.width()), u32::from(decoder.height()));
    let Some(frame) = decoder.next_frame_info().map_err(error)? else {
        return Err(Error::broken("no frame"));
    };
    let frame = frame.clone();
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (width, height) = (usize::from(frame.width), usize::from(frame.height));
    // As in Pillow, a frame beyond the screen makes it larger.
    let size = (
        screen.0.max((left + width) as u32),
        screen.1.max((top + height) as u32),
    );
    limits.check(size, 5, bytes, Format::Gif)?;

    let mut indices = vec![0; decoder.buffer_size()];
    let damage = decoder
        .read_into_buffer(&mut indices)
        .err()
        .map(|error| error.to_string());
    let palette = decoder.palette().unwrap_or_default();
    let colour = |index: u8| {
        let at = usize::from(index) * 3;
        match palette.get(at..at + 3) {
            Some([red, green, blue]) => [*red, *green, *blue],
            _ if palette.is_empty() => [index; 3],
            _ => [0; 3],
        }
    };
    // Transparency is dropped like any alpha, so its colour shows, also where the frame does not reach.
    let ground = colour(frame.transparent.unwrap_or(0));
    let mut canvas = rgb::from_rgb(size, ground.repeat(size.0 as usize * size.1 as usize))?;
    for (row, line) in indices.chunks_exact(width.max(1)).take(height).enumerate() {
        for (column, index) in line.iter().enumerate() {
            canvas.put_pixel(
                (left + column) as u32,
                (top + row) as u32,
                image::Rgb(colour(*index)),
            );
        }
    }
    Decoded::rest(canvas, damage)
}

fn error(error: DecodingError) -> Error {
    match error {
        DecodingError::OutOfMemory | DecodingError::MemoryLimit => {
            Error::TooLarge(error.to_string())
        }
        error => Error::broken(error),
    }
}
