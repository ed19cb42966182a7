//! Numbers, times and file names as a person reads them.

use std::path::Path;
use std::time::Duration;

/// `1.5 MB`, in powers of 1000.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `1.5 MB of 3.0 MB`, or `1.5 MB` where nobody knows of how many.
pub fn bytes_of(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{} of {}", bytes(done), bytes(total)),
        None => bytes(done),
    }
}

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `0.42 s`, `7.3 s`, `2 min 05 s`, `3 h 12 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        if whole < 3600 {
            format!("{} min {:02} s", whole / 60, whole % 60)
        } else {
            format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
        }
    }
}

/// A file name that cannot move the cursor or hide its end: control and direction-changing characters
/// are shown as escapes, bytes that are not UTF-8 as `\u{fffd}`.
pub fn path(path: &Path) -> String {
    let lossy = path.to_string_lossy();
    let mut safe = String::with_capacity(lossy.len());
    for character in lossy.chars() {
        let turns_text_around = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if character.is_control() || turns_text_around {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_are_grouped_and_rounded() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(bytes_of(9, Some(1_500_000)), "9 B of 1.5 MB");
        assert_eq!(bytes_of(9, None), "9 B");
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn a_duration_never_shows_sixty_seconds() {
        assert_eq!(duration(Duration::from_millis(420)), "0.42 s");
        assert_eq!(duration(Duration::from_millis(59_970)), "1 min 00 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 05 s");
        assert_eq!(duration(Duration::from_secs(11_520)), "3 h 12 min");
    }

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        assert_eq!(path(Path::new("a\u{1b}[2Jb")), "a\\u{1b}[2Jb");
        assert_eq!(path(Path::new("gpj\u{202e}.exe")), "gpj\\u{202e}.exe");
        assert_eq!(
            path(Path::new("schöne Bilder/é.jpg")),
            "schöne Bilder/é.jpg"
        );
    }
}
