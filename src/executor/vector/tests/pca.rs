//! Components of wide, tall and flat vectors: one rule for both ways of computing them.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// What `pca` answers, as numbers.
struct Found {
    directions: Vec<Vec<f64>>,
    variances: Vec<f64>,
    ratios: Vec<f64>,
}

async fn components(vectors: &[Vec<f32>], count: usize) -> Found {
    let output = run(json!({"operation": "pca", "vectors": vectors, "components": count})).await.expect("components");
    Found {
        directions: rows(&output["components"]),
        variances: numbers(&output["explained_variance"]),
        ratios: numbers(&output["explained_variance_ratio"]),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Variance of the rows along a direction, divided by their number less one.
fn variance_along(vectors: &[Vec<f32>], direction: &[f64]) -> f64 {
    let places: Vec<f64> = vectors.iter().map(|row| row.iter().zip(direction).map(|(x, d)| f64::from(*x) * d).sum()).collect();
    let mean = places.iter().sum::<f64>() / places.len() as f64;
    places.iter().map(|place| (place - mean).powi(2)).sum::<f64>() / (places.len() as f64 - 1.0)
}

/// The promises of `pca` for all the components there are. Gives the variances.
fn check(vectors: &[Vec<f32>]) -> Vec<f64> {
    let dim = vectors[0].len();
    let count = vectors.len().min(dim);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let found = runtime.block_on(components(vectors, count));
    let axis = |index: usize| -> Vec<f64> { (0..dim).map(|at| f64::from(u8::from(at == index))).collect() };
    let total: f64 = (0..dim).map(|index| variance_along(vectors, &axis(index))).sum();
    let allowed = 1e-5 * total + 1e-12;
    for (index, direction) in found.directions.iter().enumerate() {
        for (other, before) in found.directions[..=index].iter().enumerate() {
            let want = f64::from(u8::from(other == index));
            assert!((dot(direction, before) - want).abs() < 1e-5, "components {index} and {other} of {vectors:?}");
        }
        let largest = direction.iter().map(|value| value.abs()).fold(0.0, f64::max);
        let first = direction.iter().find(|value| value.abs() >= largest - 1e-5).expect("an entry");
        // Entries that rounding cannot tell apart may be told apart in f64: one of the largest is positive.
        assert!(*first > 0.0 || direction.iter().any(|value| *value >= largest - 1e-5), "the sign of component {index}: {direction:?}");
        assert!((variance_along(vectors, direction) - found.variances[index]).abs() <= allowed, "variance {index} of {vectors:?}");
    }
    assert!(
        found.variances.windows(2).all(|pair| pair[0] >= pair[1]) && found.variances.iter().all(|v| *v >= 0.0),
        "{:?}",
        found.variances
    );
    assert!((found.variances.iter().sum::<f64>() - total).abs() <= allowed, "all components hold all of the variance");
    let share = if total > 0.0 { 1.0 } else { 0.0 };
    assert!((found.ratios.iter().sum::<f64>() - share).abs() < 1e-5, "{:?}", found.ratios);
    found.variances
}

/// Whole numbers times a scale, on an offset that is large beside them.
fn matrices() -> impl Strategy<Value = Vec<Vec<f32>>> {
    (2usize..9, 1usize..9, 0.0f32..1000.0).prop_flat_map(|(count, dim, offset)| {
        let number = (-4i8..5).prop_map(move |n| f32::from(n) + offset);
        proptest::collection::vec(proptest::collection::vec(number, dim), count)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn wide_and_tall_vectors_have_all_their_components(vectors in matrices()) {
        check(&vectors);
    }

    /// A wide matrix goes by the rows' products, the same rows repeated by the covariance: both see the same directions and the same rank.
    #[test]
    fn the_way_of_computing_does_not_show(vectors in matrices()) {
        let (count, dim) = (vectors.len(), vectors[0].len());
        let times = dim.div_ceil(count) + 1;
        let repeated: Vec<Vec<f32>> = std::iter::repeat_n(vectors.clone(), times).flatten().collect();
        let (few, many) = (check(&vectors), check(&repeated));
        let factor = times as f64 * (count as f64 - 1.0) / (times as f64 * count as f64 - 1.0);
        let total: f64 = few.iter().sum();
        for (index, variance) in many.iter().enumerate() {
            let want = few.get(index).copied().unwrap_or(0.0) * factor;
            prop_assert!((variance - want).abs() <= 1e-9 * total, "{index}: {variance} and {want}");
            prop_assert_eq!(*variance == 0.0, want == 0.0, "the rank of {:?}", vectors);
        }
    }

    #[test]
    fn rows_on_one_line_have_one_direction(
        steps in proptest::collection::vec(-50i8..50, 2..12),
        line in proptest::collection::vec(-9i8..10, 1..12),
        offset in -1000i16..1000,
    ) {
        let row = |step: &i8| line.iter().map(|entry| f32::from(*entry) * f32::from(*step) + f32::from(offset)).collect();
        let vectors: Vec<Vec<f32>> = steps.iter().map(row).collect();
        let variances = check(&vectors);
        let flat = steps.iter().all(|step| *step == steps[0]) || line.iter().all(|entry| *entry == 0);
        prop_assert_eq!(variances.iter().filter(|variance| **variance > 0.0).count(), usize::from(!flat));
    }
}

#[tokio::test]
async fn directions_without_variance_are_axes_at_right_angles() {
    // The same plane twice: fewer rows than dimensions, and more.
    let wide: Vec<Vec<f32>> = vec![vec![0.0, 0.0, 5.0, 0.0], vec![0.0, 2.0, 5.0, 0.0], vec![0.0, -2.0, 5.0, 0.0]];
    let tall: Vec<Vec<f32>> = wide.iter().cycle().take(6).cloned().collect();
    for vectors in [wide, tall] {
        let found = components(&vectors, 3).await;
        assert_eq!(found.directions, [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]].map(Vec::from));
        assert!(found.variances[0] > 1.0 && found.variances[1..] == [0.0, 0.0], "{:?}", found.variances);
        assert!((found.ratios[0] - 1.0).abs() < 1e-12 && found.ratios[1..] == [0.0, 0.0], "{:?}", found.ratios);
    }
    let equal = components(&[vec![0.1, 0.3], vec![0.1, 0.3], vec![0.1, 0.3]], 2).await;
    assert_eq!((equal.directions, equal.variances, equal.ratios), (vec![vec![1.0, 0.0], vec![0.0, 1.0]], vec![0.0; 2], vec![0.0; 2]));
}
