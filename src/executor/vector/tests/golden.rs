//! Answers against numpy, scipy and scikit-learn (tests/fixtures/vector/make_golden.py).

use serde_json::json;
use tallow_kernels::tolerance;

use super::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../../tests/fixtures/vector/golden.json")).expect("the golden file is JSON")
}

fn positive(rows: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    rows.into_iter().map(|row| row.into_iter().map(|v| v.max(0.0)).collect()).collect()
}

#[tokio::test]
async fn scores_of_every_metric_are_those_of_scipy() {
    let golden = golden();
    let convert = |metric: &str, score: f64, distance: bool| match (metric, distance) {
        ("cosine" | "jaccard", true) => 1.0 - score,
        ("dot", true) => -score,
        ("cosine" | "jaccard" | "dot", false) | ("l2" | "l2_squared" | "l1" | "hamming", true) => score,
        ("hamming", false) => 1.0 - score / 7.0,
        _ => 1.0 / (1.0 + score),
    };
    for (metric, want) in golden["scores"].as_object().unwrap() {
        let (mut a, mut b) = (values(1, 12, 7), values(1000, 9, 7));
        if metric == "hamming" || metric == "jaccard" {
            (a, b) = (positive(a), positive(b));
        }
        for (operation, answer) in [("similarity", "similarities"), ("distance", "distances")] {
            let output = run(json!({"operation": operation, "a": a, "b": b, "metric": metric})).await.unwrap();
            for (row, (got, want)) in rows(&output[answer]).iter().zip(rows(want)).enumerate() {
                let want: Vec<f64> = want.iter().map(|score| convert(metric, *score, operation == "distance")).collect();
                assert_close(got, &want, tolerance::lane_sum(7, 4.0), &format!("{operation} {metric} {row}"));
            }
        }
    }
}

#[tokio::test]
async fn a_wide_pair_scores_as_in_double_precision() {
    let golden = golden();
    let wide = values(5, 2, 4097);
    let output = run(json!({"operation": "cosine_similarity", "vector_a": wide[0], "vector_b": wide[1]})).await.unwrap();
    assert_close(
        &[output["similarity"].as_f64().unwrap()],
        &[golden["wide"]["cosine"].as_f64().unwrap()],
        tolerance::cosine(4097),
        "cosine",
    );
    let output = run(json!({"operation": "similarity", "a": wide[0], "b": wide[1], "metric": "dot"})).await.unwrap();
    let allowed = tolerance::lane_sum(4097, 4097.0 / 16.0);
    assert_close(&[output["similarity"].as_f64().unwrap()], &[golden["wide"]["dot"].as_f64().unwrap()], allowed, "dot");
}

#[tokio::test]
async fn rankings_are_those_of_a_full_sort() {
    let golden = golden();
    for metric in ["cosine", "l1"] {
        let data = json!({"operation": "top_k", "queries": values(1, 12, 7), "vectors": values(1000, 9, 7), "k": 20, "metric": metric});
        assert_eq!(run(data).await.unwrap()["indices"], golden["top_k"][metric], "{metric}");
    }
}

#[tokio::test]
async fn statistics_and_means_are_those_of_numpy() {
    let golden = golden();
    let output = run(json!({"operation": "statistics", "vectors": values(1, 12, 7), "ddof": 1})).await.unwrap();
    for field in ["mean", "std", "min", "max"] {
        assert_close(&numbers(&output[field]), &numbers(&golden["statistics"][field]), 1e-14, field);
    }
    let norms = [output["norms"]["mean"].as_f64().unwrap(), output["norms"]["std"].as_f64().unwrap()];
    let want = [golden["statistics"]["norm_mean"].as_f64().unwrap(), golden["statistics"]["norm_std"].as_f64().unwrap()];
    assert_close(&norms, &want, 1e-14, "norms");
    let weights: Vec<u32> = (1..=12).collect();
    let output = run(json!({"operation": "mean", "vectors": values(1, 12, 7), "weights": weights})).await.unwrap();
    assert_close(&numbers(&output["mean"]), &numbers(&golden["weighted_mean"]), tolerance::rounded(1.0), "weighted mean");
}

#[tokio::test]
async fn products_are_those_of_numpy() {
    let output = run(json!({"operation": "matmul", "a": values(1, 12, 7), "b": values(1000, 9, 7), "transpose_b": true})).await.unwrap();
    for (got, want) in rows(&output["product"]).iter().zip(rows(&golden()["matmul"])) {
        assert_close(got, &want, tolerance::chain_sum(7, 7.0 / 4.0), "product");
    }
}

#[tokio::test]
async fn quantised_forms_are_those_of_numpy() {
    let golden = golden();
    for (to, name) in [("f16", "float16"), ("int8", "int8"), ("binary", "packbits")] {
        let output = run(json!({"operation": "quantize", "vectors": values(1, 12, 7), "to": to})).await.unwrap();
        assert_eq!(rows(&output["values"]), rows(&golden[name]), "{to}");
    }
}

#[tokio::test]
async fn principal_components_are_those_of_scikit_learn() {
    let golden = golden();
    for (name, data) in [("tall", values(7, 40, 7)), ("flat", values(9, 6, 20))] {
        let want = &golden[format!("pca_{name}")];
        let output = run(json!({"operation": "pca", "vectors": data, "components": 3, "project": true})).await.unwrap();
        for field in ["explained_variance", "explained_variance_ratio"] {
            assert_close(&numbers(&output[field]), &numbers(&want[field]), 1e-12, field);
        }
        for field in ["components", "projected"] {
            for (got, want) in rows(&output[field]).iter().zip(rows(&want[field])) {
                assert_close(got, &want, 4.0 * tolerance::rounded(1.0), &format!("{name} {field}"));
            }
        }
    }
}

#[tokio::test]
async fn vectors_that_span_little_have_as_many_components_as_in_scikit_learn() {
    let golden = golden();
    let tall = values(11, 40, 3).into_iter().map(|row| [&row[..], &row[..], &row[..1]].concat()).collect::<Vec<_>>();
    let flat = [values(13, 3, 20), values(13, 3, 20)].concat();
    for (name, data, count, rank) in [("tall", tall, 7, 3), ("flat", flat, 6, 2)] {
        let want = &golden[format!("pca_deficient_{name}")];
        let output = run(json!({"operation": "pca", "vectors": data, "components": count})).await.unwrap();
        for field in ["explained_variance", "explained_variance_ratio"] {
            assert_close(&numbers(&output[field]), &numbers(&want[field]), 1e-12, field);
            assert!(numbers(&output[field])[rank..].iter().all(|value| *value == 0.0), "{name} {field}");
        }
        assert_eq!(rows(&output["components"]).len(), count);
        for (got, want) in rows(&output["components"]).iter().zip(rows(&want["components"])) {
            assert_close(got, &want, 4.0 * tolerance::rounded(1.0), name);
        }
    }
}

#[tokio::test]
async fn clusters_are_those_of_scikit_learn() {
    let want = &golden()["kmeans"];
    let mut data = values(3, 60, 5);
    data.iter_mut().enumerate().for_each(|(row, values)| values[row % 3] += 8.0);
    let output = run(json!({"operation": "kmeans", "vectors": data, "k": 3, "seed": 4})).await.unwrap();
    assert_close(&[output["inertia"].as_f64().unwrap()], &[want["inertia"].as_f64().unwrap()], 1e-4, "inertia");
    let mut centroids = rows(&output["centroids"]);
    centroids.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    for (got, want) in centroids.iter().zip(rows(&want["centroids"])) {
        assert_close(got, &want, 4.0 * tolerance::rounded(8.0), "centroid");
    }
    assert_eq!(output["sizes"], json!([20, 20, 20]));
    assert_eq!(output["converged"], json!(true));
}

#[tokio::test]
async fn rounds_from_the_same_start_are_those_of_scikit_learn() {
    let want = &golden()["kmeans_rounds"];
    let cloud = values(21, 400, 6);
    let data = json!({"operation": "kmeans", "vectors": cloud, "k": 9, "centroids": cloud[..9], "iterations_max": 5, "tolerance": 0});
    let output = run(data).await.unwrap();
    assert_eq!((&output["assignments"], &output["start"]), (&want["assignments"], &json!("given")));
    assert_close(&[output["inertia"].as_f64().unwrap()], &[want["inertia"].as_f64().unwrap()], 1e-5, "inertia");
    for (got, want) in rows(&output["centroids"]).iter().zip(rows(&want["centroids"])) {
        assert_close(got, &want, 4.0 * tolerance::rounded(1.0), "centroid");
    }
    let again = json!({"operation": "nearest_centroid", "vectors": cloud, "centroids": output["centroids"], "metric": "l2_squared"});
    let nearest = run(again).await.unwrap();
    assert_eq!((&nearest["assignments"], &nearest["sizes"]), (&output["assignments"], &output["sizes"]));
    let total: f64 = numbers(&nearest["scores"]).iter().sum();
    assert_close(&[total], &[output["inertia"].as_f64().unwrap()], 1e-9, "sum of the scores");
}

#[tokio::test]
async fn rounds_by_angle_are_those_of_numpy() {
    let want = &golden()["kmeans_spherical"];
    let cloud = values(21, 400, 6);
    let data = json!({
        "operation": "kmeans", "metric": "cosine", "vectors": cloud, "k": 9, "centroids": cloud[..9], "iterations_max": 5, "tolerance": 0,
    });
    let output = run(data).await.unwrap();
    assert_eq!(output["assignments"], want["assignments"]);
    assert_close(&[output["inertia"].as_f64().unwrap()], &[want["inertia"].as_f64().unwrap()], 1e-5, "inertia");
    for (got, want) in rows(&output["centroids"]).iter().zip(rows(&want["centroids"])) {
        assert_close(got, &want, 4.0 * tolerance::rounded(1.0), "centroid");
    }
}

#[tokio::test]
async fn silhouettes_are_those_of_scikit_learn() {
    let want = &golden()["kmeans_rounds"];
    for metric in ["l2", "cosine"] {
        let data = json!({"operation": "silhouette", "vectors": values(21, 400, 6), "assignments": want["assignments"], "metric": metric});
        let output = run(data).await.unwrap();
        let want = want[format!("silhouette_{metric}")].as_f64().unwrap();
        assert_close(&[output["silhouette"].as_f64().unwrap()], &[want], 1e-6, metric);
        assert_eq!((&output["sampled"], &output["sample_count"]), (&json!(false), &json!(400)));
    }
}

#[tokio::test]
async fn randomised_components_explain_what_those_of_scikit_learn_do() {
    let want = &golden()["pca_randomised"];
    let mut falling = values(23, 300, 40);
    falling
        .iter_mut()
        .flat_map(|row| row.iter_mut().enumerate())
        .for_each(|(at, value)| *value = (f64::from(*value) * 0.8f64.powi(at as i32)) as f32);
    let data =
        json!({"operation": "pca", "vectors": falling, "components": 6, "solver": "randomised", "whiten": true, "power_iterations": 7});
    let output = run(data).await.unwrap();
    assert_eq!(output["solver"], json!("randomised"));
    for field in ["explained_variance", "explained_variance_ratio"] {
        assert_close(&numbers(&output[field]), &numbers(&want[field]), 1e-3 * numbers(&want[field])[5], field);
    }
    for (got, want) in rows(&output["projected"]).iter().zip(rows(&want["whitened_magnitudes"])) {
        let got: Vec<f64> = got.iter().map(|value| value.abs()).collect();
        assert_close(&got, &want, 2e-3, "whitened");
    }
}

#[tokio::test]
async fn standardized_and_whitened_vectors_are_those_of_scikit_learn_and_numpy() {
    let golden = golden();
    let output = run(json!({"operation": "standardize", "vectors": values(1, 12, 7)})).await.unwrap();
    for (got, want) in rows(&output["vectors"]).iter().zip(rows(&golden["standardized"])) {
        assert_close(got, &want, tolerance::rounded(4.0), "standardized");
    }
    let output = run(json!({"operation": "whiten", "vectors": values(21, 400, 6)})).await.unwrap();
    assert_eq!(output["flat_directions"], json!(0));
    for (got, want) in rows(&output["vectors"]).iter().zip(rows(&golden["zca"])) {
        assert_close(got, &want, tolerance::rounded(4.0), "whitened");
    }
}
