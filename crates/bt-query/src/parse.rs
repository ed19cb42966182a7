//! Words of flags to values: dates, sizes, places, file types. Clear errors that name the flag; no I/O.

use bt_picture::{Format, camera_seconds};
use bt_store::Filter;
use jiff::ToSpan as _;
use jiff::civil::Date;

pub use bt_picture::camera_time;

use crate::error::{Error, Result};

/// A year, month or day as a span of the camera's clock: from the first second, up to (without) the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// First second, since 1970-01-01 of that clock.
    pub from: i64,
    /// First second after it.
    pub until: i64,
}

/// `2024`, `2024-07` or `2024-07-03`.
///
/// # Errors
/// [`Error::BadValue`], which names the flag and says what is expected.
pub fn period(flag: &'static str, text: &str) -> Result<Period> {
    let bad = || Error::BadValue {
        flag,
        value: text.to_owned(),
        why: "expected a year, a month or a day, as in 2024, 2024-07 or 2024-07-03".into(),
    };
    let parts: Vec<&str> = text.trim().split('-').collect();
    let digits = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<i16>().ok())
            .flatten()
    };
    let number = |place: usize, length: usize| match parts.get(place) {
        None => Ok(None),
        Some(part) => digits(part, length).map(Some).ok_or_else(bad),
    };
    let year = number(0, 4)?.ok_or_else(bad)?;
    let month = number(1, 2)?;
    let day = number(2, 2)?;
    if parts.len() > 3 {
        return Err(bad());
    }
    let small = |value: i16| i8::try_from(value).map_err(|_| bad());
    let first =
        Date::new(year, small(month.unwrap_or(1))?, small(day.unwrap_or(1))?).map_err(|_| bad())?;
    let length = match (month, day) {
        (None, _) => 1.year(),
        (Some(_), None) => 1.month(),
        (Some(_), Some(_)) => 1.day(),
    };
    let next = first.checked_add(length).map_err(|_| bad())?;
    Ok(Period {
        from: camera_seconds(first.to_datetime(jiff::civil::Time::midnight())),
        until: camera_seconds(next.to_datetime(jiff::civil::Time::midnight())),
    })
}

/// `12MP`, `2000x1500` or `5MB`: at least so many pixels, or bytes.
///
/// # Errors
/// [`Error::BadValue`], which names the flag and says what is expected.
pub fn larger_than(flag: &'static str, text: &str) -> Result<Filter> {
    let bad = || Error::BadValue {
        flag,
        value: text.to_owned(),
        why: "expected megapixels, width x height or bytes, as in 12MP, 2000x1500 or 5MB".into(),
    };
    let lower: String = text.trim().to_ascii_lowercase().replace(' ', "");
    if let Some((width, height)) = lower.split_once('x') {
        let side = |part: &str| part.parse::<u32>().map_err(|_| bad());
        return Ok(Filter::MinPixels(
            u64::from(side(width)?) * u64::from(side(height)?),
        ));
    }
    let split = lower
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .ok_or_else(bad)?;
    let (number, unit) = lower.split_at(split);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let times = |unit: f64| {
        let value = number * unit;
        // Every whole number below 2^53 is exact, and no file and no picture is larger.
        (value.is_finite() && value < 9.0e15)
            .then_some(value.round() as u64)
            .ok_or_else(bad)
    };
    match unit {
        "mp" | "mpx" => Ok(Filter::MinPixels(times(1e6)?)),
        "b" => Ok(Filter::MinBytes(times(1.0)?)),
        "kb" | "k" => Ok(Filter::MinBytes(times(1e3)?)),
        "mb" | "m" => Ok(Filter::MinBytes(times(1e6)?)),
        "gb" | "g" => Ok(Filter::MinBytes(times(1e9)?)),
        "kib" => Ok(Filter::MinBytes(times(1024.0)?)),
        "mib" => Ok(Filter::MinBytes(times(1024.0 * 1024.0)?)),
        "gib" => Ok(Filter::MinBytes(times(1024.0 * 1024.0 * 1024.0)?)),
        _ => Err(bad()),
    }
}

/// `LAT,LON,KM`: degrees, north and east positive, and kilometres.
///
/// # Errors
/// [`Error::BadValue`], which names the flag and says what is expected.
pub fn near(flag: &'static str, text: &str) -> Result<Filter> {
    let bad = |why: &str| Error::BadValue {
        flag,
        value: text.to_owned(),
        why: why.to_owned(),
    };
    let numbers: Vec<f64> = text
        .split(',')
        .map(|part| part.trim().parse::<f64>())
        .collect::<Result<_, _>>()
        .map_err(|_| bad("expected LAT,LON,KM, as in 48.85,2.35,20"))?;
    let &[latitude, longitude, radius_km] = numbers.as_slice() else {
        return Err(bad("expected LAT,LON,KM, as in 48.85,2.35,20"));
    };
    if !(-90.0..=90.0).contains(&latitude) {
        return Err(bad("a latitude lies between -90 and 90"));
    }
    if !(-180.0..=180.0).contains(&longitude) {
        return Err(bad("a longitude lies between -180 and 180"));
    }
    if !(radius_km.is_finite() && radius_km > 0.0) {
        return Err(bad("the distance must be more than 0 km"));
    }
    Ok(Filter::Near {
        latitude,
        longitude,
        radius_km,
    })
}

/// The usual endings that [`format()`] takes beside the names.
pub fn other_names() -> impl Iterator<Item = &'static str> {
    let all = Format::ALL.into_iter();
    all.flat_map(|format| {
        let endings = format.endings().iter().copied();
        endings.filter(move |ending| *ending != format.name())
    })
}

/// A file type by name or usual ending (`jpg` = `jpeg`, with or without a dot).
///
/// # Errors
/// [`Error::BadValue`], which names the flag and all types, for anything else.
pub fn format(flag: &'static str, text: &str) -> Result<Filter> {
    let lower = text.trim().trim_start_matches('.').to_ascii_lowercase();
    let is_called =
        |format: &Format| format.name() == lower || format.endings().contains(&lower.as_str());
    match Format::ALL.into_iter().find(is_called) {
        Some(format) => Ok(Filter::Format(format.name().to_owned())),
        None => Err(Error::BadValue {
            flag,
            value: text.to_owned(),
            why: format!(
                "expected one of {}",
                Format::ALL.map(Format::name).join(", ")
            ),
        }),
    }
}

/// A probability between 0 and 1, or in per cent (`40%`).
///
/// # Errors
/// [`Error::BadValue`], which names the flag and says what is expected.
pub fn probability(flag: &'static str, text: &str) -> Result<f32> {
    let trimmed = text.trim();
    let value = match trimmed.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f32>().map(|value| value / 100.0),
        None => trimmed.parse::<f32>(),
    };
    match value {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(Error::BadValue {
            flag,
            value: text.to_owned(),
            why: "expected a probability between 0 and 1, or per cent, as in 0.4 or 40%".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_year_a_month_and_a_day_are_spans() {
        let day = 86_400;
        for (text, from, days) in [
            ("1970", 0, 365),
            ("1970-01-02", day, 1),
            ("2024", 1_704_067_200, 366),
            ("2024-02", 1_706_745_600, 29),
            ("2024-07-03", 1_719_964_800, 1),
            (" 1969-12-31 ", -day, 1),
        ] {
            assert_eq!(
                period("--after", text).unwrap(),
                Period {
                    from,
                    until: from + days * day
                },
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_date_names_the_flag() {
        for text in [
            "",
            "-",
            "24",
            "2024-7",
            "2024-13",
            "2023-02-29",
            "2024-01-01-01",
            "yesterday",
            "2024-",
            "+024",
            "99999",
            "2024-+1",
            "２０２４",
        ] {
            let message = period("--before", text).unwrap_err().to_string();
            assert!(
                message.contains("--before") && message.contains("2024-07"),
                "{message}"
            );
        }
    }

    #[test]
    fn sizes_are_pixels_or_bytes() {
        for (text, filter) in [
            ("12MP", Filter::MinPixels(12_000_000)),
            ("0.5 mp", Filter::MinPixels(500_000)),
            ("2000x1500", Filter::MinPixels(3_000_000)),
            ("2000 X 1500", Filter::MinPixels(3_000_000)),
            ("5MB", Filter::MinBytes(5_000_000)),
            ("1.5k", Filter::MinBytes(1_500)),
            ("2GiB", Filter::MinBytes(2 << 30)),
            ("7b", Filter::MinBytes(7)),
        ] {
            assert_eq!(
                larger_than("--larger-than", text).unwrap(),
                filter,
                "{text}"
            );
        }
        for text in [
            "",
            "12",
            "MP",
            "x",
            "10x",
            "-3MP",
            "1e9MP",
            "12 miles",
            "1..2MB",
            "9999999999999GB",
        ] {
            let message = larger_than("--larger-than", text).unwrap_err().to_string();
            assert!(message.contains("--larger-than"), "{message}");
        }
    }

    #[test]
    fn places_are_checked() {
        assert_eq!(
            near("--near", "48.85, 2.35,20").unwrap(),
            Filter::Near {
                latitude: 48.85,
                longitude: 2.35,
                radius_km: 20.0
            }
        );
        for text in [
            "", "1,2", "1,2,3,4", "91,0,1", "0,181,1", "0,0,0", "0,0,-1", "nan,0,1", "0,0,inf",
            "a,b,c",
        ] {
            assert!(near("--near", text).is_err(), "{text}");
        }
    }

    #[test]
    fn types_have_aliases() {
        for (text, name) in [
            ("jpg", "jpeg"),
            (".JPG", "jpeg"),
            ("jpeg", "jpeg"),
            ("TIF", "tiff"),
            ("ff", "farbfeld"),
            ("farbfeld", "farbfeld"),
        ] {
            assert_eq!(format("--type", text).unwrap(), Filter::Format(name.into()));
        }
        let message = format("--type", "pdf").unwrap_err().to_string();
        assert!(
            message.contains("`pdf`") && message.contains("jpeg, png, webp"),
            "{message}"
        );
        let mut others = other_names();
        assert!(others.any(|name| name == "jpg") && !others.any(|name| name == "gif"));
    }

    #[test]
    fn probabilities_may_be_per_cent() {
        assert_eq!(probability("--min-score", "0.25").unwrap(), 0.25);
        assert_eq!(probability("--min-score", "40 %").unwrap(), 0.4);
        for text in ["", "2", "-1", "nan", "120%", "%"] {
            assert!(probability("--min-score", text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = period("--after", &text);
            let _ = larger_than("--larger-than", &text);
            let _ = near("--near", &text);
            let _ = format("--type", &text);
            let _ = probability("--min-score", &text);
        }

        #[test]
        fn nearly_right_texts_do_not_panic(text in "[0-9xXmMpPkKgGbB.,%+ -]{0,16}") {
            let _ = period("--after", &text);
            let _ = larger_than("--larger-than", &text);
            let _ = near("--near", &text);
            let _ = probability("--min-score", &text);
        }

        #[test]
        fn any_second_is_a_time_or_none(second in any::<i64>()) {
            let _ = camera_time(second);
        }

        #[test]
        fn every_real_day_is_one_day_long(year in 1900i16..2100, month in 1i8..=12, day in 1i8..=28) {
            let text = format!("{year:04}-{month:02}-{day:02}");
            let Period { from, until } = period("--after", &text).unwrap();
            prop_assert_eq!(until - from, 86_400);
            prop_assert_eq!(camera_time(from).unwrap().date().to_string(), text);
        }
    }
}
