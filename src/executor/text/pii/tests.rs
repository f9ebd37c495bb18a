//! Finds with official test numbers, and what must not be found.

use serde_json::json;

use super::super::tests::run;
use super::keyed_hash;

fn found(text: &str) -> Vec<(String, String)> {
    let output = run(json!({ "operation": "detect_pii", "text": text }));
    let pairs = output["matches"].as_array().unwrap().iter();
    pairs.map(|found| (found["kind"].as_str().unwrap().to_owned(), found["text"].as_str().unwrap().to_owned())).collect()
}

fn check(cases: &[(&str, &[(&str, &str)])]) {
    let mut failures = Vec::new();
    for (text, expected) in cases {
        let found = found(text);
        let expected: Vec<_> = expected.iter().map(|&(kind, text)| (kind.to_owned(), text.to_owned())).collect();
        if found != expected {
            failures.push(format!("{text:?}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Examples of the SWIFT IBAN registry.
const IBANS: [&str; 12] = [
    "GB29 NWBK 6016 1331 9268 19",
    "DE89370400440532013000",
    "FR14 2004 1010 0505 0001 3M02 606",
    "CH93 0076 2011 6238 5295 7",
    "NL91 ABNA 0417 1643 00",
    "NO93 8601 1117 947",
    "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
    "BR18 0036 0305 0000 1000 9795 493C 1",
    "SA03 8000 0000 6080 1016 7519",
    "ES91 2100 0418 4502 0005 1332",
    "IT60 X054 2811 1010 0000 0123 456",
    "LC55HEMM000100010012001200023015",
];

/// Test numbers that payment processors publish.
const CARDS: [&str; 10] = [
    "4111 1111 1111 1111",
    "4012888888881881",
    "5555-5555-5555-4444",
    "2223003122003222",
    "378282246310005",
    "3714 496353 98431",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
];

#[test]
fn official_account_and_card_numbers_are_found() {
    for number in IBANS {
        assert_eq!(found(&format!("Pay to {number}, PLEASE.")), [("iban".to_owned(), number.to_owned())]);
        // One digit changed: the checksum says no.
        let (head, last) = number.split_at(number.len() - 1);
        let broken = format!("{head}{}", if last == "0" { "1" } else { "0" });
        assert!(found(&format!("Pay to {broken}.")).iter().all(|(kind, _)| kind != "iban"), "{broken}");
    }
    for number in CARDS {
        assert_eq!(found(&format!("Card: {number} (exp.)")), [("card".to_owned(), number.to_owned())]);
        let last = number.chars().next_back().unwrap().to_digit(10).unwrap();
        let broken = format!("{}{}", &number[..number.len() - 1], (last + 1) % 10);
        assert!(found(&format!("Card: {broken} (exp.)")).iter().all(|(kind, _)| kind != "card"), "{broken}");
    }
}

#[test]
fn forms_are_found_where_they_end() {
    check(&[
        ("Mail a.b+c@example.co.uk, please", &[("email", "a.b+c@example.co.uk")]),
        ("<x_y@sub.example.org>.", &[("email", "x_y@sub.example.org")]),
        ("grüße@müller.example", &[("email", "grüße@müller.example")]),
        ("see https://example.org/a(b)?q=1#x).", &[("url", "https://example.org/a(b)?q=1#x")]),
        ("www.example.com!", &[("url", "www.example.com")]),
        ("from 192.168.0.1, to 255.255.255.255.", &[("ipv4", "192.168.0.1"), ("ipv4", "255.255.255.255")]),
        ("at 2001:db8::8a2e:370:7334.", &[("ipv6", "2001:db8::8a2e:370:7334")]),
        ("loop ::1 and ::ffff:192.0.2.128", &[("ipv6", "::1"), ("ipv6", "::ffff:192.0.2.128")]),
        ("nic 00:1A:2b:3C:4d:5E up", &[("mac", "00:1A:2b:3C:4d:5E")]),
        ("SSN 536-90-4399 or 536 90 4399", &[("us_ssn", "536-90-4399"), ("us_ssn", "536 90 4399")]),
        ("call +49 (0)30 901820, now", &[("phone", "+49 (0)30 901820")]),
        ("call +1-202-555-0143 or (202) 555-0143", &[("phone", "+1-202-555-0143"), ("phone", "(202) 555-0143")]),
        ("Tel. 030/901820", &[("phone", "030/901820")]),
        ("tel 0044 20 7946 0958", &[("phone", "0044 20 7946 0958")]),
    ]);
}

#[test]
fn numbers_are_found_after_punctuation_and_with_any_usual_space() {
    check(&[
        ("Tel:+49 30 1234567", &[("phone", "+49 30 1234567")]),
        ("John,+49 30 1234567,Berlin", &[("phone", "+49 30 1234567")]),
        ("17,+49 30 1234567", &[("phone", "+49 30 1234567")]),
        ("(+49)301234567", &[("phone", "(+49)301234567")]),
        ("call (+49 30 1234567) now", &[("phone", "+49 30 1234567")]),
        ("+49(0)30/123456-78", &[("phone", "+49(0)30/123456-78")]),
        ("0049 30 123456", &[("phone", "0049 30 123456")]),
        ("Fax:0049 30 123456", &[("phone", "0049 30 123456")]),
        ("+49\u{a0}30\u{202f}1234567", &[("phone", "+49\u{a0}30\u{202f}1234567")]),
        ("030\u{a0}901820", &[("phone", "030\u{a0}901820")]),
        ("4111\u{a0}1111\u{202f}1111\u{a0}1111", &[("card", "4111\u{a0}1111\u{202f}1111\u{a0}1111")]),
        ("card-4111111111111111", &[("card", "4111111111111111")]),
        ("DE89\u{a0}3704\u{202f}0044 0532 0130 00", &[("iban", "DE89\u{a0}3704\u{202f}0044 0532 0130 00")]),
        (
            "iban de89370400440532013000, gb29 nwbk 6016 1331 9268 19",
            &[("iban", "de89370400440532013000"), ("iban", "gb29 nwbk 6016 1331 9268 19")],
        ),
        ("AB12 DE89370400440532013000", &[("iban", "DE89370400440532013000")]),
        // The first group leads nowhere, what follows is a number of its own.
        ("01234-56/0049 30 123456", &[]),
        ("0123 45678 +49 30 1234567", &[("phone", "0123 45678"), ("phone", "+49 30 1234567")]),
        ("5:0123 0049 30 123456", &[("phone", "0049 30 123456")]),
    ]);
}

#[test]
fn addresses_are_found_after_an_ellipsis_and_in_encoded_domains() {
    check(&[
        ("Write to me...john@example.com", &[("email", "john@example.com")]),
        ("a..b..c.d@example.com", &[("email", "c.d@example.com")]),
        ("john@example.xn--p1ai!", &[("email", "john@example.xn--p1ai")]),
        ("john@xn--bcher-kva.example", &[("email", "john@xn--bcher-kva.example")]),
        ("a..@example.com", &[]),
    ]);
}

#[test]
fn look_alikes_are_not_found() {
    check(&[
        ("a@b, @user, x@localhost, foo@bar@baz.org", &[]),
        ("version 1.2.3.4.5 and 256.1.1.1", &[]),
        ("std::vector, a::b, 12:30:45", &[]),
        ("000-12-3456 666-12-3456 900-12-3456 123-00-4567 123-45-0000", &[]),
        ("01.02.2023 and 2023-01-02 and 12/31/1999", &[]),
        ("ABCD1234EFGH and XX00 1234 5678", &[]),
        ("4111 1111 1111 1112", &[]),
        ("0000 0000 0000 0000", &[]),
        ("1234567890123456789012345", &[]),
        ("3.14159265358979", &[]),
        ("a71f-500000000009 and 12,0301 234567 and 12:0301 234567", &[]),
        ("ch10 of the book and the other ones", &[]),
    ]);
}

#[test]
fn redaction_replaces_every_find_and_nothing_else() {
    let text = "Ann: ann@example.org, +1-202-555-0143; Bob: ann@example.org";
    let label = run(json!({ "operation": "redact_pii", "text": text }));
    assert_eq!(label["text"], "Ann: [EMAIL], [PHONE]; Bob: [EMAIL]");
    assert!(label["matches"][0].get("text").is_none(), "the answer does not repeat what was redacted");
    let mask = run(json!({ "operation": "redact_pii", "text": text, "style": "mask", "kinds": ["email"] }));
    assert_eq!(mask["text"], "Ann: ***************, +1-202-555-0143; Bob: ***************");
    let hash = run(json!({ "operation": "redact_pii", "text": text, "style": "hash", "key": "a key of sixteen" }));
    let hash = hash["text"].as_str().unwrap();
    let first = &hash[5..hash.find(',').unwrap()];
    assert!(first.starts_with("[EMAIL:") && first.len() == "[EMAIL:]".len() + 16 && hash.ends_with(first), "{hash}");
}

#[test]
fn keyed_hashes_are_those_of_rfc_4231() {
    let hex = |bytes: [u8; 32]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(keyed_hash(&[0x0b; 20], b"Hi There")), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    assert_eq!(
        hex(keyed_hash(b"Jefe", b"what do ya want for nothing?")),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    let long_key = keyed_hash(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
    assert_eq!(hex(long_key), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}
