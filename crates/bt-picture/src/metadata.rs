//! What a picture file says about itself: EXIF, XMP, IPTC.

/// Facts from the file; all optional, nothing invented.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Capture time by the camera's clock.
    pub taken: Option<jiff::civil::DateTime>,
    /// Maker and model.
    pub camera: Option<String>,
    /// Lens model.
    pub lens: Option<String>,
    /// Degrees, north and east positive.
    pub gps: Option<(f64, f64)>,
    /// Descriptions, best first, without repetition.
    pub captions: Vec<String>,
    /// Keywords.
    pub keywords: Vec<String>,
}

/// Reads what is there; damaged metadata is as good as none.
pub fn metadata(_bytes: &[u8]) -> Metadata {
    unimplemented!()
}
