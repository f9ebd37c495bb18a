//! `decode`: bytes of a known or unknown character set become text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;

use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{DecodeOutput, DecodeRequest, EncodedBytes, TEXT_BYTES_MAX};
use crate::task::{Dtype, Parts, TaskError};

/// Held per byte: the decoded bytes, the text (up to three bytes each) and its JSON form.
const BYTES_PER_BYTE: u64 = 8;

pub(super) struct Decode;

impl Operation<TextState> for Decode {
    type Request = DecodeRequest;
    type Output = DecodeOutput;
    const NAME: &'static str = "decode";
    const SUMMARY: &'static str = "Decodes bytes of a known or unknown character set into text.";

    fn check(request: &DecodeRequest, _state: &TextState, parts: &Parts) -> Result<Cost, TaskError> {
        let len = encoded_len(&request.bytes, parts)?;
        if len > TEXT_BYTES_MAX {
            return Err(TaskError::invalid("bytes", format!("found {len} bytes; at most {TEXT_BYTES_MAX} are allowed")));
        }
        encoding_of(request)?;
        Ok(Cost { host_bytes: (len as u64).saturating_mul(BYTES_PER_BYTE), parallel: false })
    }

    fn run(request: &DecodeRequest, scope: &TextScope<'_>) -> Result<DecodeOutput, TaskError> {
        let bytes = match (&request.bytes.base64, &request.bytes.part) {
            (Some(base64), _) => {
                let decoded =
                    STANDARD.decode(base64).map_err(|error| TaskError::invalid("bytes.base64", format!("not base64: {error}")))?;
                decoded.into()
            }
            (None, Some(name)) => scope.parts.get(name).map(|part| part.bytes().clone()).unwrap_or_default(),
            (None, None) => bytes::Bytes::new(),
        };
        let named = encoding_of(request)?;
        let guess = || {
            let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
            detector.feed(&bytes, true);
            detector.guess(None, Utf8Detection::Allow)
        };
        let (text, encoding, had_errors) = named.unwrap_or_else(guess).decode(&bytes);
        let guessed = named.is_none() && Encoding::for_bom(&bytes).is_none();
        Ok(DecodeOutput { text: text.into_owned(), encoding: encoding.name().to_owned(), guessed, had_errors })
    }
}

fn encoding_of(request: &DecodeRequest) -> Result<Option<&'static Encoding>, TaskError> {
    let Some(label) = &request.encoding else { return Ok(None) };
    let unknown = || {
        let shown: String = label.chars().take(64).collect();
        TaskError::invalid("encoding", format!("unknown label `{shown}`; WHATWG labels such as `utf-8` or `windows-1252` are allowed"))
    };
    Encoding::for_label(label.as_bytes()).map(Some).ok_or_else(unknown)
}

fn encoded_len(bytes: &EncodedBytes, parts: &Parts) -> Result<usize, TaskError> {
    match (&bytes.base64, &bytes.part) {
        (Some(base64), None) => Ok(base64.len() / 4 * 3),
        (None, Some(name)) => {
            let part = parts.get(name).ok_or_else(|| TaskError::invalid("bytes.$part", format!("the payload has no part `{name}`")))?;
            if part.dtype() != Dtype::U8 {
                return Err(TaskError::invalid("bytes.$part", format!("expected dtype u8, found {}", part.dtype().name())));
            }
            Ok(part.bytes().len())
        }
        _ => Err(TaskError::invalid("bytes", "give either `base64` or `$part`")),
    }
}
