//! Components, projections and whitened vectors beyond what the golden file has.

use serde_json::json;

use super::*;

/// Rows whose dimensions have a falling variance, and some that depend on others.
fn falling(count: usize, dim: usize) -> Vec<Vec<f32>> {
    let mut rows = values(71, count, dim);
    let scale = |at: usize| 0.9f32.powi(at as i32);
    rows.iter_mut().for_each(|row| row.iter_mut().enumerate().for_each(|(at, value)| *value = *value * scale(at) + 3.0));
    rows
}

async fn solved(vectors: &[Vec<f32>], solver: &str, count: usize) -> Value {
    run(json!({"operation": "pca", "vectors": vectors, "components": count, "solver": solver, "project": true})).await.unwrap()
}

/// The same components but for rounding: variances within a thousandth of the largest, directions that agree.
#[track_caller]
fn assert_same(exact: &Value, other: &Value) {
    let (want, got) = (numbers(&exact["explained_variance"]), numbers(&other["explained_variance"]));
    for (want, got) in want.iter().zip(&got) {
        assert!((want - got).abs() <= 1e-3 * want, "{want} and {got}");
    }
    for (want, got) in rows(&exact["components"]).iter().zip(rows(&other["components"])) {
        let cosine: f64 = want.iter().zip(&got).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.999, "{cosine}");
    }
    for (want, got) in rows(&exact["projected"]).iter().zip(rows(&other["projected"])) {
        assert_close(&got, want, 0.05, "projected");
    }
    let shares = |output: &Value| numbers(&output["explained_variance_ratio"]).iter().sum::<f64>();
    assert!((shares(exact) - shares(other)).abs() < 1e-3);
}

#[tokio::test]
async fn a_random_start_finds_the_exact_components_by_covariance_and_by_passes() {
    // Few dimensions go by the covariance; with few components of many dimensions, by passes over the rows.
    let tall = falling(2500, 60);
    assert_same(&solved(&tall, "exact", 5).await, &solved(&tall, "randomised", 5).await);
    let wide = falling(90, 700);
    assert_same(&solved(&wide, "exact", 4).await, &solved(&wide, "randomised", 4).await);
}

#[tokio::test]
async fn auto_says_what_it_took_and_takes_the_exact_way_where_it_is_cheap() {
    let small = solved(&falling(50, 10), "auto", 3).await;
    assert_eq!(small["solver"], json!("exact"));
    let wide = run(json!({"operation": "pca", "vectors": values(3, 1600, 1600), "components": 2, "power_iterations": 0})).await.unwrap();
    assert_eq!(wide["solver"], json!("randomised"));
}

#[tokio::test]
async fn components_of_huge_tiny_and_flat_vectors_are_found_from_a_random_start() {
    for scale in [1e30f32, 1e-25] {
        let vectors: Vec<Vec<f32>> =
            falling(300, 12).into_iter().map(|row| row.into_iter().map(|value| (value - 3.0) * scale).collect()).collect();
        let (exact, random) = (solved(&vectors, "exact", 3).await, solved(&vectors, "randomised", 3).await);
        for (want, got) in numbers(&exact["explained_variance"]).iter().zip(numbers(&random["explained_variance"])) {
            assert!((want - got).abs() <= 1e-3 * want && *want > 0.0, "{scale}: {want} and {got}");
        }
    }
    // Two directions of variance, and a third that is asked for.
    let flat: Vec<Vec<f32>> = values(5, 200, 2).into_iter().map(|row| vec![row[0], 1.5, row[1], row[0]]).collect();
    let output = solved(&flat, "randomised", 4).await;
    let variances = numbers(&output["explained_variance"]);
    assert!(variances[1] > 0.01 && variances[2..] == [0.0, 0.0], "{variances:?}");
    let equal = solved(&vec![vec![0.1, 0.3]; 5], "randomised", 2).await;
    assert_eq!((numbers(&equal["explained_variance"]), rows(&equal["components"])), (vec![0.0; 2], vec![vec![1.0, 0.0], vec![0.0, 1.0]]));
}

#[tokio::test]
async fn whitened_vectors_have_the_identity_as_covariance() {
    let vectors: Vec<Vec<f32>> = falling(400, 5).into_iter().map(|row| [&row[..], &[row[0] - row[1]]].concat()).collect();
    let whiten = |method: &str| run(json!({"operation": "whiten", "vectors": vectors, "method": method}));
    let components = run(json!({"operation": "pca", "vectors": vectors, "components": 6, "whiten": true})).await.unwrap();
    for output in [whiten("pca").await.unwrap(), components, whiten("zca").await.unwrap()] {
        let found = if output["projected"].is_array() { rows(&output["projected"]) } else { rows(&output["vectors"]) };
        let product = |a: usize, b: usize| found.iter().map(|row| row[a] * row[b]).sum::<f64>() / 399.0;
        // The trace of a projection is its rank; in principal coordinates it is diagonal.
        let trace: f64 = (0..6).map(|at| product(at, at)).sum();
        assert!((trace - 5.0).abs() < 1e-3, "{trace}");
        if output["projected"].is_array() {
            (0..5).for_each(|at| assert!((product(at, at) - 1.0).abs() < 1e-4 && product(at, 5).abs() < 1e-6));
        }
    }
    assert_eq!(whiten("zca").await.unwrap()["flat_directions"], json!(1));
}

#[tokio::test]
async fn projections_keep_distances_and_belong_to_their_seed() {
    let vectors = values(81, 40, 300);
    let length = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>().sqrt();
    for (matrix, density) in [("gaussian", 0.1), ("sparse", 1.0 / 3.0), ("sparse", 0.05)] {
        let data = |seed: u64| {
            json!({
                "operation": "random_projection", "vectors": vectors, "components": 256, "matrix": matrix, "density": density, "seed": seed,
            })
        };
        let output = run(data(1)).await.unwrap();
        assert_eq!(output["shape"], json!([40, 256]));
        let found = rows(&output["vectors"]);
        for pair in found.windows(2).zip(vectors.windows(2)) {
            let after = length(&pair.0[0].iter().zip(&pair.0[1]).map(|(a, b)| a - b).collect::<Vec<_>>());
            let before = length(&pair.1[0].iter().zip(&pair.1[1]).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>());
            // The standard deviation of the ratio is 1 / sqrt(2 * 256) = 0.044.
            assert!((after / before - 1.0).abs() < 0.22, "{matrix} {density}: {after} and {before}");
        }
        assert_eq!(run(data(1)).await.unwrap(), output);
        assert_ne!(run(data(2)).await.unwrap(), output);
        let alone = json!({
            "operation": "random_projection", "vectors": vectors[7], "components": 256, "matrix": matrix, "density": density, "seed": 1,
        });
        assert_eq!(numbers(&run(alone).await.unwrap()["vectors"]), found[7], "a row does not depend on its batch");
    }
}

#[tokio::test]
async fn centred_and_standardized_vectors_by_hand() {
    let vectors = json!([[1, 5, 0.1], [3, 5, 0.1]]);
    let output = run(json!({"operation": "center", "vectors": vectors})).await.unwrap();
    assert_eq!(output["vectors"], json!([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]));
    let output = run(json!({"operation": "center", "vectors": [1, 2, 3], "mean": [1, 1, 1]})).await.unwrap();
    assert_eq!(output, json!({"shape": [3], "mean": [1.0, 1.0, 1.0], "vectors": [0.0, 1.0, 2.0]}));
    let output = run(json!({"operation": "standardize", "vectors": vectors, "ddof": 1})).await.unwrap();
    assert_eq!(output["scale"], json!([2.0f64.sqrt(), 1.0, 1.0]));
    assert_eq!(output["vectors"], json!([[-0.70710677f32, 0.0, 0.0], [0.70710677f32, 0.0, 0.0]]));
}
