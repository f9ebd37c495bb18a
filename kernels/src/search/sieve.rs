//! The tests of a strip of rows against all queries, and the few products that pass.

use std::cmp::Ordering;

use super::bound::Bound;
use super::candidates::Candidates;
use super::packed::Packed;
use super::strip::Facts;
use crate::Isa;
use crate::gemm::strip::Sums;
use crate::gemm::{PANEL_COLUMNS, STRIP_ROWS};

/// The tests of all queries, whole panels; those behind the last query pass for rows without bounds alone.
#[derive(Default)]
pub(super) struct Tests {
    pub alpha: Vec<f32>,
    pub beta: Vec<f32>,
    pub gamma: Vec<f32>,
    pub rho: Vec<f32>,
}

impl Tests {
    pub(super) fn new(packed: &Packed, candidates: &[Candidates]) -> Self {
        let columns = packed.panels() * PANEL_COLUMNS;
        let none = || vec![0.0; columns];
        let mut tests = Self { alpha: none(), beta: none(), gamma: vec![f32::INFINITY; columns], rho: none() };
        for (query, candidates) in candidates.iter().enumerate() {
            tests.set(packed, (query, candidates));
        }
        tests
    }

    /// Brings the test of a query up to its floor.
    pub(super) fn set(&mut self, packed: &Packed, (query, candidates): (usize, &Candidates)) {
        let bound: &Bound = &packed.bounds[query];
        let test = bound.test(candidates.floor(), packed.scales[query].into());
        (self.alpha[query], self.beta[query], self.gamma[query], self.rho[query]) = (test.alpha, test.beta, test.gamma, test.rho);
    }
}

/// Products that passed: which, and the product as the kernel computed it, multiplied with the row's scale.
pub(super) struct Passed {
    /// Row of the strip plus 32 times the column.
    pub places: Vec<u32>,
    pub products: Vec<f32>,
    pub len: usize,
}

impl Passed {
    /// Room for all products of a strip and this many panels, and for one vector beyond them.
    pub(super) fn new(panels: usize) -> Self {
        let room = panels * PANEL_COLUMNS * STRIP_ROWS + PANEL_COLUMNS;
        Self { places: vec![0; room], products: vec![0.0; room], len: 0 }
    }

    fn push(&mut self, row: usize, column: usize, product: f32) {
        (self.places[self.len], self.products[self.len]) = ((row + STRIP_ROWS * column) as u32, product);
        self.len += 1;
    }
}

/// A block of products: its panel, and whether they are whole numbers.
#[derive(Clone, Copy)]
pub(super) struct Products<'a> {
    pub sums: &'a Sums,
    pub panel: usize,
    pub is_int8: bool,
}

/// Tests a block of products, row by row in memory, and appends what passes.
pub(super) fn block(isa: Isa, products: Products<'_>, (facts, tests): (&[Facts], &Tests), passed: &mut Passed) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the value can only be had where the processor has these instructions.
        Isa::Avx512(_) | Isa::Amx(_) => unsafe { avx512(products, (facts, tests), passed) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2(_) => unsafe { avx2(products, (facts, tests), passed) },
        _ => body(products, (facts, tests), passed),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn avx512(products: Products<'_>, rows: (&[Facts], &Tests), passed: &mut Passed) {
    body(products, rows, passed);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(products: Products<'_>, rows: (&[Facts], &Tests), passed: &mut Passed) {
    body(products, rows, passed);
}

#[inline(always)]
fn body(products: Products<'_>, (facts, tests): (&[Facts], &Tests), passed: &mut Passed) {
    let first = products.panel * PANEL_COLUMNS;
    let part = |values: &[f32]| -> [f32; PANEL_COLUMNS] { std::array::from_fn(|column| values[first + column]) };
    let (alpha, beta, gamma, rho) = (part(&tests.alpha), part(&tests.beta), part(&tests.gamma), part(&tests.rho));
    let (rows, _) = products.sums.as_chunks::<PANEL_COLUMNS>();
    for (row, (sums, facts)) in rows.iter().zip(facts).enumerate() {
        let value = |sum: f32| if products.is_int8 { sum.to_bits().cast_signed() as f32 * facts.scale } else { sum };
        let values: [f32; PANEL_COLUMNS] = std::array::from_fn(|column| value(sums[column]));
        let least: [f32; PANEL_COLUMNS] = std::array::from_fn(|column| {
            facts.norm * alpha[column] + facts.square * beta[column] + facts.residual * rho[column] + gamma[column]
        });
        let mut has_any = false;
        for column in 0..PANEL_COLUMNS {
            has_any |= passes(values[column], least[column]);
        }
        if has_any {
            let passing = (0..PANEL_COLUMNS).filter(|column| passes(values[*column], least[*column]));
            passing.for_each(|column| passed.push(row, first + column, values[column]));
        }
    }
}

/// NaN on either side passes.
#[inline(always)]
fn passes(value: f32, least: f32) -> bool {
    !matches!(value.partial_cmp(&least), Some(Ordering::Less))
}
