//! What filters ask of a picture, in columns, so that a filter over all rows takes milliseconds and no
//! record is decoded.
//!
//! ```text
//! body   0  8  places, P          then  64 x rows  facets
//!        8  8  bytes of the texts       8 x P      places: number of the folder, CRC-32 of the path
//!                                       .          texts: cameras, formats, folders, each as a count and
//!                                                  length-prefixed bytes (32-bit numbers)
//! ```
//! What a condition means is said in `filter`; here it is only asked once a camera, format or folder
//! instead of once a picture.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};

use crate::bitset::Bitset;
use crate::error::Result;
use crate::filter::Filter;
use crate::id::ContentHash;
use crate::path;
use crate::record::{About, Location, Record};

const HAS_TAKEN: u32 = 1;
const HAS_GPS: u32 = 2;
const HAS_CAMERA: u32 = 4;

/// One row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Facets {
    pixels: u64,
    /// Of the largest file.
    bytes: u64,
    taken: i64,
    latitude: f64,
    longitude: f64,
    has: u32,
    camera: u32,
    format: u32,
    first_place: u32,
    places: u32,
    zero: u32,
}

/// Where a row's file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Place {
    folder: u32,
    path_crc: u32,
}

/// Columns while they are gathered.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    facets: Vec<Facets>,
    places: Vec<Place>,
    cameras: Interner,
    formats: Interner,
    folders: Interner,
}

#[derive(Debug, Default)]
struct Interner {
    numbers: HashMap<Vec<u8>, u32>,
    texts: Vec<Vec<u8>>,
}

impl Interner {
    fn number(&mut self, text: Vec<u8>) -> u32 {
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            (self.texts.len() - 1) as u32
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend((self.texts.len() as u32).to_le_bytes());
        for text in &self.texts {
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text);
        }
    }
}

/// The folder of a file; a path without one stands for itself.
fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Equal for paths that are equal component by component.
fn path_crc(path: &Path) -> u32 {
    let plain: PathBuf = path.components().collect();
    crc32fast::hash(&path::to_key(&plain))
}

impl Builder {
    pub(crate) fn push(&mut self, record: &Record) {
        let about = &record.about;
        let mut facets = Facets {
            pixels: u64::from(about.width) * u64::from(about.height),
            bytes: record
                .locations
                .iter()
                .map(|place| place.size)
                .max()
                .unwrap_or(0),
            format: self.formats.number(about.format.clone().into_bytes()),
            first_place: self.places.len() as u32,
            places: record.locations.len() as u32,
            ..Facets::default()
        };
        if let Some(taken) = about.taken {
            facets.taken = taken;
            facets.has |= HAS_TAKEN;
        }
        if let Some((latitude, longitude)) = about.gps {
            (facets.latitude, facets.longitude) = (latitude, longitude);
            facets.has |= HAS_GPS;
        }
        if let Some(camera) = &about.camera {
            facets.camera = self.cameras.number(camera.clone().into_bytes());
            facets.has |= HAS_CAMERA;
        }
        for location in &record.locations {
            self.places.push(Place {
                folder: self.folders.number(path::to_key(folder_of(&location.path))),
                path_crc: path_crc(&location.path),
            });
        }
        self.facets.push(facets);
    }

    /// The body of the file.
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut texts = Vec::new();
        for interner in [&self.cameras, &self.formats, &self.folders] {
            interner.write(&mut texts);
        }
        out.write_all(&(self.places.len() as u64).to_le_bytes())?;
        out.write_all(&(texts.len() as u64).to_le_bytes())?;
        out.write_all(bytemuck::cast_slice(&self.facets))?;
        out.write_all(bytemuck::cast_slice(&self.places))?;
        out.write_all(&texts)
    }
}

/// The distinct texts of all rows, decoded.
#[derive(Debug)]
pub(crate) struct Texts {
    cameras: Vec<String>,
    formats: Vec<String>,
    folders: Vec<PathBuf>,
}

/// Columns as they lie in a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    facets: &'a [Facets],
    places: &'a [Place],
    texts: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Reads the body of a file; an error says what is wrong with it.
    pub(crate) fn read(body: &'a [u8], rows: usize) -> Result<Self, String> {
        let parts = || {
            let (&places, rest) = body.split_first_chunk::<8>()?;
            let (&texts, rest) = rest.split_first_chunk::<8>()?;
            let places = usize::try_from(u64::from_le_bytes(places)).ok()?;
            let texts = usize::try_from(u64::from_le_bytes(texts)).ok()?;
            let (facets, rest) = rest.split_at_checked(rows.checked_mul(size_of::<Facets>())?)?;
            let (places, rest) = rest.split_at_checked(places.checked_mul(size_of::<Place>())?)?;
            (rest.len() == texts).then_some(())?;
            Some(Self {
                facets: bytemuck::try_cast_slice(facets).ok()?,
                places: bytemuck::try_cast_slice(places).ok()?,
                texts: rest,
            })
        };
        parts().ok_or_else(|| format!("its {} bytes are not those of {rows} rows", body.len()))
    }

    /// Decodes the texts, which a caller keeps.
    pub(crate) fn texts(&self) -> Result<Texts, String> {
        let mut rest = self.texts;
        let mut take = |len: usize| {
            let (taken, left) = rest.split_at_checked(len)?;
            rest = left;
            Some(taken)
        };
        let mut list = || {
            let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
            let count = number(take(4)?)?;
            (0..count)
                .map(|_| {
                    let len = number(take(4)?)?;
                    take(len as usize)
                })
                .collect::<Option<Vec<&[u8]>>>()
        };
        let lists = (|| Some((list()?, list()?, list()?)))();
        let (cameras, formats, folders) = lists.ok_or("its texts end too early")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Texts {
            cameras: cameras.into_iter().map(text).collect(),
            formats: formats.into_iter().map(text).collect(),
            folders: folders.into_iter().map(path::from_key).collect(),
        })
    }

    /// Rows that a filter allows; `record` gives the record of a row, for the rare row that only it decides.
    pub(crate) fn allowed(
        &self,
        filter: &Filter,
        texts: &Texts,
        record: &dyn Fn(usize) -> Result<Record>,
    ) -> Result<Bitset> {
        let rows = self.facets.len();
        let by_facets =
            |test: &dyn Fn(&Facets) -> bool| Bitset::of(rows, |row| test(&self.facets[row]));
        Ok(match filter {
            Filter::All(filters) => {
                let mut set = Bitset::all(rows);
                for filter in filters {
                    set.and(&self.allowed(filter, texts, record)?);
                }
                set
            }
            Filter::Any(filters) => {
                let mut set = Bitset::none(rows);
                for filter in filters {
                    set.or(&self.allowed(filter, texts, record)?);
                }
                set
            }
            Filter::Not(filter) => {
                let mut set = self.allowed(filter, texts, record)?;
                set.invert();
                set
            }
            Filter::InFolder(folder) => self.in_folder(filter, folder, texts, record)?,
            Filter::TakenFrom(from) => {
                by_facets(&|facets| facets.has & HAS_TAKEN != 0 && facets.taken >= *from)
            }
            Filter::TakenBefore(before) => {
                by_facets(&|facets| facets.has & HAS_TAKEN != 0 && facets.taken < *before)
            }
            Filter::Camera(_) => {
                let cameras = texts.cameras.iter().map(|camera| About {
                    camera: Some(camera.clone()),
                    ..About::default()
                });
                let matching = ask(filter, cameras);
                by_facets(&|facets| {
                    facets.has & HAS_CAMERA != 0
                        && matching.get(facets.camera as usize) == Some(&true)
                })
            }
            Filter::Format(_) => {
                let formats = texts.formats.iter().map(|format| About {
                    format: format.clone(),
                    ..About::default()
                });
                let matching = ask(filter, formats);
                by_facets(&|facets| matching.get(facets.format as usize) == Some(&true))
            }
            Filter::MinPixels(pixels) => by_facets(&|facets| facets.pixels >= *pixels),
            Filter::MinBytes(bytes) => {
                by_facets(&|facets| facets.places > 0 && facets.bytes >= *bytes)
            }
            Filter::Near { .. } => by_facets(&|facets| {
                facets.has & HAS_GPS != 0
                    && filter.allows(&bare(About {
                        gps: Some((facets.latitude, facets.longitude)),
                        ..About::default()
                    }))
            }),
        })
    }

    fn in_folder(
        &self,
        filter: &Filter,
        folder: &Path,
        texts: &Texts,
        record: &dyn Fn(usize) -> Result<Record>,
    ) -> Result<Bitset> {
        let below: Vec<bool> = texts
            .folders
            .iter()
            .map(|candidate| candidate.starts_with(folder))
            .collect();
        // The folder asked for may be a picture's own path.
        let own_crc = path_crc(folder);
        let mut set = Bitset::none(self.facets.len());
        for (row, facets) in self.facets.iter().enumerate() {
            let first = facets.first_place as usize;
            let places = first
                .checked_add(facets.places as usize)
                .and_then(|end| self.places.get(first..end))
                .unwrap_or_default();
            let inside = places
                .iter()
                .any(|place| below.get(place.folder as usize) == Some(&true));
            if inside
                || places.iter().any(|place| place.path_crc == own_crc)
                    && filter.allows(&record(row)?)
            {
                set.insert(row);
            }
        }
        Ok(set)
    }
}

/// Asks the filter about records that have this and nothing else.
fn ask(filter: &Filter, about: impl Iterator<Item = About>) -> Vec<bool> {
    about.map(|about| filter.allows(&bare(about))).collect()
}

fn bare(about: About) -> Record {
    Record {
        id: ContentHash([0; 32]),
        locations: Vec::<Location>::new(),
        about,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths() -> impl Strategy<Value = PathBuf> {
        prop::collection::vec(
            prop::sample::select(vec!["a", "b", "cat.jpg", ".", "ä"]),
            0..4,
        )
        .prop_map(|parts| PathBuf::from(format!("/{}", parts.join("/"))))
    }

    fn records() -> impl Strategy<Value = Record> {
        let location = (paths(), 0u64..5).prop_map(|(path, size)| Location {
            path,
            size,
            mtime_ns: 0,
        });
        let camera = prop::option::of(prop::sample::select(vec!["Canon EOS", "NIKON Z", ""]));
        let gps = prop::option::of((-90.0f64..90.0, -180.0f64..180.0));
        (
            prop::collection::vec(location, 0..3),
            (0u32..4, 0u32..4),
            prop::sample::select(vec!["jpeg", "png", ""]),
            prop::option::of(prop::sample::select(vec![i64::MIN, -1, 0, 5, i64::MAX])),
            camera,
            gps,
        )
            .prop_map(
                |(locations, (width, height), format, taken, camera, gps)| Record {
                    id: ContentHash([0; 32]),
                    locations,
                    about: About {
                        width,
                        height,
                        format: format.into(),
                        taken,
                        camera: camera.map(str::to_owned),
                        gps,
                        ..About::default()
                    },
                },
            )
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let leaf = prop_oneof![
            paths().prop_map(Filter::InFolder),
            Just(Filter::InFolder("a".into())),
            Just(Filter::InFolder("".into())),
            prop::sample::select(vec![i64::MIN, 0, 3, i64::MAX]).prop_map(Filter::TakenFrom),
            prop::sample::select(vec![i64::MIN, 0, 3, i64::MAX]).prop_map(Filter::TakenBefore),
            prop::sample::select(vec!["nikon", "O", "", "x"])
                .prop_map(|part| Filter::Camera(part.into())),
            prop::sample::select(vec!["jpeg", "PNG", ""])
                .prop_map(|name| Filter::Format(name.into())),
            (0u64..10).prop_map(Filter::MinPixels),
            (0u64..6).prop_map(Filter::MinBytes),
            (-90.0f64..90.0, -180.0f64..180.0, 0.0f64..20_000.0).prop_map(
                |(latitude, longitude, radius_km)| {
                    Filter::Near {
                        latitude,
                        longitude,
                        radius_km,
                    }
                }
            ),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::All),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Any),
                inner.prop_map(|filter| Filter::Not(Box::new(filter))),
            ]
        })
    }

    fn body(records: &[Record]) -> Vec<u64> {
        let mut builder = Builder::default();
        for record in records {
            builder.push(record);
        }
        let mut body = Vec::new();
        builder.write(&mut body).unwrap();
        body.resize(body.len().next_multiple_of(8), 0xee);
        bytemuck::pod_collect_to_vec(&body)
    }

    proptest! {
        #[test]
        fn a_filter_over_columns_is_the_filter_over_records(
            records in prop::collection::vec(records(), 0..80),
            filter in filters(),
        ) {
            let mut builder = Builder::default();
            for record in &records {
                builder.push(record);
            }
            let mut bytes = Vec::new();
            builder.write(&mut bytes).unwrap();
            let bytes = super::super::bytes::Bytes::copy_of(&bytes);
            let columns = Columns::read(&bytes, records.len()).unwrap();
            let got = columns
                .allowed(&filter, &columns.texts().unwrap(), &|row| Ok(records[row].clone()))
                .unwrap();
            let wanted = Bitset::of(records.len(), |row| filter.allows(&records[row]));
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn damaged_columns_are_refused_or_wrong_but_never_a_panic(
            records in prop::collection::vec(records(), 1..20),
            filter in filters(),
            flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut words = body(&records);
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
            for (at, bit) in flips {
                bytes[at.index(bytes.len())] ^= 1 << (bit % 8);
            }
            let whole = bytes.len();
            for len in [whole, cut.index(whole)] {
                if let Ok(columns) = Columns::read(&bytes[..len], records.len())
                    && let Ok(texts) = columns.texts()
                {
                    columns.allowed(&filter, &texts, &|row| Ok(records[row].clone())).unwrap();
                }
            }
        }
    }
}
