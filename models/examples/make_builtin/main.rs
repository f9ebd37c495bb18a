//! Makes the weights of the built-in embedder from all-MiniLM-L6-v2: `make_builtin MODEL_DIR OUT_DIR`.
//!
//! Every piece of the vocabulary goes through the model alone, between its two special tokens, and the last hidden state of the piece itself is
//! taken: measured better here than the mean over the three. Centred, rotated by PCA to 256 components, each divided by the square root of its
//! standard deviation (which keeps the few loud directions from drowning the rest), and packed to 4 bits with one scale per row.
//! All arithmetic is f64, so that the last bits, which differ between processors, vanish in the rounding: the file comes out the same everywhere.

mod encoder;

use std::collections::HashMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use candle_core::{Device, IndexOp, Tensor};
use encoder::Encoder;
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use sha2::{Digest, Sha256};
use tallow_models::builtin::table::{ROW_BYTES, ROWS, SCALES, TOKEN_DIM, pack};
use tallow_models::builtin::{FILE, PIECE_COUNT};

const MODEL_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
const VOCABULARY_SHA256: &str = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3";
const CLASSIFY: u32 = 101;
const SEPARATE: u32 = 102;
/// Pieces per forward pass: a few MiB of activations.
const PIECES_PER_PASS: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(model), Some(out), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: make_builtin MODEL_DIR OUT_DIR".into());
    };
    let weights = read_checked(&model.join("model.safetensors"), MODEL_SHA256)?;
    let vocabulary = read_checked(&model.join("vocab.txt"), VOCABULARY_SHA256)?;
    let config = serde_json::from_slice(&std::fs::read(model.join("config.json"))?)?;
    let states = piece_states(&Encoder::new(&weights, config)?)?;
    let components = principal_components(states);
    let file = out.join(FILE);
    write(&components, &file)?;
    std::fs::write(out.join("vocab.txt"), vocabulary)?;
    println!("{}  {}", hex_digest(&std::fs::read(&file)?), file.display());
    Ok(())
}

fn read_checked(path: &Path, sha256: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found = hex_digest(&bytes);
    if found == sha256 { Ok(bytes) } else { Err(format!("{}: sha256 {found}, expected {sha256}", path.display()).into()) }
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The last hidden state of every piece between the special tokens: `[PIECE_COUNT, hidden]` f64.
fn piece_states(encoder: &Encoder) -> Result<DMatrix<f64>, Box<dyn Error>> {
    let mut states = Vec::new();
    let pieces: Vec<u32> = (0..PIECE_COUNT as u32).collect();
    for pass in pieces.chunks(PIECES_PER_PASS) {
        let ids: Vec<u32> = pass.iter().flat_map(|piece| [CLASSIFY, *piece, SEPARATE]).collect();
        let hidden = encoder.forward(&Tensor::from_vec(ids, (pass.len(), 3), &Device::Cpu)?)?;
        states.extend(hidden.i((.., 1, ..))?.contiguous()?.flatten_all()?.to_vec1::<f64>()?);
        eprint!("\r{} of {PIECE_COUNT} pieces", pass.last().map_or(0, |piece| piece + 1));
    }
    eprintln!();
    Ok(DMatrix::from_row_slice(PIECE_COUNT, states.len() / PIECE_COUNT, &states))
}

/// Centres the rows and projects them on the first `TOKEN_DIM` principal axes, each divided by the square root of its standard deviation.
fn principal_components(mut states: DMatrix<f64>) -> DMatrix<f64> {
    let mean = states.row_mean();
    states.row_iter_mut().for_each(|mut row| row -= &mean);
    let eigen = SymmetricEigen::new(states.transpose() * &states / PIECE_COUNT as f64);
    let mut order: Vec<usize> = (0..eigen.eigenvalues.len()).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    let axes: Vec<DVector<f64>> = order[..TOKEN_DIM]
        .iter()
        .map(|place| {
            let axis = eigen.eigenvectors.column(*place);
            // An axis has no direction of its own: its largest entry is made positive.
            let sign = axis[axis.iamax()].signum();
            axis * (sign / eigen.eigenvalues[*place].powf(0.25))
        })
        .collect();
    states * DMatrix::from_columns(&axes)
}

fn write(components: &DMatrix<f64>, file: &Path) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::with_capacity(PIECE_COUNT * ROW_BYTES);
    let mut scales = Vec::with_capacity(PIECE_COUNT * 4);
    for row in components.row_iter() {
        let (bytes, scale) = pack(&std::array::from_fn(|at| row[at]));
        rows.extend(bytes);
        scales.extend(scale.to_le_bytes());
    }
    let tensors = [
        (ROWS, TensorView::new(Dtype::U8, vec![PIECE_COUNT, ROW_BYTES], &rows)?),
        (SCALES, TensorView::new(Dtype::F32, vec![PIECE_COUNT], &scales)?),
    ];
    // One entry only: the library writes the map in no fixed order.
    let origin = "static token vectors derived from sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0); see NOTICE".to_owned();
    serialize_to_file(tensors, Some(HashMap::from([("origin".to_owned(), origin)])), file)?;
    Ok(())
}
