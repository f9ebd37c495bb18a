//! From a request's vectors to rows of `f32`: shapes and bounds at admission, values (and what is wrong with them) on the compute pool.

use std::borrow::Cow;

use bytes::Bytes;
use half::{bf16, f16};
use rayon::prelude::*;
use tallow_kernels::{BitRows, KernelError, Operand, Rows, first_non_finite};

use crate::task::vector::{NonFinite, VECTOR_DIM_MAX, VECTOR_ELEMENTS_MAX, VectorInput};
use crate::task::{CancelHandle, Dtype, Part, Parts, TaskError};

/// Values that are converted as one piece of parallel work.
const PIECE: usize = 1 << 16;

/// Whole numbers up to here are exact as `f32`.
const WHOLE_MAX: f32 = ((1 << 24) - 1) as f32;

/// What an input looks like, known without touching its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shape {
    /// Number of rows, at least 1.
    pub(super) rows: usize,
    /// Elements per row, at least 1.
    pub(super) dim: usize,
    /// True for a one-dimensional input.
    pub(super) single: bool,
    /// Element type as it came.
    pub(super) dtype: Dtype,
}

impl Shape {
    /// Elements altogether.
    pub(super) fn elements(&self) -> usize {
        self.rows * self.dim
    }

    /// Bytes of the values as `f32`.
    pub(super) fn bytes(&self) -> u64 {
        self.elements() as u64 * 4
    }

    /// The shape of an answer with a row of `dim` for each row of this.
    pub(super) fn with_dim(&self, dim: usize) -> Vec<usize> {
        if self.single { vec![dim] } else { vec![self.rows, dim] }
    }
}

/// The shape of an input. Errors: `InvalidPayload` for a missing part, a shape that is no vector or matrix, zero or too large lengths, a dtype
/// without values.
pub(super) fn shape_of(field: &str, input: &VectorInput, parts: &Parts) -> Result<Shape, TaskError> {
    let (shape, dtype) = match input {
        VectorInput::Values { shape, .. } => (shape.as_slice(), Dtype::F32),
        VectorInput::Bytes(part) => (part.shape(), part.dtype()),
        VectorInput::Named(name) => {
            let part = named(field, name, parts)?;
            (part.shape(), part.dtype())
        }
    };
    let (rows, dim, single) = match *shape {
        [dim] => (1, dim, true),
        [rows, dim] => (rows, dim, false),
        _ => return Err(TaskError::invalid(field, format!("found {} dimensions; allowed: [n] or [rows, dim]", shape.len()))),
    };
    if rows == 0 || dim == 0 {
        return Err(TaskError::invalid(field, format!("found shape {shape:?}; neither length may be zero")));
    }
    if dim > VECTOR_DIM_MAX {
        return Err(TaskError::invalid(field, format!("found {dim} dimensions; at most {VECTOR_DIM_MAX} are allowed")));
    }
    if rows.checked_mul(dim).is_none_or(|elements| elements > VECTOR_ELEMENTS_MAX) {
        return Err(TaskError::invalid(field, format!("found {rows} rows of {dim}; at most {VECTOR_ELEMENTS_MAX} values are allowed")));
    }
    if matches!(dtype, Dtype::I32 | Dtype::U32 | Dtype::I64) {
        return Err(TaskError::invalid(field, format!("found dtype {}; allowed: f32, f64, f16, bf16, i8, u8 (packed bits)", dtype.name())));
    }
    Ok(Shape { rows, dim, single, dtype })
}

/// The shape of an input that must hold values, not packed bits.
pub(super) fn real_shape(field: &str, input: &VectorInput, parts: &Parts) -> Result<Shape, TaskError> {
    let shape = shape_of(field, input, parts)?;
    if shape.dtype == Dtype::U8 {
        return Err(TaskError::invalid(field, "dtype u8 holds packed bits, which only hamming and jaccard compare; dequantize them first"));
    }
    Ok(shape)
}

/// Errors: `InvalidPayload` when two inputs that must agree in dimension do not.
pub(super) fn same_dim(field: &str, shape: Shape, expected: (&str, Shape)) -> Result<(), TaskError> {
    let (other, expected) = expected;
    if shape.dim != expected.dim {
        return Err(TaskError::invalid(
            field,
            format!("found {} dimensions; `{other}` has {} and both must agree", shape.dim, expected.dim),
        ));
    }
    Ok(())
}

/// Rows of `f32` with the shape they came in.
#[derive(Debug)]
pub(super) struct Matrix<'a> {
    pub(super) values: Cow<'a, [f32]>,
    pub(super) shape: Shape,
}

impl Matrix<'_> {
    /// The rows as kernels take them.
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.values, self.shape.dim).expect("the shape was checked when the matrix was read")
    }
}

/// The values of an input as `f32`: `f64` is rounded, smaller types are widened exactly.
///
/// Errors: those of [`real_shape`]; `InvalidPayload` with the index of the first value that is not finite (unless allowed) or does not fit `f32`.
pub(super) fn read<'a>(field: &str, input: &'a VectorInput, parts: &'a Parts, non_finite: NonFinite) -> Result<Matrix<'a>, TaskError> {
    let shape = real_shape(field, input, parts)?;
    let part = match input {
        VectorInput::Values { values, .. } => return Ok(Matrix { values: Cow::Borrowed(values), shape }),
        VectorInput::Bytes(part) => part,
        VectorInput::Named(name) => named(field, name, parts)?,
    };
    let values = widen(part);
    // A value that overflowed on its way from f64 is refused even where NaN and infinities are welcome.
    let overflows = |index: usize| part.dtype() == Dtype::F64 && values[index].is_infinite() && f64_at(part, index).is_finite();
    let index = match non_finite {
        NonFinite::Refuse => first_non_finite(&values),
        NonFinite::Allow if part.dtype() == Dtype::F64 => {
            (0..values.len()).into_par_iter().with_min_len(PIECE).find_first(|index| overflows(*index))
        }
        NonFinite::Allow => None,
    };
    if let Some(index) = index {
        let path =
            if shape.single { format!("{field}[{index}]") } else { format!("{field}[{}][{}]", index / shape.dim, index % shape.dim) };
        let reason = if overflows(index) {
            format!("{:e} does not fit f32, whose largest magnitude is {:e}", f64_at(part, index), f32::MAX)
        } else {
            format!("found {}; values must be finite", values[index])
        };
        return Err(TaskError::invalid(path, reason));
    }
    Ok(Matrix { values, shape })
}

/// The finite values of an input.
pub(super) fn read_finite<'a>(field: &str, input: &'a VectorInput, parts: &'a Parts) -> Result<Matrix<'a>, TaskError> {
    read(field, input, parts, NonFinite::Refuse)
}

/// Values or packed bits.
#[derive(Debug)]
pub(super) enum Loaded<'a> {
    Real(Matrix<'a>),
    Bits { bytes: Bytes, shape: Shape },
}

impl Loaded<'_> {
    /// The rows as kernels take them; every bit of a byte is a dimension.
    pub(super) fn operand(&self) -> Operand<'_> {
        match self {
            Self::Real(matrix) => matrix.rows().into(),
            Self::Bits { bytes, shape } => BitRows::new(bytes, shape.dim * 8).expect("whole bytes have no padding bits").into(),
        }
    }
}

/// Values, or packed bits where the dtype is `u8`. Errors: those of [`read`].
pub(super) fn load<'a>(field: &str, input: &'a VectorInput, parts: &'a Parts, non_finite: NonFinite) -> Result<Loaded<'a>, TaskError> {
    let shape = shape_of(field, input, parts)?;
    if shape.dtype != Dtype::U8 {
        return read(field, input, parts, non_finite).map(Loaded::Real);
    }
    Ok(Loaded::Bits { bytes: raw_bytes(field, input, parts)?, shape })
}

/// Errors: `InvalidPayload` unless the input is `count` whole numbers `[count]`, as far as that can be told without touching them.
pub(super) fn check_integers(field: &str, input: &VectorInput, parts: &Parts, count: usize) -> Result<(), TaskError> {
    let (shape, dtype) = match input {
        VectorInput::Values { shape, .. } => (shape.as_slice(), Dtype::I64),
        VectorInput::Bytes(part) => (part.shape(), part.dtype()),
        VectorInput::Named(name) => {
            let part = named(field, name, parts)?;
            (part.shape(), part.dtype())
        }
    };
    if !matches!(dtype, Dtype::I64 | Dtype::I32 | Dtype::U32) {
        return Err(TaskError::invalid(field, format!("found dtype {}; allowed: i64, i32, u32, or JSON numbers", dtype.name())));
    }
    if shape != [count] {
        return Err(TaskError::invalid(field, format!("found shape {shape:?}; one number for each vector is needed: [{count}]")));
    }
    Ok(())
}

/// The numbers of an input that [`check_integers`] let pass. Errors: `InvalidPayload` with the index of a JSON number that is no whole number.
pub(super) fn read_integers(field: &str, input: &VectorInput, parts: &Parts) -> Result<Vec<i64>, TaskError> {
    let part = match input {
        VectorInput::Values { values, .. } => {
            if let Some(index) = values.iter().position(|value| value.fract() != 0.0 || value.abs() > WHOLE_MAX) {
                let reason =
                    format!("found {}; allowed: whole numbers of at most {WHOLE_MAX} in JSON, larger ones as bytes", values[index]);
                return Err(TaskError::invalid(format!("{field}[{index}]"), reason));
            }
            return Ok(values.iter().map(|value| *value as i64).collect());
        }
        VectorInput::Bytes(part) => part,
        VectorInput::Named(name) => named(field, name, parts)?,
    };
    let convert: fn(&[u8]) -> i64 = match part.dtype() {
        Dtype::I32 => |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
        Dtype::U32 => |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]).into(),
        _ => |b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
    };
    Ok(part.bytes().chunks_exact(part.dtype().size_bytes()).map(convert).collect())
}

/// The bytes of an input that came as bytes. Errors: `InvalidPayload` when it came as JSON numbers or its part is missing.
pub(super) fn raw_bytes(field: &str, input: &VectorInput, parts: &Parts) -> Result<Bytes, TaskError> {
    match input {
        VectorInput::Values { .. } => Err(TaskError::invalid(field, "found JSON numbers where bytes are needed")),
        VectorInput::Bytes(part) => Ok(part.bytes().clone()),
        VectorInput::Named(name) => Ok(named(field, name, parts)?.bytes().clone()),
    }
}

/// A kernel's refusal as the task's: a stop is the cause of the cancellation.
pub(super) fn refused(field: &str, error: KernelError, cancel: &CancelHandle) -> TaskError {
    match error {
        KernelError::Stopped => cancel.cause(),
        KernelError::NotRepresentable { row, column, .. } => TaskError::invalid(format!("{field}[{row}][{column}]"), error.to_string()),
        error => TaskError::invalid(field, error.to_string()),
    }
}

fn named<'a>(field: &str, name: &str, parts: &'a Parts) -> Result<&'a Part, TaskError> {
    parts.get(name).ok_or_else(|| {
        let known: Vec<_> = parts.keys().map(String::as_str).take(16).collect();
        TaskError::invalid(field, format!("no binary part is named `{name}`; the payload has: [{}]", known.join(", ")))
    })
}

fn f64_at(part: &Part, index: usize) -> f64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&part.bytes()[index * 8..][..8]);
    f64::from_le_bytes(bytes)
}

/// The values of a part as `f32`; borrowed where the bytes are `f32` of this processor's byte order at a suitable address.
fn widen(part: &Part) -> Cow<'_, [f32]> {
    if part.dtype() == Dtype::F32
        && cfg!(target_endian = "little")
        && let Ok(values) = bytemuck::try_cast_slice(part.bytes())
    {
        return Cow::Borrowed(values);
    }
    let mut values = vec![0.0f32; part.bytes().len() / part.dtype().size_bytes()];
    widen_into(part.dtype(), part.bytes(), &mut values);
    Cow::Owned(values)
}

/// Little-endian numbers as `f32`, one for each of `values`. Splits over the rayon pool.
pub(super) fn widen_into(dtype: Dtype, bytes: &[u8], values: &mut [f32]) {
    let size = dtype.size_bytes();
    let convert: fn(&[u8]) -> f32 = match dtype {
        Dtype::F32 => |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        Dtype::F64 => |b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
        Dtype::F16 => |b| f16::from_le_bytes([b[0], b[1]]).to_f32(),
        Dtype::Bf16 => |b| bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        Dtype::I8 => |b| f32::from(b[0] as i8),
        Dtype::U8 => |b| f32::from(b[0]),
        Dtype::I32 => |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
        Dtype::U32 => |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32,
        Dtype::I64 => |b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
    };
    values.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE * size)).for_each(|(values, bytes)| {
        values.iter_mut().zip(bytes.chunks_exact(size)).for_each(|(value, bytes)| *value = convert(bytes));
    });
}
