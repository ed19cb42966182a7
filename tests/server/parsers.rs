//! The functions that fuzz/ calls, over hostile inputs by hand and thousands of small changes to sound ones,
//! the same in every run. What is wrong panics; that a parser still takes what is sound is checked elsewhere.

use std::path::PathBuf;

use bt_server::parsers;

use crate::harness::{Random, picture};

/// Calls a parser with seeds, cut off, and changed in a few places.
fn mutate(seeds: &[Vec<u8>], rounds: usize, parse: fn(&[u8])) {
    let mut random = Random(0x5eed);
    for seed in seeds {
        parse(seed);
        for _ in 0..rounds {
            let mut bytes = seed.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(u32::try_from(bytes.len() + 1).unwrap()) as usize;
                let byte = random.next().to_le_bytes()[3];
                match random.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes.insert(at, byte),
                    2 if at < bytes.len() => drop(bytes.remove(at)),
                    3 => bytes.extend_from_within(at..),
                    _ if at < bytes.len() => bytes[at] = byte,
                    _ => bytes.push(byte),
                }
                bytes.truncate(1 << 20);
            }
            parse(&bytes);
        }
    }
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn files_of_every_kind_survive_small_changes() {
    let small = image::imageops::thumbnail(&picture(7), 24, 18);
    let mut seeds = Vec::new();
    for format in [
        image::ImageFormat::Png,
        image::ImageFormat::Jpeg,
        image::ImageFormat::Gif,
        image::ImageFormat::WebP,
        image::ImageFormat::Tiff,
        image::ImageFormat::Bmp,
        image::ImageFormat::Tga,
        image::ImageFormat::Pnm,
        image::ImageFormat::Qoi,
        image::ImageFormat::Ico,
    ] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = image::DynamicImage::ImageRgb8(small.clone());
        let picture = if format == image::ImageFormat::Ico {
            picture.into_rgba8().into()
        } else {
            picture
        };
        picture.write_to(&mut bytes, format).unwrap();
        seeds.push(bytes.into_inner());
    }
    // With metadata of a camera.
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("samples/animals");
    seeds.push(fs_err::read(samples.join("IMG_0006.jpg")).unwrap());
    mutate(&seeds, 60, parsers::picture);
}

#[test]
fn bodies_of_searches_survive_small_changes() {
    let deep = "[".repeat(100_000);
    let seeds = texts(&[
        r#"{"text":"a cat","not":["snow"],"n":5,"rerank":3,"min_score":0.5,"cursor":"eyJvIjoyMH0"}"#,
        r#"{"image":{"base64":"R0lGODlhAQABAAAAADs="},"filter":{"types":["jpeg"],"larger_than":"12MP"}}"#,
        r#"{"filter":{"near":{"latitude":48.1,"longitude":11.5,"radius_km":3},"after":"2024-07","folders":["/a"]}}"#,
        r#"{"n":1e999,"rerank":-1,"filter":{"near":{"latitude":1e308,"longitude":-1e308,"radius_km":-0}}}"#,
        r#"{"text":"\ud800","image":{"id":"x"}}"#,
        &deep,
    ]);
    mutate(&seeds, 500, parsers::search_request);
}

#[test]
fn other_bodies_survive_small_changes() {
    let deep = format!(r#"{{"inputs":{}"#, "[".repeat(100_000));
    let seeds = texts(&[
        r#"{"inputs":["a cat",{"image":"R0lGODlhAQABAAAAADs="}],"truncate":true,"normalize":true,"dimensions":192}"#,
        r#"{"input":["a cat","a dog"],"model":"x","encoding_format":"base64","user":"a"}"#,
        r#"{"query":"a cat","images":[{"base64":"R0lGODlhAQABAAAAADs="},{"id":"00"}],"raw_scores":true}"#,
        r#"{"query_image":{"base64":"data:image/gif;base64,R0lGODlhAQABAAAAADs="},"texts":["a cat"]}"#,
        r#"{"text":"a cat","image":{"id":"0000000000000000000000000000000000000000000000000000000000000000"}}"#,
        r#"{"text":"a cat","not":["snow"],"n":99,"folders":["/a"],"after":"2024-07","min_score":1e99}"#,
        r#"{"ids":["0000000000000000000000000000000000000000000000000000000000000000"],"check":true}"#,
        r#"{"token":"0123456789abcdef"}"#,
        "request=%7B%22ids%22%3A%5B%2200%22%5D%7D",
        &deep,
    ]);
    mutate(&seeds, 500, parsers::bodies);
}

#[test]
fn query_strings_survive_small_changes() {
    let seeds = texts(&[
        "q=a+cat%20on&not=snow&not=dog&n=5&cursor=AAAA&folder=%2Fa&folder=%2Fb&after=2024-07-03&before=2025",
        "near=48.1,11.5,3&larger_than=2000x1500&camera=Canon&type=jpeg&type=png&min_score=0.5&sort=date&all=true",
        "larger_than=99999999999999999999MP&near=NaN,inf,-1&after=0000-00-00&n=-1&rerank=1e9&q=%ff%fe%",
        "sort=path&n=200&at=18446744073709551615&index=a",
        "cursor=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&sort=newest&exact=true&group=false&explain=true",
        "w=1024&download=1&q=a+cat&word=18446744073709551615",
        "after=9999999999-01&before=-1&near=,,&larger_than=MB&&&=&=&q",
    ]);
    mutate(&seeds, 2000, parsers::query);
}

#[test]
fn forms_survive_small_changes() {
    let form = "\u{1}x--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nGIF89a\r\n--x\r\n\
                Content-Disposition: form-data; name=\"caption\"\r\n\r\na cat\r\n--x--\r\n";
    let search = "\u{1}x--x\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n{\"text\":\"a cat\",\"n\":5}\r\n--x\r\n\
                  Content-Disposition: form-data; name=\"image\"\r\n\r\nGIF89a\r\n--x--\r\n";
    let mut seeds = texts(&[form, search, "\u{1}x--x--", "\u{0}", ""]);
    let mut endless =
        b"\x01x--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n".to_vec();
    endless.resize(2 << 20, b'-');
    parsers::form(&endless);
    let mut heads = b"\x01x--x\r\n".to_vec();
    heads.extend(b"A: b\r\n".repeat(100_000));
    parsers::form(&heads);
    seeds.push(heads[..4096].to_vec());
    mutate(&seeds, 1000, parsers::form);
}

#[test]
fn headers_and_cursors_survive_small_changes() {
    let ranges = texts(&[
        "bytes=0-499",
        "bytes=-500",
        "bytes=9500-",
        "bytes=0-0,-1",
        "bytes=18446744073709551615-",
        "\"a\"",
        "W/\"a\"",
    ]);
    mutate(&ranges, 2000, parsers::range);
    let cursors = texts(&["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""]);
    mutate(&cursors, 3000, parsers::cursor);
    let headers = texts(&[
        "bt_session=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef; other=\"a b\"",
        "https://user@evil.example:99999/x",
        "[::1]:7871",
        "W/\"a\", \"b\", *",
        "Bearer 0123456789abcdef",
        "198.51.100.1, 2001:db8::1, [::ffff:203.0.113.1]:80",
    ]);
    mutate(&headers, 2000, parsers::headers);
}

#[test]
fn whatever_people_look_for_is_read() {
    let long = "\u{1f469}\u{200d}\u{1f4bb} zebra ".repeat(400);
    let seeds = texts(&[
        "a cat on a couch",
        "\u{202e}\u{0}\u{feff}\u{fffd}",
        "e\u{301}\u{301}\u{301}",
        &long,
        "<s></s><mask>",
    ]);
    mutate(&seeds, 100, parsers::words);
}
