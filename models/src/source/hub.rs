//! The hub client: brings the files a model needs into the Hugging Face cache, in the layout other tools read. The only socket of this crate.
//!
//! The cache layout is hf-hub's; the transfer is ureq's own, because hf-hub 0.5 can neither be given a time-out for a stalled download nor a hash.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;

use super::catalog::hash_file;
use super::{ModelRef, SourceOptions, cache, single};
use crate::ModelError;
use crate::gguf::is_gguf;
use crate::weights::hex;

/// Files of one model at most.
const FILE_COUNT_MAX: usize = 256;
/// Bytes of the hub's description of a model at most.
const LISTING_BYTES_MAX: u64 = 16 << 20;
/// Bytes moved between two reports of progress.
const BLOCK_BYTES: usize = 256 << 10;

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullProgress {
    /// The file that is being fetched.
    pub file: String,
    /// Bytes of all files that are here.
    pub done_bytes: u64,
    /// Bytes of all files, as far as the hub says.
    pub total_bytes: u64,
}

/// Told about every block; `false` stops the download.
pub type PullWatch<'a> = &'a mut dyn FnMut(&PullProgress) -> bool;

/// A model that was brought here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// `org/name`.
    pub name: String,
    /// The commit.
    pub revision: String,
    /// The snapshot's folder.
    pub folder: PathBuf,
    /// Files that were fetched now; the others were here already.
    pub fetched: Vec<String>,
    /// Files whose sha256 the hub gave and that have it.
    pub verified: usize,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Clone, Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Clone, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Sibling {
    fn bytes(&self) -> Option<u64> {
        self.lfs.as_ref().map(|lfs| lfs.size).or(self.size)
    }
}

/// Fetches what an encoder needs of `name` (`org/name[/FILE.gguf][@revision]`) and gives the snapshot. Blocks; not for async threads.
///
/// `progress` is told about every block and stops the download by answering `false`. Sizes and, where the hub gives one, sha256 are checked before a
/// file takes its place; a file that is here whole is not fetched again.
/// Errors: `Missing` when offline or unknown to the hub, `Unsupported` without safetensors or GGUF weights, `Corrupt` for wrong bytes, `Network` for the rest
/// (also when no byte comes for `stall_timeout`), `Stopped`, `Io`.
pub fn pull(name: &str, options: &SourceOptions, progress: PullWatch<'_>) -> Result<Pulled, ModelError> {
    let ModelRef::Repo { id, file, revision } = ModelRef::parse(name)? else {
        return Err(ModelError::input("a folder of this host cannot be fetched; name the model as [org/]name[@revision]"));
    };
    if options.offline {
        return Err(ModelError::Missing { reason: "the hub is switched off (HF_HUB_OFFLINE)".into() });
    }
    let cache_dir = options.cache_dir.as_ref().ok_or_else(|| ModelError::input("no cache folder is known: set HF_HOME or HF_HUB_CACHE"))?;
    let client = Client::new(options);
    let asked = revision.unwrap_or_else(|| "main".into());
    let listing = client.listing(&id, &asked)?;
    if !cache::is_commit(&listing.sha) {
        return Err(ModelError::Network { url: options.endpoint.clone(), reason: "the hub answered without a commit".into() });
    }
    let files = match file {
        Some(file) => vec![single_file(&listing.siblings, &file)?],
        None => needed_files(&listing.siblings, name)?,
    };
    let repo = Repo::with_revision(id.clone(), RepoType::Model, asked.clone());
    let place = Place { cache: Cache::new(cache_dir.clone()), repo, commit: listing.sha.clone() };
    let mut state = PullProgress { file: String::new(), done_bytes: 0, total_bytes: files.iter().filter_map(Sibling::bytes).sum() };
    let (mut fetched, mut verified) = (Vec::new(), 0);
    for file in &files {
        state.file.clone_from(&file.rfilename);
        if client.bring(file, &place, (&mut state, progress))? {
            fetched.push(file.rfilename.clone());
        }
        verified += usize::from(file.lfs.is_some());
    }
    if asked != listing.sha {
        place.repo_cache().create_ref(&listing.sha).map_err(|error| ModelError::io(cache_dir, &error))?;
    }
    Ok(Pulled { name: id, folder: place.snapshot(), revision: listing.sha, fetched, verified })
}

/// The names of GGUF files at the top.
fn gguf_names(siblings: &[Sibling]) -> Vec<String> {
    let names = siblings.iter().map(|file| file.rfilename.clone());
    let mut names: Vec<String> = names.filter(|name| is_safe_path(name) && !name.contains('/') && is_gguf(Path::new(name))).collect();
    names.sort();
    names
}

/// The GGUF file of that name. Errors: `Missing` with those that are there.
fn single_file(siblings: &[Sibling], name: &str) -> Result<Sibling, ModelError> {
    siblings.iter().find(|file| file.rfilename == name).cloned().ok_or_else(|| {
        let others = gguf_names(siblings);
        let there = if others.is_empty() { "no GGUF file".to_owned() } else { others.join(", ") };
        ModelError::Missing { reason: format!("the repository has no {name}, but {there}") }
    })
}

/// Configuration, tokenizer and safetensors weights, at the top and one folder deep; or the one GGUF file of a repository without such weights.
///
/// Errors: `Unsupported` when there is neither, `Input` when there are several GGUF files.
fn needed_files(siblings: &[Sibling], asked: &str) -> Result<Vec<Sibling>, ModelError> {
    let named: Vec<&Sibling> = siblings.iter().filter(|file| is_safe_path(&file.rfilename)).collect();
    let sharded = !named.iter().any(|file| file.rfilename == "model.safetensors");
    let wanted = |path: &str| {
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        let small = matches!(
            file,
            "config.json" | "tokenizer.json" | "tokenizer_config.json" | "special_tokens_map.json" | "vocab.txt" | "modules.json"
        ) || (file.starts_with("sentence_") && file.ends_with("_config.json"))
            || file == "config_sentence_transformers.json";
        let module = folder.is_empty() || folder.starts_with(|first: char| first.is_ascii_digit());
        let weights =
            file == "model.safetensors" || (sharded && folder.is_empty() && (file == "model.safetensors.index.json" || is_shard(file)));
        module && !folder.contains('/') && (small || weights)
    };
    let files: Vec<Sibling> = named.into_iter().filter(|file| wanted(&file.rfilename)).cloned().collect();
    if !files.iter().any(|file| file.rfilename.ends_with(".safetensors") && !file.rfilename.contains('/')) {
        return match &gguf_names(siblings)[..] {
            [] => Err(ModelError::unsupported(
                "the repository has no model.safetensors and no GGUF file; pickles and other formats are never fetched",
            )),
            [only] => Ok(vec![single_file(siblings, only)?]),
            several => Err(single::several(asked, several)),
        };
    }
    if files.len() > FILE_COUNT_MAX {
        return Err(ModelError::unsupported(format!("the repository needs {} files, at most {FILE_COUNT_MAX} are fetched", files.len())));
    }
    Ok(files)
}

fn is_shard(file: &str) -> bool {
    file.starts_with("model-") && file.contains("-of-") && file.ends_with(".safetensors")
}

/// A relative path of plain names.
fn is_safe_path(path: &str) -> bool {
    path.len() <= 512 && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0', ':']))
}

/// Where a model goes inside the cache.
struct Place {
    cache: Cache,
    repo: Repo,
    commit: String,
}

impl Place {
    fn repo_cache(&self) -> hf_hub::CacheRepo {
        self.cache.repo(self.repo.clone())
    }

    fn snapshot(&self) -> PathBuf {
        self.repo_cache().pointer_path(&self.commit)
    }

    /// Lets the snapshot's path point to the blob.
    fn link(&self, file: &str, blob: &Path) -> Result<(), ModelError> {
        let path = self.snapshot().join(file);
        make_parent(&path)?;
        if path.exists() {
            return Ok(());
        }
        let up = "../".repeat(file.split('/').count() + 1);
        let target = format!("{up}blobs/{}", blob.file_name().unwrap_or_default().to_string_lossy());
        place_link(Path::new(&target), blob, &path).map_err(|error| ModelError::io(&path, &error))
    }
}

#[cfg(unix)]
fn place_link(target: &Path, _blob: &Path, path: &Path) -> std::io::Result<()> {
    // A link to a blob that is gone would stand in the way.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn place_link(_target: &Path, blob: &Path, path: &Path) -> std::io::Result<()> {
    std::fs::copy(blob, path).map(drop)
}

fn make_parent(path: &Path) -> Result<(), ModelError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|error| ModelError::io(parent, &error))
}

struct Client<'a> {
    agent: Agent,
    options: &'a SourceOptions,
}

impl<'a> Client<'a> {
    fn new(options: &'a SourceOptions) -> Self {
        let wait = Some(options.stall_timeout);
        let config = Agent::config_builder()
            .timeout_connect(wait)
            .timeout_resolve(wait)
            .timeout_send_request(wait)
            .timeout_recv_response(wait)
            .timeout_per_read(wait)
            .http_status_as_error(false)
            // The token stays with the hub; the storage it sends us to has signed addresses.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("tallow/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), options }
    }

    fn get(&self, url: &str) -> Result<ureq::Body, ModelError> {
        let mut call = self.agent.get(url);
        if let Some(token) = &self.options.token {
            call = call.header("authorization", format!("Bearer {token}"));
        }
        let failed = |reason: String| ModelError::Network { url: url.to_owned(), reason };
        let response = call.call().map_err(|error| failed(error.to_string()))?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            401 | 403 => Err(ModelError::Missing {
                reason: format!("{url}: the hub refuses access (it is private, gated or unknown); HF_TOKEN may be needed"),
            }),
            404 => Err(ModelError::Missing { reason: format!("{url}: the hub does not have it") }),
            status => Err(failed(format!("the hub answered with status {status}"))),
        }
    }

    fn listing(&self, id: &str, revision: &str) -> Result<Listing, ModelError> {
        let url = format!("{}/api/models/{id}/revision/{}?blobs=true", self.options.endpoint, revision.replace('/', "%2F"));
        let failed = |reason: String| ModelError::Network { url: url.clone(), reason };
        let bytes = self.get(&url)?.with_config().limit(LISTING_BYTES_MAX).read_to_vec().map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(format!("not a model description: {error}")))
    }

    /// Brings one file into the cache; `false` when it was there.
    fn bring(&self, file: &Sibling, place: &Place, (state, progress): (&mut PullProgress, PullWatch<'_>)) -> Result<bool, ModelError> {
        let known = file.lfs.as_ref().map(|lfs| lfs.sha256.to_ascii_lowercase()).or_else(|| file.blob_id.clone());
        if known.as_ref().is_some_and(|name| name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(ModelError::corrupt(file.rfilename.clone(), "blob", "the hub names the content by something that is no hash"));
        }
        if let Some(blob) = known.as_ref().map(|name| place.repo_cache().blob_path(name))
            && self.is_whole(file, &blob)?
        {
            state.done_bytes += file.bytes().unwrap_or(0);
            place.link(&file.rfilename, &blob)?;
            return Ok(false);
        }
        let partial = place.repo_cache().blob_path(&format!("{}.incomplete", known.as_deref().unwrap_or("unnamed")));
        make_parent(&partial)?;
        let outcome = self.fetch(file, place, (&partial, state, progress));
        let digest = match outcome {
            Ok(digest) => digest,
            Err(error) => {
                // What came is not worth keeping; the error that brought us here counts.
                let _gone_or_not = std::fs::remove_file(&partial);
                return Err(error);
            }
        };
        let blob = place.repo_cache().blob_path(known.as_deref().unwrap_or(&digest));
        std::fs::rename(&partial, &blob).map_err(|error| ModelError::io(&blob, &error))?;
        place.link(&file.rfilename, &blob)?;
        Ok(true)
    }

    /// True when the blob is there with the size, and for LFS files the hash, the hub gives.
    fn is_whole(&self, file: &Sibling, blob: &Path) -> Result<bool, ModelError> {
        let Ok(about) = std::fs::metadata(blob) else { return Ok(false) };
        if file.bytes().is_some_and(|bytes| bytes != about.len()) {
            return Ok(false);
        }
        match &file.lfs {
            Some(lfs) => Ok(hash_file(blob)?.1.eq_ignore_ascii_case(&lfs.sha256)),
            None => Ok(true),
        }
    }

    /// Downloads to `partial`, checks size and hash, gives the sha256.
    fn fetch(
        &self,
        file: &Sibling,
        place: &Place,
        (partial, state, progress): (&Path, &mut PullProgress, PullWatch<'_>),
    ) -> Result<String, ModelError> {
        let url = format!("{}/{}/resolve/{}/{}", self.options.endpoint, place.repo.url(), place.commit, file.rfilename);
        let mut body = self.get(&url)?.into_reader();
        let mut out = File::create(partial).map_err(|error| ModelError::io(partial, &error))?;
        let mut hash = Sha256::new();
        let mut block = vec![0u8; BLOCK_BYTES];
        let mut total = 0u64;
        loop {
            let count = body.read(&mut block).map_err(|error| ModelError::Network { url: url.clone(), reason: error.to_string() })?;
            if count == 0 {
                break;
            }
            total += count as u64;
            if file.bytes().is_some_and(|bytes| total > bytes) {
                return Err(ModelError::corrupt(
                    file.rfilename.clone(),
                    "size",
                    format!("more bytes came than the {} that the hub announced", file.bytes().unwrap_or(0)),
                ));
            }
            hash.update(&block[..count]);
            out.write_all(&block[..count]).map_err(|error| ModelError::io(partial, &error))?;
            state.done_bytes += count as u64;
            if !progress(state) {
                return Err(ModelError::Stopped);
            }
        }
        out.sync_all().map_err(|error| ModelError::io(partial, &error))?;
        let digest = hex(&hash.finalize());
        if let Some(bytes) = file.bytes().filter(|&bytes| bytes != total) {
            return Err(ModelError::corrupt(file.rfilename.clone(), "size", format!("{total} bytes came, the hub announced {bytes}")));
        }
        if let Some(lfs) = file.lfs.as_ref().filter(|lfs| !lfs.sha256.eq_ignore_ascii_case(&digest)) {
            return Err(ModelError::corrupt(file.rfilename.clone(), "sha256", format!("found {digest}, the hub announced {}", lfs.sha256)));
        }
        Ok(digest)
    }
}
