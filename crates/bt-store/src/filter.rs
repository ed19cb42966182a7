//! Which pictures a query may return, as data: typed, serialisable, and evaluated here only.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// A condition on a record. `All(vec![])` allows everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Every one holds; true when empty.
    All(Vec<Filter>),
    /// At least one holds; false when empty.
    Any(Vec<Filter>),
    /// Does not hold.
    Not(Box<Filter>),
    /// Some location lies in this folder (absolute) or below it.
    InFolder(#[serde(with = "crate::path")] PathBuf),
    /// Taken at or after, in seconds of the camera's clock.
    TakenFrom(i64),
    /// Taken before, in seconds of the camera's clock.
    TakenBefore(i64),
    /// The camera's name contains this, whatever the case.
    Camera(String),
    /// The format's lower-case name.
    Format(String),
    /// Width times height is at least this many pixels.
    MinPixels(u64),
    /// The file has at least this many bytes.
    MinBytes(u64),
    /// Within so many kilometres of a place (great circle on a sphere of 6371.0088 km).
    Near {
        /// Degrees, north positive.
        latitude: f64,
        /// Degrees, east positive.
        longitude: f64,
        /// Kilometres.
        radius_km: f64,
    },
}

impl Filter {
    /// The filter that allows every picture.
    pub fn everything() -> Self {
        Self::All(Vec::new())
    }

    /// Whether a query with this filter may return the record. A picture that lacks the fact asked
    /// for (no date, no place) is not returned.
    pub fn allows(&self, record: &Record) -> bool {
        let about = &record.about;
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.allows(record)),
            Self::Any(filters) => filters.iter().any(|filter| filter.allows(record)),
            Self::Not(filter) => !filter.allows(record),
            Self::InFolder(folder) => record
                .locations
                .iter()
                .any(|location| location.path.starts_with(folder)),
            Self::TakenFrom(second) => about.taken.is_some_and(|taken| taken >= *second),
            Self::TakenBefore(second) => about.taken.is_some_and(|taken| taken < *second),
            Self::Camera(part) => about
                .camera
                .as_ref()
                .is_some_and(|camera| camera.to_lowercase().contains(&part.to_lowercase())),
            Self::Format(name) => about.format == *name,
            Self::MinPixels(pixels) => u64::from(about.width) * u64::from(about.height) >= *pixels,
            Self::MinBytes(bytes) => record
                .locations
                .iter()
                .any(|location| location.size >= *bytes),
            Self::Near {
                latitude,
                longitude,
                radius_km,
            } => about
                .gps
                .is_some_and(|place| kilometres(place, (*latitude, *longitude)) <= *radius_km),
        }
    }
}

/// Great-circle distance by the haversine formula, in kilometres.
fn kilometres(from: (f64, f64), to: (f64, f64)) -> f64 {
    const MEAN_EARTH_RADIUS_KM: f64 = 6371.0088;
    let (lat_a, lat_b) = (from.0.to_radians(), to.0.to_radians());
    let half_lat = (lat_b - lat_a) / 2.0;
    let half_lon = (to.1 - from.1).to_radians() / 2.0;
    let chord = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * MEAN_EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
}
