//! Where the hub is, where downloads are kept, and with which patience: the only place of the model that
//! reads the hub's environment variables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::HubError;

/// A model hub and the local cache of its files. [`Hub::from_env`] gives what Python's `huggingface_hub`
/// would use, so that both find each other's downloads.
#[derive(Clone, Debug)]
pub struct Hub {
    /// Address without a slash at the end.
    pub endpoint: String,
    /// Folder that holds `models--owner--name` folders.
    pub cache: PathBuf,
    /// Sent to the hub (never to the file servers it redirects to).
    pub token: Option<Token>,
    /// Use what is in the cache, ask nobody.
    pub offline: bool,
    /// A PEM file with the certificates to trust instead of Mozilla's.
    pub certificates: Option<PathBuf>,
    /// The longest silence that is borne, for a connection, an answer or the next bytes.
    pub patience: Duration,
    /// Failures in a row, without anything gained between them, after which a request is given up.
    pub tries: u32,
    /// Pause after the first failure; doubled after each further one, at most `MAX_PAUSE`.
    pub pause: Duration,
    pub(super) proxy: Option<ureq::Proxy>,
}

/// The longest pause between two tries.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(20);

/// A secret: not shown by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Hub {
    /// The hub at an address, with a cache folder and the usual patience; no token, no proxy.
    pub fn new(endpoint: &str, cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            certificates: None,
            patience: Duration::from_secs(30),
            tries: 5,
            pause: Duration::from_secs(1),
            proxy: None,
        }
    }

    /// As the environment says: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_TOKEN_PATH,
    /// HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT (seconds), HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE and
    /// REQUESTS_CA_BUNDLE.
    ///
    /// # Errors
    /// No folder for downloads can be made out, or a number is none.
    pub fn from_env() -> Result<Self, HubError> {
        let mut hub = Self::from_variables(&|name| std::env::var(name).ok(), std::env::home_dir())?;
        hub.proxy = ureq::Proxy::try_from_env();
        Ok(hub)
    }

    /// Sends everything through a proxy, such as `http://user:password@proxy:8080` or `socks5://..`.
    ///
    /// # Errors
    /// No address of a proxy.
    pub fn with_proxy(mut self, address: &str) -> Result<Self, HubError> {
        self.proxy = Some(ureq::Proxy::new(address).map_err(|_| {
            HubError::Setting(format!("`{address}` is not the address of a proxy"))
        })?);
        Ok(self)
    }

    fn from_variables(
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
    ) -> Result<Self, HubError> {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| get(name).map(|value| expand_home(&value, home.as_deref()));
        let hf_home = path("HF_HOME").or_else(|| {
            let caches = path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")))?;
            Some(caches.join("huggingface"))
        });
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hf_home.as_ref()?.join("hub")))
            .ok_or_else(|| {
                HubError::Setting("there is no home folder for downloads: set HF_HOME".into())
            })?;
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(hf_home.as_ref()?.join("token")));
        let token = get("HF_TOKEN")
            .or_else(|| get("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| {
                // A token file that is not there, or not ours to read, is as good as none.
                fs_err::read_to_string(token_file?).ok()
            });

        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let mut hub = Self::new(endpoint.trim(), cache);
        hub.token = token
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
            .map(Token);
        hub.offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
            .into_iter()
            .filter_map(get)
            .any(|value| {
                matches!(
                    value.trim().to_uppercase().as_str(),
                    "1" | "ON" | "YES" | "TRUE"
                )
            });
        hub.certificates = path("SSL_CERT_FILE").or_else(|| path("REQUESTS_CA_BUNDLE"));
        if let Some(text) = get("HF_HUB_DOWNLOAD_TIMEOUT") {
            hub.patience = text
                .trim()
                .parse()
                .ok()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .filter(|patience| !patience.is_zero())
                .ok_or_else(|| {
                    HubError::Setting(format!(
                        "HF_HUB_DOWNLOAD_TIMEOUT is `{text}`, not a number of seconds"
                    ))
                })?;
        }
        Ok(hub)
    }
}

fn expand_home(value: &str, home: Option<&Path>) -> PathBuf {
    match (value.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(variables: &[(&str, &str)]) -> Hub {
        let get = |name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Hub::from_variables(&get, Some("/home/ada".into())).unwrap()
    }

    #[test]
    fn without_variables_it_is_the_public_hub_and_the_usual_folder() {
        let hub = hub(&[]);
        assert_eq!(hub.endpoint, "https://huggingface.co");
        assert_eq!(hub.cache, Path::new("/home/ada/.cache/huggingface/hub"));
        assert!(!hub.offline && hub.token.is_none());
    }

    #[test]
    fn the_cache_folder_is_found_as_python_finds_it() {
        let cache = |variables: &[(&str, &str)]| hub(variables).cache;
        assert_eq!(cache(&[("HF_HOME", "/hf")]), Path::new("/hf/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), Path::new("/home/ada/hf/hub"));
        assert_eq!(
            cache(&[("HF_HOME", "")]),
            Path::new("/home/ada/.cache/huggingface/hub")
        );
    }

    #[test]
    fn the_token_comes_from_the_variable_before_the_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        fs_err::write(folder.path().join("token"), "from_file\n").unwrap();
        let home = folder.path().to_str().unwrap();
        assert_eq!(
            hub(&[("HF_HOME", home)]).token,
            Some(Token("from_file".into()))
        );
        let both = hub(&[("HF_HOME", home), ("HF_TOKEN", " from_variable ")]);
        assert_eq!(both.token, Some(Token("from_variable".into())));
        assert!(!format!("{both:?}").contains("from_variable"));
    }

    #[test]
    fn offline_follows_pythons_words_for_true() {
        for (value, offline) in [
            ("1", true),
            ("yes", true),
            ("True", true),
            ("0", false),
            ("no", false),
        ] {
            assert_eq!(
                hub(&[("HF_HUB_OFFLINE", value)]).offline,
                offline,
                "{value}"
            );
        }
    }
}
