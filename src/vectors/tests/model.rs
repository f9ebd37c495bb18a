//! Random sequences of operations against a list of rows, through saves and restarts.

use std::collections::HashMap;

use proptest::prelude::*;
use tallow_kernels::search::Certainty;

use super::*;

/// A row of the model.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    id: RowId,
    values: Vec<f32>,
    /// Its one field: `parity` of the number behind its name.
    even: Option<bool>,
}

#[derive(Clone, Debug)]
enum Step {
    Append { count: usize, from: i64 },
    Upsert { ids: Vec<i64> },
    Delete { ids: Vec<i64> },
    DeleteOdd,
    Save,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1usize..40, -5i64..200).prop_map(|(count, from)| Step::Append { count, from }),
        3 => prop::collection::vec(-5i64..200, 1..20).prop_map(|ids| Step::Upsert { ids }),
        3 => prop::collection::vec(-5i64..200, 1..60).prop_map(|ids| Step::Delete { ids }),
        1 => Just(Step::DeleteOdd),
        1 => Just(Step::Save),
        1 => Just(Step::Restart),
    ]
}

/// The values of the row that is written with this number in this step: small integers, so that every score is exact.
fn values(number: i64, step: usize, dim: usize) -> Vec<f32> {
    (0..dim).map(|at| ((number * 31 + step as i64 * 17 + at as i64 * 7).rem_euclid(9) - 4) as f32).collect()
}

struct Both {
    store: SetStore,
    folder: tempfile::TempDir,
    ids: IdKind,
    rows: Vec<Row>,
    /// What a restart finds.
    saved: Option<Vec<Row>>,
    spec: SetSpec,
}

impl Both {
    fn new(spec: SetSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SetStore::open(ledger(u64::MAX).1, Some(folder.path().to_owned()));
        store.create("set", spec.clone(), watch()).unwrap();
        let saved = spec.persistent.then(Vec::new);
        Self { store, folder, ids: spec.ids, rows: Vec::new(), saved, spec }
    }

    fn id(&self, number: i64) -> RowId {
        if self.ids == IdKind::Integer { RowId::Integer(number) } else { RowId::Text(format!("row {number}")) }
    }

    fn row(&self, number: i64, step: usize) -> Row {
        let even = (number % 3 != 0).then_some(number % 2 == 0);
        Row { id: self.id(number), values: values(number, step, self.spec.dim), even }
    }

    fn set(&self) -> std::sync::Arc<VectorSet> {
        self.store.get("set", watch()).unwrap()
    }

    fn write(&mut self, numbers: &[i64], at: usize, on_conflict: OnConflict) {
        let rows: Vec<Row> = numbers.iter().map(|number| self.row(*number, at)).collect();
        let ids: Vec<RowId> = rows.iter().map(|row| row.id.clone()).collect();
        let metadata: MetaColumns = [("even".to_owned(), rows.iter().map(|row| row.even.map(MetaValue::Flag)).collect())].into();
        let values = rows.iter().flat_map(|row| row.values.clone()).collect::<Vec<f32>>();
        let new = NewRows { values: &RowsIn::Values(&values), ids: Some(&ids), metadata: &metadata };
        let written = self.set().write(new, on_conflict, watch());
        let known = self.rows.iter().filter(|row| ids.contains(&row.id)).count();
        if known > 0 && on_conflict == OnConflict::Refuse {
            assert!(matches!(written, Err(SetError::Invalid { .. })), "{written:?}");
            return;
        }
        let written = written.unwrap();
        assert_eq!((written.added, written.removed), (rows.len(), known));
        self.rows.retain(|row| !ids.contains(&row.id));
        self.rows.extend(rows);
        self.changed();
    }

    fn delete(&mut self, doomed: Doomed<'_>, goes: impl Fn(&Row) -> bool) {
        let before = self.rows.len();
        self.rows.retain(|row| !goes(row));
        match self.set().delete(doomed, watch()) {
            Ok(written) => assert_eq!(written.removed, before - self.rows.len()),
            // Without any row of the field the filter says nothing that the set can answer.
            Err(error) => assert!(matches!(error, SetError::Invalid { .. }) && before == self.rows.len(), "{error}"),
        }
        if self.rows.len() != before {
            self.changed();
        }
    }

    fn changed(&mut self) {
        if self.spec.persistent {
            self.saved = Some(self.rows.clone());
        }
    }

    fn apply(&mut self, step: &Step, at: usize) {
        match step {
            Step::Append { count, from } => self.write(&(*from..from + *count as i64).collect::<Vec<_>>(), at, OnConflict::Refuse),
            Step::Upsert { ids } => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids.dedup();
                self.write(&ids, at, OnConflict::Replace);
            }
            Step::Delete { ids } => {
                let ids: Vec<RowId> = ids.iter().map(|number| self.id(*number)).collect();
                self.delete(Doomed::Ids(&ids), |row| ids.contains(&row.id));
            }
            Step::DeleteOdd => {
                let odd = Filter::Eq { field: "even".into(), value: MetaValue::Flag(false) };
                self.delete(Doomed::Filter(&odd), |row| row.even == Some(false));
            }
            Step::Save => {
                self.store.save("set", watch()).unwrap();
                self.saved = Some(self.rows.clone());
            }
            Step::Restart => {
                self.store = SetStore::open(ledger(u64::MAX).1, Some(self.folder.path().to_owned()));
                match &self.saved {
                    Some(saved) => self.rows = saved.clone(),
                    None => {
                        assert!(self.store.list().is_empty());
                        self.store.create("set", self.spec.clone(), watch()).unwrap();
                        self.rows.clear();
                    }
                }
            }
        }
    }

    /// The set has exactly the rows of the model, in order, and finds those that the model finds.
    fn compare(&self) {
        let set = self.set();
        let version = set.version();
        let kept: Vec<Row> = version
            .places()
            .map(|place| {
                let mut values = vec![0.0; self.spec.dim];
                version.widen(place, &mut values);
                let even = version.metadata(place).get("even").map(|value| *value == MetaValue::Flag(true));
                Row { id: version.id(place), values, even }
            })
            .collect();
        assert_eq!(kept, self.rows);
        assert_eq!(version.len(), self.rows.len());
        assert!(version.dead() <= 2 * version.len().max(1) * 2 + 40, "{} dead rows of {}", version.dead(), version.len());
        assert!(version.bytes(&self.spec).total() <= version.held_bytes());
        for row in &self.rows {
            assert_eq!(version.find(&row.id).map(|place| version.id(place)).as_ref(), Some(&row.id));
        }
        assert_eq!(version.find(&self.id(100_000)), None);
        let query = values(11, 3, self.spec.dim);
        let dot = |row: &Row| row.values.iter().zip(&query).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        for (k, filter) in [(5, None), (1000, None), (7, Some(true))] {
            let found = filter.map(|even| Filter::Eq { field: "even".into(), value: MetaValue::Flag(even) });
            if found.is_some() && !version.schema().contains_key("even") {
                continue;
            }
            let mut wanted: Vec<(&Row, f64)> =
                self.rows.iter().filter(|row| filter.is_none() || row.even == filter).map(|row| (row, dot(row))).collect();
            wanted.sort_by(|one, other| other.1.total_cmp(&one.1));
            wanted.truncate(k);
            let queries = Rows::new(&query, query.len()).unwrap();
            let asked = SetQuery { queries, k: Some(k), threshold: None, hits_max: 0, filter: found.as_ref(), certainty: Certainty::Exact };
            let answer = search_version(&version, &self.spec, &asked, watch()).unwrap();
            let got: Vec<(RowId, f64)> = answer.hits[0].iter().map(|hit| (version.id(hit.place), hit.score)).collect();
            assert_eq!(got, wanted.iter().map(|(row, score)| (row.id.clone(), *score)).collect::<Vec<_>>(), "k {k}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_is_what_a_list_of_rows_would_be(
        steps in prop::collection::vec(step(), 1..30),
        texts in any::<bool>(),
        persistent in any::<bool>(),
        f16 in any::<bool>(),
        sketched in any::<bool>(),
    ) {
        let ids = if texts { IdKind::Text } else { IdKind::Integer };
        let dtype = if f16 { RowDtype::F16 } else { RowDtype::F32 };
        let sketch = if sketched { SketchKind::Int8 } else { SketchKind::None };
        let mut both = Both::new(SetSpec { ids, persistent, dtype, sketch, ..spec(5) });
        for (at, step) in steps.iter().enumerate() {
            both.apply(step, at);
            both.compare();
        }
    }
}

#[test]
fn sets_of_several_full_segments_keep_their_order() {
    let set = store().create("a", spec(1), watch()).unwrap();
    let count = 2 * SEGMENT_ROWS + 100;
    // Names that run against the order of the rows, so that finding one is no accident.
    let ids = integers((0..count as i64).map(|at| (at * 7919) % count as i64));
    let values: Vec<f32> = (0..count).map(|at| (at % 1000) as f32).collect();
    append(&set, &values, &ids).unwrap();
    assert_eq!(set.version().segment_count(), 3);
    assert_eq!(names(&set), ids);
    let rows: HashMap<&RowId, f32> = ids.iter().zip(values.iter().copied()).collect();
    let hits = nearest(&set, &[1.0], count);
    assert!(hits.iter().all(|(id, score)| f64::from(rows[id]) == *score));
    let places: HashMap<&RowId, usize> = ids.iter().enumerate().map(|(at, id)| (id, at)).collect();
    let in_order = |pair: &[(RowId, f64)]| pair[0].1 > pair[1].1 || (pair[0].1 == pair[1].1 && places[&pair[0].0] < places[&pair[1].0]);
    assert!(hits.windows(2).all(in_order), "ties go to the row that came first");
    // Half dead segments give their memory back.
    let held = set.version().held_bytes();
    let doomed: Vec<RowId> = ids[..SEGMENT_ROWS].to_vec();
    assert_eq!(set.delete(Doomed::Ids(&doomed), watch()).unwrap().removed, SEGMENT_ROWS);
    assert_eq!((set.version().segment_count(), set.version().dead()), (2, 0));
    assert!(set.version().held_bytes() < held * 3 / 5);
    assert_eq!(names(&set), ids[SEGMENT_ROWS..]);
}
