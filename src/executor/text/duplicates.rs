//! `near_duplicates`: MinHash (A. Broder, 1997) with LSH banding (P. Indyk and R. Motwani, 1998), every pair verified with the true Jaccard index.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use super::frequencies::fold_word;
use super::normalize::collapse;
use super::similarity::{hash_bytes, jaccard, mix, shingle_hashes, word_hashes};
use super::{Operation, TextScope, TextState};
use crate::executor::operation::Cost;
use crate::task::text::{
    DUPLICATE_PAIRS_MAX, DuplicateGroup, DuplicatePair, MINHASH_PERMUTATIONS_MAX, NearDuplicatesOutput, NearDuplicatesRequest,
    SHINGLE_SIZE_MAX, Shingles, TEXT_BYTES_MAX, TEXTS_MAX, check_range, check_share,
};
use crate::task::{CancelHandle, Parts, TaskError};

/// Shingles as hashes: eight bytes per word or character, twice while they are sorted, and the folded text.
const BYTES_PER_BYTE: u64 = 24;
/// How many pairs are looked at between two looks at the cancellation token.
const CHECK_PAIRS: usize = 4_096;
/// The most verified pairs of different documents that are kept; a set with more is refused.
const CLASS_PAIRS_MAX: usize = 2_000_000;
/// What a listed pair takes in both forms of the answer.
const PAIR_BYTES: u64 = 640;
/// What a kept pair takes while pairs are listed.
const CLASS_PAIR_BYTES: u64 = 96;

pub(super) struct NearDuplicates;

impl Operation<TextState> for NearDuplicates {
    type Request = NearDuplicatesRequest;
    type Output = NearDuplicatesOutput;
    const NAME: &'static str = "near_duplicates";
    const SUMMARY: &'static str = "Finds near-duplicates in a set by MinHash and LSH, each pair verified.";

    fn check(request: &NearDuplicatesRequest, _state: &TextState, _parts: &Parts) -> Result<Cost, TaskError> {
        check_range("texts", request.texts.len(), 1..=TEXTS_MAX)?;
        for (idx, text) in request.texts.iter().enumerate() {
            if text.len() > TEXT_BYTES_MAX {
                let reason = format!("found {} bytes; at most {TEXT_BYTES_MAX} bytes per text are allowed", text.len());
                return Err(TaskError::invalid(format!("texts[{idx}]"), reason));
            }
        }
        check_share("threshold", request.threshold, 0.01..=1.0)?;
        check_range("shingle_size", request.shingle_size, 1..=SHINGLE_SIZE_MAX)?;
        check_range("permutations", request.permutations, 16..=MINHASH_PERMUTATIONS_MAX)?;
        check_range("pairs_max", request.pairs_max, 0..=DUPLICATE_PAIRS_MAX)?;
        if let Some(bands) = request.bands {
            check_range("bands", bands, 1..=request.permutations)?;
            if !request.permutations.is_multiple_of(bands) {
                let reason = format!("found {bands}; it must divide `permutations` ({})", request.permutations);
                return Err(TaskError::invalid("bands", reason));
            }
        }
        let bytes: u64 = request.texts.iter().map(|text| text.len() as u64).sum();
        let documents = request.texts.len() as u64;
        let signatures = documents * request.permutations as u64 * 8;
        // The order of one band at a time, verified pairs, and listed pairs in both forms of the answer.
        let pairs = documents.saturating_mul(documents) / 2;
        let tables =
            documents * 128 + pairs.min(CLASS_PAIRS_MAX as u64) * CLASS_PAIR_BYTES + pairs.min(request.pairs_max as u64) * PAIR_BYTES;
        let host_bytes = bytes.saturating_mul(BYTES_PER_BYTE).saturating_add(signatures).saturating_add(tables);
        Ok(Cost { host_bytes, parallel: bytes >= super::documents::PARALLEL_BYTES_MIN })
    }

    fn run(request: &NearDuplicatesRequest, scope: &TextScope<'_>) -> Result<NearDuplicatesOutput, TaskError> {
        let sets: Vec<Vec<u64>> = request
            .texts
            .par_iter()
            .map(|text| {
                scope.cancel.check()?;
                shingle_set(text, request, scope.cancel)
            })
            .collect::<Result<_, TaskError>>()?;
        let bands = request.bands.unwrap_or_else(|| choose_bands(request.permutations, request.threshold));
        let rows = request.permutations / bands;

        // Equal sets are one class: a set of many copies costs no more than its different members.
        let mut classes: BTreeMap<&[u64], Vec<usize>> = BTreeMap::new();
        for (idx, set) in sets.iter().enumerate() {
            classes.entry(set).or_default().push(idx);
        }
        let mut members: Vec<Vec<usize>> = classes.into_values().collect();
        members.sort_unstable_by_key(|class| class[0]);
        let seeds: Vec<u64> = (0..request.permutations as u64).map(|idx| mix(request.seed ^ mix(idx.wrapping_add(1)))).collect();
        let signatures: Vec<Vec<u64>> = members
            .par_iter()
            .map(|class| {
                scope.cancel.check()?;
                Ok(signature(&sets[class[0]], &seeds))
            })
            .collect::<Result<_, TaskError>>()?;

        let verify = |a: usize, b: usize| {
            let jaccard = set_jaccard(&sets[members[a][0]], &sets[members[b][0]]);
            (jaccard >= request.threshold).then(|| ClassPair { a, b, jaccard, estimated: estimate(&signatures[a], &signatures[b]) })
        };
        // Empty documents are near-duplicates of nothing but each other, which their class says already.
        let banded: Vec<usize> = (0..members.len()).filter(|&class| !sets[members[class][0]].is_empty()).collect();
        let found = verified_pairs(&signatures, &banded, (bands, rows), scope.cancel, verify)?;
        let mut output = assemble(request, &members, &found, scope.cancel)?;
        (output.bands, output.rows_per_band) = (bands, rows);
        output.recall_at_threshold = recall(request.threshold, bands, rows);
        Ok(output)
    }
}

struct ClassPair {
    a: usize,
    b: usize,
    jaccard: f64,
    estimated: f64,
}

/// The sorted set of a document's shingles.
fn shingle_set(text: &str, request: &NearDuplicatesRequest, cancel: &CancelHandle) -> Result<Vec<u64>, TaskError> {
    let folded = fold_word(text);
    let units = match request.shingles {
        Shingles::Words => word_hashes(&folded, cancel)?,
        Shingles::Characters => collapse(&folded).chars().map(|character| hash_bytes(&u32::from(character).to_le_bytes())).collect(),
    };
    let mut set = shingle_hashes(&units, request.shingle_size);
    set.sort_unstable();
    set.dedup();
    Ok(set)
}

/// The least value of every hash function over the set.
fn signature(set: &[u64], seeds: &[u64]) -> Vec<u64> {
    let mut least = vec![u64::MAX; seeds.len()];
    for &shingle in set {
        for (least, seed) in least.iter_mut().zip(seeds) {
            // Shingles are well mixed; one round under another seed is another function.
            let hash = (shingle ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *least = (*least).min(hash ^ (hash >> 32));
        }
    }
    least
}

fn estimate(a: &[u64], b: &[u64]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len().max(1) as f64
}

fn set_jaccard(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += usize::from(x == y);
        (i, j) = (i + usize::from(x <= y), j + usize::from(y <= x));
    }
    jaccard(shared, a.len(), b.len())
}

/// The chance that a pair of this Jaccard index shares a band.
fn recall(jaccard: f64, bands: usize, rows: usize) -> f64 {
    let exponent = |value: usize| i32::try_from(value).unwrap_or(i32::MAX);
    1.0 - (1.0 - jaccard.powi(exponent(rows))).powi(exponent(bands))
}

/// The fewest bands that find at least 99 in 100 pairs at the threshold; all when none does.
fn choose_bands(permutations: usize, threshold: f64) -> usize {
    let divisors = (1..=permutations).filter(|bands| permutations.is_multiple_of(*bands));
    divisors.into_iter().find(|&bands| recall(threshold, bands, permutations / bands) >= 0.99).unwrap_or(permutations)
}

/// Pairs of classes that share a band and pass `verify`, each once, in order. A pair is looked at in the first band that it shares, so that candidates need
/// no memory. Errors: cancellation; `InvalidPayload` beyond [`CLASS_PAIRS_MAX`] pairs.
fn verified_pairs(
    signatures: &[Vec<u64>],
    classes: &[usize],
    (bands, rows): (usize, usize),
    cancel: &CancelHandle,
    verify: impl Fn(usize, usize) -> Option<ClassPair> + Sync,
) -> Result<Vec<ClassPair>, TaskError> {
    let mut found: Vec<ClassPair> = Vec::new();
    for band in 0..bands {
        let key = |class: usize| &signatures[class][band * rows..(band + 1) * rows];
        let mut order = classes.to_vec();
        order.sort_unstable_by(|&a, &b| key(a).cmp(key(b)).then(a.cmp(&b)));
        let is_first = |a: usize, b: usize| {
            (0..band).all(|earlier| signatures[a][earlier * rows..][..rows] != signatures[b][earlier * rows..][..rows])
        };
        for bucket in order.chunk_by(|&a, &b| key(a) == key(b)) {
            for (place, &a) in bucket.iter().enumerate() {
                for others in bucket[place + 1..].chunks(CHECK_PAIRS) {
                    cancel.check()?;
                    found.par_extend(others.par_iter().filter(|&&b| is_first(a, b)).filter_map(|&b| verify(a, b)));
                    if found.len() > CLASS_PAIRS_MAX {
                        let reason =
                            format!("more than {CLASS_PAIRS_MAX} pairs of different near-duplicates; raise `threshold` or split the set");
                        return Err(TaskError::invalid("texts", reason));
                    }
                }
            }
        }
    }
    found.sort_unstable_by_key(|pair| (pair.a, pair.b));
    Ok(found)
}

/// Groups, and pairs of documents from pairs of classes.
fn assemble(
    request: &NearDuplicatesRequest,
    members: &[Vec<usize>],
    found: &[ClassPair],
    cancel: &CancelHandle,
) -> Result<NearDuplicatesOutput, TaskError> {
    let count = request.texts.len();
    let mut roots: Vec<usize> = (0..count).collect();
    let mut pair_count = 0_u64;
    for class in members {
        pair_count += (class.len() as u64) * (class.len() as u64 - 1) / 2;
        class.iter().for_each(|&member| unite(&mut roots, class[0], member));
    }
    for pair in found {
        pair_count += members[pair.a].len() as u64 * members[pair.b].len() as u64;
        unite(&mut roots, members[pair.a][0], members[pair.b][0]);
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for idx in 0..count {
        let root = find(&mut roots, idx);
        groups.entry(root).or_default().push(idx);
    }
    let distinct_count = groups.len();
    let mut groups: Vec<DuplicateGroup> =
        groups.into_values().filter(|group| group.len() > 1).map(|members| DuplicateGroup { members }).collect();
    groups.sort_unstable_by_key(|group| group.members[0]);
    let pairs = list_pairs(request.pairs_max, members, found, cancel)?;
    Ok(NearDuplicatesOutput {
        pairs_truncated: (pairs.len() as u64) < pair_count,
        groups,
        pairs,
        pair_count,
        distinct_count,
        bands: 0,
        rows_per_band: 0,
        recall_at_threshold: 0.0,
    })
}

/// The first `pairs_max` pairs in order, from the partners of each document in turn.
fn list_pairs(
    pairs_max: usize,
    members: &[Vec<usize>],
    found: &[ClassPair],
    cancel: &CancelHandle,
) -> Result<Vec<DuplicatePair>, TaskError> {
    let mut partners: HashMap<usize, Vec<(usize, f64, f64)>> = HashMap::new();
    for pair in found {
        partners.entry(pair.a).or_default().push((pair.b, pair.estimated, pair.jaccard));
        partners.entry(pair.b).or_default().push((pair.a, pair.estimated, pair.jaccard));
    }
    let mut documents: Vec<(usize, usize)> =
        members.iter().enumerate().flat_map(|(class, members)| members.iter().map(move |&document| (document, class))).collect();
    documents.sort_unstable();
    let mut pairs = Vec::new();
    for (a, class) in documents {
        if pairs.len() >= pairs_max {
            break;
        }
        cancel.check()?;
        let own = std::iter::once((class, 1.0, 1.0));
        let mut row: Vec<DuplicatePair> = own
            .chain(partners.get(&class).into_iter().flatten().copied())
            .flat_map(|(other, estimated, jaccard)| {
                members[other].iter().filter(move |&&b| b > a).map(move |&b| DuplicatePair { a, b, estimated, jaccard })
            })
            .collect();
        row.sort_unstable_by_key(|pair| pair.b);
        pairs.extend(row);
    }
    pairs.truncate(pairs_max);
    Ok(pairs)
}

fn find(roots: &mut [usize], mut idx: usize) -> usize {
    while roots[idx] != idx {
        roots[idx] = roots[roots[idx]];
        idx = roots[idx];
    }
    idx
}

/// The smaller index becomes the root.
fn unite(roots: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find(roots, a), find(roots, b));
    roots[a.max(b)] = a.min(b);
}
