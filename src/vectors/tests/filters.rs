//! Filters on columns against the plainest reading of the same condition.

use proptest::prelude::*;

use super::*;
use crate::vectors::metadata::MetaTable;

type Row = BTreeMap<String, MetaValue>;

fn row() -> impl Strategy<Value = Row> {
    let word = || prop::sample::select(vec!["de", "en", "fr", "", "日本語"]).prop_map(str::to_owned);
    let field = |name: &'static str, value: BoxedStrategy<MetaValue>| {
        prop::option::weighted(0.7, value).prop_map(move |value| (name.to_owned(), value))
    };
    (
        field("flag", any::<bool>().prop_map(MetaValue::Flag).boxed()),
        field("year", (1990i32..2000).prop_map(|year| MetaValue::Number(f64::from(year))).boxed()),
        field("lang", word().prop_map(MetaValue::Text).boxed()),
        field("tags", prop::collection::vec(word(), 1..4).prop_map(MetaValue::Texts).boxed()),
    )
        .prop_map(|(flag, year, lang, tags)| {
            [flag, year, lang, tags].into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
        })
}

fn condition() -> impl Strategy<Value = Filter> {
    let text = || prop::sample::select(vec!["de", "en", "xx", ""]).prop_map(|text: &str| MetaValue::Text(text.into()));
    let of_texts = prop::sample::select(vec!["lang", "tags"]);
    let leaf = prop_oneof![
        (of_texts.clone(), text()).prop_map(|(field, value)| Filter::Eq { field: field.into(), value }),
        (of_texts, prop::collection::vec(text(), 0..3)).prop_map(|(field, values)| Filter::In { field: field.into(), values }),
        any::<bool>().prop_map(|flag| Filter::Eq { field: "flag".into(), value: MetaValue::Flag(flag) }),
        (1989i32..2001).prop_map(|year| Filter::Eq { field: "year".into(), value: MetaValue::Number(f64::from(year)) }),
        prop::collection::vec(1989i32..2001, 0..4).prop_map(|years| {
            Filter::In { field: "year".into(), values: years.into_iter().map(|year| MetaValue::Number(f64::from(year))).collect() }
        }),
        (prop::option::of(1989.0..2001.0), prop::option::of(1989.0..2001.0))
            .prop_map(|(gte, lt)| { Filter::Range { field: "year".into(), bounds: Bounds { gte, lt, ..Bounds::default() } } }),
        prop::sample::select(vec!["flag", "year", "lang", "tags"]).prop_map(|field| Filter::Exists(field.into())),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

/// The condition, read row by row.
fn admits(filter: &Filter, row: &Row) -> bool {
    let is = |field: &str, wanted: &MetaValue| match row.get(field) {
        Some(MetaValue::Texts(texts)) => texts.iter().any(|text| MetaValue::Text(text.clone()) == *wanted),
        other => other == Some(wanted),
    };
    match filter {
        Filter::And(inner) => inner.iter().all(|inner| admits(inner, row)),
        Filter::Or(inner) => inner.iter().any(|inner| admits(inner, row)),
        Filter::Not(inner) => !admits(inner, row),
        Filter::Eq { field, value } => is(field, value),
        Filter::In { field, values } => values.iter().any(|value| is(field, value)),
        Filter::Exists(field) => row.contains_key(field),
        Filter::Range { field, bounds } => match row.get(field) {
            Some(MetaValue::Number(number)) => {
                bounds.gte.is_none_or(|bound| *number >= bound) && bounds.lt.is_none_or(|bound| *number < bound)
            }
            _ => false,
        },
    }
}

fn columns(rows: &[Row]) -> MetaColumns {
    let fields: std::collections::BTreeSet<&String> = rows.iter().flat_map(BTreeMap::keys).collect();
    fields.into_iter().map(|field| (field.clone(), rows.iter().map(|row| row.get(field).cloned()).collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filter_on_columns_admits_what_it_says(rows in prop::collection::vec(row(), 1..150), filter in condition()) {
        let columns = columns(&rows);
        let schema: Schema = [("flag", FieldKind::Flag), ("year", FieldKind::Number), ("lang", FieldKind::Text), ("tags", FieldKind::Texts)]
            .into_iter().map(|(name, kind)| (name.into(), kind)).collect();
        let slices = columns.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
        let table = MetaTable::new(&schema, &slices);
        prop_assert!(table.bytes() <= MetaTable::bytes_max(&slices));
        let admitted = filter.rows(&table, rows.len());
        for (at, row) in rows.iter().enumerate() {
            prop_assert_eq!(admitted.get(at), admits(&filter, row), "{:?}", row);
            prop_assert_eq!(&table.row(at), row);
        }
        // What is written to a file is what was there.
        let written = serde_json::to_vec(&table).unwrap();
        let read: MetaTable = serde_json::from_slice(&written).unwrap();
        prop_assert_eq!(read.sound(rows.len()), Some(table));
    }
}

#[test]
fn conditions_that_cannot_be_answered_are_refused_at_their_place() {
    let set = store().create("a", spec(1), watch()).unwrap();
    let eq = |field: &str, value: MetaValue| Filter::Eq { field: field.into(), value };
    // Without rows nothing is wrong yet, and nothing is found.
    assert!(set.version().check_filter(&eq("lang", MetaValue::Flag(true))).is_ok());
    let rows: Vec<Row> = vec![
        [("lang".to_owned(), MetaValue::Text("de".into())), ("year".to_owned(), MetaValue::Number(1.0))].into(),
        [("tags".to_owned(), MetaValue::Texts(vec!["a".into()]))].into(),
    ];
    let metadata = columns(&rows);
    let new = NewRows { values: &RowsIn::Values(&[1.0, 2.0]), ids: None, metadata: &metadata };
    set.write(new, OnConflict::Refuse, watch()).unwrap();
    let deep = (0..FILTER_DEPTH_MAX + 1).fold(Filter::And(vec![]), |inner, _| Filter::Not(Box::new(inner)));
    let wide = Filter::Or(vec![Filter::And(vec![]); FILTER_CONDITIONS_MAX]);
    let text = |text: &str| MetaValue::Text(text.into());
    for (filter, field, reason) in [
        (eq("language", text("de")), "filter.eq", "they have lang, tags, year"),
        (
            Filter::And(vec![Filter::And(vec![]), eq("lang", MetaValue::Number(1.0))]),
            "filter.and[1].eq",
            "found numbers; the values of `lang` are strings",
        ),
        (Filter::Not(Box::new(Filter::Exists("x".into()))), "filter.not.exists", "no row"),
        (
            Filter::Range { field: "lang".into(), bounds: Bounds { gt: Some(0.0), ..Bounds::default() } },
            "filter.range",
            "ranges are of numbers",
        ),
        (Filter::Range { field: "year".into(), bounds: Bounds::default() }, "filter.range", "needs one of"),
        (Filter::In { field: "tags".into(), values: vec![text("a"), MetaValue::Texts(vec![])] }, "filter.in.values[1]", "found a list"),
        (eq("year", MetaValue::Number(f64::NAN)), "filter.eq.value", "finite"),
        (Filter::In { field: "lang".into(), values: vec![text("a"); FILTER_VALUES_MAX + 1] }, "filter.in.values", "at most"),
        (deep, "filter.not.not", "deeper than"),
        (wide, "filter.or[1023]", "more than"),
    ] {
        let refused = filter.check().and_then(|()| set.version().check_filter(&filter)).unwrap_err();
        let SetError::Invalid { field: found, reason: why } = &refused else { panic!("{refused}") };
        assert!(found.starts_with(field) && why.contains(reason), "{found}: {why}");
    }
    let none = set.delete(Doomed::Filter(&Filter::Or(vec![])), watch()).unwrap();
    assert_eq!((none.removed, none.len), (0, 2));
}
