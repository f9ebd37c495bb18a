//! From what a caller presents to whom it is: tokens and the names they stand for.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{SecurityError, TokenDigest};
use crate::task::TaskError;

/// The most identities a keyring holds.
const IDENTITIES_MAX: usize = 1024;
const IDENTITY_NAME_LEN_MAX: usize = 64;
/// No token is longer; longer text is refused before it is hashed.
const PRESENTED_LEN_MAX: usize = 4096;

/// A caller the worker knows: its name is the submitter of what it submits.
#[derive(Clone, Debug)]
pub struct Identity {
    name: Arc<str>,
    digest: TokenDigest,
}

impl Identity {
    /// A name with the digest of its token. Errors: `IdentityInvalid` unless the name is `[a-z0-9_-]{1,64}`.
    pub fn new(name: &str, digest: TokenDigest) -> Result<Self, SecurityError> {
        check_name(name)?;
        Ok(Self { name: name.into(), digest })
    }

    /// The name under which its tasks are queued and listed.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

pub(super) fn check_name(name: &str) -> Result<(), SecurityError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if (1..=IDENTITY_NAME_LEN_MAX).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    let reason = format!("a name is 1 to {IDENTITY_NAME_LEN_MAX} of a-z, 0-9, _ and -");
    Err(SecurityError::IdentityInvalid { name: name.chars().take(IDENTITY_NAME_LEN_MAX).collect(), reason })
}

/// The identities that a worker lets in.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    identities: Vec<Identity>,
}

impl Keyring {
    /// Adds an identity. Errors: `IdentityInvalid` when its name is taken or the keyring is full.
    pub fn add(&mut self, identity: Identity) -> Result<(), SecurityError> {
        let refused = |reason: String| SecurityError::IdentityInvalid { name: identity.name.to_string(), reason };
        if self.identities.iter().any(|known| known.name == identity.name) {
            return Err(refused("the name is taken".into()));
        }
        if self.identities.len() >= IDENTITIES_MAX {
            return Err(refused(format!("a worker knows at most {IDENTITIES_MAX} identities")));
        }
        self.identities.push(identity);
        Ok(())
    }

    /// Whose token this is. Takes the same time for every text of the same length, known or not: all identities are compared.
    #[must_use]
    pub fn identify(&self, presented: &str) -> Option<&Identity> {
        if presented.len() > PRESENTED_LEN_MAX {
            return None;
        }
        let digest = TokenDigest::of(presented);
        let mut found = None;
        for identity in &self.identities {
            if identity.digest.matches(&digest) {
                found = Some(identity);
            }
        }
        found
    }

    /// The names, in the order in which they were added.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        self.identities.iter().map(|identity| Arc::clone(&identity.name)).collect()
    }
}

/// How callers are let in.
#[derive(Clone, Debug)]
pub enum Access {
    /// Every caller on a loopback address, all of them as one submitter named `local`.
    Open,
    /// Callers that present the token of a known identity.
    Keys(Keyring),
}

impl Access {
    /// Whom an `Authorization` header stands for: the submitter of the caller's tasks.
    ///
    /// Errors: `Unauthorized`, which says what to send and nothing about what came close.
    pub fn submitter(&self, authorization: Option<&str>) -> Result<Arc<str>, TaskError> {
        let Self::Keys(keyring) = self else { return Ok("local".into()) };
        let unauthorized = |reason: &str| TaskError::Unauthorized { reason: reason.into() };
        let header = authorization.ok_or_else(|| unauthorized("send the header `Authorization: Bearer <token>`"))?;
        let presented = bearer(header).ok_or_else(|| unauthorized("the Authorization header must read `Bearer <token>`"))?;
        let identity = keyring.identify(presented).ok_or_else(|| unauthorized("the token is not one of this worker's"))?;
        Ok(Arc::clone(identity.name()))
    }

    /// Errors: `ExposedWithoutAuth` when open access would be reachable from other machines.
    pub fn check_listen(&self, address: SocketAddr) -> Result<(), SecurityError> {
        match self {
            Self::Open if !address.ip().to_canonical().is_loopback() => Err(SecurityError::ExposedWithoutAuth { address }),
            Self::Open | Self::Keys(_) => Ok(()),
        }
    }
}

/// The credentials of a `Bearer` header (RFC 6750; the scheme's case does not matter).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, credentials) = header.trim().split_once(' ')?;
    let credentials = credentials.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !credentials.is_empty()).then_some(credentials)
}
