//! Names: of the checkpoints that everybody can get, and of the tensors that checkpoints carry without need.

use crate::config::Config;

/// Name of the model that is compiled in.
pub(crate) const MINI: &str = "mini";

/// The public checkpoints, as they are called in the organisation `BridgeTower` on the Hub, less `bridgetower-`.
const PUBLIC: [&str; 5] = [
    "base",
    "base-itm-mlm",
    "large-itm-mlm",
    "large-itm-mlm-gaudi",
    "large-itm-mlm-itc",
];

/// Every name that needs no path and no owner.
pub(crate) fn known_names() -> Vec<&'static str> {
    std::iter::once(MINI).chain(PUBLIC).collect()
}

/// A repository on the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubId {
    /// `owner/name`.
    pub(crate) repo: String,
    /// Branch, tag, commit or `refs/pr/N`.
    pub(crate) revision: Option<String>,
}

/// Whether a text from outside can be one component of a path and nothing else.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A public name (with or without `bridgetower-`) or `owner/name[@revision]`; `None` if it is neither.
pub(crate) fn hub_id(spec: &str) -> Option<HubId> {
    let (name, revision) = match spec.split_once('@') {
        Some((name, revision)) if !revision.is_empty() => (name, Some(revision.to_owned())),
        Some(_) => return None,
        None => (spec, None),
    };
    let short = name.strip_prefix("bridgetower-").unwrap_or(name);
    if PUBLIC.contains(&short) {
        return Some(HubId {
            repo: format!("BridgeTower/bridgetower-{short}"),
            revision,
        });
    }
    let (owner, repo) = name.split_once('/')?;
    (is_plain(owner) && is_plain(repo)).then(|| HubId {
        repo: name.to_owned(),
        revision,
    })
}

/// Tensors that checkpoints carry and the graph never reads: integer buffers, the text tower's own pooler,
/// per-layer norms of the vision tower, and vision blocks past the last one that a bridge reads.
/// `name` is without the body's prefix.
pub(crate) fn unused(name: &str, config: &Config) -> bool {
    const BUFFERS: [&str; 3] = [
        "text_model.embeddings.position_ids",
        "text_model.embeddings.token_type_ids",
        "vision_model.visual.embeddings.position_ids",
    ];
    if BUFFERS.contains(&name)
        || name.starts_with("text_model.pooler.")
        || name.starts_with("vision_model.visual.ln_separate.")
    {
        return true;
    }
    name.strip_prefix("vision_model.visual.transformer.resblocks.")
        .and_then(|rest| rest.split('.').next()?.parse().ok())
        .is_some_and(|block: usize| block >= config.text.layers && block < config.vision.layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_names_work_with_and_without_their_prefix() {
        for name in PUBLIC {
            let id = hub_id(name).unwrap();
            assert_eq!(id.repo, format!("BridgeTower/bridgetower-{name}"));
            assert_eq!(hub_id(&format!("bridgetower-{name}")), Some(id));
        }
        let pinned = hub_id("base@refs/pr/2").unwrap();
        assert_eq!(
            (pinned.repo.as_str(), pinned.revision.as_deref()),
            ("BridgeTower/bridgetower-base", Some("refs/pr/2"))
        );
    }

    #[test]
    fn a_hub_id_has_exactly_one_owner_and_one_name() {
        assert_eq!(
            hub_id("me/my-model@v1").unwrap().revision.as_deref(),
            Some("v1")
        );
        for bad in [
            "my-model", "a/b/c", "/abs", "./rel", "../x", "a/", "a/b@", "a b/c",
        ] {
            assert_eq!(hub_id(bad), None, "{bad}");
        }
    }
}
