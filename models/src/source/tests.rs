//! Names, the cache, listings and the hub client, the last against a server of the test's own on a loopback port.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn options(cache: &Path) -> SourceOptions {
    SourceOptions { cache_dir: Some(cache.to_owned()), ..SourceOptions::default() }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn names_are_read_and_bad_ones_refused() {
    let repo = |id: &str, revision: Option<&str>| ModelRef::Repo { id: id.into(), file: None, revision: revision.map(str::to_owned) };
    let file = |id: &str, revision: Option<&str>| ModelRef::Repo {
        id: id.into(),
        file: Some("m-Q8_0.gguf".into()),
        revision: revision.map(str::to_owned),
    };
    let cases = [
        ("org/name", repo("org/name", None)),
        ("bert-base-uncased", repo("bert-base-uncased", None)),
        ("org/name@main", repo("org/name", Some("main"))),
        ("org/name@refs/pr/1", repo("org/name", Some("refs/pr/1"))),
        ("org/name/m-Q8_0.gguf", file("org/name", None)),
        ("name/m-Q8_0.gguf@main", file("name", Some("main"))),
        ("m.gguf", repo("m.gguf", None)),
        ("./models/x", ModelRef::Folder("./models/x".into())),
        ("/a/b", ModelRef::Folder("/a/b".into())),
    ];
    for (text, expected) in cases {
        assert_eq!(ModelRef::parse(text).unwrap(), expected, "{text}");
    }
    let long = "x".repeat(97);
    for text in [
        "",
        "a/../b",
        "a/b/c",
        "a//b",
        ".hidden",
        "a--b",
        "a b",
        "a/b@",
        "a@../x",
        "a@/x",
        "a\0b",
        "a@x@y",
        long.as_str(),
        "ä",
        "a/b/.c.gguf",
        "a/b/c/d.gguf",
        "a/../d.gguf",
    ] {
        assert!(matches!(ModelRef::parse(text), Err(ModelError::Input { .. })), "{text:?}");
    }
}

#[test]
fn the_variables_of_hugging_face_are_obeyed() {
    let read = |pairs: &[(&str, &str)]| {
        let pairs: BTreeMap<String, String> = pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        SourceOptions::from_variables(|name| pairs.get(name).cloned())
    };
    let cache = |pairs| read(pairs).cache_dir.map(|path: std::path::PathBuf| path.display().to_string());
    assert_eq!(cache(&[]), None);
    assert_eq!(cache(&[("HOME", "/h")]).unwrap(), "/h/.cache/huggingface/hub");
    assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).unwrap(), "/x/huggingface/hub");
    assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "/f")]).unwrap(), "/f/hub");
    assert_eq!(cache(&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]).unwrap(), "/c");
    assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "")]).unwrap(), "/h/.cache/huggingface/hub");
    for (value, offline) in [("1", true), ("ON", true), ("true", true), ("0", false), ("", false), ("no", false)] {
        assert_eq!(read(&[("HF_HUB_OFFLINE", value)]).offline, offline, "{value:?}");
    }
    let set = read(&[("HF_ENDPOINT", "http://mirror/"), ("HF_TOKEN", " t \n"), ("HF_HUB_DOWNLOAD_TIMEOUT", "5")]);
    assert_eq!((set.endpoint.as_str(), set.token.as_deref(), set.stall_timeout.as_secs()), ("http://mirror", Some("t"), 5));
    assert!(!format!("{set:?}").contains("\"t\""), "the token is never printed");
    let home = tempfile::tempdir().unwrap();
    write(&home.path().join("token"), "stored\n");
    assert_eq!(read(&[("HF_HOME", home.path().to_str().unwrap())]).token.as_deref(), Some("stored"));
}

#[test]
fn the_cache_is_read_as_python_lays_it_out() {
    let cache = tempfile::tempdir().unwrap();
    let repo = cache.path().join("models--org--name");
    write(&repo.join("refs/main"), &format!("{COMMIT}\n"));
    write(&repo.join("snapshots").join(COMMIT).join("config.json"), "{}");
    let options = options(cache.path());
    for name in ["org/name", "org/name@main", &format!("org/name@{COMMIT}")] {
        let found = resolve(name, &options).unwrap();
        assert_eq!((found.revision.as_deref(), found.origin), (Some(COMMIT), Origin::Cache), "{name}");
    }
    for name in ["org/name@v2", "org/other", "name"] {
        let error = resolve(name, &options).unwrap_err();
        assert!(matches!(&error, ModelError::Missing { reason } if reason.contains("not on this host")), "{name}: {error}");
    }
    write(&repo.join("refs/broken"), "not a commit");
    assert!(matches!(resolve("org/name@broken", &options), Err(ModelError::Corrupt { .. })));
    let listed = list_cached(cache.path()).unwrap();
    assert_eq!((listed.len(), listed[0].name.as_str(), listed[0].refs.as_slice()), (1, "org/name", ["main".to_owned()].as_slice()));
    assert!(matches!(remove_cached(cache.path(), "org/name@main"), Err(ModelError::Input { .. })));
    remove_cached(cache.path(), "org/name").unwrap();
    assert!(list_cached(cache.path()).unwrap().is_empty());
    assert!(matches!(remove_cached(cache.path(), "org/name"), Err(ModelError::Missing { .. })));
    assert!(list_cached(&cache.path().join("none")).unwrap().is_empty());
}

#[test]
fn a_gguf_file_is_found_alone_and_chosen_among_several() {
    let place = tempfile::tempdir().unwrap();
    let (models, cache) = (place.path().join("models"), place.path().join("cache"));
    let snapshot = cache.join("models--org--name/snapshots").join(COMMIT);
    write(&cache.join("models--org--name/refs/main"), COMMIT);
    write(&snapshot.join("m-F16.gguf"), "");
    write(&models.join("one/only.gguf"), "");
    write(&models.join("one/config.json"), "{}");
    write(&models.join("both/x.gguf"), "");
    write(&models.join("both/model.safetensors"), "");
    write(&models.join("both/config.json"), "{}");
    write(&models.join("alone.gguf"), "");
    write(&models.join("readme.txt"), "");
    let options = SourceOptions { model_dirs: vec![models.clone()], ..options(&cache) };
    let at = |path: &Path| path.to_str().unwrap().to_owned();
    let found = |name: &str| resolve(name, &options).map(|found| found.folder);
    assert_eq!(found("org/name").unwrap(), snapshot.join("m-F16.gguf"));
    assert_eq!(found("one").unwrap(), models.join("one/only.gguf"));
    assert_eq!(found("alone.gguf").unwrap(), models.join("alone.gguf"));
    assert_eq!(found("both").unwrap(), models.join("both"), "safetensors come first where nothing else is said");
    assert_eq!(found("both/x.gguf").unwrap(), models.join("both/x.gguf"));
    assert_eq!(found(&at(&models.join("one"))).unwrap(), models.join("one/only.gguf"));
    assert_eq!(found(&at(&models.join("alone.gguf"))).unwrap(), models.join("alone.gguf"));
    write(&snapshot.join("m-Q8_0.gguf"), "");
    let several = found("org/name@main").unwrap_err();
    assert!(matches!(several, ModelError::Input { .. }), "{several}");
    assert!(several.to_string().ends_with("org/name/m-F16.gguf@main, org/name/m-Q8_0.gguf@main"), "{several}");
    assert_eq!(found("org/name/m-Q8_0.gguf@main").unwrap(), snapshot.join("m-Q8_0.gguf"));
    let missing = found("org/name/m-Q4_0.gguf").unwrap_err().to_string();
    assert!(missing.contains("m-F16.gguf, m-Q8_0.gguf"), "{missing}");
    let text = found(&at(&models.join("readme.txt"))).unwrap_err().to_string();
    assert!(text.contains("no GGUF file"), "{text}");
    assert_eq!(model_names(&snapshot, "org/name").unwrap(), ["org/name/m-F16.gguf", "org/name/m-Q8_0.gguf"]);
    assert_eq!(model_names(&models.join("one"), "one").unwrap(), ["one"]);
}

#[test]
fn paths_can_be_forbidden() {
    let options = SourceOptions { allow_paths: false, ..SourceOptions::default() };
    assert!(matches!(resolve("/tmp", &options), Err(ModelError::Input { .. })));
}

fn fixture(name: &str) -> ModelFolder {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    ModelFolder { name: name.into(), folder, revision: None, origin: Origin::Folder }
}

#[test]
fn a_model_is_shown_and_verified_without_loading_it() {
    let details = show(&fixture("tiny-bert"), &crate::PrecisionPolicy::default()).unwrap();
    assert_eq!((details.architecture.as_str(), details.hidden, details.layers, details.max_tokens), ("bert", 16, 2, 40));
    assert!(details.files.iter().any(|file| file.name == "model.safetensors" && file.sha256.len() == 64));
    assert!(verify(&fixture("tiny-bert"), &BTreeMap::new()).unwrap().failed.is_empty());
    let weights = details.files.iter().find(|file| file.name == "model.safetensors").unwrap();
    let right = BTreeMap::from([(weights.name.clone(), weights.sha256.clone())]);
    assert!(verify(&fixture("tiny-bert"), &right).unwrap().passed.iter().any(|line| line.starts_with("sha256")));
    let wrong = BTreeMap::from([(weights.name.clone(), "0".repeat(64))]);
    assert!(verify(&fixture("tiny-bert"), &wrong).unwrap().failed[0].contains("sha256"));
}

#[cfg(feature = "hub")]
mod hub {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use sha2::{Digest as _, Sha256};

    use super::*;

    /// How the server misbehaves.
    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        WrongBytes,
        Truncated,
        Stall,
        NotFound,
        Forbidden,
        NoWeights,
        Gguf(usize),
    }

    struct Hub {
        endpoint: String,
        requests: Arc<Mutex<Vec<String>>>,
    }

    fn weights() -> Vec<u8> {
        (0..500_000u32).flat_map(|n| n.to_le_bytes()).collect()
    }

    fn listing(fault: Fault) -> String {
        let bytes = weights();
        let mut siblings = vec![
            serde_json::json!({ "rfilename": "config.json", "size": 2, "blobId": "a".repeat(40) }),
            serde_json::json!({ "rfilename": "1_Pooling/config.json", "size": 2, "blobId": "b".repeat(40) }),
            serde_json::json!({ "rfilename": "README.md", "size": 2, "blobId": "c".repeat(40) }),
            serde_json::json!({ "rfilename": "pytorch_model.bin", "size": 2, "blobId": "d".repeat(40) }),
            serde_json::json!({ "rfilename": "../escape/config.json", "size": 2, "blobId": "e".repeat(40) }),
        ];
        if let Fault::Gguf(count) = fault {
            let names = (0..count).map(|index| format!("m-{index}.gguf"));
            siblings.extend(names.map(|name| serde_json::json!({ "rfilename": name, "size": 2, "blobId": "f".repeat(40) })));
        } else if fault != Fault::NoWeights {
            let sha = crate::weights::hex(&Sha256::digest(&bytes));
            siblings.push(
                serde_json::json!({ "rfilename": "model.safetensors", "size": bytes.len(), "lfs": { "sha256": sha, "size": bytes.len() } }),
            );
        }
        serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string()
    }

    /// Serves one model on a loopback port of the system's choice until the test ends.
    fn hub(fault: Fault) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                open.extend(answer(stream.unwrap(), fault, &heard));
            }
        });
        Hub { endpoint, requests }
    }

    /// Answers one request; gives the connection back when it must stay open without another byte.
    fn answer(mut stream: TcpStream, fault: Fault, heard: &Mutex<Vec<String>>) -> Option<TcpStream> {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        let path = head.first()?.split(' ').nth(1)?.to_owned();
        heard.lock().unwrap().push(head.join("\n").to_lowercase());
        let (status, body) = match (fault, path.as_str()) {
            (Fault::NotFound, _) => (404, b"no".to_vec()),
            (Fault::Forbidden, _) => (401, b"no".to_vec()),
            (_, path) if path.starts_with("/api/models/org/name/revision/main") => (200, listing(fault).into_bytes()),
            (_, path) if path.ends_with("model.safetensors") => (200, weights()),
            (_, path) if path.contains(&format!("/resolve/{COMMIT}/")) => (200, b"{}".to_vec()),
            _ => (404, Vec::new()),
        };
        let large = body.len() > 1000 && path.ends_with("model.safetensors");
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len()).unwrap();
        let mut body = body;
        if large && fault == Fault::WrongBytes {
            body[1000] ^= 1;
        }
        let sent = if large && matches!(fault, Fault::Truncated | Fault::Stall) { body.len() / 2 } else { body.len() };
        // The client may hang up early; that is its right.
        let _client_may_be_gone = stream.write_all(&body[..sent]);
        (large && fault == Fault::Stall).then_some(stream)
    }

    fn pull_from(hub: &Hub, cache: &Path) -> Result<Pulled, ModelError> {
        let options = SourceOptions {
            offline: false,
            endpoint: hub.endpoint.clone(),
            token: Some("secret".into()),
            stall_timeout: Duration::from_millis(300),
            ..options(cache)
        };
        pull("org/name", &options, &mut |_| true)
    }

    #[test]
    fn a_pulled_model_is_found_by_the_cache_reader_and_not_fetched_twice() {
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(Fault::None);
        let pulled = pull_from(&hub, cache.path()).unwrap();
        let mut fetched = pulled.fetched.clone();
        fetched.sort();
        assert_eq!(fetched, ["1_Pooling/config.json", "config.json", "model.safetensors"], "only what is needed, nothing outside");
        assert_eq!(pulled.verified, 1);
        let found = resolve("org/name", &options(cache.path())).unwrap();
        assert_eq!(found.revision.as_deref(), Some(COMMIT));
        assert_eq!(std::fs::read(found.folder.join("model.safetensors")).unwrap(), weights());
        assert_eq!(std::fs::read(found.folder.join("1_Pooling/config.json")).unwrap(), b"{}");
        assert!(hub.requests.lock().unwrap().iter().all(|head| head.contains("authorization: bearer secret")));
        assert!(pull_from(&hub, cache.path()).unwrap().fetched.is_empty());
    }

    #[test]
    fn a_download_that_goes_wrong_is_an_error_and_leaves_no_model() {
        for (fault, words) in [
            (Fault::WrongBytes, "sha256"),
            (Fault::Truncated, ""),
            (Fault::Stall, ""),
            (Fault::NotFound, "does not have it"),
            (Fault::Forbidden, "HF_TOKEN"),
            (Fault::NoWeights, "no model.safetensors"),
        ] {
            let cache = tempfile::tempdir().unwrap();
            let started = Instant::now();
            let error = pull_from(&hub(fault), cache.path()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(started.elapsed() < Duration::from_secs(20), "a stall ends");
            assert!(matches!(resolve("org/name", &options(cache.path())), Err(ModelError::Missing { .. })), "{error}");
            let blobs = cache.path().join("models--org--name/blobs");
            let left = std::fs::read_dir(blobs)
                .map_or(0, |entries| entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some()).count());
            assert_eq!(left, 0, "no half file stays: {error}");
        }
    }

    #[test]
    fn a_gguf_file_is_fetched_alone_and_chosen_among_several() {
        let cache = tempfile::tempdir().unwrap();
        assert_eq!(pull_from(&hub(Fault::Gguf(1)), cache.path()).unwrap().fetched, ["m-0.gguf"], "no configuration is needed beside it");
        let found = resolve("org/name", &options(cache.path())).unwrap();
        assert_eq!(found.folder.file_name().unwrap(), "m-0.gguf");
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(Fault::Gguf(2));
        let several = pull_from(&hub, cache.path()).unwrap_err().to_string();
        assert!(several.ends_with("org/name/m-0.gguf, org/name/m-1.gguf"), "{several}");
        let options = SourceOptions { offline: false, endpoint: hub.endpoint.clone(), ..options(cache.path()) };
        assert_eq!(pull("org/name/m-1.gguf", &options, &mut |_| true).unwrap().fetched, ["m-1.gguf"]);
        let missing = pull("org/name/m-2.gguf", &options, &mut |_| true).unwrap_err().to_string();
        assert!(missing.contains("m-0.gguf, m-1.gguf"), "{missing}");
    }

    #[test]
    fn offline_never_asks_the_hub_and_progress_can_stop_it() {
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(Fault::None);
        let mut options = SourceOptions { endpoint: hub.endpoint.clone(), ..options(cache.path()) };
        assert!(matches!(pull("org/name", &options, &mut |_| true), Err(ModelError::Missing { .. })));
        assert!(hub.requests.lock().unwrap().is_empty());
        options.offline = false;
        assert_eq!(pull("org/name", &options, &mut |_| false), Err(ModelError::Stopped));
    }
}
