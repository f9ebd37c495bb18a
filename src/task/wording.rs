//! What a parser says of outside data, in plain words. Pure.

/// Longest word from outside that is repeated, in characters.
const FOUND_CHARS_MAX: usize = 80;

/// The message of a parser with "unknown variant `x`, expected one of `a`, `b`" as "found `x`; allowed: a, b"; any other message as it is.
#[must_use]
pub fn plainly(message: &str) -> String {
    let said = message.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected "));
    let Some((found, expected)) = said else { return message.to_owned() };
    let pieces: Vec<&str> = expected.split('`').collect();
    // Words stand between back-ticks; what is behind the last one says where, and stays.
    let words: Vec<&str> = pieces.iter().skip(1).step_by(2).copied().collect();
    let place = pieces.last().copied().filter(|_| pieces.len() > 1).unwrap_or_default();
    let shown: String = found.chars().take(FOUND_CHARS_MAX).collect();
    format!("found `{shown}`; allowed: {}{place}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::plainly;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Three {
        One,
        TwoWords,
        Three,
    }

    #[test]
    fn an_unknown_word_is_answered_with_those_that_are_known() {
        let told = |text: &str| plainly(&serde_json::from_str::<Three>(text).expect_err(text).to_string());
        assert_eq!(told("\"fo`ur\""), "found `fo`ur`; allowed: one, two_words, three at line 1 column 7");
        assert!(told("5").starts_with("expected value"), "{}", told("5"));
        for (raw, plain) in [
            ("unknown variant `x`, expected `a` or `b`", "found `x`; allowed: a, b"),
            ("unknown variant `x`, expected `a`", "found `x`; allowed: a"),
            ("unknown field `x`, expected `a` or `b`", "unknown field `x`, expected `a` or `b`"),
            ("missing field `data`", "missing field `data`"),
        ] {
            assert_eq!(plainly(raw), plain);
        }
        let long = format!("unknown variant `{}`, expected `a`", "é".repeat(300));
        assert_eq!(plainly(&long), format!("found `{}`; allowed: a", "é".repeat(80)));
        let every = [Three::One, Three::TwoWords, Three::Three].len();
        assert_eq!(every, 3);
    }
}
