//! What each operation promises, on small inputs whose answer is known by hand.

use serde_json::json;

use super::*;
use crate::task::Dtype;

#[tokio::test]
async fn the_origins_keys_work_unchanged() {
    let cosine = |a: Value, b: Value| run(json!({"operation": "cosine_similarity", "vector_a": a, "vector_b": b}));
    assert_eq!(cosine(json!([1, 2, 3]), json!([1, 2, 3])).await.unwrap(), json!({"similarity": 1.0}));
    assert_eq!(cosine(json!([1.0, 0.0]), json!([0.0, 1.0])).await.unwrap(), json!({"similarity": 0.0}));
    assert_eq!(cosine(json!([1.0, 0.0]), json!([-2.0, 0.0])).await.unwrap(), json!({"similarity": -1.0}));
    assert_eq!(cosine(json!([0.0, 0.0]), json!([1.0, 1.0])).await.unwrap(), json!({"similarity": 0.0}));
}

#[tokio::test]
async fn an_answers_shape_follows_the_inputs() {
    for (data, want) in [
        (json!({"operation": "similarity", "a": [1, 0], "b": [1, 0]}), json!({"metric": "cosine", "similarity": 1.0})),
        (json!({"operation": "similarity", "a": [1, 0], "b": [[1, 0], [0, 1]]}), json!({"metric": "cosine", "similarities": [1.0, 0.0]})),
        (json!({"operation": "similarity", "a": [[1, 0], [0, 1]]}), json!({"metric": "cosine", "similarities": [[1.0, 0.0], [0.0, 1.0]]})),
        (json!({"operation": "distance", "a": [0, 0], "b": [3, 4], "metric": "l2"}), json!({"metric": "l2", "distance": 5.0})),
        (json!({"operation": "distance", "a": [1, 0], "b": [0, 1], "metric": "dot"}), json!({"metric": "dot", "distance": 0.0})),
        (
            json!({"operation": "similarity", "a": [1, 0, 1, 1], "b": [1, 1, 0, 1], "metric": "hamming"}),
            json!({"metric": "hamming", "similarity": 0.5}),
        ),
        (json!({"operation": "normalize", "vectors": [3, 4]}), json!({"shape": [2], "vectors": [0.6f32, 0.8f32], "zero_rows": 0})),
        (
            json!({"operation": "normalize", "vectors": [[0, 0], [1, 3]], "norm": "l1"}),
            json!({"shape": [2, 2], "vectors": [[0.0, 0.0], [0.25, 0.75]], "zero_rows": 1}),
        ),
        (json!({"operation": "scale", "vectors": [[1, 2]], "factor": -2}), json!({"shape": [1, 2], "vectors": [[-2.0, -4.0]]})),
        (
            json!({"operation": "add", "a": [[1, 2], [3, 4]], "b": [10, 20]}),
            json!({"shape": [2, 2], "vectors": [[11.0, 22.0], [13.0, 24.0]]}),
        ),
        (json!({"operation": "subtract", "vector_a": [1, 2], "vector_b": [3, 5]}), json!({"shape": [2], "vectors": [-2.0, -3.0]})),
        (
            json!({"operation": "multiply", "a": [[1, 2], [3, 4]], "b": [[5, 6], [7, 8]]}),
            json!({"shape": [2, 2], "vectors": [[5.0, 12.0], [21.0, 32.0]]}),
        ),
        (
            json!({"operation": "transpose", "vectors": [[1, 2, 3], [4, 5, 6]]}),
            json!({"shape": [3, 2], "vectors": [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]}),
        ),
        (json!({"operation": "mean", "vectors": [[1, 2], [3, 6]]}), json!({"count": 2, "mean": [2.0, 4.0]})),
        (
            json!({"operation": "centroid", "vectors": [[3, 0], [3, 8]], "normalize": true}),
            json!({"count": 2, "centroid": [0.6f32, 0.8f32]}),
        ),
        (json!({"operation": "sum", "vectors": [[1, 2], [3, 4]], "weights": [1, -1]}), json!({"count": 2, "sum": [-2.0, -2.0]})),
        (json!({"operation": "matmul", "a": [1, 2], "b": [[1, 2, 3], [4, 5, 6]]}), json!({"shape": [3], "product": [9.0, 12.0, 15.0]})),
        (
            json!({"operation": "matmul", "a": [[1, 2]], "b": [[1, 2], [3, 4]], "transpose_b": true}),
            json!({"shape": [1, 2], "product": [[5.0, 11.0]]}),
        ),
    ] {
        assert_eq!(run(data.clone()).await.unwrap(), want, "{data}");
    }
}

#[tokio::test]
async fn a_search_gives_indices_scores_and_names() {
    let vectors = json!([[1, 0], [0, 1], [1, 1], [1, 0]]);
    let data = json!({"operation": "top_k", "query": [1, 0], "vectors": vectors, "k": 3, "ids": ["a", 7, "c", "d"]});
    let output = run(data).await.unwrap();
    assert_eq!(output["indices"], json!([[0, 3, 2]]));
    assert_eq!(output["ids"], json!([["a", "d", "c"]]));
    assert_eq!((&output["order"], &output["counts"]), (&json!("descending"), &json!([3])));
    let data = json!({"operation": "top_k", "queries": [[1, 0], [5, 5]], "vectors": vectors, "k": 9, "metric": "l2", "threshold": 1.0});
    let output = run(data).await.unwrap();
    assert_eq!(output["indices"], json!([[0, 3, 2], []]));
    assert_eq!(output["scores"], json!([[0.0, 0.0, 1.0], []]));
    assert_eq!((&output["order"], &output["counts"]), (&json!("ascending"), &json!([3, 0])));
}

#[tokio::test]
async fn hits_leave_as_padded_parts_on_request() {
    let data = json!({
        "operation": "top_k", "queries": [[1, 0], [5, 5]], "vectors": [[1, 0], [0, 1]], "k": 2, "metric": "l2", "threshold": 1.0, "encoding": "part",
    });
    let (output, parts) = run_with(data, Parts::default()).await.unwrap();
    assert_eq!(output, json!({"metric": "l2", "order": "ascending", "counts": [1, 0]}));
    assert_eq!((parts["indices"].dtype(), parts["indices"].shape()), (Dtype::I64, &[2, 1][..]));
    assert_eq!(parts["indices"].bytes()[..], [0i64.to_le_bytes(), (-1i64).to_le_bytes()].concat());
    assert_eq!(parts["scores"].bytes()[8..], f64::NAN.to_le_bytes());
}

#[tokio::test]
async fn rows_with_nan_rank_last_where_they_are_allowed() {
    let parts = Parts::from([("v".to_owned(), part(&[vec![f32::NAN, 1.0], vec![0.0, 1.0], vec![1.0, 0.0]]))]);
    let data = json!({"operation": "top_k", "queries": [1, 0], "vectors": {"$part": "v"}, "k": 3, "non_finite": "allow"});
    let (output, _parts) = run_with(data.clone(), parts.clone()).await.unwrap();
    assert_eq!(output["indices"], json!([[2, 1, 0]]));
    assert_eq!(output["scores"], json!([[1.0, 0.0, null]]));
    let mut strict = data;
    strict["non_finite"] = json!("refuse");
    let error = run_with(strict, parts).await.unwrap_err();
    assert_eq!(error, TaskError::invalid("vectors[0][0]", "found NaN; values must be finite"));
}

#[tokio::test]
async fn every_dtype_is_read_and_every_encoding_is_written() {
    let want = json!([[0.5, -1.0, 2.0]]);
    let bytes = |dtype: Dtype| -> Vec<u8> {
        let value = |v: f64| match dtype {
            Dtype::F64 => v.to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f64(v).to_le_bytes().to_vec(),
            Dtype::Bf16 => half::bf16::from_f64(v).to_le_bytes().to_vec(),
            _ => (v as f32).to_le_bytes().to_vec(),
        };
        [0.5, -1.0, 2.0].into_iter().flat_map(value).collect()
    };
    for dtype in [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::Bf16] {
        let input = Part::new(dtype, vec![1, 3], bytes(dtype).into()).unwrap();
        let inline = serde_json::to_value(&input).unwrap();
        for (vectors, parts) in [(inline, Parts::default()), (json!({"$part": "x"}), Parts::from([("x".to_owned(), input.clone())]))] {
            let data = |encoding: &str| json!({"operation": "scale", "factor": 1, "vectors": vectors, "encoding": encoding});
            let (output, _none) = run_with(data("float"), parts.clone()).await.unwrap();
            assert_eq!(output["vectors"], want, "{dtype:?}");
            let (output, _none) = run_with(data("base64"), parts.clone()).await.unwrap();
            assert_eq!(serde_json::from_value::<Part>(output["vectors"].clone()).unwrap().to_f32().unwrap(), [0.5, -1.0, 2.0]);
            let (output, answers) = run_with(data("part"), parts).await.unwrap();
            assert!(output.get("vectors").is_none());
            assert_eq!((answers["vectors"].shape(), answers["vectors"].to_f32().unwrap()), (&[1, 3][..], vec![0.5, -1.0, 2.0]));
        }
    }
    let integers = Part::new(Dtype::I8, vec![2], vec![1, 255].into()).unwrap();
    let data = json!({"operation": "scale", "factor": 1, "vectors": serde_json::to_value(&integers).unwrap()});
    assert_eq!(run(data).await.unwrap()["vectors"], json!([1.0, -1.0]));
}

#[tokio::test]
async fn quantised_vectors_come_back() {
    let vectors = json!([[0.5, -1.0, 0.25, 1.0, -0.125, 0.75, -0.5, 1.0, 0.0], [127, -64, 1, 2, 3, 4, 5, 6, 7]]);
    for to in ["f16", "bf16", "int8", "binary"] {
        for encoding in ["float", "base64", "part"] {
            let data = json!({"operation": "quantize", "vectors": vectors, "to": to, "encoding": encoding});
            let (output, parts) = run_with(data, Parts::default()).await.unwrap();
            let reference = |field: &str| if encoding == "part" { json!({"$part": field}) } else { output[field].clone() };
            let mut back = json!({"operation": "dequantize", "values": reference("values"), "from": to});
            match to {
                "int8" => back["scales"] = reference("scales"),
                "binary" => back["dimensions"] = json!(9),
                _ => {}
            }
            let (output, _none) = run_with(back, parts).await.unwrap();
            assert_eq!(output["shape"], json!([2, 9]), "{to} {encoding}");
            for (got, want) in rows(&output["vectors"]).concat().iter().zip(rows(&vectors).concat()) {
                let want_here = if to == "binary" { if want > 0.0 { 1.0 } else { -1.0 } } else { want };
                assert!((got - want_here).abs() <= if to == "int8" { 0.5 } else { 0.0 }, "{to} {encoding}: {got} {want_here}");
            }
        }
    }
}

#[tokio::test]
async fn packed_bits_are_compared_by_hamming_and_jaccard() {
    let bits = json!({"base64": "8A8=", "dtype": "u8", "shape": [2, 1]});
    let output = run(json!({"operation": "distance", "a": bits, "metric": "hamming"})).await.unwrap();
    assert_eq!(output["distances"], json!([[0.0, 8.0], [8.0, 0.0]]));
    let output = run(json!({"operation": "similarity", "a": bits, "metric": "hamming"})).await.unwrap();
    assert_eq!(output["similarities"], json!([[1.0, 0.0], [0.0, 1.0]]));
    let output = run(json!({"operation": "top_k", "queries": bits, "vectors": bits, "k": 1, "metric": "jaccard"})).await.unwrap();
    assert_eq!(output["indices"], json!([[0], [1]]));
}

#[tokio::test]
async fn duplicates_are_paired_and_grouped_and_a_cut_is_told() {
    let vectors = json!([[1, 0], [0, 1], [1, 0], [0.999, 0.01], [-1, 0], [0, 2]]);
    let output = run(json!({"operation": "near_duplicates", "vectors": vectors, "threshold": 0.99})).await.unwrap();
    assert_eq!(output["groups"], json!([[0, 2, 3], [1, 5]]));
    let pairs: Vec<_> =
        output["pairs"].as_array().unwrap().iter().map(|pair| (pair["a"].as_u64().unwrap(), pair["b"].as_u64().unwrap())).collect();
    assert_eq!(pairs, [(0, 2), (1, 5), (0, 3), (2, 3)]);
    assert_eq!((&output["pair_count"], &output["truncated"]), (&json!(4), &json!(false)));
    let output = run(json!({"operation": "near_duplicates", "vectors": vectors, "threshold": 0.99, "pairs_max": 1})).await.unwrap();
    assert_eq!((&output["pair_count"], &output["truncated"]), (&json!(4), &json!(true)));
    assert_eq!(output["pairs"].as_array().unwrap().len(), 1);
    assert_eq!(output["groups"], json!([[0, 2, 3], [1, 5]]));
    let output = run(json!({"operation": "near_duplicates", "vectors": vectors, "threshold": 0.5, "metric": "l1"})).await.unwrap();
    assert_eq!(output["groups"], json!([[0, 2, 3]]));
}

#[tokio::test]
async fn mmr_prefers_what_is_unlike_the_chosen() {
    let vectors = json!([[1, 0.1], [1, 0.11], [0.7, -0.7], [0, 1]]);
    let order = |lambda: f64| run(json!({"operation": "mmr", "query": [1, 0], "vectors": vectors, "k": 9, "lambda": lambda}));
    assert_eq!(order(1.0).await.unwrap()["indices"], json!([0, 1, 2, 3]));
    assert_eq!(order(0.5).await.unwrap()["indices"], json!([0, 2, 1, 3]));
    assert_eq!(order(0.3).await.unwrap()["indices"], json!([0, 3, 2, 1]));
}

#[tokio::test]
async fn fused_rankings_add_reciprocal_ranks() {
    let output = run(json!({"operation": "reciprocal_rank_fusion", "rankings": [["a", "b", 3], ["b", "c"]], "limit": 3})).await.unwrap();
    assert_eq!(output["count"], json!(4));
    assert_eq!(output["results"][0], json!({"id": "b", "score": 1.0 / 62.0 + 1.0 / 61.0, "ranks": [2, 1]}));
    let ids: Vec<_> = output["results"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, [json!("b"), json!("a"), json!("c")]);
}

#[tokio::test]
async fn clustering_handles_equal_rows_and_as_many_clusters_as_rows() {
    let output = run(json!({"operation": "kmeans", "vectors": [[1, 1], [1, 1], [1, 1]], "k": 3})).await.unwrap();
    assert_eq!((&output["inertia"], &output["converged"]), (&json!(0.0), &json!(true)));
    let output = run(json!({"operation": "kmeans", "vectors": [[1, 0], [5, 0], [9, 0]], "k": 3, "seed": 11})).await.unwrap();
    assert_eq!((&output["inertia"], &output["sizes"]), (&json!(0.0), &json!([1, 1, 1])));
}

#[tokio::test]
async fn answers_do_not_depend_on_the_number_of_threads() {
    let (vectors, wide) = (values(17, 600, 33), values(19, 1100, 64));
    for data in [
        json!({"operation": "kmeans", "vectors": vectors, "k": 13, "seed": 2, "iterations_max": 20}),
        json!({"operation": "kmeans", "vectors": vectors, "k": 150, "metric": "cosine", "seed": 2, "iterations_max": 20}),
        json!({"operation": "kmeans", "vectors": vectors, "k": 13, "method": "mini_batch", "batch_rows": 64, "seed": 2, "iterations_max": 50}),
        json!({"operation": "silhouette", "vectors": vectors, "assignments": (0..600).map(|row| row % 7).collect::<Vec<_>>(), "sample_max": 300}),
        json!({"operation": "pca", "vectors": vectors, "components": 5, "project": true}),
        json!({"operation": "pca", "vectors": vectors, "components": 5, "whiten": true, "solver": "randomised"}),
        json!({"operation": "pca", "vectors": wide, "components": 2, "solver": "randomised", "oversampling": 0, "power_iterations": 1}),
        json!({"operation": "random_projection", "vectors": vectors, "components": 20}),
        json!({"operation": "whiten", "vectors": vectors}),
        json!({"operation": "similarity_join", "a": vectors, "b": vectors, "threshold": 0.4}),
        json!({"operation": "statistics", "vectors": vectors}),
        json!({"operation": "near_duplicates", "vectors": vectors, "threshold": 0.6, "pairs_max": 50}),
        json!({"operation": "matmul", "a": vectors, "b": vectors, "transpose_b": true}),
    ] {
        let mut answers = Vec::new();
        for thread_count in [1, 4] {
            let executor = VectorComputationExecutor::new(ComputePool::new(thread_count).unwrap());
            answers.push(executor.execute(&task(data.clone(), Parts::default())).await.unwrap().output);
        }
        assert_eq!(answers[0], answers[1], "{}", data["operation"]);
    }
}

#[tokio::test]
async fn real_vectors_of_the_field_are_searched_and_grouped() {
    let Some(folder) = std::env::var_os("TALLOW_TEST_DATA") else {
        eprintln!("skipped: TALLOW_TEST_DATA is not set");
        return;
    };
    let folder = std::path::Path::new(&folder).join("npy-real");
    let read = |name: &str| npy::parse_npy(&std::fs::read(folder.join(name)).expect("the folder has this file")).expect("a real document");
    let parts = Parts::from([("near".to_owned(), read("cosine_near_duplicates.npy")), ("hang".to_owned(), read("cosine_hang.npy"))]);
    let near = json!({"operation": "top_k", "queries": {"$part": "near"}, "vectors": {"$part": "near"}, "k": 32});
    let (output, _parts) = run_with(near, parts.clone()).await.unwrap();
    assert!(rows(&output["scores"]).iter().flatten().all(|score| (-1.0..=1.0).contains(score)));
    let hang = json!({"operation": "near_duplicates", "vectors": {"$part": "hang"}, "threshold": 0.9999, "pairs_max": 1000});
    let (output, _parts) = run_with(hang, parts).await.unwrap();
    assert_eq!(output["count"], json!(4400));
}
