//! Connections: how many there are, and that none is held by a client that takes nothing. Below HTTP and
//! TLS, so that it holds for both.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Ready;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use super::Limits;
use super::rate::network;

/// Accepts as many connections as are allowed, in all and from one client; further ones are closed at once.
#[derive(Clone, Debug)]
pub(crate) struct Guarded {
    places: Arc<Semaphore>,
    shares: Arc<Shares>,
    stall: Duration,
}

impl Guarded {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.connections)),
            shares: Arc::new(Shares::new(limits)),
            stall: limits.stall_timeout,
        }
    }

    /// A place for a client, if there is one.
    fn place(&self, client: IpAddr) -> Option<Place> {
        let share = Shares::take(&self.shares, client)?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(Place {
            _place: place,
            _share: share,
        })
    }
}

/// Held by a connection.
#[derive(Debug)]
struct Place {
    _place: OwnedSemaphorePermit,
    _share: Share,
}

/// How many connections each client has. Where clients have a rate, no one of them takes more than a quarter of
/// all places; those of a proxy are everybody's.
#[derive(Debug)]
struct Shares {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    fn new(limits: &Limits) -> Self {
        let bounded = limits.requests_per_second.is_some() && !limits.trust_proxy;
        let most = (limits.connections / 4).max(1);
        Self {
            most: if bounded { most } else { usize::MAX },
            taken: Mutex::default(),
        }
    }

    fn take(this: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let client = network(client);
        let mut all = this.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = all.entry(client).or_default();
        if *taken >= this.most {
            return None;
        }
        *taken += 1;
        Some(Share {
            of: Arc::clone(this),
            client,
        })
    }
}

/// One connection of a client.
#[derive(Debug)]
struct Share {
    of: Arc<Shares>,
    client: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut taken) = all.entry(self.client) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

impl<S> Accept<TcpStream, S> for Guarded {
    type Stream = Connection<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = stream.peer_addr().and_then(|client| {
            let Some(place) = self.place(client.ip()) else {
                // A line for each would let strangers fill the log.
                metrics::counter!("bt_connections_refused_total").increment(1);
                return Err(io::Error::other("too many connections"));
            };
            stream.set_nodelay(true)?;
            let connection = Connection {
                stream,
                stall: self.stall,
                waiting: None,
                leaving: None,
                _place: Some(place),
            };
            Ok((connection, service))
        });
        std::future::ready(accepted)
    }
}

/// What a client still sends after its answer is passed over for so long, and up to so many bytes: closed
/// at once, the connection would be reset, and who is refused in the middle of a large body would not
/// learn why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// A connection that fails when a write waits too long for the other side.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    stream: S,
    stall: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes that are still passed over, once we have said our last word.
    leaving: Option<usize>,
    _place: Option<Place>,
}

impl<S: Unpin> Connection<S> {
    /// Passes a write's outcome on, and loses patience with one that does not come.
    fn patient<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let stall = self.stall;
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(waiting.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes nothing",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.patient(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.patient(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.patient(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.leaving.is_none() {
            let outcome = Pin::new(&mut this.stream).poll_shutdown(context);
            ready!(this.patient(context, outcome))?;
            this.leaving = Some(LINGER_BYTES);
        }
        let linger = this
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let mut passed = [0; 8 << 10];
        while let Some(left) = this.leaving.filter(|left| *left > 0)
            && linger.as_mut().poll(context).is_pending()
        {
            let mut buffer = ReadBuf::new(&mut passed);
            let read = ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            this.leaving = Some(left.saturating_sub(buffer.filled().len()));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn connection(
        stall: Duration,
    ) -> (Connection<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (stream, other) = tokio::io::duplex(16);
        let connection = Connection {
            stream,
            stall,
            waiting: None,
            leaving: None,
            _place: None,
        };
        (connection, other)
    }

    #[test]
    fn one_client_leaves_places_for_others() {
        let limits = Limits {
            connections: 8,
            ..Limits::for_bind("0.0.0.0:1".parse().unwrap(), false)
        };
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let guarded = Guarded::new(&limits);
        let mut held = vec![guarded.place(one).unwrap(), guarded.place(one).unwrap()];
        assert!(guarded.place(one).is_none());
        let _others = guarded.place(other).unwrap();
        // A place that is given back is there again.
        held.pop();
        assert!(guarded.place(one).is_some());
        // Of a proxy, and where only this machine asks, all may come from one address.
        for limits in [
            Limits {
                trust_proxy: true,
                ..limits.clone()
            },
            Limits {
                requests_per_second: None,
                ..limits
            },
        ] {
            let guarded = Guarded::new(&limits);
            let held: Vec<_> = (0..8).filter_map(|_| guarded.place(one)).collect();
            assert_eq!(held.len(), 8);
            assert!(guarded.place(other).is_none());
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut() {
        let (mut connection, _other) = connection(Duration::from_millis(20)).await;
        let error = connection.write_all(&[0; 17]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_client_that_takes_slowly_is_served() {
        let (mut connection, mut other) = connection(Duration::from_secs(60)).await;
        let reading = tokio::spawn(async move {
            let (mut got, mut byte) = (0, [0; 1]);
            while other.read(&mut byte).await.unwrap() == 1 {
                got += 1;
                tokio::task::yield_now().await;
            }
            got
        });
        connection.write_all(&[7; 1000]).await.unwrap();
        drop(connection);
        assert_eq!(reading.await.unwrap(), 1000);
    }

    #[tokio::test]
    async fn what_a_client_still_sends_is_passed_over_until_it_stops() {
        let (mut connection, mut other) = connection(Duration::from_secs(60)).await;
        let sending = tokio::spawn(async move {
            other.write_all(&[1; 100_000]).await.unwrap();
            drop(other);
        });
        connection.shutdown().await.unwrap();
        sending.await.unwrap();

        // One that never stops is left.
        let (mut connection, other) = self::connection(Duration::from_secs(60)).await;
        connection.shutdown().await.unwrap();
        drop(other);
    }
}
