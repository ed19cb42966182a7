//! Serving on a socket, by TLS where there is a certificate, with patience that ends.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};

use crate::guard::{Guarded, Limits};

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate and what it is signed by.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How often a quiet HTTP/2 client is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// Most requests that an HTTP/2 client may have open at one time.
const STREAMS: u32 = 128;
/// Most bytes of a request's head.
const HEAD: u32 = 32 << 10;

/// Serves until the handle says to stop; by TLS where there is something to do it with.
///
/// # Errors
/// The socket fails.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: &Limits,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let guarded = Guarded::new(limits);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum_server::from_tcp(listener)?.handle(handle);
    match tls {
        None => patient(server.acceptor(guarded), limits).serve(app).await,
        Some(config) => {
            let acceptor = RustlsAcceptor::new(config)
                .handshake_timeout(limits.header_timeout)
                .acceptor(guarded);
            patient(server.acceptor(acceptor), limits).serve(app).await
        }
    }
}

/// Reads a certificate and its key.
///
/// # Errors
/// They cannot be used.
pub(crate) async fn config(files: &Files) -> io::Result<RustlsConfig> {
    // The only one compiled in; a second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    RustlsConfig::from_pem_file(&files.cert, &files.key)
        .await
        .map_err(|cause| {
            io::Error::new(
                cause.kind(),
                format!(
                    "the certificate `{}` with the key `{}` cannot be used: {cause}",
                    files.cert.display(),
                    files.key.display()
                ),
            )
        })
}

/// Cuts clients that do not say what they want.
fn patient<A>(mut server: Server<SocketAddr, A>, limits: &Limits) -> Server<SocketAddr, A> {
    let builder = server.http_builder();
    builder.http1().header_read_timeout(limits.header_timeout);
    builder
        .http2()
        .keep_alive_interval(PING)
        .keep_alive_timeout(limits.stall_timeout)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD);
    server.first_request_timeout(limits.header_timeout)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Arc;

    use axum::routing::get;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

    use super::*;

    const CERT: &str = include_str!("../testdata/cert.pem");
    const KEY: &str = include_str!("../testdata/key.pem");

    fn files(folder: &std::path::Path, key: &str) -> Files {
        let files = Files {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
        };
        fs_err::write(&files.cert, CERT).unwrap();
        fs_err::write(&files.key, key).unwrap();
        files
    }

    fn ask_by_tls(address: SocketAddr) -> String {
        let mut roots = RootCertStore::empty();
        let cert = CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap();
        roots.add(cert).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        let mut stream = Stream::new(&mut client, &mut socket);
        let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask).unwrap();
        let mut answer = Vec::new();
        // Whether the other side says good-bye does not matter here.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_a_certificate_only_tls_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let tls = config(&files(folder.path(), KEY)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(|| async { "hello" }));
        let handle = Handle::new();
        let stop = handle.clone();
        let serving = tokio::spawn(async move {
            serve(listener, app, &Limits::default(), Some(tls), handle).await
        });
        let answers = tokio::task::spawn_blocking(move || {
            let by_tls = ask_by_tls(address);
            let mut plain = TcpStream::connect(address).unwrap();
            plain
                .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            let mut answer = Vec::new();
            let _ = plain.read_to_end(&mut answer);
            (by_tls, answer)
        });
        let (by_tls, plain) = answers.await.unwrap();
        assert!(
            by_tls.starts_with("HTTP/1.1 200") && by_tls.ends_with("hello"),
            "{by_tls}"
        );
        assert!(
            !plain.starts_with(b"HTTP/"),
            "{}",
            String::from_utf8_lossy(&plain)
        );
        stop.shutdown();
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_key_that_does_not_fit_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = config(&files(folder.path(), "no key")).await.unwrap_err();
        assert!(error.to_string().contains("key.pem"), "{error}");
    }
}
