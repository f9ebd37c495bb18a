//! Sizes as people write them.

use proptest::prelude::*;

use crate::resource::{HostMemory, MemoryLimit, format_bytes, parse_bytes};

fn memory(usable_bytes: u64, available_bytes: u64) -> HostMemory {
    HostMemory { total_bytes: usable_bytes, usable_bytes, available_bytes, limited_by: "the machine has".into() }
}

#[test]
fn sizes_are_read_as_written() {
    let cases = [
        ("0", 0),
        ("536870912", 536_870_912),
        ("512MiB", 512 << 20),
        ("8GiB", 8 << 30),
        (" 8 gib ", 8 << 30),
        ("4Gi", 4 << 30),
        ("500MB", 500_000_000),
        ("1.5GiB", 3 << 29),
        ("0.1KiB", 102),
        ("2TiB", 2 << 40),
        ("1.999999999 B", 1),
        ("18446744073709551615", u64::MAX),
    ];
    for (text, bytes) in cases {
        assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
    }
}

#[test]
fn what_is_no_size_is_refused_with_a_reason() {
    let cases = [
        ("", "expected a number"),
        ("GiB", "expected a number"),
        ("8G", "ambiguous unit: write 8GiB (binary) or 8GB"),
        ("8 m", "ambiguous"),
        ("-1GiB", "unknown unit"),
        ("1e9", "unknown unit"),
        ("1..5GiB", "expected a number"),
        ("1.GiB", "expected a number"),
        (".5GiB", "expected a number"),
        ("1.0000000001GiB", "expected a number"),
        ("18446744073709551616", "more than 2^64"),
        ("16777216TiB", "more than 2^64"),
        ("NaN", "unknown unit"),
        ("٣GiB", "unknown unit"),
        ("8 parsecs", "unknown unit"),
    ];
    for (text, says) in cases {
        let error = parse_bytes(text).unwrap_err();
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    let long = "9".repeat(100_000);
    assert!(parse_bytes(&long).unwrap_err().to_string().len() < 100);
}

#[test]
fn sizes_are_shown_rounded_down() {
    let cases = [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_610_612_736, "1.5 GiB"),
        ((1 << 30) - 1, "1023.9 MiB"),
        (u64::MAX, "16777215.9 TiB"),
    ];
    for (bytes, text) in cases {
        assert_eq!(format_bytes(bytes), text);
    }
}

#[test]
fn limits_resolve_on_the_host_and_say_why() {
    let host = memory(10 << 30, 9 << 30);
    let resolve = |text: &str| text.parse::<MemoryLimit>().unwrap().resolve(&host);
    assert_eq!(resolve("auto").unwrap().bytes, 8 << 30);
    assert_eq!(resolve("50%").unwrap().bytes, 5 << 30);
    assert_eq!(resolve("100 %").unwrap().bytes, 10 << 30);
    assert_eq!(resolve("2GiB").unwrap().bytes, 2 << 30);
    assert_eq!(resolve("auto").unwrap().reason, "80 % of the 10.0 GiB that the machine has");
    assert!(resolve("11GiB").unwrap_err().to_string().contains("more than the 10.0 GiB that the machine has"));
    assert!(resolve("1MiB").unwrap_err().to_string().contains("at least 64.0 MiB"));
    for refused in ["0%", "101%", "1.5%", "%", "half"] {
        assert!(refused.parse::<MemoryLimit>().is_err(), "{refused}");
    }
}

#[test]
fn auto_never_plans_with_memory_that_others_hold() {
    let resolved = MemoryLimit::Auto.resolve(&memory(10 << 30, 1 << 30)).unwrap();
    assert_eq!(resolved.bytes, 1 << 30);
    assert!(resolved.reason.starts_with("what is free now"), "{}", resolved.reason);
    assert!(MemoryLimit::Auto.resolve(&memory(10 << 30, 1 << 20)).is_err());
}

#[test]
fn a_host_that_tells_nothing_takes_a_size_and_only_that() {
    let silent = memory(0, 0);
    assert_eq!(MemoryLimit::Bytes(1 << 30).resolve(&silent).unwrap().bytes, 1 << 30);
    assert!(MemoryLimit::Auto.resolve(&silent).unwrap_err().to_string().contains("give the limit as a size"));
    assert!(MemoryLimit::Percent(50).resolve(&silent).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
        if let Ok(bytes) = parse_bytes(&text) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
        }
        if let Ok(limit) = text.parse::<MemoryLimit>() {
            prop_assert_eq!(limit.to_string().parse::<MemoryLimit>(), Ok(limit));
        }
    }

    #[test]
    fn plain_bytes_read_back(bytes: u64, unit in 0u32..5) {
        prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
        let unit_bytes = 1u64 << (10 * unit);
        let name = ["B", "KiB", "MiB", "GiB", "TiB"][unit as usize];
        prop_assert_eq!(parse_bytes(&format!("{bytes}{name}")).ok(), bytes.checked_mul(unit_bytes));
    }

    #[test]
    fn a_resolved_limit_is_never_above_what_may_be_used(usable in 0u64..1 << 50, free: u64, percent in 1u8..=100) {
        let host = memory(usable, free.min(usable));
        for limit in [MemoryLimit::Auto, MemoryLimit::Percent(percent)] {
            if let Ok(resolved) = limit.resolve(&host) {
                prop_assert!(resolved.bytes <= usable);
            }
        }
    }
}
