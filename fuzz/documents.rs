//! Documents from outside: arrays, settings files, sizes, tokens.

use std::path::Path;

use rand::rngs::StdRng;
use tallow::config::ConfigFile;
use tallow::executor::vector::npy::{parse_npy, write_npy};
use tallow::resource::{DeviceChoice, MemoryLimit};
use tallow::security::{Access, Keyring, Token};
use tallow::{Dtype, Part, TaskError};

use crate::bytes::mutated;
use crate::harness::fuzz;

fn npy_corpus() -> Vec<Vec<u8>> {
    let shapes = [(Dtype::F32, vec![2, 3]), (Dtype::F64, vec![0]), (Dtype::I8, vec![4]), (Dtype::I64, vec![]), (Dtype::F16, vec![1, 2, 2])];
    let mut corpus: Vec<Vec<u8>> = shapes
        .into_iter()
        .map(|(dtype, shape)| {
            let bytes = vec![1u8; shape.iter().product::<usize>() * dtype.size_bytes()];
            write_npy(&Part::new(dtype, shape, bytes.into()).expect("as long as the shape says")).expect("numpy knows the type")
        })
        .collect();
    let fortran = "{'descr': '>f4', 'fortran_order': True, 'shape': (3, 2), }";
    let mut document = b"\x93NUMPY\x02\x00".to_vec();
    document.extend_from_slice(&u32::try_from(fortran.len()).expect("a short header").to_le_bytes());
    document.extend_from_slice(fortran.as_bytes());
    document.extend_from_slice(&[7; 24]);
    corpus.push(document);
    corpus
}

#[test]
fn npy_documents_are_read_or_refused() {
    let corpus = npy_corpus();
    fuzz(
        "npy",
        |random: &mut StdRng, mutations| mutated(&corpus, mutations, random),
        |bytes| match parse_npy(bytes) {
            Err(TaskError::InvalidPayload { field, reason }) if field == "npy" && reason.len() < 2000 => Ok(()),
            Err(other) => Err(format!("not the error of the contract: {other:?}")),
            Ok(part) if part.bytes().len() > bytes.len() => Err("an array larger than its document".into()),
            Ok(part) => {
                let again = write_npy(&part).and_then(|written| parse_npy(&written));
                if again.as_ref() == Ok(&part) { Ok(()) } else { Err(format!("does not read back: {again:?}")) }
            }
        },
    );
}

#[test]
fn settings_are_read_or_refused() {
    let words = ["8GiB", "512MiB", "80%", "auto", "1.5 TiB", "cuda:0", "metal", "cpu", "Bearer x", "18446744073709551615"];
    let mut corpus: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let token = Token::generate().expect("the system has randomness");
    corpus.push(format!("Bearer {}", token.reveal()).into_bytes());
    corpus.push(token.reveal().as_bytes().to_vec());
    let access = Access::Keys(Keyring::default());
    fuzz(
        "settings",
        |random: &mut StdRng, mutations| String::from_utf8_lossy(&mutated(&corpus, mutations, random)).into_owned(),
        |text| {
            if let Ok(limit) = text.parse::<MemoryLimit>()
                && limit.to_string().parse() != Ok(limit)
            {
                return Err(format!("{limit:?} does not read back"));
            }
            if let Ok(device) = text.parse::<DeviceChoice>()
                && device.to_string().parse() != Ok(device)
            {
                return Err(format!("{device:?} does not read back"));
            }
            if text.parse::<Token>().is_ok_and(|token| token.reveal() != text) {
                return Err("another token".into());
            }
            if access.submitter(Some(text)).is_ok() { Err("an empty keyring let someone in".into()) } else { Ok(()) }
        },
    );
}

#[test]
fn settings_files_are_read_or_refused() {
    let corpus = vec![
        b"data_dir = \"d\"\n[worker]\nmemory_limit = \"2GiB\"\n[serve]\nlisten = \"127.0.0.1:0\"\n[client]\n".to_vec(),
        b"[serve]\nlisten = 8117\nunknown = [1, {a = 2024-01-01}]\n".to_vec(),
        b"worker = { threads = 1e9 }\n\"\\u0000\" = '''x'''\n[[client]]\n".to_vec(),
    ];
    fuzz(
        "config",
        |random: &mut StdRng, mutations| String::from_utf8_lossy(&mutated(&corpus, mutations, random)).into_owned(),
        |text| {
            let line_count = 1 + text.matches('\n').count();
            match ConfigFile::parse(text, Path::new("config.toml")) {
                Ok(_) => Ok(()),
                Err(error) if error.missing || error.reason.is_empty() => Err(format!("no reason: {error:?}")),
                Err(error) if error.line.is_some_and(|line| line == 0 || line > line_count) => Err(format!("line {:?}", error.line)),
                Err(_) => Ok(()),
            }
        },
    );
}
