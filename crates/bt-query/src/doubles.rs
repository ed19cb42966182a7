//! Test doubles: a collection in memory, and a scorer that sees a picture as its mean colour and reads
//! the words `red`, `green` and `blue`.

use std::path::{Path, PathBuf};

use bt_model::{Calibration, Pixels, TextEmbedding, Window, WordHeat};
use bt_store::{
    About, Collection, ContentHash, Facts, Filter, Header, Hit, Location, ModelId, ModelRef,
    Neighbours, Record, Walk,
};
use image::{Rgb, RgbImage};

use crate::error::Result;
use crate::scorer::{Abilities, Look, Scorer};

pub(crate) fn record(id: u8, path: &str) -> Record {
    Record {
        id: ContentHash([id; 32]),
        locations: vec![Location {
            path: PathBuf::from(path),
            size: 1,
            mtime_ns: 0,
        }],
        about: About {
            width: 8,
            height: 8,
            format: "png".into(),
            ..About::default()
        },
    }
}

pub(crate) fn facts(pictures: u64) -> Facts {
    Facts {
        header: Header {
            model: ModelRef {
                spec: "colours".into(),
                fit: "squeeze".into(),
                id: ModelId("c0".into()),
            },
            rerank: None,
            dim: 3,
            aligned_with_text: true,
        },
        pictures,
        generation: None,
        graph_rows: pictures,
        tail_rows: 0,
        warnings: Vec::new(),
    }
}

pub(crate) struct Memory {
    pub(crate) facts: Facts,
    pub(crate) pictures: Vec<(Record, Vec<f32>)>,
}

impl Memory {
    pub(crate) fn new(mut pictures: Vec<(Record, Vec<f32>)>) -> Self {
        pictures.sort_by_key(|(record, _)| record.id);
        Self {
            facts: facts(pictures.len() as u64),
            pictures,
        }
    }

    /// Writes pictures of one colour into a folder and indexes them.
    pub(crate) fn of_colours(folder: &Path, colours: &[(&str, [u8; 3])]) -> Self {
        let mut pictures = Vec::new();
        for (name, colour) in colours {
            let path = folder.join(name);
            let picture = RgbImage::from_pixel(8, 8, Rgb(*colour));
            picture.save(&path).unwrap();
            let bytes = fs_err::read(&path).unwrap();
            let mut record = record(0, path.to_str().unwrap());
            record.id = ContentHash::of(&bytes);
            record.locations[0].size = bytes.len() as u64;
            pictures.push((record, Colours::default().embed_picture(&picture).unwrap()));
        }
        Self::new(pictures)
    }

    pub(crate) fn named(&self, name: &str) -> ContentHash {
        self.pictures
            .iter()
            .find(|(record, _)| record.locations[0].path.ends_with(name))
            .unwrap()
            .0
            .id
    }

    fn find(&self, id: &ContentHash) -> Option<&(Record, Vec<f32>)> {
        self.pictures.iter().find(|(record, _)| record.id == *id)
    }

    fn ranked(
        &self,
        filter: &Filter,
        n: usize,
        score: impl Fn(&Record, &[f32]) -> f32,
    ) -> Vec<Hit> {
        let mut hits: Vec<Hit> = self
            .pictures
            .iter()
            .filter(|(record, _)| filter.allows(record))
            .map(|(record, vector)| Hit {
                id: record.id,
                score: score(record, vector),
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.id.cmp(&b.id)));
        hits.truncate(n);
        hits
    }
}

impl Collection for Memory {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn count(&self, filter: &Filter) -> bt_store::Result<u64> {
        Ok(self
            .pictures
            .iter()
            .filter(|(record, _)| filter.allows(record))
            .count() as u64)
    }

    fn nearest(
        &self,
        query: &[f32],
        filter: &Filter,
        n: usize,
        walk: Walk,
    ) -> bt_store::Result<Neighbours> {
        let hits = self.ranked(filter, n, |_, vector| {
            vector.iter().zip(query).map(|(a, b)| a * b).sum()
        });
        Ok(Neighbours { hits, walk })
    }

    fn by_words(&self, text: &str, filter: &Filter, n: usize) -> bt_store::Result<Vec<Hit>> {
        let asked = bt_store::query_terms(text);
        let mut hits = self.ranked(filter, usize::MAX, |record, _| {
            let mut own = bt_store::terms(&record.locations[0].path.to_string_lossy());
            for caption in &record.about.captions {
                own.extend(bt_store::terms(caption));
            }
            asked.iter().filter(|term| own.contains(term)).count() as f32
        });
        hits.retain(|hit| hit.score > 0.0);
        hits.truncate(n);
        Ok(hits)
    }

    fn fetch(&self, ids: &[ContentHash]) -> bt_store::Result<Vec<Option<Record>>> {
        Ok(ids
            .iter()
            .map(|id| self.find(id).map(|(record, _)| record.clone()))
            .collect())
    }

    fn embeddings(&self, ids: &[ContentHash]) -> bt_store::Result<Vec<Option<Vec<f32>>>> {
        Ok(ids
            .iter()
            .map(|id| self.find(id).map(|(_, vector)| vector.clone()))
            .collect())
    }

    fn scan(
        &self,
        filter: &Filter,
        after: Option<ContentHash>,
        n: usize,
    ) -> bt_store::Result<Vec<ContentHash>> {
        Ok(self
            .pictures
            .iter()
            .filter(|(record, _)| {
                filter.allows(record) && after.is_none_or(|after| record.id > after)
            })
            .map(|(record, _)| record.id)
            .take(n)
            .collect())
    }

    fn with_id_prefix(&self, prefix: &str, n: usize) -> bt_store::Result<Vec<ContentHash>> {
        Ok(self
            .pictures
            .iter()
            .map(|(record, _)| record.id)
            .filter(|id| id.to_string().starts_with(prefix))
            .take(n)
            .collect())
    }
}

/// A picture is its mean colour; a text is the colours that it names.
pub(crate) struct Colours {
    pub(crate) can: Abilities,
    pub(crate) calibration: Calibration,
    /// Answers NaN instead of logits.
    pub(crate) broken: bool,
}

impl Default for Colours {
    fn default() -> Self {
        Self {
            can: Abilities {
                itc: true,
                itc_cross: false,
                itm: true,
            },
            calibration: Calibration::default(),
            broken: false,
        }
    }
}

fn unit(vector: [f32; 3]) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    vector.iter().map(|x| x / norm).collect()
}

fn colour_of(text: &str) -> [f32; 3] {
    let says = |word: &str| if text.contains(word) { 1.0 } else { 0.05 };
    [says("red"), says("green"), says("blue")]
}

impl Scorer for Colours {
    fn abilities(&self) -> Abilities {
        self.can
    }

    fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    fn embed_text(&self, text: &str) -> Result<TextEmbedding> {
        Ok(TextEmbedding {
            vector: unit(colour_of(text)),
            truncated: text.len() > 100,
        })
    }

    fn embed_picture(&self, picture: &RgbImage) -> Result<Vec<f32>> {
        let mut sum = [0.0; 3];
        for pixel in picture.pixels() {
            for (sum, level) in sum.iter_mut().zip(pixel.0) {
                *sum += f32::from(level);
            }
        }
        Ok(unit(sum))
    }

    fn embed_pair(&self, text: &str, picture: &RgbImage) -> Result<Vec<f32>> {
        let picture = self.embed_picture(picture)?;
        let text = colour_of(text);
        Ok(unit([0, 1, 2].map(|i| picture[i] + text[i])))
    }

    fn enough_pixels(&self) -> u32 {
        8
    }

    fn prepare(&self, picture: &RgbImage) -> Pixels {
        Pixels {
            values: self.embed_picture(picture).unwrap(),
            side: 1,
        }
    }

    fn match_logits(&self, texts: &[&str], pictures: &[Look]) -> Result<Vec<Vec<f32>>> {
        Ok(texts
            .iter()
            .map(|text| {
                let text = unit(colour_of(text));
                let one = |look: &Look| match look {
                    Look::Fresh { pixels, .. } if !self.broken => {
                        let values = pixels.values.iter();
                        let cosine: f32 = values.zip(&text).map(|(a, b)| a * b).sum();
                        10.0 * (cosine - 0.6)
                    }
                    _ => f32::NAN,
                };
                pictures.iter().map(one).collect()
            })
            .collect())
    }

    fn word_heat(&self, text: &str, _picture: &Pixels) -> Result<Vec<WordHeat>> {
        Ok(text
            .split(' ')
            .map(|word| WordHeat {
                word: word.to_owned(),
                heat: vec![0.5, 0.0, 0.0, 0.5],
                grid: 2,
            })
            .collect())
    }

    fn window(&self, width: u32, height: u32) -> Window {
        Window {
            x: 0.0,
            y: 0.0,
            width: width as f32,
            height: height as f32,
        }
    }
}
