//! `matmul`.

use tallow_kernels::matmul::{RightLayout, matmul};

use super::VectorState;
use super::arithmetic::finite;
use super::input::{Shape, read_finite, real_shape, refused};
use super::output::{array_bytes, cost, emit};
use crate::executor::operation::{Cost, Operation, Scope};
use crate::task::vector::{MatmulRequest, Numbers, ProductOutput};
use crate::task::{Parts, TaskError};

/// The product of two matrices.
pub(super) struct Matmul;

impl Operation<VectorState> for Matmul {
    type Request = MatmulRequest;
    type Output = ProductOutput;
    const NAME: &'static str = "matmul";
    const SUMMARY: &'static str = "The product of two matrices, in f32; `transpose_b` takes rows of `b` as columns.";

    fn check(request: &Self::Request, _state: &VectorState, parts: &Parts) -> Result<Cost, TaskError> {
        let a = real_shape("a", &request.a, parts)?;
        let b = real_shape("b", &request.b, parts)?;
        let (inner, columns) = if request.transpose_b { (b.dim, b.rows) } else { (b.rows, b.dim) };
        if inner != a.dim {
            let (found, side) = if request.transpose_b { ("columns", "transposed") } else { ("rows", "as it is") };
            return Err(TaskError::invalid(
                "b",
                format!("used {side} it has {inner} {found}; `a` has {} columns and both must agree", a.dim),
            ));
        }
        let out = array_bytes("product", request.encoding, a.rows.saturating_mul(columns), 4)?;
        let work = (a.elements() as u64).saturating_mul(columns as u64);
        // Every thread may hold a padded block of 64 rows of both sides.
        let padding = 64 * 4 * (a.dim as u64 + columns as u64);
        Ok(cost(a.bytes() + b.bytes() + out + padding, work))
    }

    fn run(request: &Self::Request, scope: &Scope<'_, VectorState>) -> Result<Self::Output, TaskError> {
        let a = read_finite("a", &request.a, scope.parts)?;
        let b = read_finite("b", &request.b, scope.parts)?;
        let (layout, columns) =
            if request.transpose_b { (RightLayout::Transposed, b.shape.rows) } else { (RightLayout::AsIs, b.shape.dim) };
        let mut out = vec![0.0f32; a.shape.rows * columns];
        let stop = || scope.cancel.is_cancelled();
        matmul(a.rows(), (b.rows(), layout), &mut out, &stop).map_err(|error| refused("b", error, scope.cancel))?;
        let shape = a.shape.with_dim(columns);
        let out = finite("product", out, Shape { dim: columns, ..a.shape })?;
        let product = emit(scope, ("product", request.encoding), Numbers::F32(out), shape.clone())?;
        Ok(ProductOutput { shape, product })
    }
}
