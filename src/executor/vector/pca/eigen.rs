//! Eigenvectors of symmetric matrices, in steps that can be stopped: Householder reflections to a tridiagonal matrix, QL rotations with implicit shifts
//! to a diagonal one (G. Golub and C. Van Loan, "Matrix computations", sections 8.3.1 and 8.3.3).

use ndarray::{Array1, Array2, ArrayViewMut1, Axis};
use rayon::prelude::*;

use crate::task::{CancelHandle, TaskError};

/// Most sweeps for one eigenvalue; two or three are the rule.
const SWEEPS_MAX: usize = 60;
/// Columns of the vectors that one thread turns.
const STRIP: usize = 64;
/// Rows of the matrix that one thread reflects, at least.
const ROWS: usize = 32;

/// The largest eigenvalues, greatest first, and their unit vectors as rows.
pub(super) struct Eigen {
    pub(super) values: Vec<f64>,
    pub(super) vectors: Array2<f64>,
}

/// The `count` largest eigenvalues of a symmetric matrix of finite numbers. Values below zero, which rounding makes of zero, become zero.
///
/// The order of additions does not depend on the threads. Errors: the cause of a cancel; `Internal` when the sweeps do not end, which no finite matrix brings about.
pub(super) fn decompose(symmetric: &Array2<f64>, count: usize, cancel: &CancelHandle) -> Result<Eigen, TaskError> {
    let Tridiagonal { mut diagonal, mut beside, reflections } = Tridiagonal::of(symmetric.clone(), cancel)?;
    let mut vectors = Array2::eye(diagonal.len());
    rotate(&mut diagonal, &mut beside, &mut vectors, cancel)?;
    let mut order: Vec<usize> = (0..diagonal.len()).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
    order.truncate(count);
    let mut vectors = vectors.select(Axis(0), &order);
    vectors.axis_iter_mut(Axis(0)).into_par_iter().try_for_each(|mut vector| {
        cancel.check()?;
        for (first, reflection) in reflections.iter().enumerate().rev() {
            reflection.apply(vector.slice_axis_mut(Axis(0), (first + 1..).into()));
        }
        Ok::<_, TaskError>(())
    })?;
    Ok(Eigen { values: order.iter().map(|index| diagonal[*index].max(0.0)).collect(), vectors })
}

/// `I - scale v vᵀ`.
struct Reflection {
    vector: Array1<f64>,
    scale: f64,
}

impl Reflection {
    fn apply(&self, mut to: ArrayViewMut1<'_, f64>) {
        let share = self.scale * self.vector.dot(&to);
        to.scaled_add(-share, &self.vector);
    }
}

/// A matrix with the same eigenvalues that has numbers on and beside its diagonal only.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Between each number of the diagonal and the next.
    beside: Vec<f64>,
    /// The first changes all dimensions but the first, and so on.
    reflections: Vec<Reflection>,
}

impl Tridiagonal {
    fn of(mut matrix: Array2<f64>, cancel: &CancelHandle) -> Result<Self, TaskError> {
        let side = matrix.nrows();
        let (mut diagonal, mut beside, mut reflections) = (Vec::with_capacity(side), Vec::with_capacity(side), Vec::with_capacity(side));
        for step in 0..side {
            cancel.check()?;
            diagonal.push(matrix[[step, step]]);
            if step + 2 > side {
                break;
            }
            let mut vector = matrix.row(step).slice_axis(Axis(0), (step + 1..).into()).to_owned();
            // Scaled, so that no square leaves the range of f64.
            let largest = vector.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
            if vector.len() == 1 || largest == 0.0 {
                beside.push(vector[0]);
                reflections.push(Reflection { vector, scale: 0.0 });
                continue;
            }
            vector /= largest;
            let length = vector.dot(&vector).sqrt();
            let turned = if vector[0] > 0.0 { -length } else { length };
            beside.push(turned * largest);
            vector[0] -= turned;
            let reflection = Reflection { scale: 2.0 / vector.dot(&vector), vector };
            reflection.apply_both_sides(&mut matrix, step + 1);
            reflections.push(reflection);
        }
        Ok(Self { diagonal, beside, reflections })
    }
}

impl Reflection {
    /// Applies it from both sides to the symmetric matrix of the rows and columns from `first` on.
    fn apply_both_sides(&self, matrix: &mut Array2<f64>, first: usize) {
        let mut rows = matrix.slice_axis_mut(Axis(0), (first..).into());
        let mut block = rows.slice_axis_mut(Axis(1), (first..).into());
        let rows: Vec<f64> =
            block.axis_iter(Axis(0)).into_par_iter().with_min_len(ROWS).map(|row| self.scale * row.dot(&self.vector)).collect();
        let mut change = Array1::from_vec(rows);
        let share = 0.5 * self.scale * change.dot(&self.vector);
        change.scaled_add(-share, &self.vector);
        let rows = block.axis_iter_mut(Axis(0)).into_par_iter().with_min_len(ROWS).enumerate();
        rows.for_each(|(row, mut out)| {
            let (left, right) = (self.vector[row], change[row]);
            for ((out, vector), change) in out.iter_mut().zip(&self.vector).zip(&change) {
                *out -= left * change + right * vector;
            }
        });
    }
}

/// Makes the matrix diagonal, and of the unit vectors in the rows of `vectors` its eigenvectors.
fn rotate(diagonal: &mut [f64], beside: &mut [f64], vectors: &mut Array2<f64>, cancel: &CancelHandle) -> Result<(), TaskError> {
    for first in 0..diagonal.len() {
        let mut sweeps = 0;
        loop {
            // The block that still hangs together with `first`.
            let is_loose = |at: &usize| beside[*at].abs() <= f64::EPSILON * (diagonal[*at].abs() + diagonal[*at + 1].abs());
            let last = (first..beside.len()).find(is_loose).unwrap_or(diagonal.len() - 1);
            if last == first {
                break;
            }
            cancel.check()?;
            sweeps += 1;
            if sweeps > SWEEPS_MAX {
                return Err(TaskError::internal("the decomposition did not end", format!("eigenvalue {first} of {}", diagonal.len())));
            }
            let rotations = sweep(diagonal, beside, first, last);
            turn(vectors, &rotations, last);
        }
    }
    Ok(())
}

/// One sweep over the block from `first` to `last`: cosine and sine of the rotation of each pair of neighbours, from the last to the first.
fn sweep(diagonal: &mut [f64], beside: &mut [f64], first: usize, last: usize) -> Vec<(f64, f64)> {
    // The eigenvalue of the leading two by two that is closer to its first number.
    let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let shift = diagonal[first] - beside[first] / (half + half.hypot(1.0).copysign(half));
    let mut rotations = Vec::with_capacity(last - first);
    let (mut cosine, mut sine, mut moved) = (1.0, 1.0, 0.0);
    let mut chased = diagonal[last] - shift;
    for at in (first..last).rev() {
        let (bulge, plain) = (sine * beside[at], cosine * beside[at]);
        let length = chased.hypot(bulge);
        if at + 1 < last {
            beside[at + 1] = length;
        }
        if length == 0.0 {
            // The block falls apart here, and the rest is for the next sweep.
            diagonal[at + 1] -= moved;
            if at + 1 < last {
                beside[at + 1] = 0.0;
            }
            return rotations;
        }
        (sine, cosine) = (bulge / length, chased / length);
        let base = diagonal[at + 1] - moved;
        let rest = (diagonal[at] - base) * sine + 2.0 * cosine * plain;
        moved = sine * rest;
        diagonal[at + 1] = base + moved;
        chased = cosine * rest - plain;
        rotations.push((cosine, sine));
    }
    diagonal[first] -= moved;
    beside[first] = chased;
    if let Some(loose) = beside.get_mut(last) {
        *loose = 0.0;
    }
    rotations
}

/// Turns neighbouring rows, the last pair first.
fn turn(vectors: &mut Array2<f64>, rotations: &[(f64, f64)], last: usize) {
    vectors.axis_chunks_iter_mut(Axis(1), STRIP).into_par_iter().for_each(|mut strip| {
        for (index, (cosine, sine)) in rotations.iter().enumerate() {
            let (mut above, mut below) = strip.view_mut().split_at(Axis(0), last - index);
            let (upper, lower) = (above.row_mut(last - index - 1), below.row_mut(0));
            for (upper, lower) in upper.into_iter().zip(lower) {
                let before = *lower;
                *lower = sine * *upper + cosine * before;
                *upper = cosine * *upper - sine * before;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::vector::random::SplitMix64;

    /// What makes a decomposition one: the matrix does to each vector what its value says, and the vectors are orthonormal.
    fn check(name: &str, matrix: &Array2<f64>) -> Vec<f64> {
        let side = matrix.nrows();
        let largest = matrix.iter().fold(f64::MIN_POSITIVE, |largest, value| largest.max(value.abs()));
        let Eigen { values, vectors } = decompose(matrix, side, &CancelHandle::default()).expect(name);
        let allowed = 1e-13 * side as f64;
        for (index, (value, vector)) in values.iter().zip(vectors.rows()).enumerate() {
            let off = matrix.dot(&vector).iter().zip(&vector).map(|(got, entry)| (got - value * entry).abs()).fold(0.0, f64::max);
            assert!(off <= allowed * largest, "{name}, {side}: value {index} is off by {off}");
            for (other, before) in vectors.rows().into_iter().enumerate().take(index + 1) {
                let want = f64::from(u8::from(other == index));
                assert!((before.dot(&vector) - want).abs() <= allowed, "{name}, {side}: vectors {other} and {index}");
            }
        }
        assert!(values.is_sorted_by(|a, b| a >= b), "{name}, {side}: {values:?}");
        values
    }

    /// Products of rows with each other: no value is below zero.
    fn products(side: usize, rank: usize, random: &mut SplitMix64) -> Array2<f64> {
        let rows = Array2::from_shape_simple_fn((side, rank), || random.normal());
        rows.dot(&rows.t())
    }

    #[test]
    fn matrices_of_every_kind_are_decomposed() {
        let mut random = SplitMix64::new(5);
        for side in (1..20).chain([64, 131]) {
            check("full rank", &products(side, side + 3, &mut random));
            let values = check("rank two", &products(side, 2.min(side), &mut random));
            assert!(values[2.min(side)..].iter().all(|value| *value <= 1e-12 * values[0]), "{values:?}");
            check("huge", &(products(side, side, &mut random) * 1e150));
            check("tiny", &(products(side, side, &mut random) * 1e-150));
            assert_eq!(check("zero", &Array2::zeros((side, side))), vec![0.0; side]);
            assert_eq!(check("identity", &Array2::eye(side)), vec![1.0; side]);
            let falling = Array2::from_diag(&Array1::from_iter((0..side).map(|at| 0.1f64.powi(at as i32))));
            check("falling", &falling);
            check("blocks", &Array2::from_shape_fn((side, side), |(row, column)| f64::from(u8::from(row / 3 == column / 3))));
        }
    }

    #[test]
    fn a_cancel_ends_it() {
        let cancel = CancelHandle::default();
        cancel.cancel(TaskError::Cancelled { reason: "enough".into() });
        assert!(matches!(decompose(&Array2::eye(3), 1, &cancel), Err(TaskError::Cancelled { .. })));
    }
}
