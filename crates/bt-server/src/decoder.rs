//! Decoding pictures within bounds that all requests share: how many pixels, and how much memory at one time.

use bt_picture::{Error, Format, Limits, Picture};
use bt_query::ENOUGH_PIXELS;
use crossbeam_channel::{Receiver, Sender, bounded};
use image::RgbImage;

use crate::engine::Ticket;
use crate::error::ApiError;
use crate::request::too_large;

/// A picture that was indexed has no more.
const MOST_PIXELS: u64 = 400_000_000;

/// Decodes as many pictures of ordinary size at a time as there are cores, and one that takes more memory.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Of a picture that a request brings.
    most_pixels: u64,
    ordinary: Turns,
    large: Turns,
}

impl Decoder {
    /// A picture that a request brings may have so many pixels.
    pub(crate) fn new(most_pixels: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            most_pixels,
            ordinary: Turns::new(cores),
            large: Turns::new(1),
        }
    }

    /// A picture of the index, of which `edge` pixels are enough. Blocks.
    pub(crate) fn indexed(&self, bytes: &[u8], edge: u32) -> Result<Picture, ApiError> {
        self.decode(bytes, edge, MOST_PIXELS, None)
    }

    /// What an upload is, if it can be decoded. Blocks.
    pub(crate) fn uploaded(&self, bytes: &[u8]) -> Result<Format, ApiError> {
        let picture = self.decode(bytes, 1, self.most_pixels, None)?;
        Ok(picture.format)
    }

    /// A picture that a request brings, upright, at least as large as any model reads. Nothing is decoded for one
    /// who has left. Blocks.
    pub(crate) fn given(&self, bytes: &[u8], ticket: &Ticket) -> Result<RgbImage, ApiError> {
        let picture = self.decode(bytes, ENOUGH_PIXELS, self.most_pixels, Some(ticket))?;
        Ok(picture.rgb)
    }

    fn decode(
        &self,
        bytes: &[u8],
        edge: u32,
        max_pixels: u64,
        ticket: Option<&Ticket>,
    ) -> Result<Picture, ApiError> {
        let within = |turns: &Turns, max_bytes| {
            let _turn = turns.wait();
            ticket.map_or(Ok(()), Ticket::check)?;
            let limits = Limits {
                max_pixels,
                max_bytes,
            };
            Ok::<_, ApiError>(bt_picture::decode(bytes, &limits, Some(edge)))
        };
        match within(&self.ordinary, Limits::ORDINARY_BYTES)? {
            Err(Error::TooLarge(_)) => within(&self.large, Limits::default().max_bytes)?,
            outcome => outcome,
        }
        .map_err(|cause| match cause {
            Error::TooLarge(_) => too_large(cause.to_string())
                .hint("a smaller copy will do; --max-pixels bounds what requests bring"),
            cause => ApiError::not_a_picture(cause.to_string()),
        })
    }
}

/// So many at a time: who has a turn has put something into the channel.
#[derive(Debug)]
struct Turns(Sender<()>, Receiver<()>);

/// A turn, until it is dropped.
struct Turn<'a>(&'a Receiver<()>);

impl Turns {
    fn new(at_once: usize) -> Self {
        let (taken, given_back) = bounded(at_once);
        Self(taken, given_back)
    }

    fn wait(&self) -> Turn<'_> {
        // Both ends are here, so sending waits and does not fail.
        let _ = self.0.send(());
        Turn(&self.1)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_recv();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::time::{Duration, Instant};

    use super::*;

    const LARGE: u32 = 6000;
    const MOST: u64 = 36_000_000;

    fn png(edge: u32) -> Vec<u8> {
        let picture = RgbImage::from_fn(edge, edge, |x, _| image::Rgb([(x % 251) as u8; 3]));
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
        png.into_inner()
    }

    /// Takes more memory than the ordinary.
    fn large() -> Vec<u8> {
        png(LARGE)
    }

    #[test]
    fn a_picture_that_takes_much_memory_is_decoded_nevertheless_but_no_more_pixels_than_allowed() {
        let large = large();
        let decoded = Decoder::new(1).indexed(&large, 160).unwrap();
        assert_eq!((decoded.width, decoded.height), (LARGE, LARGE));
        let (ticket, _stays) = Ticket::until(Instant::now() + Duration::from_secs(600));
        assert!(Decoder::new(MOST).given(&large, &ticket).is_ok());
        let fewer = Decoder::new(MOST - 1);
        for refused in [
            fewer.given(&large, &ticket).map(drop),
            fewer.uploaded(&large).map(drop),
        ] {
            assert_eq!(refused.unwrap_err().problem().kind, "/problems/too-large");
        }
    }

    #[test]
    fn large_pictures_take_turns_and_ordinary_ones_go_past_them() {
        let (decoder, large) = (Decoder::new(MOST), large());
        let (ticket, _stays) = Ticket::until(Instant::now() + Duration::from_secs(600));
        let (gone, leaves) = Ticket::until(Instant::now() + Duration::from_secs(600));
        std::thread::scope(|scope| {
            let alone = decoder.large.wait();
            let waiting = scope.spawn(|| decoder.given(&large, &ticket));
            let leaving = scope.spawn(|| decoder.given(&large, &gone));
            decoder.given(&png(8), &ticket).unwrap();
            assert!(!waiting.is_finished());
            drop(leaves);
            drop(alone);
            assert!(waiting.join().unwrap().is_ok());
            let stopped = leaving.join().unwrap().unwrap_err();
            assert_eq!(stopped.problem().kind, "/problems/deadline");
        });
        let ordinary = std::iter::repeat_with(|| decoder.ordinary.wait());
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(ordinary.take(cores).count(), cores);
    }
}
