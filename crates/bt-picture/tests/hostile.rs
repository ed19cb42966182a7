//! Files that are cut, flipped, made up or bombs: an error or a damaged picture, never a panic, never
//! much memory, never long.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use bt_picture::{Error, Limits, Picture, decode, identify, metadata};
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/decode")
}

/// Every golden file, by name, in order.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for part in ["files", "metadata"] {
        for entry in fs_err::read_dir(folder().join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.push((name, fs_err::read(path).unwrap()));
        }
    }
    files.sort();
    assert!(files.len() > 75);
    files
}

/// Small limits, so that a decoder that forgets them shows.
fn limits() -> Limits {
    Limits {
        max_pixels: 4_000_000,
        max_bytes: 100 << 20,
    }
}

/// Everything that the library does with a file's bytes.
fn survive(bytes: &[u8]) -> Result<Picture, Error> {
    identify(bytes);
    metadata(bytes);
    let outcome = decode(bytes, &limits(), None);
    if let Ok(picture) = &outcome {
        assert_eq!((picture.width, picture.height), picture.rgb.dimensions());
        assert!(u64::from(picture.width) * u64::from(picture.height) <= limits().max_pixels);
    }
    outcome
}

/// A small generator of numbers, the same at each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn a_file_that_is_cut_anywhere_is_an_error_or_a_part() {
    for (name, file) in files() {
        // Every length in the headers, some in the rest.
        let step = (file.len() / 40).max(1);
        for length in (0..file.len().min(64)).chain((64..file.len()).step_by(step)) {
            if let Ok(picture) = survive(&file[..length]) {
                assert!(picture.width > 0, "{name} cut to {length}");
            }
        }
    }
}

#[test]
fn the_upper_half_of_a_cut_jpeg_or_png_is_kept_and_marked() {
    for name in [
        "420.jpg",
        "444.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "progressive.jpg",
        "rgb.png",
        "rgba.png",
        "interlaced.png",
    ] {
        let file = fs_err::read(folder().join("files").join(name)).unwrap();
        let whole = decode(&file, &limits(), None).unwrap();
        assert_eq!(whole.damaged, None, "{name}");
        let part = decode(&file[..file.len() * 3 / 4], &limits(), None).unwrap();
        assert!(part.damaged.is_some(), "{name} is not marked");
        assert_eq!(part.rgb.dimensions(), whole.rgb.dimensions(), "{name}");
        let row = whole.width as usize * 3 * 8;
        let off: u64 = (whole.rgb.as_raw().iter().zip(part.rgb.as_raw()).take(row))
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        // Interlaced and progressive files have a coarse picture of everything.
        let most = if matches!(name, "progressive.jpg" | "interlaced.png") {
            60
        } else {
            1
        };
        assert!(
            off / row as u64 <= most,
            "{name}: the first rows are {} levels off",
            off / row as u64
        );
    }
}

#[test]
fn a_jpeg_or_png_of_which_nothing_decodes_is_an_error() {
    for (name, marker) in [
        ("420.jpg", &b"\xff\xda"[..]),
        ("progressive.jpg", b"\xff\xda"),
        ("rgb.png", b"IDAT"),
    ] {
        let file = fs_err::read(folder().join("files").join(name)).unwrap();
        let at = file
            .windows(marker.len())
            .position(|part| part == marker)
            .unwrap();
        let error = decode(&file[..at + marker.len() + 8], &limits(), None).unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{name}: {error}");
    }
}

#[test]
fn flipped_bits_do_no_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (_, file) in files() {
        for _ in 0..60 {
            let mut copy = file.clone();
            for _ in 0..=random.below(4) {
                // Half of the flips in the head, where the fields are.
                let bound = if random.below(2) == 0 {
                    copy.len().min(200)
                } else {
                    copy.len()
                };
                let at = random.below(bound);
                copy[at] ^= 1 << random.below(8);
            }
            let _ = survive(&copy);
        }
    }
}

#[test]
fn numbers_at_their_ends_do_no_harm() {
    for (_, file) in files() {
        for at in (0..file.len().min(160)).step_by(3) {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut copy = file.clone();
                let end = (at + 4).min(copy.len());
                copy[at..end].fill(value);
                let _ = survive(&copy);
            }
        }
    }
}

/// Heads that promise 60,000 x 60,000 pixels and more, with next to nothing behind them.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let golden = |name: &str| fs_err::read(folder().join("files").join(name)).unwrap();
    let with = |name: &str, at: usize, bytes: &[u8]| {
        let mut file = golden(name);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let mut jpeg = golden("444.jpg");
    let at = jpeg
        .windows(2)
        .position(|part| part == [0xff, 0xc0])
        .unwrap()
        + 5;
    jpeg[at..at + 4].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let mut progressive = golden("progressive.jpg");
    let at = progressive
        .windows(2)
        .position(|part| part == [0xff, 0xc2])
        .unwrap()
        + 5;
    progressive[at..at + 4].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
    let mut bmp = golden("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0, 0, 1, 0, 0, 0, 1, 0]);
    let mut exr = b"\x76\x2f\x31\x01\x02\0\0\0".to_vec();
    exr.extend(b"dataWindow\0box2i\0\x10\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\x0f\xff\xff\xff\x0f\0");
    vec![
        ("jpeg", jpeg),
        ("progressive jpeg", progressive),
        ("png", with("rgb.png", 16, &[0, 1, 0, 0, 0, 1, 0, 0])),
        ("gif", with("plain.gif", 6, &[0xff, 0xff, 0xff, 0xff])),
        ("bmp", bmp),
        ("tga", with("rgb.tga", 12, &[0xff, 0xff, 0xff, 0xff])),
        ("pnm", b"P6\n65535 65535\n255\nabc".to_vec()),
        ("qoi", with("rgb.qoi", 4, &[0, 1, 0, 0, 0, 1, 0, 0])),
        ("farbfeld", b"farbfeld\0\x01\0\0\0\x01\0\0abc".to_vec()),
        (
            "hdr",
            b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 65535 +X 65535\nabcdefgh".to_vec(),
        ),
        ("exr", exr),
        ("webp", {
            let mut file = golden("animated.webp");
            let at = file.windows(4).position(|part| part == b"VP8X").unwrap() + 12;
            file[at..at + 6].copy_from_slice(&[0xff, 0x3f, 0, 0xff, 0x3f, 0]);
            file
        }),
    ]
}

#[test]
fn bombs_are_refused_before_memory_is_taken() {
    for (name, file) in bombs() {
        let before = peak_memory();
        let outcome = decode(&file, &Limits::default(), None);
        assert!(
            outcome.is_err(),
            "{name}: {:?}",
            outcome.map(|picture| picture.rgb.dimensions())
        );
        let grown = peak_memory().saturating_sub(before);
        assert!(grown < 256 << 20, "{name} took {grown} bytes");
    }
}

/// Most memory that this process ever had, in bytes; 0 where the system does not say.
fn peak_memory() -> usize {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok())
        .unwrap_or(0)
        * 1024
}

/// Beginnings that lead random bytes into the decoders.
const MAGIC: [&[u8]; 18] = [
    b"",
    b"\xff\xd8\xff\xe1\0\x20Exif\0\0II*\0\x08\0\0\0",
    b"\xff\xd8\xff\xdb",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x08\0\0\0\x08\x08\x02\0\0\0",
    b"GIF89a\x08\0\x08\0\x80\0\0\0\0\0\xff\xff\xff,",
    b"RIFF\xff\0\0\0WEBPVP8L",
    b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0",
    b"RIFF\xff\0\0\0WEBPVP8 ",
    b"II*\0\x08\0\0\0\x09\0",
    b"MM\0*\0\0\0\x08\0\x09",
    b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0",
    b"\0\0\x01\0\x01\0\x08\x08\0\0\x01\0\x20\0",
    b"P6\n8 8\n255\n",
    b"qoif\0\0\0\x08\0\0\0\x08\x03\0",
    b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n",
    b"\x76\x2f\x31\x01\x02\0\0\0",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL \r\n\x87\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_do_no_harm(magic in 0..MAGIC.len(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut file = MAGIC[magic].to_vec();
        file.extend(bytes);
        let _ = survive(&file);
    }
}
