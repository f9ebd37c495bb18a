//! k-means and what goes with it, on inputs whose answer is known.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn blobs(count: usize, dim: usize, centers: usize) -> Vec<Vec<f32>> {
    let mut rows = values(41, count, dim);
    let places = values(43, centers, dim);
    rows.iter_mut().enumerate().for_each(|(row, values)| {
        values.iter_mut().zip(&places[row % centers]).for_each(|(value, place)| *value = *value * 0.01 + place * 40.0);
    });
    rows
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// The inertia of assignments in f64.
fn inertia(vectors: &[Vec<f32>], centroids: &[Vec<f64>]) -> f64 {
    let distance = |row: &[f32], centroid: &[f64]| row.iter().zip(centroid).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>();
    vectors.iter().map(|row| centroids.iter().map(|centroid| distance(row, centroid)).fold(f64::INFINITY, f64::min)).sum()
}

#[tokio::test]
async fn every_start_and_method_finds_separate_clusters() {
    let vectors = blobs(600, 8, 5);
    for (start, method, metric) in [
        ("plus_plus", "full", "l2"),
        ("plus_plus", "mini_batch", "l2"),
        ("plus_plus", "full", "cosine"),
        ("plus_plus", "mini_batch", "cosine"),
    ] {
        let data = json!({
            "operation": "kmeans", "vectors": vectors, "k": 5, "start": start, "method": method, "metric": metric, "batch_rows": 100, "seed": 3,
        });
        let output = run(data).await.unwrap();
        assert_eq!(output["sizes"], json!([120, 120, 120, 120, 120]), "{start} {method} {metric}");
        assert_eq!((&output["method"], &output["metric"], &output["start"]), (&json!(method), &json!(metric), &json!(start)));
        assert_eq!(output["converged"], json!(true));
    }
}

#[tokio::test]
async fn many_centroids_are_all_different_rows_and_as_good_as_careful_seeding_promises() {
    let vectors = blobs(1500, 6, 300);
    let once = json!({"operation": "kmeans", "vectors": vectors, "k": 300, "iterations_max": 1, "seed": 9});
    let careful = run(once.clone()).await.unwrap();
    let mut random = once;
    random["start"] = json!("random");
    let random = run(random).await.unwrap();
    let inertia = |output: &Value| output["inertia"].as_f64().unwrap();
    // Nearly every blob has a centroid of its own; drawn at random, a third of them have none.
    assert!(inertia(&careful) * 20.0 < inertia(&random), "{} and {}", inertia(&careful), inertia(&random));
    assert_eq!(careful["refilled"], json!(0));
}

#[tokio::test]
async fn an_empty_cluster_takes_the_row_that_is_farthest_away() {
    let vectors = json!([[0, 0], [1, 0], [0, 1], [9, 9]]);
    let data =
        json!({"operation": "kmeans", "vectors": vectors, "k": 3, "centroids": [[0, 0], [100, 100], [200, 200]], "iterations_max": 1});
    let output = run(data).await.unwrap();
    assert_eq!(output["refilled"], json!(2));
    assert_eq!(output["assignments"][3], json!(1));
    assert_eq!(output["centroids"][1], json!([9.0, 9.0]));
}

#[tokio::test]
async fn rows_without_direction_belong_to_the_first_cluster_and_move_nothing() {
    let vectors = json!([[0, 0], [2, 0], [0, 3], [5, 0]]);
    let data = json!({"operation": "kmeans", "metric": "cosine", "vectors": vectors, "k": 2, "centroids": [[1, 0], [0, 1]]});
    let output = run(data).await.unwrap();
    assert_eq!(output["assignments"], json!([0, 0, 1, 0]));
    assert_eq!(output["centroids"], json!([[1.0, 0.0], [0.0, 1.0]]));
    assert_eq!(output["inertia"], json!(1.0));
}

#[tokio::test]
async fn a_silhouette_of_a_sample_says_so_and_is_close() {
    let vectors = blobs(900, 4, 3);
    let assignments: Vec<usize> = (0..900).map(|row| row % 3 + 7).collect();
    let data = |most: usize| json!({"operation": "silhouette", "vectors": vectors, "assignments": assignments, "sample_max": most});
    let (all, some) = (run(data(10_000)).await.unwrap(), run(data(200)).await.unwrap());
    assert_eq!((&all["sampled"], &some["sampled"], &some["sample_count"]), (&json!(false), &json!(true), &json!(200)));
    assert!((all["silhouette"].as_f64().unwrap() - some["silhouette"].as_f64().unwrap()).abs() < 0.01);
    assert_eq!((&all["clusters"][0]["cluster"], &all["clusters"][2]["size"]), (&json!(7), &json!(300)));
    let alone = run(json!({"operation": "silhouette", "vectors": [[0], [1], [9]], "assignments": [4, 4, 5]})).await.unwrap();
    assert_eq!(alone["silhouette"], json!((8.0 / 9.0 + 7.0 / 8.0) / 3.0));
    let same = run(json!({"operation": "silhouette", "vectors": [[0], [1]], "assignments": [4, 4]})).await.unwrap_err();
    assert!(matches!(&same, TaskError::InvalidPayload { field, .. } if field == "assignments"), "{same}");
    let broken = run(json!({"operation": "silhouette", "vectors": [[0], [1]], "assignments": [4, 0.5]})).await.unwrap_err();
    assert!(matches!(&broken, TaskError::InvalidPayload { field, .. } if field == "assignments[1]"), "{broken}");
}

#[tokio::test]
async fn assignments_of_kmeans_are_those_that_silhouette_reads() {
    let parts = Parts::from([("v".to_owned(), part(&blobs(90, 4, 3)))]);
    let data = json!({"operation": "kmeans", "vectors": {"$part": "v"}, "k": 3, "encoding": "part"});
    let (_output, answers) = run_with(data, parts.clone()).await.unwrap();
    let parts: Parts = parts.into_iter().chain([("a".to_owned(), answers["assignments"].clone())]).collect();
    let data = json!({"operation": "silhouette", "vectors": {"$part": "v"}, "assignments": {"$part": "a"}});
    let (output, _none) = run_with(data, parts).await.unwrap();
    assert!(output["silhouette"].as_f64().unwrap() > 0.9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Small whole numbers: many equal rows, many ties, rows of zeros.
    #[test]
    fn an_answer_is_whole_and_its_inertia_that_of_f64(
        cells in prop::collection::vec(-3i8..4, 2..60),
        dim in 1usize..4,
        k in 1usize..8,
        seed in any::<u64>(),
        method in prop::sample::select(vec!["full", "mini_batch"]),
    ) {
        let vectors: Vec<Vec<f32>> = cells.chunks_exact(dim).map(|row| row.iter().map(|cell| f32::from(*cell)).collect()).collect();
        prop_assume!(!vectors.is_empty());
        let k = k.min(vectors.len());
        let data = json!({
            "operation": "kmeans", "vectors": vectors, "k": k, "seed": seed, "method": method, "batch_rows": 5, "iterations_max": 30,
        });
        let output = block_on(run(data)).unwrap();
        let sizes: usize = numbers(&output["sizes"]).iter().map(|size| *size as usize).sum();
        prop_assert_eq!(sizes, vectors.len());
        let want = inertia(&vectors, &rows(&output["centroids"]));
        let got = output["inertia"].as_f64().unwrap();
        prop_assert!((got - want).abs() <= 1e-9 * (1.0 + want), "{} and {}", got, want);
    }
}
