//! Why a checkpoint could not be had from the hub, and the way on from there.

use std::path::PathBuf;

use crate::error::Kind;

/// A download that did not work out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The text is no Hub id.
    #[error("`{id}` is not a Hub id: those look like `owner/name`")]
    BadId {
        /// What was given.
        id: String,
    },
    /// Not on this machine, and the network must not be used.
    #[error("`{repo}` is not in `{}`, and HF_HUB_OFFLINE forbids downloading it", cache.display())]
    Offline {
        /// Hub id.
        repo: String,
        /// Where downloaded models are kept.
        cache: PathBuf,
    },
    /// The hub does not know the model. For a caller without a token the hub says the same of private ones.
    #[error("{endpoint} has no model `{repo}`{}", near_list(near))]
    NoSuchModel {
        /// Hub id.
        repo: String,
        /// Address of the hub.
        endpoint: String,
        /// Hub ids that look alike.
        near: Vec<String>,
    },
    /// The model is there, this version of it is not.
    #[error("`{repo}` has no revision `{revision}`")]
    NoSuchRevision {
        /// Hub id.
        repo: String,
        /// Branch, tag, pull request or commit.
        revision: String,
    },
    /// The hub wants to know who asks, or does not let this caller in.
    #[error("{endpoint} does not give `{repo}` to {}: HTTP status {status}",
        if *with_token { "the owner of this token" } else { "callers without a token" })]
    Refused {
        /// Hub id.
        repo: String,
        /// Address of the hub.
        endpoint: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
        /// Whether the model's licence has to be accepted on its page first.
        gated: bool,
    },
    /// A repository without the files that make a checkpoint.
    #[error("`{repo}` has no {what}, so it is not a checkpoint that can be loaded")]
    Lacks {
        /// Hub id.
        repo: String,
        /// Files that were looked for.
        what: String,
    },
    /// No answer, however often asked.
    #[error("{endpoint} does not answer ({tries} tries): {why}")]
    Unreachable {
        /// Address of the hub.
        endpoint: String,
        /// How often it was asked.
        tries: u32,
        /// The last failure.
        why: String,
    },
    /// A file that stopped coming, however often it was continued. What came is kept.
    #[error("`{file}` of `{repo}` broke off: {} of it are here ({why})", there(*done, *total))]
    BrokenOff {
        /// Hub id.
        repo: String,
        /// File in the repository.
        file: String,
        /// Bytes on this machine.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
        /// The last failure.
        why: String,
    },
    /// Other bytes than the hub announced. They were removed.
    #[error("`{file}` of `{repo}` came with wrong content, and what came was removed: {what}")]
    WrongContent {
        /// Hub id.
        repo: String,
        /// File in the repository.
        file: String,
        /// Expected and found.
        what: String,
    },
    /// An answer that no hub gives.
    #[error("{endpoint} does not answer as a model hub does: {what}")]
    NotAHub {
        /// Address that was asked.
        endpoint: String,
        /// What was wrong.
        what: String,
    },
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(String),
}

impl HubError {
    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::BadId { .. } | Self::Setting(_) => Kind::Usage,
            Self::Offline { .. } | Self::NoSuchModel { .. } | Self::NoSuchRevision { .. } => {
                Kind::NotFound
            }
            Self::Lacks { .. } => Kind::Incompatible,
            Self::WrongContent { .. } => Kind::Corrupt,
            Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::BrokenOff { .. }
            | Self::NotAHub { .. } => Kind::Io,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadId { .. } => {
                "give a name such as `mini`, a Hub id `owner/name`, or a folder with a checkpoint".into()
            }
            Self::Offline { repo, .. } => format!(
                "unset HF_HUB_OFFLINE, or copy the folder `{}` from a machine that has it, or use `mini`, \
                 which needs no network",
                super::cache::folder_name(repo)
            ),
            Self::NoSuchModel { .. } => {
                "check the spelling; for a private model put your token into HF_TOKEN".into()
            }
            Self::NoSuchRevision { repo, .. } => {
                format!("leave the revision out to get `main` of `{repo}`")
            }
            Self::Refused { repo, endpoint, gated: true, .. } => format!(
                "accept the licence on {endpoint}/{repo}, then put a token of that account into HF_TOKEN"
            ),
            Self::Refused { with_token: true, .. } => {
                "the token (HF_TOKEN, or the file that `hf auth login` writes) may be expired or may not \
                 read this model: make a new one in the hub's settings"
                    .into()
            }
            Self::Refused { .. } => {
                "put a token that may read it into HF_TOKEN, or run `hf auth login`".into()
            }
            Self::Lacks { .. } => {
                "another revision may have them, or name a folder with converted files".into()
            }
            Self::Unreachable { .. } => {
                "check the network; HTTPS_PROXY names a proxy, HF_ENDPOINT a mirror, SSL_CERT_FILE your own \
                 certificates; `mini` needs no network"
                    .into()
            }
            Self::BrokenOff { .. } => "run the same command again: it goes on where it stopped".into(),
            Self::WrongContent { .. } => {
                "run the same command again; if it happens twice, a proxy or mirror changes the file \
                 (HF_ENDPOINT, HTTPS_PROXY)"
                    .into()
            }
            Self::NotAHub { .. } => {
                "check HF_ENDPOINT; a login page of the local network can answer in the hub's place".into()
            }
            Self::Setting(_) => return None,
        })
    }
}

fn near_list(near: &[String]) -> String {
    match near {
        [] => String::new(),
        names => format!("; names near it: `{}`", names.join("`, `")),
    }
}

fn there(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("{done} of {total} bytes"),
        None => format!("{done} bytes"),
    }
}
