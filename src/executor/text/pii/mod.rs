//! `detect_pii` and `redact_pii`: personal data by form and checksum.

mod numbers;
mod patterns;

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::offsets::CharOffsets;
use super::segment::map_blocks;
use super::{DocumentOperation, TextScope, TextState};
use crate::task::text::{DetectPiiOutput, DetectPiiRequest, PiiKind, PiiMatch, RedactPiiOutput, RedactPiiRequest, RedactStyle};
use crate::task::{CancelHandle, TaskError};

/// A find takes about 640 bytes in both forms of the answer and has at least seven bytes of text.
const BYTES_PER_BYTE: u64 = 100;
const KEY_BYTES_MIN: usize = 16;
const KEY_BYTES_MAX: usize = 1_024;

pub(super) struct DetectPii;

impl DocumentOperation for DetectPii {
    type Request = DetectPiiRequest;
    type Output = DetectPiiOutput;
    const NAME: &'static str = "detect_pii";
    const SUMMARY: &'static str =
        "Finds e-mail addresses, telephone, bank account, card and social security numbers, URLs and network addresses.";
    const BYTES_PER_BYTE: u64 = BYTES_PER_BYTE;

    fn run(text: &str, request: &DetectPiiRequest, scope: &TextScope<'_>) -> Result<DetectPiiOutput, TaskError> {
        let mut matches = find(text, &request.kinds, scope.cancel)?;
        for found in &mut matches {
            found.text = Some(text[found.start_byte..found.end_byte].to_owned());
        }
        Ok(DetectPiiOutput { count: matches.len(), matches })
    }
}

pub(super) struct RedactPii;

impl DocumentOperation for RedactPii {
    type Request = RedactPiiRequest;
    type Output = RedactPiiOutput;
    const NAME: &'static str = "redact_pii";
    const SUMMARY: &'static str = "Replaces what `detect_pii` finds by labels, masks or keyed hashes.";
    const BYTES_PER_BYTE: u64 = BYTES_PER_BYTE + 8;

    fn check(request: &RedactPiiRequest, _state: &TextState) -> Result<(), TaskError> {
        match (request.style, request.key.as_deref().map(str::len)) {
            (RedactStyle::Hash, Some(KEY_BYTES_MIN..=KEY_BYTES_MAX)) | (RedactStyle::Label | RedactStyle::Mask, None) => Ok(()),
            (RedactStyle::Hash, found) => Err(TaskError::invalid(
                "key",
                format!("the `hash` style needs a key of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes, found {}", found.unwrap_or(0)),
            )),
            (_, Some(_)) => Err(TaskError::invalid("key", "only allowed for the `hash` style")),
        }
    }

    fn run(text: &str, request: &RedactPiiRequest, scope: &TextScope<'_>) -> Result<RedactPiiOutput, TaskError> {
        let matches = find(text, &request.kinds, scope.cancel)?;
        let mut redacted = String::with_capacity(text.len());
        let mut from = 0;
        for found in &matches {
            redacted.push_str(&text[from..found.start_byte]);
            let source = &text[found.start_byte..found.end_byte];
            let label = found.kind.name().to_ascii_uppercase();
            match request.style {
                RedactStyle::Label => redacted.push_str(&format!("[{label}]")),
                RedactStyle::Mask => redacted.extend(source.chars().map(|_| '*')),
                RedactStyle::Hash => {
                    let tag = keyed_hash(request.key.as_deref().unwrap_or_default().as_bytes(), source.as_bytes());
                    let hex: String = tag[..8].iter().map(|byte| format!("{byte:02x}")).collect();
                    redacted.push_str(&format!("[{label}:{hex}]"));
                }
            }
            from = found.end_byte;
        }
        redacted.push_str(&text[from..]);
        Ok(RedactPiiOutput { text: redacted, count: matches.len(), matches })
    }
}

/// All finds of the kinds, in order, none overlapping. Where kinds overlap, the one that comes first in [`PiiKind::ALL`] wins.
fn find(text: &str, kinds: &[PiiKind], cancel: &CancelHandle) -> Result<Vec<PiiMatch>, TaskError> {
    let wanted: Vec<PiiKind> = PiiKind::ALL.into_iter().filter(|kind| kinds.is_empty() || kinds.contains(kind)).collect();
    let blocks = map_blocks(text, cancel, |block, offset| {
        let mut accepted: std::collections::BTreeMap<usize, (usize, PiiKind)> = std::collections::BTreeMap::new();
        for &kind in &wanted {
            cancel.check()?;
            patterns::scan(kind, block, cancel, &mut |range: Range<usize>| {
                let before = accepted.range(..range.end).next_back();
                if before.is_none_or(|(_, &(end, _))| end <= range.start) {
                    accepted.insert(range.start, (range.end, kind));
                }
            })?;
        }
        Ok(accepted.into_iter().map(|(start, (end, kind))| (start + offset..end + offset, kind)).collect::<Vec<_>>())
    })?;
    let mut characters = CharOffsets::new(text);
    Ok(blocks
        .into_iter()
        .flatten()
        .map(|(range, kind)| PiiMatch {
            kind,
            text: None,
            start_char: characters.at(range.start),
            end_char: characters.at(range.end),
            start_byte: range.start,
            end_byte: range.end,
        })
        .collect())
}

/// HMAC-SHA-256 (RFC 2104).
fn keyed_hash(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut padded = [0_u8; BLOCK];
    if key.len() > BLOCK {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(padded.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests;
