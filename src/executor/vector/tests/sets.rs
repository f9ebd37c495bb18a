//! Operations on resident sets through the executor's port.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::resource::{BudgetLimits, HostAccount, Ledger};
use crate::task::Dtype;

/// An executor that saves sets in a folder.
fn saving(folder: &Path, allow_paths: bool) -> VectorComputationExecutor {
    let limits = BudgetLimits { host_bytes: 64 << 20, threads: 2, devices: std::collections::BTreeMap::new() };
    let account = HostAccount::new(Ledger::new(&limits), None);
    let options = VectorOptions { max_memory_mb: 0, account, folder: Some(folder.to_owned()), allow_paths };
    VectorComputationExecutor::with_options(ComputePool::new(2).expect("two threads"), options)
}

/// Tasks of one executor, one after the other.
struct Sets(VectorComputationExecutor);

impl Sets {
    fn new() -> Self {
        Self(executor())
    }

    async fn run_with(&self, data: Value, parts: Parts) -> Result<(Value, Parts), TaskError> {
        let (task, sink) = (task(data, parts), Arc::new(PartSink::default()));
        let prepared = self.0.prepare(&task)?;
        let ctx = TaskContext::new(CancelHandle::default(), sink.clone()).with_request(prepared.request);
        let result = self.0.execute_with(&task, &ctx).await?;
        Ok((result.output, sink.take()))
    }

    async fn run(&self, data: Value) -> Result<Value, TaskError> {
        self.run_with(data, Parts::default()).await.map(|(output, _parts)| output)
    }

    async fn ok(&self, data: Value) -> Value {
        self.run(data.clone()).await.unwrap_or_else(|error| panic!("{data}: {error}"))
    }

    async fn refused(&self, data: Value) -> (String, String) {
        match self.run(data.clone()).await {
            Err(TaskError::InvalidPayload { field, reason }) => (field, reason),
            other => panic!("{data}: expected a refusal, got {other:?}"),
        }
    }
}

fn library() -> Value {
    json!({
        "operation": "set.append", "set": "docs", "ids": ["a", "b", "c"], "vectors": [[1, 0], [0, 1], [0.6, 0.8]],
        "metadata": [{"lang": "de", "year": 1999, "tags": ["x", "y"]}, {"lang": "en", "open": true}, {"year": 2001, "tags": null}],
    })
}

#[tokio::test]
async fn a_set_is_made_filled_searched_read_and_dropped() {
    let sets = Sets::new();
    let made = sets.ok(json!({"operation": "set.create", "set": "docs", "dim": 2, "ids": "string", "sketch": "auto"})).await;
    assert_eq!((&made["state"], &made["sketch"], &made["rows"]), (&json!("resident"), &json!("int8"), &json!(0)));
    let written = sets.ok(library()).await;
    assert_eq!(written, json!({"set": "docs", "version": 1, "added": 3, "replaced": 0, "rows": 3}));
    let found = sets.ok(json!({"operation": "set.search", "set": "docs", "query": [1, 0], "k": 2, "metadata": true})).await;
    assert_eq!(found["ids"], json!([["a", "c"]]));
    assert_eq!(found["metadata"][0][0], json!({"lang": "de", "year": 1999.0, "tags": ["x", "y"]}));
    assert_eq!((&found["order"], &found["counts"], &found["version"]), (&json!("descending"), &json!([2]), &json!(1)));
    assert_eq!(found["search"], json!({"exact": true, "path": "int8 sketch, then f32", "rows_compared": 3, "rows_filtered": 0}));
    for (filter, ids) in [
        (json!({"eq": {"field": "lang", "value": "en"}}), json!([["b"]])),
        (json!({"eq": {"field": "tags", "value": "y"}}), json!([["a"]])),
        (json!({"in": {"field": "lang", "values": ["en", "fr"]}}), json!([["b"]])),
        (json!({"range": {"field": "year", "gt": 1999}}), json!([["c"]])),
        (json!({"not": {"exists": {"field": "year"}}}), json!([["b"]])),
        (json!({"or": [{"eq": {"field": "open", "value": true}}, {"eq": {"field": "year", "value": 2001}}]}), json!([["c", "b"]])),
        (json!({"and": [{"exists": {"field": "lang"}}, {"exists": {"field": "year"}}]}), json!([["a"]])),
    ] {
        let data = json!({"operation": "set.search", "set": "docs", "query": [1, 0.5], "k": 9, "filter": filter});
        let found = sets.ok(data).await;
        assert_eq!(found["ids"], ids, "{filter}");
        let kept = ids[0].as_array().map_or(0, Vec::len);
        assert_eq!((&found["search"]["rows_compared"], &found["search"]["rows_filtered"]), (&json!(kept), &json!(3 - kept)));
    }
    let within = sets.ok(json!({"operation": "set.search", "set": "docs", "queries": [[1, 0], [0, 1]], "threshold": 0.7})).await;
    assert_eq!((&within["ids"], &within["counts"]), (&json!([["a"], ["b", "c"]]), &json!([1, 2])));
    let rows = sets.ok(json!({"operation": "set.get", "set": "docs", "ids": ["c", "nobody", "a"]})).await;
    assert_eq!((&rows["ids"], &rows["missing"]), (&json!(["c", "a"]), &json!(["nobody"])));
    assert_eq!(rows["vectors"], json!([[0.6f32, 0.8f32], [1.0, 0.0]]));
    assert_eq!(rows["metadata"][0], json!({"year": 2001.0}));
    let replaced = sets.ok(json!({"operation": "set.upsert", "set": "docs", "ids": ["a", "d"], "vectors": [[0, -1], [-1, 0]]})).await;
    assert_eq!((&replaced["replaced"], &replaced["rows"]), (&json!(1), &json!(4)));
    let gone = sets.ok(json!({"operation": "set.delete", "set": "docs", "ids": ["b", "b", "nobody"]})).await;
    assert_eq!((&gone["deleted"], &gone["missing"], &gone["rows"]), (&json!(1), &json!(1), &json!(3)));
    let stats = sets.ok(json!({"operation": "set.stats", "set": "docs"})).await;
    assert_eq!(stats["fields"], json!({"lang": "text", "open": "flag", "tags": "texts", "year": "number"}));
    assert!(
        stats["bytes"]["total"].as_u64() <= stats["bytes"]["booked"].as_u64() && stats["bytes"]["rows"].as_u64() >= Some(24),
        "{stats}"
    );
    assert_eq!(sets.ok(json!({"operation": "set.list"})).await["sets"][0]["set"], "docs");
    assert_eq!(sets.0.reports()[0].details["sets"][0]["rows"], 3, "the report lists the sets");
    let booked = stats["bytes"]["booked"].clone();
    assert_eq!(sets.ok(json!({"operation": "set.drop", "set": "docs"})).await, json!({"set": "docs", "saved": false, "bytes": booked}));
    assert_eq!(sets.ok(json!({"operation": "set.list"})).await, json!({"sets": []}));
}

#[tokio::test]
async fn rows_and_names_travel_as_parts() {
    let sets = Sets::new();
    sets.ok(json!({"operation": "set.create", "set": "n", "dim": 3, "metric": "l2", "dtype": "f16"})).await;
    let ids = Part::new(Dtype::I64, vec![2], [7i64, -3].iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>().into()).unwrap();
    let vectors = Part::from_f32(vec![2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let parts = Parts::from([("v".to_owned(), vectors.clone()), ("i".to_owned(), ids)]);
    let columns = json!({"page": [1, null]});
    let append = json!({"operation": "set.append", "set": "n", "vectors": {"$part": "v"}, "ids": {"$part": "i"}, "metadata": columns});
    sets.run_with(append, parts).await.unwrap();
    let search = json!({"operation": "set.search", "set": "n", "queries": {"$part": "v"}, "k": 5, "threshold": 4.0, "encoding": "part"});
    let (output, parts) = sets.run_with(search, Parts::from([("v".to_owned(), vectors)])).await.unwrap();
    assert!(output.get("ids").is_none() && output.get("scores").is_none(), "{output}");
    let ids: Vec<i64> = parts["ids"].bytes().as_chunks::<8>().0.iter().map(|id| i64::from_le_bytes(*id)).collect();
    assert_eq!((parts["ids"].shape(), ids.as_slice()), (&[2, 1][..], &[7, -3][..]));
    assert_eq!(parts["scores"].dtype(), Dtype::F64);
    let numbered = sets.ok(json!({"operation": "set.append", "set": "n", "vectors": [0, 0, 0]})).await;
    assert_eq!(numbered["first_id"], 8);
    let bits = json!({"operation": "set.create", "set": "bits", "dim": 12, "metric": "hamming", "dtype": "binary"});
    sets.ok(bits).await;
    let packed = Part::new(Dtype::U8, vec![2, 2], vec![0b1000_0000, 0, 0b1100_0000, 0b0001_0000].into()).unwrap();
    let parts = Parts::from([("p".to_owned(), packed)]);
    sets.run_with(json!({"operation": "set.append", "set": "bits", "vectors": {"$part": "p"}}), parts.clone()).await.unwrap();
    let (found, _) =
        sets.run_with(json!({"operation": "set.search", "set": "bits", "queries": {"$part": "p"}, "k": 2}), parts).await.unwrap();
    assert_eq!((&found["ids"], &found["scores"]), (&json!([[0, 1], [1, 0]]), &json!([[0.0, 2.0], [0.0, 2.0]])));
    let padded = Part::new(Dtype::U8, vec![1, 2], vec![0, 1].into()).unwrap();
    let refused = sets
        .run_with(json!({"operation": "set.append", "set": "bits", "vectors": {"$part": "p"}}), Parts::from([("p".to_owned(), padded)]));
    assert!(matches!(refused.await, Err(TaskError::InvalidPayload { field, .. }) if field == "vectors"));
}

#[tokio::test]
async fn wrong_requests_are_refused_at_their_field() {
    let sets = Sets::new();
    sets.ok(json!({"operation": "set.create", "set": "docs", "dim": 2, "ids": "string"})).await;
    sets.ok(library()).await;
    let search = |filter: Value| json!({"operation": "set.search", "set": "docs", "query": [1, 0], "k": 1, "filter": filter});
    let deep = (0..20).fold(json!({"exists": {"field": "lang"}}), |inner, _| json!({"not": inner}));
    for (data, field, reason) in [
        (json!({"operation": "set.create", "set": "Docs", "dim": 2}), "set", "a set's name"),
        (json!({"operation": "set.create", "set": "docs", "dim": 2}), "set", "there already"),
        (json!({"operation": "set.create", "set": "x", "dim": 0}), "dim", "1 to 65536"),
        (json!({"operation": "set.create", "set": "x", "dim": 2, "dtype": "f8"}), "dtype", "f8"),
        (json!({"operation": "set.create", "set": "x", "dim": 2, "dtype": "binary"}), "metric", "hamming or jaccard"),
        (json!({"operation": "set.create", "set": "x", "dim": 2, "persistent": true}), "persistent", "--vectors-dir"),
        (json!({"operation": "set.append", "set": "nope", "vectors": [1, 2]}), "set", "there are: docs"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2]}), "ids", "named by texts"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2, 3], "ids": ["z"]}), "vectors", "rows of the set have 2"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": ["a"]}), "ids[0]", "set.upsert"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": [7]}), "ids[0]", "found an integer"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": ["z", "y"]}), "ids", "found 2 ids for 1 vectors"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": [1.5]}), "ids[0]", ""),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": {"$part": "x"}}), "ids", "no binary part"),
        (json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": ["z"], "metadata": []}), "metadata", "0 objects for 1"),
        (
            json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": ["z"], "metadata": [{"year": "x"}]}),
            "metadata[0].year",
            "found strings; the values of this field are numbers",
        ),
        (
            json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": ["z"], "metadata": [{"year": {"x": 1}}]}),
            "metadata[0].year",
            "a string, a number, a boolean or a list of strings",
        ),
        (
            json!({"operation": "set.append", "set": "docs", "vectors": [1, 2], "ids": ["z"], "metadata": {"tags": [["a", 1]]}}),
            "metadata.tags[0][1]",
            "string",
        ),
        (json!({"operation": "set.delete", "set": "docs"}), "ids", "missing"),
        (json!({"operation": "set.delete", "set": "docs", "ids": ["a"], "filter": {"and": []}}), "filter", "one of them"),
        (json!({"operation": "set.search", "set": "docs", "query": [1, 0]}), "k", "`k`, `threshold` or both"),
        (json!({"operation": "set.search", "set": "docs", "query": [1, 0], "k": 0}), "k", "1 to 1000000"),
        (json!({"operation": "set.search", "set": "docs", "query": [1, 0, 0], "k": 1}), "queries", "rows of the set have 2"),
        (
            json!({"operation": "set.search", "set": "docs", "query": [1, 0], "threshold": -1, "hits_max": 2}),
            "threshold",
            "more than 2 rows",
        ),
        (search(json!({"eq": {"field": "lang"}})), "filter.eq", "missing field `value`"),
        (search(json!({"eq": {"field": "lang", "value": ["de"]}})), "filter.eq.value", "found a list"),
        (search(json!({"equals": {"field": "lang", "value": "de"}})), "filter", "equals"),
        (search(json!({"and": [{"eq": {"field": "lang", "value": 1}}]})), "filter.and[0].eq", "are strings"),
        (search(json!({"range": {"field": "year", "ge": 1}})), "filter.range.ge", "unknown field"),
        (search(json!({"range": {"field": "year"}})), "filter.range", "needs one of"),
        (search(json!({"eq": {"field": "author", "value": "x"}})), "filter.eq", "they have lang, open, tags, year"),
        (search(deep), "filter.not", "deeper than 16"),
        (json!({"operation": "set.save", "set": "docs"}), "set", "--vectors-dir"),
        (json!({"operation": "set.load", "set": "docs", "upsert": true}), "file", "missing"),
        (json!({"operation": "set.save", "set": "docs", "file": "x.npy"}), "file", "--vectors-dir"),
        (json!({"operation": "set.stats", "set": "nope"}), "set", "there are: docs"),
    ] {
        let (found_field, found_reason) = sets.refused(data.clone()).await;
        assert!(found_field.starts_with(field) && found_reason.contains(reason), "{data}: {found_field}: {found_reason}");
    }
    assert_eq!(sets.ok(json!({"operation": "set.stats", "set": "docs"})).await["version"], 1, "nothing was changed");
}

#[tokio::test]
async fn files_of_other_programs_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let sets = Sets(saving(folder.path(), false));
    for (name, dtype) in [("a", "f32"), ("b", "bf16"), ("c", "int8")] {
        sets.ok(json!({"operation": "set.create", "set": name, "dim": 2, "dtype": dtype, "metric": "l2"})).await;
        sets.ok(json!({"operation": "set.append", "set": name, "ids": [3, 1, 2], "vectors": [[1, 2], [3, 4], [127, -127]]})).await;
        for file in ["out.npy", "out.safetensors", "deep/out.fvecs"] {
            let saved = sets.ok(json!({"operation": "set.save", "set": name, "file": file, "ids_file": "ids.ivecs"})).await;
            assert_eq!((&saved["file_rows"], &saved["file"]), (&json!(3), &json!(file)));
            let copy = format!("{name}-copy");
            sets.ok(json!({"operation": "set.create", "set": copy, "dim": 2, "dtype": dtype, "metric": "l2"})).await;
            let mut load = json!({"operation": "set.load", "set": copy, "file": file});
            if file != "out.safetensors" {
                load["ids_file"] = json!("ids.ivecs");
            }
            assert_eq!(sets.ok(load.clone()).await["file_rows"], 3);
            let get = |set: &str| json!({"operation": "set.get", "set": set, "ids": [3, 1, 2]});
            let (was, is) = (sets.ok(get(name)).await, sets.ok(get(&copy)).await);
            assert_eq!((&was["ids"], &was["vectors"]), (&is["ids"], &is["vectors"]), "{dtype} {file}");
            assert_eq!(sets.refused(load.clone()).await.0, "ids[0]");
            load["upsert"] = json!(true);
            assert_eq!(sets.ok(load).await["rows"], 3);
            sets.ok(json!({"operation": "set.drop", "set": copy})).await;
        }
    }
    assert!(folder.path().join("files/deep/out.fvecs").is_file());
    for name in ["/etc/out.npy", "../out.npy", "a/../../out.npy", ".hidden.npy", "a/.b/c.npy", "c:\\x.npy", "", "out.txt", "./x.npy"] {
        for operation in ["set.save", "set.load"] {
            let (field, _reason) = sets.refused(json!({"operation": operation, "set": "a", "file": name})).await;
            assert_eq!(field, "file", "{name}");
        }
    }
    // A worker whose tasks may name paths takes any.
    let sets = Sets(saving(folder.path(), true));
    sets.ok(json!({"operation": "set.create", "set": "a", "dim": 2})).await;
    let path = folder.path().join("files/out.npy");
    assert_eq!(sets.ok(json!({"operation": "set.load", "set": "a", "file": path})).await["rows"], 3);
    let (field, reason) = sets.refused(json!({"operation": "set.load", "set": "a", "file": folder.path().join("absent.npy")})).await;
    assert!(field == "file" && reason.contains("cannot be read"), "{field}: {reason}");
    std::fs::write(folder.path().join("nan.fvecs"), [2i32.to_le_bytes(), 1f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat()).unwrap();
    let (field, reason) = sets.refused(json!({"operation": "set.load", "set": "a", "file": folder.path().join("nan.fvecs")})).await;
    assert!(field == "file" && reason.contains("row 0, column 1: found NaN"), "{field}: {reason}");
    let uneven = [2i32.to_le_bytes(), [0; 4], [0; 4], 3i32.to_le_bytes(), [0; 4], [0; 4]].concat();
    std::fs::write(folder.path().join("uneven.fvecs"), uneven).unwrap();
    let (_, reason) = sets.refused(json!({"operation": "set.load", "set": "a", "file": folder.path().join("uneven.fvecs")})).await;
    assert!(reason.contains("row 1 claims 3 dimensions; the first has 2"), "{reason}");
}

#[tokio::test]
async fn a_persistent_set_is_there_for_the_next_worker_and_a_damaged_one_is_told_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let sets = Sets(saving(folder.path(), false));
    for name in ["a", "broken"] {
        sets.ok(json!({"operation": "set.create", "set": name, "dim": 1, "persistent": true})).await;
        sets.ok(json!({"operation": "set.append", "set": name, "vectors": [[1], [2]]})).await;
    }
    std::fs::write(folder.path().join("sets/broken/manifest"), b"not a manifest").unwrap();
    let sets = Sets(saving(folder.path(), false));
    let listed = sets.ok(json!({"operation": "set.list"})).await;
    let states: Vec<&Value> = (0..2).map(|at| &listed["sets"][at]["state"]).collect();
    assert_eq!(states, [&json!("saved"), &json!("damaged")]);
    assert_eq!(
        (&listed["sets"][0]["rows"], &listed["sets"][0]["bytes"]["booked"]),
        (&json!(2), &json!(0)),
        "it is not read before it is needed"
    );
    let found = sets.ok(json!({"operation": "set.search", "set": "a", "query": [1], "k": 1})).await;
    assert_eq!(found["counts"], json!([1]));
    for operation in ["set.stats", "set.load", "set.save"] {
        let (field, reason) = sets.refused(json!({"operation": operation, "set": "broken"})).await;
        assert!(field == "set" && reason.contains("damaged") && reason.contains("set.drop"), "{operation}: {reason}");
    }
    sets.ok(json!({"operation": "set.drop", "set": "broken"})).await;
    sets.ok(json!({"operation": "set.create", "set": "broken", "dim": 1})).await;
}
