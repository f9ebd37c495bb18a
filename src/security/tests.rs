//! Tokens, their files as B-68 breaks them, and who is let in.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::task::TaskError;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn put(path: &Path, bytes: &[u8], mode: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_token_has_256_bits_and_reads_back() {
    let (one, two) = (Token::generate().unwrap(), Token::generate().unwrap());
    assert_eq!(one.reveal().len(), Token::LEN);
    assert!(!one.digest().matches(&two.digest()));
    assert!(one.digest().matches(&one.reveal().parse::<Token>().unwrap().digest()));
}

#[test]
fn no_output_shows_a_token() {
    let home = tempfile::tempdir().unwrap();
    let store = TokenStore::new(home.path().join("data"));
    let stored = store.load_or_create().unwrap();
    let secret = &stored.token.reveal()["tallow_".len()..];
    let access = Access::Keys(store.keyring().unwrap());
    for shown in [format!("{stored:?}"), format!("{:?}", stored.token.digest()), format!("{access:?}"), format!("{store:?}")] {
        assert!(!shown.contains(secret) && shown.contains("hidden") || shown.starts_with("TokenStore"), "{shown}");
    }
    let almost = format!("{}!", &stored.token.reveal()[..Token::LEN - 1]);
    let error = almost.parse::<Token>().unwrap_err();
    assert!(!error.to_string().contains(&secret[..8]), "{error}");
}

#[test]
fn first_start_makes_a_private_file_in_a_private_folder_and_later_starts_read_it() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("a/b");
    let store = TokenStore::new(&data_dir);
    assert_eq!(store.load().unwrap_err().code(), "key_file_missing");
    let first = store.load_or_create().unwrap();
    assert!(first.is_new);
    assert_eq!((mode(&data_dir), mode(&store.path())), (0o700, 0o600));
    let second = store.load_or_create().unwrap();
    assert!(!second.is_new);
    assert_eq!(first.token.reveal(), second.token.reveal());
    assert_eq!(first.token.reveal(), store.load().unwrap().reveal());
    let left: Vec<_> = fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [TOKEN_FILE], "no draft stays behind");
}

#[test]
fn workers_that_start_at_once_end_with_one_token() {
    let home = tempfile::tempdir().unwrap();
    let store = TokenStore::new(home.path().join("data"));
    let made: Vec<Stored> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| store.load_or_create().unwrap())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(made.iter().filter(|stored| stored.is_new).count(), 1);
    assert!(made.iter().all(|stored| stored.token.reveal() == made[0].token.reveal()));
}

#[test]
fn broken_token_files_are_refused_and_kept() {
    let good = Token::generate().unwrap().reveal().to_owned();
    let long = format!("{good}A\n");
    let raw = [7u8; 32];
    let hex = "ab".repeat(32);
    let cases: &[(&str, &[u8], u32, &str)] = &[
        ("empty", b"", 0o600, "empty"),
        ("only a line end", b"\n", 0o600, "must begin"),
        ("one character short", &good.as_bytes()[..Token::LEN - 1], 0o600, "expected 50"),
        ("one character long", long.as_bytes(), 0o600, "expected 50"),
        ("raw bytes", &raw, 0o600, "must begin"),
        ("31 raw bytes", &raw[..31], 0o600, "must begin"),
        ("invalid utf-8", &[0xff; 40], 0o600, "not text"),
        ("hex", hex.as_bytes(), 0o600, "64 bytes"),
        ("huge", &[b'a'; 100_000], 0o600, "100000 bytes"),
        ("world-readable", good.as_bytes(), 0o644, "0644"),
        ("group-readable", good.as_bytes(), 0o640, "0640"),
        ("world-writable", good.as_bytes(), 0o602, "0602"),
    ];
    for (name, bytes, file_mode, says) in cases {
        let home = tempfile::tempdir().unwrap();
        let store = TokenStore::new(home.path());
        put(&store.path(), bytes, *file_mode);
        for error in [store.load().unwrap_err(), store.load_or_create().unwrap_err(), store.keyring().unwrap_err()] {
            assert_eq!(error.code(), "key_file_invalid", "{name}");
            assert!(error.to_string().contains(says), "{name}: {error}");
            assert!(!error.to_string().contains(&good[..20]), "{name}: {error}");
        }
        assert_eq!(&fs::read(store.path()).unwrap(), bytes, "{name}");
    }
}

#[test]
fn a_link_or_a_folder_in_place_of_the_file_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = TokenStore::new(home.path());
    let elsewhere = home.path().join("elsewhere");
    put(&elsewhere, Token::generate().unwrap().reveal().as_bytes(), 0o600);
    symlink(&elsewhere, store.path()).unwrap();
    assert!(store.load().unwrap_err().to_string().contains("symbolic link"));
    assert!(store.load_or_create().is_err());
    fs::remove_file(store.path()).unwrap();
    symlink(home.path().join("nowhere"), store.path()).unwrap();
    assert_eq!(store.load_or_create().unwrap_err().code(), "key_file_invalid", "a dangling link is not followed to make a file");
    assert!(!home.path().join("nowhere").exists());
    fs::remove_file(store.path()).unwrap();
    fs::create_dir(store.path()).unwrap();
    assert!(store.load_or_create().unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn a_folder_that_others_may_write_to_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let data_dir = home.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    for open_mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(open_mode)).unwrap();
        assert_eq!(TokenStore::new(&data_dir).load_or_create().unwrap_err().code(), "key_file_invalid", "{open_mode:o}");
    }
    fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(TokenStore::new(&data_dir).load_or_create().is_ok());
}

#[test]
fn a_data_directory_that_is_a_file_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    put(&file, b"x", 0o600);
    assert_eq!(TokenStore::new(&file).load_or_create().unwrap_err().code(), "key_file_io");
    assert_eq!(TokenStore::new(&file).load().unwrap_err().code(), "key_file_io");
}

#[test]
fn every_identity_is_known_by_its_own_token() {
    let home = tempfile::tempdir().unwrap();
    let store = TokenStore::new(home.path().join("data"));
    let own = store.load_or_create().unwrap().token;
    let agent = store.create_identity("agent-1").unwrap();
    assert_eq!(mode(&agent.path), 0o600);
    let access = Access::Keys(store.keyring().unwrap());
    let ask = |token: &Token| access.submitter(Some(&format!("Bearer {}", token.reveal())));
    assert_eq!(ask(&own).unwrap().as_ref(), "local");
    assert_eq!(ask(&agent.token).unwrap().as_ref(), "agent-1");
    for taken in ["agent-1", "local"] {
        assert_eq!(store.create_identity(taken).unwrap_err().code(), "identity_invalid");
    }
    store.remove_identity("agent-1").unwrap();
    assert_eq!(store.remove_identity("agent-1").unwrap_err().code(), "key_file_missing");
    assert_eq!(store.keyring().unwrap().names().len(), 1);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = TokenStore::new(home.path().join("data"));
    for name in ["", "../token", "a/b", ".", "..", "A", "é", &"x".repeat(65)] {
        assert_eq!(store.create_identity(name).unwrap_err().code(), "identity_invalid", "{name}");
        assert_eq!(store.remove_identity(name).unwrap_err().code(), "identity_invalid", "{name}");
    }
}

#[test]
fn headers_without_the_right_token_are_unauthorized() {
    let mut keyring = Keyring::default();
    let token = Token::generate().unwrap();
    keyring.add(Identity::new("a", token.digest()).unwrap()).unwrap();
    let access = Access::Keys(keyring);
    let text = token.reveal();
    let longer = format!("Bearer {text}x");
    let shorter = format!("Bearer {}", &text[..Token::LEN - 1]);
    let basic = format!("Basic {text}");
    let huge = format!("Bearer {}", "x".repeat(1 << 20));
    for header in [None, Some(""), Some("Bearer"), Some("Bearer "), Some(text), Some(&longer), Some(&shorter), Some(&basic), Some(&huge)] {
        let refused = access.submitter(header);
        assert!(matches!(refused, Err(TaskError::Unauthorized { ref reason }) if !reason.contains(text)), "{refused:?}");
    }
    for header in [format!("Bearer {text}"), format!("bearer {text}"), format!("BEARER   {text} ")] {
        assert_eq!(access.submitter(Some(&header)).unwrap().as_ref(), "a");
    }
}

#[test]
fn an_empty_keyring_lets_nobody_in() {
    assert!(Access::Keys(Keyring::default()).submitter(Some("Bearer ")).is_err());
    assert!(Keyring::default().identify("").is_none());
}

#[test]
fn open_access_is_for_loopback_only() {
    for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(Access::Open.check_listen(address.parse().unwrap()).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:1", "[::]:1", "192.168.1.1:1", "[fe80::1]:1"] {
        let refused = Access::Open.check_listen(address.parse().unwrap());
        assert!(matches!(refused, Err(SecurityError::ExposedWithoutAuth { .. })), "{address}");
        assert!(Access::Keys(Keyring::default()).check_listen(address.parse().unwrap()).is_ok());
    }
    assert_eq!(Access::Open.submitter(None).unwrap().as_ref(), "local");
}

#[test]
fn the_keyring_is_bounded_and_names_are_unique() {
    let mut keyring = Keyring::default();
    let digest = Token::generate().unwrap().digest();
    for index in 0..1024 {
        keyring.add(Identity::new(&format!("n{index}"), digest).unwrap()).unwrap();
    }
    assert!(keyring.add(Identity::new("one-more", digest).unwrap()).is_err());
    assert!(keyring.add(Identity::new("n5", digest).unwrap()).is_err());
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_without_a_panic(text in "\\PC{0,80}", header in "\\PC{0,80}") {
        if let Ok(token) = text.parse::<Token>() {
            prop_assert_eq!(token.reveal(), text.as_str());
        }
        let access = Access::Keys(Keyring::default());
        prop_assert!(access.submitter(Some(&header)).is_err());
    }
}
