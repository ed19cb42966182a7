//! Files that torch.save wrote (pytorch_model.bin, .ckpt), read as data: nothing in them is run, and a
//! file that names anything but tensors and the usual company of a checkpoint is refused by that name.
//!
//! candle reads the pickle; what it takes on trust (the form of a tensor's arguments, sizes) is checked
//! here first, so that a hostile file is an error and not a panic.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use candle_core::pickle::{Object, PthTensors, Stack};

use crate::error::{Error, Result};

/// A pickle of names and sizes is some hundred kilobytes; gigabytes lie beside it, in other entries.
const LARGEST_PICKLE: u64 = 64 << 20;

/// Packages whose classes real checkpoints mention (callbacks, hyperparameters, numbers). They are not run.
const HARMLESS_PACKAGES: &[&str] = &[
    "argparse",
    "collections",
    "lightning",
    "lightning_fabric",
    "numpy",
    "omegaconf",
    "pathlib",
    "pytorch_lightning",
    "sacred",
    "torch",
    "transformers",
];

/// What pickles of plain values name beside those.
const HARMLESS_NAMES: &[&str] = &[
    "__builtin__.bytearray",
    "__builtin__.complex",
    "__builtin__.frozenset",
    "__builtin__.set",
    "_codecs.encode",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.frozenset",
    "builtins.set",
];

/// Objects that are put into one another, at most; a checkpoint with its optimizer has some ten thousand.
const MOST_WRAPPED: usize = 200_000;

/// Objects that are copied into and out of the pickle's memory, at most; a few hundred thousand are usual.
const MOST_COPIED: usize = 2_000_000;

/// Room for [`MOST_WRAPPED`] objects in one another, which are walked and dropped by recursion.
const STACK_BYTES: usize = 256 << 20;

/// Opens the tensors of `path`; those below `key` where the file is a dictionary of several things.
///
/// # Errors
/// Not a file of torch.save, not a dictionary of tensors, or something in it that has no place there.
pub(crate) fn open(path: &Path, key: Option<&str>) -> Result<PthTensors> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK_BYTES);
        let reader = reader.spawn_scoped(scope, || open_here(path, key))?;
        reader.join().unwrap_or_else(|_| {
            let what = "its pickle makes no sense".to_owned();
            Err(Error::BadFile {
                path: path.to_owned(),
                what,
            })
        })
    })
}

fn open_here(path: &Path, key: Option<&str>) -> Result<PthTensors> {
    let bad = |what: String| Error::BadFile {
        path: path.to_owned(),
        what,
    };
    let (root, entries) = read(path)?;
    refuse_strangers(&root).map_err(bad)?;
    let tensors = match key {
        None => &root,
        Some(key) => match entry(&root, key) {
            Some(found) => found,
            None => return Err(bad(format!("it has no `{key}`"))),
        },
    };
    let Object::Dict(tensors) = tensors else {
        return Err(bad("it is not a dictionary of tensors".to_owned()));
    };
    for (name, value) in tensors {
        let Object::Unicode(name) = name else {
            return Err(bad("a tensor in it has no name".to_owned()));
        };
        if name != "_metadata" {
            check_tensor(value, &entries).map_err(|what| bad(format!("`{name}` {what}")))?;
        }
    }
    PthTensors::new(path, key).map_err(|cause| bad(format!("cannot be read: {cause}")))
}

/// The pickled object, and the length of each storage by its key.
fn read(path: &Path) -> Result<(Object, BTreeMap<String, u64>)> {
    let bad = |what: String| Error::BadFile {
        path: path.to_owned(),
        what,
    };
    let not_torch = |_| bad("not a file that torch.save (since version 1.6) wrote".to_owned());
    let mut archive = zip::ZipArchive::new(fs_err::File::open(path)?).map_err(not_torch)?;
    let mut pickles = Vec::new();
    let mut entries = BTreeMap::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(not_torch)?;
        let name = String::from_utf8_lossy(file.name_raw()).into_owned();
        if name.ends_with("data.pkl") {
            pickles.push(index);
        } else if let Some((_, key)) = name.split_once("/data/") {
            entries.insert(key.to_owned(), file.size());
        }
    }
    let [index] = pickles[..] else {
        return Err(bad(format!(
            "it has {} files data.pkl instead of one",
            pickles.len()
        )));
    };
    let mut bytes = Vec::new();
    let pickle = archive.by_index(index).map_err(not_torch)?;
    pickle.take(LARGEST_PICKLE).read_to_end(&mut bytes)?;
    parse(&bytes)
        .map(|root| (root, entries))
        .map_err(|cause| bad(format!("its pickle cannot be read as data: {cause}")))
}

/// candle's reader, step by step, so that a short file cannot become an endless object.
fn parse(mut bytes: &[u8]) -> candle_core::Result<Object> {
    // The codes that wrap what is on the stack, and those that copy its top into or out of memory.
    const WRAP: &[u8] = b"tRbQaesu\x81\x85\x86\x87";
    const COPY: &[u8] = b"qrhj";
    let mut stack = Stack::empty();
    let (mut wrapped, mut copied) = (0_usize, 0_usize);
    loop {
        let code = bytes.first().copied().unwrap_or_default();
        let done = stack.read(&mut bytes)?;
        wrapped += usize::from(WRAP.contains(&code));
        if COPY.contains(&code) {
            copied += stack.stack().last().map_or(0, objects);
        }
        if wrapped > MOST_WRAPPED || copied > MOST_COPIED {
            candle_core::bail!("it is wound up beyond what a checkpoint can be");
        }
        if done {
            return stack.finalize();
        }
    }
}

/// Objects in `object`, itself included.
fn objects(object: &Object) -> usize {
    1 + match object {
        Object::Tuple(parts) | Object::List(parts) => parts.iter().map(objects).sum(),
        Object::Dict(pairs) => pairs
            .iter()
            .map(|(name, value)| objects(name) + objects(value))
            .sum(),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            objects(callable) + objects(args)
        }
        Object::PersistentLoad(id) => objects(id),
        _ => 0,
    }
}

fn entry<'a>(root: &'a Object, key: &str) -> Option<&'a Object> {
    let Object::Dict(pairs) = root else {
        return None;
    };
    pairs
        .iter()
        .find(|(name, _)| matches!(name, Object::Unicode(name) if name == key))
        .map(|(_, value)| value)
}

/// Every class or function that the pickle names must come from a package that checkpoints use.
fn refuse_strangers(object: &Object) -> std::result::Result<(), String> {
    match object {
        Object::Class {
            module_name,
            class_name,
        } => {
            let package = module_name.split('.').next().unwrap_or_default();
            let name = format!("{module_name}.{class_name}");
            if HARMLESS_PACKAGES.contains(&package) || HARMLESS_NAMES.contains(&name.as_str()) {
                return Ok(());
            }
            Err(format!(
                "its pickle names `{name}`, which has no place in a checkpoint; nothing of it was run"
            ))
        }
        Object::Tuple(parts) | Object::List(parts) => parts.iter().try_for_each(refuse_strangers),
        Object::Dict(pairs) => pairs.iter().try_for_each(|(name, value)| {
            refuse_strangers(name)?;
            refuse_strangers(value)
        }),
        Object::Reduce { callable, args } | Object::Build { callable, args } => {
            refuse_strangers(callable)?;
            refuse_strangers(args)
        }
        Object::PersistentLoad(id) => refuse_strangers(id),
        _ => Ok(()),
    }
}

/// `value` is a call of torch's tensor constructor, and its storage is as long as it says.
fn check_tensor(
    value: &Object,
    entries: &BTreeMap<String, u64>,
) -> std::result::Result<(), String> {
    let args = tensor_args(value).ok_or("is not a tensor")?;
    let [
        Object::PersistentLoad(storage),
        offset,
        Object::Tuple(size),
        Object::Tuple(stride),
        ..,
    ] = args
    else {
        return Err("is not a tensor of the usual form".to_owned());
    };
    let Object::Tuple(storage) = storage.as_ref() else {
        return Err("has a storage of an unknown form".to_owned());
    };
    let [
        _,
        Object::Class { class_name, .. },
        Object::Unicode(key),
        _,
        _,
        ..,
    ] = storage.as_slice()
    else {
        return Err("has a storage of an unknown form".to_owned());
    };
    let width: u64 = match class_name.as_str() {
        "DoubleStorage" | "LongStorage" => 8,
        "FloatStorage" => 4,
        "HalfStorage" | "BFloat16Storage" => 2,
        "ByteStorage" => 1,
        other => return Err(format!("is kept as `{other}`, which is not supported")),
    };
    if size.len() != stride.len() {
        return Err("has a shape and strides that do not agree".to_owned());
    }
    let mut values = whole(offset).ok_or("begins nowhere")?;
    let mut count = 1_u64;
    for edge in size {
        count = whole(edge)
            .and_then(|edge| count.checked_mul(edge))
            .ok_or("has an impossible shape")?;
    }
    values = values.checked_add(count).ok_or("has an impossible shape")?;
    let bytes = values.checked_mul(width).ok_or("has an impossible shape")?;
    let there = entries
        .get(key)
        .copied()
        .ok_or_else(|| format!("lies in the storage `{key}`, which is not there"))?;
    if bytes > there {
        return Err(format!(
            "needs {bytes} bytes of the storage `{key}`, which has {there}: the file is cut off or damaged"
        ));
    }
    Ok(())
}

fn tensor_args(value: &Object) -> Option<&[Object]> {
    let Object::Reduce { callable, args } = value else {
        return None;
    };
    let (
        Object::Class {
            module_name,
            class_name,
        },
        Object::Tuple(args),
    ) = (callable.as_ref(), args.as_ref())
    else {
        return None;
    };
    match (module_name.as_str(), class_name.as_str()) {
        ("torch._utils", "_rebuild_tensor_v2") => Some(args),
        ("torch._utils", "_rebuild_parameter") => tensor_args(args.first()?),
        _ => None,
    }
}

fn whole(number: &Object) -> Option<u64> {
    match number {
        Object::Int(number) => u64::try_from(*number).ok(),
        Object::Long(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(file: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden")
            .join(file)
    }

    #[test]
    fn a_state_dict_is_read_whole_or_from_below_a_key() {
        let whole = open(&golden("bin/pytorch_model.bin"), None).unwrap();
        assert!(whole.tensor_infos().contains_key("itm_score.fc.weight"));
        let below = open(&golden("lightning/model.ckpt"), Some("state_dict")).unwrap();
        let tensor = below.get("temperature").unwrap().unwrap();
        assert_eq!(tensor.dims(), [0_usize; 0]);
    }

    #[test]
    fn a_pickle_that_would_run_a_command_is_refused_by_the_commands_name() {
        let error = open(&golden("lightning/hostile.ckpt"), Some("state_dict"))
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains("hostile.ckpt"), "{error}");
        assert!(error.contains("`posix.system`"), "{error}");
    }

    #[test]
    fn a_file_that_is_not_one_of_tensors_is_refused() {
        let text = golden("../../Cargo.toml");
        assert!(
            open(&text, None)
                .map(drop)
                .unwrap_err()
                .to_string()
                .contains("torch.save")
        );
        // Lightning's outer dictionary holds numbers and texts.
        let outer = open(&golden("lightning/model.ckpt"), None)
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(outer.contains("is not a tensor"), "{outer}");
        let other = open(&golden("bin/pytorch_model.bin"), Some("state_dict"))
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(other.contains("no `state_dict`"), "{other}");
    }

    #[test]
    fn no_cut_and_no_flipped_byte_makes_it_panic() {
        let bytes = fs_err::read(golden("lightning/hostile.ckpt")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.ckpt");
        for place in (0..bytes.len()).step_by(3) {
            let mut broken = bytes.clone();
            broken[place] ^= 0x55;
            fs_err::write(&path, &broken).unwrap();
            let _ = open(&path, Some("state_dict"));
            fs_err::write(&path, &bytes[..place]).unwrap();
            assert!(open(&path, Some("state_dict")).is_err());
        }
    }

    #[test]
    fn a_pickle_that_would_fill_the_memory_or_the_stack_is_refused() {
        let nested = [b"\x80\x02)".to_vec(), vec![0x85; 1 << 20], b".".to_vec()].concat();
        let mut doubled = b"\x80\x02)q\x00".to_vec();
        for level in 0..60 {
            doubled.extend([b'h', level, b'h', level, 0x86, b'q', level + 1]);
        }
        doubled.push(b'.');
        for bomb in [nested, doubled] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bomb.ckpt");
            let mut archive = zip::ZipWriter::new(fs_err::File::create(&path).unwrap());
            let stored = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Stored);
            archive.start_file("bomb/data.pkl", stored).unwrap();
            std::io::Write::write_all(&mut archive, &bomb).unwrap();
            archive.finish().unwrap();
            let error = open(&path, None).map(drop).unwrap_err().to_string();
            assert!(error.contains("wound up"), "{error}");
        }
    }
}
