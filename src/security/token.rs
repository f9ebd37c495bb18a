//! A bearer token and its digest. Pure but for drawing a new one.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::SecurityError;

const PREFIX: &str = "tallow_";
const SECRET_BYTES: usize = 32;
/// 32 bytes in base64 without padding.
const SECRET_CHARS: usize = 43;

/// A bearer token: `tallow_` and 256 random bits in URL-safe base64 without padding, 50 characters.
///
/// `Debug` shows no part of it and there is no `Display`; [`Token::reveal`] is the one way to its text.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Characters of a token.
    pub const LEN: usize = PREFIX.len() + SECRET_CHARS;

    /// Draws a new token from the system's random source. Errors: `Random` when the system has none.
    pub fn generate() -> Result<Self, SecurityError> {
        let mut secret = [0u8; SECRET_BYTES];
        OsRng.try_fill_bytes(&mut secret).map_err(|error| SecurityError::Random { reason: error.to_string() })?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret))))
    }

    /// The text, for the one place that sends or stores it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the token is compared by.
    #[must_use]
    pub fn digest(&self) -> TokenDigest {
        TokenDigest::of(&self.0)
    }
}

impl FromStr for Token {
    type Err = SecurityError;

    /// Takes exactly one token, nothing around it. Errors: `TokenMalformed`, which does not repeat the text.
    fn from_str(text: &str) -> Result<Self, SecurityError> {
        let malformed = |reason: String| SecurityError::TokenMalformed { reason };
        let secret = text.strip_prefix(PREFIX).ok_or_else(|| malformed(format!("it must begin with `{PREFIX}`")))?;
        if secret.len() != SECRET_CHARS {
            return Err(malformed(format!("expected {} characters, found {}", Self::LEN, text.len())));
        }
        URL_SAFE_NO_PAD
            .decode(secret)
            .map_err(|_position_and_byte| malformed(format!("after `{PREFIX}` it must be URL-safe base64 of {SECRET_BYTES} bytes")))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// SHA-256 of a token's text; equality takes the same time wherever two digests differ.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; SECRET_BYTES]);

impl TokenDigest {
    /// The digest of any presented text, a token or not.
    #[must_use]
    pub fn of(presented: &str) -> Self {
        Self(Sha256::digest(presented.as_bytes()).into())
    }

    /// Constant-time equality.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(hidden)")
    }
}
