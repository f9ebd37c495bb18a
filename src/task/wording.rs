//! What is said of outside data, in plain words. Pure.

use super::TaskType;

/// Longest word from outside that is repeated, in characters.
const FOUND_CHARS_MAX: usize = 80;

/// Types of this language as people call what they hold.
const TYPES: [(&str, &str); 12] = [
    ("u8", "a whole number of 0 or more"),
    ("u16", "a whole number of 0 or more"),
    ("u32", "a whole number of 0 or more"),
    ("u64", "a whole number of 0 or more"),
    ("usize", "a whole number of 0 or more"),
    ("i8", "a whole number"),
    ("i16", "a whole number"),
    ("i32", "a whole number"),
    ("i64", "a whole number"),
    ("isize", "a whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
];

/// The message of a parser with "unknown variant `x`, expected one of `a`, `b`" as "found `x`; allowed: a, b", and with what a type of this language
/// holds in place of its name; any other message as it is.
#[must_use]
pub fn plainly(message: &str) -> String {
    let said = message.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected "));
    let Some((found, expected)) = said else { return without_types(message) };
    let pieces: Vec<&str> = expected.split('`').collect();
    // Words stand between back-ticks; what is behind the last one says where, and stays.
    let words: Vec<&str> = pieces.iter().skip(1).step_by(2).copied().collect();
    let place = pieces.last().copied().filter(|_| pieces.len() > 1).unwrap_or_default();
    let shown: String = found.chars().take(FOUND_CHARS_MAX).collect();
    format!("found `{shown}`; allowed: {}{place}", words.join(", "))
}

/// The message of [`TaskError::UnsupportedTaskType`](super::TaskError::UnsupportedTaskType) with the type that was found and those that are served.
#[must_use]
pub fn unserved(found: &TaskType, served: &[TaskType]) -> String {
    let found: String = found.name().chars().take(FOUND_CHARS_MAX).collect();
    let served = served.iter().map(TaskType::name).collect::<Vec<_>>().join(", ");
    format!("found type `{found}`; this worker serves: {served}")
}

fn without_types(message: &str) -> String {
    let invalid = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    let Some((found, expected)) = message.rsplit_once(", expected ").filter(|_| invalid) else { return message.to_owned() };
    // A parser of a text adds where it stopped.
    let (expected, place) = expected.find(" at line ").map_or((expected, ""), |at| expected.split_at(at));
    let plain = TYPES.iter().find(|(name, _)| *name == expected).map_or(expected, |(_, plain)| plain);
    format!("{found}, expected {plain}{place}")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::plainly;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Counted {
        One,
        TwoLetters,
        Three,
    }

    #[test]
    fn an_unknown_word_is_answered_with_those_that_are_known() {
        let told = |text: &str| plainly(&serde_json::from_str::<Counted>(text).expect_err(text).to_string());
        assert_eq!(told("\"fo`ur\""), "found `fo`ur`; allowed: one, two_letters, three at line 1 column 7");
        assert!(told("5").starts_with("expected value"), "{}", told("5"));
        for (raw, plain) in [
            ("unknown variant `x`, expected `a` or `b`", "found `x`; allowed: a, b"),
            ("unknown variant `x`, expected `a`", "found `x`; allowed: a"),
            ("unknown field `x`, expected `a` or `b`", "unknown field `x`, expected `a` or `b`"),
            ("missing field `data`", "missing field `data`"),
            ("invalid type: string \"x\", expected usize", "invalid type: string \"x\", expected a whole number of 0 or more"),
            (
                "invalid value: integer `-1`, expected u32 at line 1 column 2",
                "invalid value: integer `-1`, expected a whole number of 0 or more at line 1 column 2",
            ),
            ("invalid type: map, expected a string", "invalid type: map, expected a string"),
        ] {
            assert_eq!(plainly(raw), plain);
        }
        let long = format!("unknown variant `{}`, expected `a`", "é".repeat(300));
        assert_eq!(plainly(&long), format!("found `{}`; allowed: a", "é".repeat(80)));
        let every = [Counted::One, Counted::TwoLetters, Counted::Three].len();
        assert_eq!(every, 3);
    }
}
