//! What is refused, where, and before anything is allocated.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::task::Dtype;

fn refused(data: Value, parts: Parts) -> (String, String) {
    match executor().prepare(&task(data.clone(), parts)).err() {
        Some(TaskError::InvalidPayload { field, reason }) => (field, reason),
        other => panic!("{data}: expected a refusal at admission, got {other:?}"),
    }
}

#[test]
fn bad_requests_are_refused_at_admission_with_path_and_allowed_values() {
    for (data, field, reason) in [
        (json!({}), "operation", "missing"),
        (json!({"operation": "cosin"}), "operation", "known: cosine_similarity"),
        (json!({"operation": "cosine_similarity", "vector_a": [1]}), "data", "missing field `vector_b`"),
        (json!({"operation": "cosine_similarity", "vector_a": [1], "vector_b": [1], "x": 1}), "x", "unknown field `x`"),
        (
            json!({"operation": "cosine_similarity", "vector_a": [1], "vector_b": [1, 2]}),
            "vector_b",
            "found 2 dimensions; `vector_a` has 1",
        ),
        (json!({"operation": "cosine_similarity", "vector_a": [[1]], "vector_b": [1]}), "vector_a", "expected one vector"),
        (json!({"operation": "cosine_similarity", "vector_a": [], "vector_b": [1]}), "vector_a", "empty"),
        (json!({"operation": "similarity", "a": [[1, 2], [3]]}), "a[1]", "found a row of 1 numbers"),
        (json!({"operation": "similarity", "a": [1, 1e39]}), "a[1]", "does not fit f32"),
        (json!({"operation": "similarity", "a": [1], "metric": "manhattan"}), "metric", "found `manhattan`; allowed: cosine"),
        (json!({"operation": "similarity", "a": {"$part": "x"}}), "a", "no binary part is named `x`"),
        (json!({"operation": "top_k", "queries": [1], "vectors": [[1]], "k": 0}), "k", "allowed: 1 to 1000000"),
        (json!({"operation": "top_k", "queries": [1], "vectors": [[1]], "k": -1}), "k", "-1"),
        (json!({"operation": "top_k", "queries": [1], "vectors": [[1]], "k": 1.5}), "k", "1.5"),
        (json!({"operation": "top_k", "queries": [1], "vectors": [[1, 2]], "k": 1}), "queries", "both must agree"),
        (json!({"operation": "top_k", "queries": [1], "vectors": [[1]], "k": 1, "ids": []}), "ids", "found 0 ids for 1 vectors"),
        (json!({"operation": "mean", "vectors": [[1], [2]], "weights": [1]}), "weights", "one each"),
        (json!({"operation": "mean", "vectors": [[1], [2]], "weights": [1, -1]}), "weights[1]", "negative"),
        (json!({"operation": "mean", "vectors": [[1], [2]], "weights": [0, 0]}), "weights", "above zero"),
        (json!({"operation": "statistics", "vectors": [1], "ddof": 1}), "ddof", "two vectors"),
        (json!({"operation": "statistics", "vectors": [1], "ddof": 2}), "ddof", "0 or 1"),
        (json!({"operation": "add", "a": [[1], [2], [3]], "b": [[1], [2]]}), "b", "allowed: 1 or as many"),
        (json!({"operation": "matmul", "a": [[1, 2]], "b": [[1, 2]]}), "b", "both must agree"),
        (json!({"operation": "dequantize", "values": [1], "from": "int8"}), "scales", "missing"),
        (json!({"operation": "dequantize", "values": [1], "from": "f16", "scales": [1]}), "scales", "only int8"),
        (json!({"operation": "dequantize", "values": [1], "from": "binary", "dimensions": 9}), "dimensions", "1 to 8 bits"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 3}), "k", "allowed: 1 to the number of vectors, 2"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 1, "iterations_max": 0}), "iterations_max", "allowed"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 1, "tolerance": -1}), "tolerance", "allowed"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 2, "centroids": [[1]]}), "centroids", "`k` is 2"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 1, "centroids": [[1, 2]]}), "centroids", "both must agree"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 1, "batch_rows": 0}), "batch_rows", "allowed"),
        (json!({"operation": "kmeans", "vectors": [[1], [2]], "k": 1, "start": "given"}), "start", "found `given`"),
        (json!({"operation": "nearest_centroid", "vectors": [1], "centroids": [[1, 2]]}), "centroids", "both must agree"),
        (json!({"operation": "silhouette", "vectors": [[1], [2]], "assignments": [1]}), "assignments", "[2]"),
        (json!({"operation": "silhouette", "vectors": [[1], [2]], "assignments": [1, 2], "sample_max": 1}), "sample_max", "2 to 50000"),
        (json!({"operation": "pca", "vectors": [[1, 2]], "components": 1}), "vectors", "at least two"),
        (json!({"operation": "pca", "vectors": [[1], [2]], "components": 1, "power_iterations": 33}), "power_iterations", "0 to 32"),
        (json!({"operation": "random_projection", "vectors": [1], "components": 0}), "components", "1 to 65536"),
        (json!({"operation": "random_projection", "vectors": [1], "components": 1, "density": 0}), "density", "above 0"),
        (json!({"operation": "center", "vectors": [1], "mean": [[1], [2]]}), "mean", "expected one vector"),
        (json!({"operation": "standardize", "vectors": [1], "ddof": 1}), "ddof", "two vectors"),
        (json!({"operation": "whiten", "vectors": [[1], [2]], "epsilon": 2}), "epsilon", "0 to 1"),
        (json!({"operation": "similarity_join", "a": [[1]], "threshold": 1, "pairs_max": 0}), "pairs_max", "1 to 10000000"),
        (json!({"operation": "similarity_join", "a": [[1]], "b": [[1, 2]], "threshold": 1}), "b", "both must agree"),
        (json!({"operation": "pca", "vectors": [[1, 2], [3, 4]], "components": 3}), "components", "allow 1 to 2"),
        (json!({"operation": "near_duplicates", "vectors": [[1]], "threshold": 1, "pairs_max": 9_999_999}), "pairs_max", "allowed"),
        (json!({"operation": "mmr", "query": [[1], [2]], "vectors": [[1]], "k": 1}), "query", "expected one vector"),
        (json!({"operation": "mmr", "query": [1], "vectors": [[1]], "k": 1, "lambda": 1.1}), "lambda", "0 to 1"),
        (json!({"operation": "reciprocal_rank_fusion", "rankings": []}), "rankings", "allowed"),
        (json!({"operation": "reciprocal_rank_fusion", "rankings": [["a"]], "weights": []}), "weights", "one each"),
        (json!({"operation": "reciprocal_rank_fusion", "rankings": [["a"]], "limit": 0}), "limit", "at least 1"),
    ] {
        let (found_field, found_reason) = refused(data.clone(), Parts::default());
        assert!(found_field == field && found_reason.contains(reason), "{data}: {found_field}: {found_reason}");
    }
}

#[test]
fn parts_of_foreign_shape_or_type_are_refused_at_admission() {
    let of = |dtype: Dtype, shape: &[usize]| {
        let bytes = shape.iter().product::<usize>() * dtype.size_bytes();
        Parts::from([("x".to_owned(), Part::new(dtype, shape.to_vec(), vec![0; bytes].into()).unwrap())])
    };
    for (parts, reason) in [
        (of(Dtype::F32, &[]), "found 0 dimensions"),
        (of(Dtype::F32, &[1, 2, 3]), "found 3 dimensions"),
        (of(Dtype::F32, &[0]), "may be zero"),
        (of(Dtype::F32, &[5, 0]), "may be zero"),
        (of(Dtype::I32, &[2]), "found dtype i32"),
        (of(Dtype::U8, &[2]), "packed bits"),
        (of(Dtype::I8, &[1, 65_537]), "at most 65536"),
    ] {
        let (field, found) = refused(json!({"operation": "sum", "vectors": {"$part": "x"}}), parts);
        assert!(field == "vectors" && found.contains(reason), "{reason}: {found}");
    }
    let (field, _reason) = refused(json!({"operation": "similarity", "a": {"$part": "x"}}), of(Dtype::U8, &[2, 2]));
    assert_eq!(field, "metric");
}

#[tokio::test]
async fn values_that_are_not_finite_or_overflow_are_refused_with_their_index() {
    let wide =
        |values: [f64; 2]| Part::new(Dtype::F64, vec![2], values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>().into()).unwrap();
    for (part, field, reason) in [
        (wide([1.0, f64::NAN]), "vectors[1]", "found NaN"),
        (wide([f64::NEG_INFINITY, 1.0]), "vectors[0]", "found -inf"),
        (wide([1.0, 1e300]), "vectors[1]", "does not fit f32"),
        (Part::from_f32(vec![2, 1], &[0.0, f32::INFINITY]).unwrap(), "vectors[1][0]", "found inf"),
    ] {
        let parts = Parts::from([("x".to_owned(), part)]);
        let error = run_with(json!({"operation": "sum", "vectors": {"$part": "x"}}), parts).await.unwrap_err();
        let TaskError::InvalidPayload { field: found_field, reason: found } = error else { panic!("{error}") };
        assert!(found_field == field && found.contains(reason), "{found_field}: {found}");
    }
    for data in [
        json!({"operation": "scale", "vectors": [3e38], "factor": 10}),
        json!({"operation": "sum", "vectors": [[3e38], [3e38]]}),
        json!({"operation": "multiply", "a": [1e30], "b": [1e30]}),
        json!({"operation": "matmul", "a": [1e30], "b": [[1e30]]}),
        json!({"operation": "quantize", "vectors": [1e5], "to": "f16"}),
        json!({"operation": "dequantize", "values": [1.5], "from": "int8", "scales": [1]}),
        json!({"operation": "dequantize", "values": [256], "from": "binary"}),
        json!({"operation": "reciprocal_rank_fusion", "rankings": [["a", "a"]]}),
    ] {
        assert!(matches!(run(data.clone()).await, Err(TaskError::InvalidPayload { .. })), "{data}");
    }
}

#[test]
fn an_answer_that_is_too_large_is_refused_before_it_is_computed() {
    let tall = Parts::from([("x".to_owned(), Part::new(Dtype::I8, vec![40_000, 1], vec![1; 40_000].into()).unwrap())]);
    for (encoding, operation) in [("float", "similarity"), ("base64", "distance"), ("part", "similarity")] {
        let data = json!({"operation": operation, "a": {"$part": "x"}, "encoding": encoding});
        let (field, reason) = refused(data, tall.clone());
        assert!(field == "encoding" && reason.contains("at most"), "{reason}");
    }
    let (field, _reason) =
        refused(json!({"operation": "matmul", "a": {"$part": "x"}, "b": {"$part": "x"}, "transpose_b": true, "encoding": "part"}), tall);
    assert_eq!(field, "encoding");
}

#[test]
fn the_demand_grows_with_the_answer() {
    let x = Parts::from([("x".to_owned(), Part::new(Dtype::I8, vec![2000, 2], vec![1; 4000].into()).unwrap())]);
    let demand = |data: Value| executor().prepare(&task(data, x.clone())).unwrap().demand;
    let sum = demand(json!({"operation": "sum", "vectors": {"$part": "x"}}));
    let matrix = demand(json!({"operation": "similarity", "a": {"$part": "x"}}));
    assert!(matrix.host_bytes > sum.host_bytes + 2000 * 2000 * 8);
    assert_eq!((sum.threads, matrix.threads), (1, 2));
}

#[tokio::test]
async fn a_cancelled_task_ends_with_its_cause() {
    let vectors = values(3, 300, 16);
    for data in [
        json!({"operation": "kmeans", "vectors": vectors, "k": 20}),
        json!({"operation": "top_k", "queries": vectors, "vectors": vectors, "k": 2}),
        json!({"operation": "near_duplicates", "vectors": vectors, "threshold": 0.5}),
        json!({"operation": "kmeans", "vectors": vectors, "k": 20, "method": "mini_batch"}),
        json!({"operation": "nearest_centroid", "vectors": vectors, "centroids": vectors}),
        json!({"operation": "silhouette", "vectors": vectors, "assignments": (0..300).collect::<Vec<_>>()}),
        json!({"operation": "similarity_join", "a": vectors, "threshold": 0.5}),
        json!({"operation": "similarity_join", "a": vectors, "threshold": 0.5, "metric": "l1"}),
        json!({"operation": "pca", "vectors": vectors, "components": 2}),
        json!({"operation": "pca", "vectors": vectors, "components": 2, "solver": "randomised"}),
        json!({"operation": "random_projection", "vectors": vectors, "components": 2}),
        json!({"operation": "standardize", "vectors": vectors}),
        json!({"operation": "whiten", "vectors": vectors}),
    ] {
        let (executor, task) = (executor(), task(data, Parts::default()));
        let cancel = CancelHandle::default();
        let cause = TaskError::Cancelled { reason: "enough".into() };
        cancel.cancel(cause.clone());
        let ctx = TaskContext::new(cancel, Arc::new(PartSink::default()));
        assert_eq!(executor.execute_with(&task, &ctx).await.unwrap_err(), cause);
    }
}

#[test]
fn every_operation_describes_its_request_and_answer() {
    let reports = executor().reports();
    let operations = &reports[0].operations;
    assert_eq!(operations.len(), 40);
    for operation in operations {
        assert!(operation.request_schema["properties"].is_object(), "{}", operation.name);
        assert!(operation.result_schema["properties"].is_object(), "{}", operation.name);
        assert!(operation.summary.ends_with('.'), "{}", operation.name);
    }
}

/// JSON of all kinds, often numbers and short arrays.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-3i64..4).prop_map(Value::from),
        "[a-z0-9_$]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop_oneof![Just("base64".to_owned()), Just("$part".to_owned()), "[a-z]{1,5}"], inner), 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_request_panics(
        operation in 0usize..29,
        fields in prop::collection::hash_map(
            prop::sample::select(vec![
                "a", "b", "vector_a", "vector_b", "queries", "vectors", "k", "metric", "weights", "values", "from", "to", "scales", "rankings", "query",
                "threshold", "components", "factor", "dimensions", "centroids", "assignments", "mean", "method", "solver", "epsilon", "density",
            ]),
            any_json(),
            0..6,
        ),
    ) {
        let executor = executor();
        let name = executor.reports()[0].operations[operation].name.clone();
        let mut data: serde_json::Map<String, Value> = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
        data.insert("operation".into(), name.into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(executor.execute(&task(Value::Object(data), Parts::default())));
        // A panic would come back as an internal error.
        prop_assert!(!matches!(outcome, Err(TaskError::Internal { .. })), "{outcome:?}");
    }
}
