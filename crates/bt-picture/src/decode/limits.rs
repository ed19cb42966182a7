//! Limits, checked on what a header says before memory is taken.

use crate::error::{Error, Result};
use crate::kind::Format;

/// How much a picture may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels.
    pub max_pixels: u64,
    /// Most bytes that decoding one picture may hold.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pixels: 400_000_000,
            max_bytes: 2 << 30,
        }
    }
}

impl Limits {
    /// Bytes that decoding a picture of ordinary size may take: enough for JPEGs of 24 megapixels. Who decodes
    /// several at a time allows each of them this much, and one that needs more ([`Error::TooLarge`]) the most,
    /// when nothing else takes much.
    pub const ORDINARY_BYTES: u64 = 160 << 20;

    /// Refuses a size that is too large, or that so short a file cannot hold: a bomb, or a header of
    /// random bits. `bytes_a_pixel`: what decoding holds at its peak.
    pub(super) fn check(
        &self,
        size: (u32, u32),
        bytes_a_pixel: u64,
        file: &[u8],
        format: Format,
    ) -> Result<()> {
        let pixels = u64::from(size.0) * u64::from(size.1);
        self.check_bytes(size, pixels.saturating_mul(bytes_a_pixel), file, format)
    }

    /// The same where what is held is not a number of bytes a pixel. `held`: bytes at the peak.
    pub(super) fn check_bytes(
        &self,
        (width, height): (u32, u32),
        held: u64,
        file: &[u8],
        format: Format,
    ) -> Result<()> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Error::Broken(format!("its size is {width} x {height}")));
        }
        if pixels > self.max_pixels {
            return Err(Error::TooLarge(format!(
                "{width} x {height} is more than {} pixels",
                self.max_pixels
            )));
        }
        if held > self.max_bytes {
            return Err(Error::TooLarge(format!(
                "{width} x {height} takes more than {} bytes to decode",
                self.max_bytes
            )));
        }
        if pixels > SMALL && pixels / most_pixels_a_byte(format) > file.len() as u64 {
            return Err(Error::TooLarge(format!(
                "it says {width} x {height}, which {} bytes cannot hold",
                file.len()
            )));
        }
        Ok(())
    }

    /// The same limits for the decoders of the crate `image`.
    pub(super) fn of_image(&self) -> image::Limits {
        let mut limits = image::Limits::no_limits();
        limits.max_alloc = Some(self.max_bytes);
        limits
    }

    /// [`Limits::max_bytes`] as the size of something in memory.
    pub(super) fn in_memory(&self) -> usize {
        usize::try_from(self.max_bytes).unwrap_or(usize::MAX)
    }
}

/// Below this nobody is harmed.
const SMALL: u64 = 4_000_000;

/// How far a format can compress: a bound, generous by half or more, of what one byte of a file may stand
/// for.
fn most_pixels_a_byte(format: Format) -> u64 {
    match format {
        Format::Farbfeld => 1,
        Format::Pnm => 8,
        // Run lengths of 62, 128 and 127.
        Format::Qoi | Format::Tga | Format::Hdr => 128,
        // Two bits a block of 64, colours at a quarter of the size, or no bits at all for some scans.
        Format::Jpeg | Format::Bmp => 1024,
        // Deflate reaches 1032 bytes a byte, and a byte may be eight pixels.
        _ => 10_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_refused() {
        let limits = Limits::default();
        let check = |size, bytes: usize| limits.check(size, 3, &vec![0; bytes], Format::Jpeg);
        assert!(check((20_000, 20_000), 1_000_000).is_ok());
        assert!(matches!(
            check((20_001, 20_000), 1_000_000),
            Err(Error::TooLarge(_))
        ));
        assert!(matches!(
            check((20_000, 20_000), 1000),
            Err(Error::TooLarge(_))
        ));
        assert!(matches!(check((0, 9), 1000), Err(Error::Broken(_))));
        assert!(matches!(
            check((u32::MAX, u32::MAX), 1000),
            Err(Error::TooLarge(_))
        ));
        let few = Limits {
            max_bytes: 1000,
            ..limits
        };
        assert!(matches!(
            few.check((20, 20), 3, &[0; 9], Format::Png),
            Err(Error::TooLarge(_))
        ));
    }
}
