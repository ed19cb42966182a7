//! Checkpoints that are absent, incomplete or damaged.

use super::*;

#[test]
fn a_checkpoint_that_is_not_there_or_not_whole_is_named() {
    let find = |spec: &str| Checkpoint::find(spec, &mut |_| {}).unwrap_err();
    let error = find("mimi");
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(
        error.to_string().contains("`mimi`") && error.hint().unwrap().contains("mini, base"),
        "{error}"
    );
    let folder = Folder::new();
    let spec = folder.dir.path().display().to_string();
    assert!(find(&spec).to_string().contains("has no config.json"));
    folder.write("config.json", folder.config.to_string());
    assert!(
        find(&spec)
            .to_string()
            .contains("has no model.safetensors or pytorch_model.bin")
    );
    folder.write(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "../secret.safetensors"}}"#,
    );
    assert!(find(&spec).to_string().contains("../secret.safetensors"));
    folder.write(
        "model.safetensors.index.json",
        r#"{"weight_map": {"a": "one.safetensors"}}"#,
    );
    assert!(find(&spec).to_string().contains("one.safetensors"));
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = Folder::new();
    folder.save();
    let whole = fs_err::read(folder.path("model.safetensors")).unwrap();
    for length in [0, 4, 8, 100, 5000, whole.len() / 2, whole.len() - 1] {
        folder.write("model.safetensors", &whole[..length]);
        let error = folder.load_saved().unwrap_err();
        assert!(
            error.to_string().contains("model.safetensors"),
            "{length}: {error}"
        );
    }
    let mut wild = whole.clone();
    wild[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    folder.write("model.safetensors", &wild);
    assert_eq!(folder.load_saved().unwrap_err().kind(), Kind::Corrupt);

    fs_err::remove_file(folder.path("model.safetensors")).unwrap();
    let pickle = fs_err::read(tiny().with_file_name("bin").join("pytorch_model.bin")).unwrap();
    for length in [0, 100, pickle.len() / 2, pickle.len() - 10] {
        folder.write("pytorch_model.bin", &pickle[..length]);
        let error = folder.load_saved().unwrap_err();
        assert!(
            error.to_string().contains("pytorch_model.bin"),
            "{length}: {error}"
        );
    }
    fs_err::remove_file(folder.path("pytorch_model.bin")).unwrap();
    folder.save();
    for (file, text) in [
        ("tokenizer.json", "{}"),
        ("calibration.json", "{\"threshold\": 0.5}"),
        ("preprocessor_config.json", "[]"),
        ("config.json", "\u{1}"),
    ] {
        let before = fs_err::read(folder.path(file)).ok();
        folder.write(file, text);
        let error = folder.load_saved().unwrap_err();
        assert!(error.to_string().contains(file), "{file}: {error}");
        match before {
            Some(bytes) => folder.write(file, bytes),
            None => fs_err::remove_file(folder.path(file)).unwrap(),
        }
    }
    folder.write("config.json", [0xff, 0xfe]);
    assert!(
        folder
            .load_saved()
            .unwrap_err()
            .to_string()
            .contains("not UTF-8")
    );
}
