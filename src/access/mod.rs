//! Who asks, and what they may do: API keys, tokens, client certificates, and the rules for requests without any.
//!
//! It knows headers and addresses, and no sockets, files or routes: `transport` shows it a request's headers and peer,
//! and asks [`Identity::require`] before it acts; `app` gives it the texts of its files, again when they change.
//!
//! ```text
//! headers, peer -> credential -> key | token | certificate -> Identity (subject, grants) -> require(role, model)
//!                  none       -> local or anonymous
//! ```

mod credential;
mod error;
mod identity;
mod attempts;
mod jwt;
pub mod keys;
mod metrics;
mod peer;
#[cfg(test)]
mod tests;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use http::HeaderMap;

pub use self::error::AuthError;
pub use self::identity::{Grant, Identity, Method, Pattern, Role};
pub use self::jwt::{JwtKeysProblem, JwtSettings};
pub use self::peer::Peer;

use self::attempts::Attempts;
use self::jwt::Verifier;
use self::keys::{Keys, KeysProblem};
use self::metrics::AccessMetrics;
use crate::metrics::{MetricsError, Registry};

/// Which requests must show credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Require {
    /// Those that change something.
    #[default]
    Mutations,
    /// Those that read and infer too.
    All,
}

/// What does not change while the server runs.
#[derive(Debug, Clone, Default)]
pub struct AccessSettings {
    /// Which requests must show credentials.
    pub require: Require,
    /// Whether every port that takes requests is bound to a loopback address.
    pub is_loopback_bound: bool,
    /// Whether there is a keys file; an empty one counts.
    pub has_keys_file: bool,
    /// What tokens must say, where they are taken.
    pub jwt: Option<JwtSettings>,
}

/// Decides who asks. Shared by all doors.
#[derive(Debug)]
pub struct Access {
    settings: AccessSettings,
    keys: ArcSwap<Keys>,
    jwt: Option<Verifier>,
    attempts: Attempts,
    metrics: AccessMetrics,
}

/// The clock's two readings: certificates and keys end at a date, attempts are counted by the time that passes.
#[derive(Debug, Clone, Copy)]
struct Now {
    unix: i64,
    instant: Instant,
}

impl Now {
    fn read() -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now { unix: i64::try_from(unix).unwrap_or(i64::MAX), instant: Instant::now() }
    }
}

impl Access {
    /// Access by `settings`, without any key so far.
    ///
    /// # Errors
    /// When the metrics cannot be registered, which is a defect of this program.
    pub fn new(settings: AccessSettings, registry: &Registry) -> Result<Access, MetricsError> {
        Ok(Access {
            jwt: settings.jwt.clone().map(Verifier::new),
            settings,
            keys: ArcSwap::default(),
            attempts: Attempts::default(),
            metrics: AccessMetrics::new(registry)?,
        })
    }

    /// Replaces the keys by those of a keys file's text. What was there stays when the text is wrong.
    ///
    /// # Errors
    /// [`KeysProblem`], one line with the place.
    pub fn set_keys(&self, text: &str) -> Result<(), KeysProblem> {
        self.keys.store(Keys::parse(text)?.into());
        Ok(())
    }

    /// Replaces the issuer's keys by those of a key file's text. What was there stays when the text is wrong.
    ///
    /// # Errors
    /// [`JwtKeysProblem`], one line.
    pub fn set_jwt_keys(&self, text: &str) -> Result<(), JwtKeysProblem> {
        self.jwt.as_ref().map_or(Ok(()), |verifier| verifier.set_keys(text))
    }

    /// Whether reading and inference need credentials too.
    pub fn asks_all(&self) -> bool {
        self.settings.require == Require::All
    }

    /// Whether there are credentials that a request could show.
    pub fn takes_credentials(&self) -> bool {
        self.settings.has_keys_file || self.jwt.is_some()
    }

    /// Who sent a request with these headers from `peer`.
    ///
    /// A request without credentials is someone too, who may do little: ask [`Identity::require`].
    ///
    /// # Errors
    /// [`AuthError`] when credentials are shown that are not valid.
    pub fn authenticate(&self, headers: &HeaderMap, peer: &Peer) -> Result<Identity, AuthError> {
        self.authenticate_at(headers, peer, Now::read())
    }

    fn authenticate_at(&self, headers: &HeaderMap, peer: &Peer, now: Now) -> Result<Identity, AuthError> {
        let identity = self.identify(headers, peer, now);
        if let Err(error) = &identity {
            self.metrics.failed(error.reason());
            // The address is the operator's to see; what was shown is nobody's.
            tracing::debug!(address = %peer.address, reason = error.reason(), "credentials refused");
        }
        identity.map(|identity| identity.reading_open(!self.asks_all()))
    }

    fn identify(&self, headers: &HeaderMap, peer: &Peer, now: Now) -> Result<Identity, AuthError> {
        if !self.takes_credentials() {
            let is_local = self.settings.is_loopback_bound && peer.is_local(headers);
            return Ok(if is_local { Identity::local() } else { Identity::stranger() });
        }
        match credential::of(headers)? {
            Some(token) => self.check(token, peer, now),
            None => Ok(match peer.subject() {
                Some(subject) => self.keys.load().certificate(subject),
                None => Identity::anonymous(),
            }),
        }
    }

    fn check(&self, token: &str, peer: &Peer, now: Now) -> Result<Identity, AuthError> {
        let found = match &self.jwt {
            Some(verifier) if !token.starts_with(keys::PREFIX) => verifier.identify(token, now.unix),
            _ => self.keys.load().find(token, now.unix),
        };
        // Good credentials pass a limit that others behind the same address (a proxy's) have used up: nobody can lock
        // them out, and guessing stays hopeless.
        if found.is_ok() {
            return found;
        }
        match self.attempts.failed(peer.address.ip(), now.instant) {
            Some(retry_after) => Err(AuthError::Limited { retry_after }),
            None => found,
        }
    }
}
