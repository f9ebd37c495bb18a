//! `quantize` and `dequantize`.

use tallow_kernels::{BitRows, quantize as kernel};

use super::VectorState;
use super::input::{Matrix, Shape, raw_bytes, read_finite, real_shape, refused, shape_of};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{ArraysOutput, DequantizeRequest, Numbers, Quantization, QuantizeOutput, QuantizeRequest, VectorInput};
use crate::task::{Dtype, Parts, TaskError};

/// The same vectors in fewer bits.
pub(super) struct Quantize;

impl Operation<VectorState> for Quantize {
    type Request = QuantizeRequest;
    type Output = QuantizeOutput;
    const NAME: &'static str = "quantize";
    const SUMMARY: &'static str = "Vectors as f16, bf16, int8 with one scale per row, or one bit per value.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = real_shape("vectors", &request.vectors, parts)?;
        let (elements, size_bytes) = match request.to {
            Quantization::F16 | Quantization::Bf16 => (shape.elements(), 2),
            Quantization::Int8 => (shape.elements(), 1),
            Quantization::Binary => (shape.rows * shape.dim.div_ceil(8), 1),
        };
        let out = array_bytes("values", request.encoding, elements, size_bytes)?;
        let scales = array_bytes("scales", request.encoding, shape.rows, 4)?;
        Ok(cost(shape.bytes() + out + scales, shape.elements() as u64))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let matrix = read_finite("vectors", &request.vectors, scope.parts)?;
        let (rows, shape) = (matrix.rows(), matrix.shape);
        let refused = |error| refused("vectors", error, scope.cancel);
        let mut scales = None;
        let (numbers, width) = match request.to {
            Quantization::F16 => {
                let values = kernel::to_f16(rows).map_err(refused)?;
                (Numbers::Half(Dtype::F16, values.iter().flat_map(|value| value.to_le_bytes()).collect()), shape.dim)
            }
            Quantization::Bf16 => {
                let values = kernel::to_bf16(rows).map_err(refused)?;
                (Numbers::Half(Dtype::Bf16, values.iter().flat_map(|value| value.to_le_bytes()).collect()), shape.dim)
            }
            Quantization::Int8 => {
                let quantized = kernel::to_int8(rows).map_err(refused)?;
                scales = emit(scope, ("scales", request.encoding), Numbers::F32(quantized.scales), vec![shape.rows])?;
                (Numbers::I8(quantized.values), shape.dim)
            }
            Quantization::Binary => (Numbers::U8(kernel::to_bits(rows).map_err(refused)?), shape.dim.div_ceil(8)),
        };
        let values = emit(scope, ("values", request.encoding), numbers, shape.with_dim(width))?;
        Ok(QuantizeOutput { to: request.to, dimensions: shape.dim, values, scales })
    }
}

/// Back to `f32`.
pub(super) struct Dequantize;

impl Operation<VectorState> for Dequantize {
    type Request = DequantizeRequest;
    type Output = ArraysOutput;
    const NAME: &'static str = "dequantize";
    const SUMMARY: &'static str = "Vectors from f16, bf16, int8 with scales, or bits (set is 1, not set is -1).";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let shape = shape_of("values", &request.values, parts)?;
        check_dtype(request, shape.dtype)?;
        match (request.from, &request.scales) {
            (Quantization::Int8, None) => return Err(TaskError::invalid("scales", "missing; int8 needs one scale per row")),
            (Quantization::Int8, Some(scales)) => {
                let scales = real_shape("scales", scales, parts)?;
                if scales.elements() != shape.rows {
                    return Err(TaskError::invalid("scales", format!("found {} scales for {} rows", scales.elements(), shape.rows)));
                }
            }
            (_, Some(_)) => return Err(TaskError::invalid("scales", "only int8 has scales")),
            (_, None) => {}
        }
        let dim = dimensions(request, shape)?;
        let out = array_bytes("vectors", request.encoding, shape.rows.saturating_mul(dim), 4)?;
        Ok(cost(shape.bytes() + out, shape.rows as u64 * dim as u64))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let shape = shape_of("values", &request.values, scope.parts)?;
        let dim = dimensions(request, shape)?;
        let refused = |error| refused("values", error, scope.cancel);
        let values = match request.from {
            Quantization::F16 | Quantization::Bf16 => read_finite("values", &request.values, scope.parts)?.values.into_owned(),
            Quantization::Int8 => {
                let Some(scales) = &request.scales else { return Err(TaskError::invalid("scales", "missing")) };
                let scales = read_finite("scales", scales, scope.parts)?;
                let matrix = read_finite("values", &request.values, scope.parts)?;
                let integers = integers(&matrix, -127.0..=127.0)?.into_iter().map(|value| value as i8).collect::<Vec<_>>();
                kernel::from_int8(&integers, &scales.values, dim).map_err(refused)?
            }
            Quantization::Binary => {
                let bytes = match &request.values {
                    VectorInput::Values { .. } => {
                        let matrix = read_finite("values", &request.values, scope.parts)?;
                        integers(&matrix, 0.0..=255.0)?.into_iter().map(|value| value as u8).collect()
                    }
                    input => raw_bytes("values", input, scope.parts)?.to_vec(),
                };
                kernel::from_bits(BitRows::new(&bytes, dim).map_err(refused)?)
            }
        };
        let shape = shape.with_dim(dim);
        let vectors = emit(scope, ("vectors", request.encoding), Numbers::F32(values), shape.clone())?;
        Ok(ArraysOutput { shape, vectors, zero_rows: None })
    }
}

/// Errors: `InvalidPayload` when bytes have another dtype than the form they shall be in.
fn check_dtype(request: &DequantizeRequest, dtype: Dtype) -> Result<(), TaskError> {
    let expected = match request.from {
        Quantization::F16 => Dtype::F16,
        Quantization::Bf16 => Dtype::Bf16,
        Quantization::Int8 => Dtype::I8,
        Quantization::Binary => Dtype::U8,
    };
    if !matches!(request.values, VectorInput::Values { .. }) && dtype != expected {
        return Err(TaskError::invalid("values", format!("found dtype {}; this form is {}", dtype.name(), expected.name())));
    }
    Ok(())
}

/// Values per row of the answer. Errors: `InvalidPayload` when `dimensions` does not belong to the row's bytes.
fn dimensions(request: &DequantizeRequest, shape: Shape) -> Result<usize, TaskError> {
    match (request.from, request.dimensions) {
        (Quantization::Binary, None) => Ok(shape.dim * 8),
        (Quantization::Binary, Some(bits)) if bits.div_ceil(8) == shape.dim => Ok(bits),
        (Quantization::Binary, Some(bits)) => Err(TaskError::invalid(
            "dimensions",
            format!("found {bits}; rows of {} bytes hold {} to {} bits", shape.dim, shape.dim * 8 - 7, shape.dim * 8),
        )),
        (_, None) => Ok(shape.dim),
        (_, Some(_)) => Err(TaskError::invalid("dimensions", "only binary needs it")),
    }
}

/// Values that must be whole numbers of a range. Errors: `InvalidPayload` with the index of the first that is not.
fn integers(matrix: &Matrix<'_>, range: std::ops::RangeInclusive<f32>) -> Result<Vec<i32>, TaskError> {
    let dim = matrix.shape.dim;
    if let Some(index) = matrix.values.iter().position(|value| value.fract() != 0.0 || !range.contains(value)) {
        let path = if matrix.shape.single { format!("values[{index}]") } else { format!("values[{}][{}]", index / dim, index % dim) };
        let (start, end) = (range.start(), range.end());
        return Err(TaskError::invalid(path, format!("found {}; allowed: whole numbers {start} to {end}", matrix.values[index])));
    }
    Ok(matrix.values.iter().map(|value| *value as i32).collect())
}
