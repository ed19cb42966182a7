//! A checkpoint as files: found by name, Hub id or folder; fingerprinted. What is in them is read in
//! `config.rs`, `tokenizer.rs`, `pixels.rs` and `weights.rs`.

mod hub;
mod info;
mod lightning;
mod names;
mod pickle;
mod prepared;
mod shards;
mod sizes;
pub(crate) mod weights;
pub(crate) mod write;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cache;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::loss::Loss;
use crate::pixels::Fit;
use crate::precision::Precision;
use weights::{WeightFiles, Weights};

pub use hub::{Hub, HubError, Token};
pub use info::{Info, InfoFile, Parameters};
pub use lightning::{ConvertOptions, Converted, convert};
pub(crate) use names::{known_names, unused};

/// What finding a checkpoint is doing; programs show it, libraries never print.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Something worth a line, such as a field of config.json that is not known.
    Warning(String),
    /// Bytes of a file that is being downloaded.
    Download {
        /// Name of the file in the repository.
        file: String,
        /// Bytes there.
        done: u64,
        /// Bytes in all, when the server says so.
        total: Option<u64>,
    },
    /// What a precision costs this checkpoint is being measured, which takes seconds, once.
    Measuring(Precision),
    /// What it costs.
    Loss {
        /// The precision.
        precision: Precision,
        /// How near its results are to those of f32.
        loss: Loss,
    },
}

impl Event {
    /// One line for people; none for a download's progress.
    pub fn line(&self) -> Option<String> {
        match self {
            Self::Warning(warning) => Some(format!("warning: {warning}")),
            Self::Measuring(precision) => Some(format!(
                "measuring once what {precision} costs this checkpoint"
            )),
            Self::Loss { precision, loss } => Some(format!("{precision}: {loss}")),
            Self::Download { .. } => None,
        }
    }
}

/// The files of one checkpoint. Small ones are read, weights are not yet.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    name: String,
    folder: PathBuf,
    config: String,
    preprocessor: Option<String>,
    tokenizer: Option<TokenizerFiles>,
    calibration: Option<String>,
    weights: WeightFiles,
}

/// What a tokenizer is made from.
#[derive(Clone, Debug)]
pub(crate) enum TokenizerFiles {
    /// tokenizer.json.
    Whole(Cow<'static, str>),
    /// vocab.json and merges.txt.
    VocabAndMerges { vocab: String, merges: String },
}

impl TokenizerFiles {
    /// Those of a folder, if it has any.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        if let Some(text) = read_optional(&folder.join("tokenizer.json"))? {
            return Ok(Some(Self::Whole(Cow::Owned(text))));
        }
        let files = (
            read_optional(&folder.join("vocab.json"))?,
            read_optional(&folder.join("merges.txt"))?,
        );
        Ok(match files {
            (Some(vocab), Some(merges)) => Some(Self::VocabAndMerges { vocab, merges }),
            _ => None,
        })
    }
}

/// The files of `mini`, compiled in.
macro_rules! mini_file {
    ($include:ident, $name:literal) => {
        $include!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../models/mini/",
            $name
        ))
    };
}

impl Checkpoint {
    /// `mini` (in the program), a public name such as `large-itm-mlm-itc`, a Hub id (`owner/name[@revision]`),
    /// or a folder. A folder of that name is taken before the Hub.
    ///
    /// # Errors
    /// Nothing goes by this name, a file is missing or unreadable, or the Hub refuses.
    pub fn find(spec: &str, on: &mut dyn FnMut(Event)) -> Result<Self> {
        if spec == names::MINI {
            return Ok(Self::mini());
        }
        let folder = Path::new(spec);
        if folder.is_dir() {
            return Self::open(folder, spec);
        }
        match names::hub_id(spec) {
            Some(id) => Self::open(&hub::fetch(&id.repo, id.revision.as_deref(), on)?, spec),
            None => Err(Error::NoSuchModel {
                spec: spec.to_owned(),
            }),
        }
    }

    fn mini() -> Self {
        Self {
            name: names::MINI.to_owned(),
            folder: PathBuf::from("<mini>"),
            config: mini_file!(include_str, "config.json").to_owned(),
            preprocessor: Some(mini_file!(include_str, "preprocessor_config.json").to_owned()),
            tokenizer: Some(TokenizerFiles::Whole(Cow::Borrowed(mini_file!(
                include_str,
                "tokenizer.json"
            )))),
            calibration: Some(mini_file!(include_str, "calibration.json").to_owned()),
            weights: WeightFiles::Bundled(mini_file!(include_bytes, "model.safetensors")),
        }
    }

    /// The files in a folder; `name` is what the model is called in messages.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self> {
        let missing = |file| Error::MissingFile {
            folder: folder.to_owned(),
            file,
        };
        let config =
            read_optional(&folder.join("config.json"))?.ok_or_else(|| missing("config.json"))?;
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            config,
            preprocessor: read_optional(&folder.join("preprocessor_config.json"))?,
            tokenizer: TokenizerFiles::read(folder)?,
            calibration: read_optional(&folder.join("calibration.json"))?,
            weights: find_weights(folder)?
                .ok_or_else(|| missing("model.safetensors or pytorch_model.bin"))?,
        })
    }

    /// The name it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder; `<mini>` for the one in the program.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// config.json as it is written.
    pub fn config_json(&self) -> &str {
        &self.config
    }

    /// preprocessor_config.json as it is written, if there is one.
    pub fn preprocessor_json(&self) -> Option<&str> {
        self.preprocessor.as_deref()
    }

    /// calibration.json as it is written, if there is one.
    pub fn calibration_json(&self) -> Option<&str> {
        self.calibration.as_deref()
    }

    /// What config.json says; fields that are not known go to `on` as warnings.
    ///
    /// # Errors
    /// It makes no sense, or asks for a graph that is not implemented.
    pub fn config(&self, on: &mut dyn FnMut(Event)) -> Result<Config> {
        let (config, warnings) = Config::parse(&self.config, &self.folder.join("config.json"))?;
        for warning in warnings {
            on(Event::Warning(warning));
        }
        Ok(config)
    }

    pub(crate) fn tokenizer_files(&self) -> Result<&TokenizerFiles> {
        self.tokenizer.as_ref().ok_or_else(|| Error::MissingFile {
            folder: self.folder.clone(),
            file: "tokenizer.json (or vocab.json and merges.txt)",
        })
    }

    pub(crate) fn open_weights(&self, exec: &Exec) -> Result<Weights> {
        let place = match &self.weights {
            WeightFiles::Safetensors(paths) if paths.len() == 1 => paths[0].clone(),
            WeightFiles::Pickle(path) => path.clone(),
            _ => self.folder.clone(),
        };
        Weights::open(&self.weights, &place, exec)
    }

    /// Bytes of the files of weights.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let size = |path: &PathBuf| fs_err::metadata(path).map_or(0, |file| file.len());
        match &self.weights {
            WeightFiles::Bundled(bytes) => bytes.len() as u64,
            WeightFiles::Safetensors(paths) => paths.iter().map(size).sum(),
            WeightFiles::Pickle(path) => size(path),
        }
    }

    /// The fingerprint with a fit, as hexadecimal text: what an index remembers its model by.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn identity(&self, fit: Fit) -> Result<String> {
        let hash = self.fingerprint()?;
        let id = blake3::Hasher::new()
            .update(hash.as_bytes())
            .update(fit.to_string().as_bytes())
            .finalize();
        Ok(id.to_hex().to_string())
    }

    /// A hash of everything that decides what comes out: configuration, weights, tokenizer and image settings.
    /// Reads the weights from beginning to end, on all cores.
    ///
    /// # Errors
    /// A file cannot be read.
    fn fingerprint(&self) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut part = |title: &str, bytes: &[u8]| {
            hasher.update(title.as_bytes());
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update_rayon(bytes);
        };
        part("config", self.config.as_bytes());
        part(
            "preprocessor",
            self.preprocessor.as_deref().unwrap_or_default().as_bytes(),
        );
        match &self.tokenizer {
            Some(TokenizerFiles::Whole(text)) => part("tokenizer", text.as_bytes()),
            Some(TokenizerFiles::VocabAndMerges { vocab, merges }) => {
                part("vocab", vocab.as_bytes());
                part("merges", merges.as_bytes());
            }
            None => part("tokenizer", b""),
        }
        match &self.weights {
            WeightFiles::Bundled(bytes) => part("weights", bytes),
            WeightFiles::Pickle(path) => part("weights", hash_file(path)?.as_bytes()),
            WeightFiles::Safetensors(paths) => {
                for path in paths {
                    part("weights", hash_file(path)?.as_bytes());
                }
            }
        }
        Ok(hasher.finalize())
    }
}

/// Of gigabytes, so it is remembered for a file of this place, size and time of change.
fn hash_file(path: &Path) -> Result<blake3::Hash> {
    let mut file = fs_err::File::open(path)?;
    let key = hash_key(path, &file.metadata()?);
    let place = key.and_then(|key| Some(cache::folder("hashes")?.join(key.to_hex().as_str())));
    if let Some(known) = place.as_ref().and_then(|place| fs_err::read(place).ok())
        && let Ok(hash) = blake3::Hash::from_hex(&known)
    {
        return Ok(hash);
    }
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASHED_AT_ONCE];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update_rayon(&buffer[..read]),
        };
    }
    let hash = hasher.finalize();
    if let Some(place) = place {
        // What cannot be kept is computed again.
        let _ = cache::put(&place, hash.to_hex().as_bytes());
    }
    Ok(hash)
}

/// Bytes of a file that are hashed by all threads together.
const HASHED_AT_ONCE: usize = 16 << 20;

/// `None` where the system does not tell all that would show a change, or where the file was changed so lately
/// that another change could have the same time.
fn hash_key(path: &Path, file: &std::fs::Metadata) -> Option<blake3::Hash> {
    /// Of what clocks of file systems round to, the coarsest.
    const SETTLED: std::time::Duration = std::time::Duration::from_secs(3);
    let changed = file.modified().ok()?;
    if changed.elapsed().ok()? < SETTLED {
        return None;
    }
    let changed = changed.duration_since(std::time::UNIX_EPOCH).ok()?;
    let mut key = blake3::Hasher::new();
    key.update(
        fs_err::canonicalize(path)
            .ok()?
            .as_os_str()
            .as_encoded_bytes(),
    );
    key.update(&file.len().to_le_bytes());
    key.update(&changed.as_nanos().to_le_bytes());
    #[cfg(unix)]
    {
        // Copies and archives may keep the time of change; they are another file, or were made at another time.
        use std::os::unix::fs::MetadataExt as _;
        for number in [
            file.dev(),
            file.ino(),
            file.ctime() as u64,
            file.ctime_nsec() as u64,
        ] {
            key.update(&number.to_le_bytes());
        }
    }
    Some(key.finalize())
}

/// The file's text, or `None` when it is not there.
fn read_optional(path: &Path) -> Result<Option<String>> {
    match fs_err::read(path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Error::BadFile {
                path: path.to_owned(),
                what: "not UTF-8 text".to_owned(),
            }),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// model.safetensors, or the shards that model.safetensors.index.json lists, or pytorch_model.bin.
fn find_weights(folder: &Path) -> Result<Option<WeightFiles>> {
    let single = folder.join("model.safetensors");
    if single.is_file() {
        return Ok(Some(WeightFiles::Safetensors(vec![single])));
    }
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        let paths: Vec<PathBuf> = shards(&index)?
            .into_iter()
            .map(|shard| folder.join(shard))
            .collect();
        if let Some(missing) = paths.iter().find(|path| !path.is_file()) {
            let name = missing.file_name().unwrap_or_default().to_string_lossy();
            let what = format!("it lists `{name}`, which is not there");
            return Err(Error::BadFile { path: index, what });
        }
        return Ok(Some(WeightFiles::Safetensors(paths)));
    }
    let pickle = folder.join("pytorch_model.bin");
    Ok(pickle.is_file().then_some(WeightFiles::Pickle(pickle)))
}

/// Names of the files that a model.safetensors.index.json spreads the weights over, each once.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let bad = |what: String| Error::BadFile {
        path: index.to_owned(),
        what,
    };
    let parsed: Index = serde_json::from_slice(&fs_err::read(index)?)
        .map_err(|cause| bad(format!("not an index of shards: {cause}")))?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    // A shard is a sibling: a name with a folder in it could reach anything on the machine.
    if let Some(stranger) = shards.iter().find(|shard| !names::is_plain(shard)) {
        return Err(bad(format!(
            "`{stranger}` is not the name of a file beside it"
        )));
    }
    if shards.is_empty() {
        return Err(bad("it lists no file".to_owned()));
    }
    Ok(shards)
}
