//! The camera's clock, which has no zone: its reading as a number, and back.

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};

const START: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Seconds from 1970-01-01 to a reading, both by the camera's own clock.
pub fn camera_seconds(reading: DateTime) -> i64 {
    reading.duration_since(START).as_secs()
}

/// The reading that [`camera_seconds`] made a number; `None` beyond the calendar.
pub fn camera_time(seconds: i64) -> Option<DateTime> {
    START.checked_add(SignedDuration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cameras_clock_is_counted_as_it_reads() {
        let reading = date(1970, 1, 2).at(0, 0, 1, 500);
        assert_eq!(camera_seconds(reading), 86_401);
        let before = date(1969, 12, 31).at(23, 59, 59, 0);
        assert_eq!(camera_seconds(before), -1);
    }

    #[test]
    fn a_reading_comes_back() {
        for reading in [DateTime::MIN, date(2024, 7, 3).at(0, 0, 0, 0)] {
            assert_eq!(camera_time(camera_seconds(reading)), Some(reading));
        }
        assert_eq!(camera_time(i64::MAX), None);
    }
}
