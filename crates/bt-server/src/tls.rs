//! Serving on a socket, by TLS where there is a certificate, with patience that ends.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use axum_server::{Handle, Server};

use crate::guard::{Guarded, Limits};
use crate::state::Options;

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

/// Serves until the handle says to stop.
///
/// # Errors
/// The certificate cannot be used; the socket fails.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    options: &Options,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let limits = &options.limits;
    let guarded = Guarded::new(limits);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum_server::from_tcp(listener)?.handle(handle);
    match &options.tls {
        None => patient(server.acceptor(guarded), limits).serve(app).await,
        Some(files) => {
            let acceptor = RustlsAcceptor::new(config(files).await?)
                .handshake_timeout(limits.header_timeout)
                .acceptor(guarded);
            patient(server.acceptor(acceptor), limits).serve(app).await
        }
    }
}

async fn config(files: &Files) -> io::Result<RustlsConfig> {
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
