//! Sessions of the page: random ids that stand for a token, so that the token itself is not kept in a
//! browser. In memory only: a restart ends them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bt_store::ContentHash;

use super::Right;

/// How long a session lasts.
pub(crate) const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many there are at most; the oldest gives way.
const MOST: usize = 1000;
/// Bytes of an id.
const BYTES: usize = 32;

/// All sessions. Ids are kept as hashes, so a lookup tells nothing about them by its time.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<ContentHash, Session>>);

struct Session {
    right: Right,
    until: Instant,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} sessions", self.lock().len())
    }
}

impl Sessions {
    /// A new session's id.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub(crate) fn open(&self, right: Right) -> Result<String, rustls::crypto::GetRandomFailed> {
        let id = random()?;
        self.insert(&id, right, Instant::now() + LIFETIME);
        Ok(id)
    }

    fn insert(&self, id: &str, right: Right, until: Instant) {
        let mut sessions = self.lock();
        if sessions.len() >= MOST {
            let now = Instant::now();
            sessions.retain(|_, session| session.until > now);
            let oldest = sessions.iter().min_by_key(|(_, session)| session.until);
            if let Some(oldest) = oldest.map(|(id, _)| *id)
                && sessions.len() >= MOST
            {
                sessions.remove(&oldest);
            }
        }
        sessions.insert(ContentHash::of(id.as_bytes()), Session { right, until });
    }

    /// What a session may do; nothing when there is none of this id, or its time is over.
    pub(crate) fn right_of(&self, id: &str) -> Option<Right> {
        if !is_id(id) {
            return None;
        }
        let sessions = self.lock();
        let session = sessions.get(&ContentHash::of(id.as_bytes()))?;
        (session.until > Instant::now()).then_some(session.right)
    }

    /// Ends a session.
    pub(crate) fn close(&self, id: &str) {
        self.lock().remove(&ContentHash::of(id.as_bytes()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContentHash, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a cookie's value can be an id at all.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Random bytes of the operating system, as hexadecimal digits.
fn random() -> Result<String, rustls::crypto::GetRandomFailed> {
    let mut bytes = [0; BYTES];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)?;
    Ok(ContentHash(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_its_right_until_it_is_closed_or_over() {
        let sessions = Sessions::default();
        let (read, write) = (
            sessions.open(Right::Read).unwrap(),
            sessions.open(Right::Write).unwrap(),
        );
        assert_ne!(read, write);
        assert!(is_id(&read));
        assert_eq!(sessions.right_of(&read), Some(Right::Read));
        assert_eq!(sessions.right_of(&write), Some(Right::Write));
        sessions.close(&read);
        assert_eq!(sessions.right_of(&read), None);
        let over = random().unwrap();
        sessions.insert(&over, Right::Write, Instant::now());
        assert_eq!(sessions.right_of(&over), None);
        assert_eq!(sessions.right_of(""), None);
        assert_eq!(sessions.right_of(&"0".repeat(64)), None);
    }

    #[test]
    fn however_many_are_opened_the_oldest_give_way() {
        let sessions = Sessions::default();
        let start = Instant::now() + LIFETIME;
        let id = |n: usize| format!("{n:064x}");
        for n in 0..MOST + 10 {
            let until = start + Duration::from_secs(n as u64);
            sessions.insert(&id(n), Right::Read, until);
        }
        assert_eq!(sessions.lock().len(), MOST);
        assert_eq!(sessions.right_of(&id(9)), None);
        assert_eq!(sessions.right_of(&id(10)), Some(Right::Read));
    }
}
