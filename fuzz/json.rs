//! JSON out of JSON Schemas, and mutations of JSON that keep it JSON.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Map, Value, json};

/// Levels that a sample descends before it takes the plainest value.
const DEPTH_MAX: usize = 8;

/// Texts that break what reads texts.
const TEXTS: [&str; 20] = [
    "",
    "a",
    "Hello world. A second sentence! And a third?",
    "e\u{301}\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}\u{1F3FD} \u{FEFF}\u{202E}abc",
    "\0\u{7f}\r\n\t",
    "日本語の文章です。二つ目。",
    "<p>a &amp; <b>b</p><script>",
    "# Title\n\n- item\n\n```rust\nfn f() {}\n```\n",
    "4111 1111 1111 1111, DE89 3704 0044 0532 0130, a@b.example, +49 30 123456, ::1",
    "(((((((((((((((((((((((((a+)+)+)+)+",
    "[[:alpha:]]{1000}{1000}",
    "1e400",
    "-0",
    "../../etc/passwd",
    "$from",
    "a.b[3]/c~1d",
    "tallow-builtin-static-v1",
    "AAAAAAAAgD8=",
    "\u{10FFFF}\u{D7FF}",
    "I\u{307}ıſßΣς",
];

/// Numbers at the edges.
fn edge_number(random: &mut StdRng) -> Value {
    let numbers = [
        json!(0),
        json!(1),
        json!(2),
        json!(3),
        json!(-1),
        json!(0.5),
        json!(-0.0),
        json!(1e308),
        json!(1e-320),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(4_294_967_296_u64),
        json!(1_000_000),
        json!(16_777_217),
    ];
    numbers.choose(random).cloned().unwrap_or(Value::Null)
}

fn edge_text(random: &mut StdRng) -> Value {
    let text = TEXTS.choose(random).copied().unwrap_or("");
    if random.random_ratio(1, 12) { json!(text.repeat(200)) } else { json!(text) }
}

/// A value of the schema, mostly: numbers and texts go to the edges, optional fields come and go.
pub(crate) fn sample(schema: &Value, random: &mut StdRng) -> Value {
    sample_within(schema, schema, random, 0)
}

fn sample_within(schema: &Value, root: &Value, random: &mut StdRng, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.trim_start_matches('#');
        return root.pointer(target).map_or(Value::Null, |schema| sample_within(schema, root, random, depth + 1));
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.choose(random).cloned().unwrap_or(Value::Null);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(branch) = schema.get(key).and_then(Value::as_array).and_then(|branches| branches.choose(random)) {
            return sample_within(branch, root, random, depth + 1);
        }
    }
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("properties").is_some() => vec!["object"],
        _ => vec!["string", "number", "array"],
    };
    match kinds.choose(random).copied().unwrap_or("null") {
        "object" => sample_object(schema, root, random, depth),
        "array" => sample_array(schema, root, random, depth),
        "string" => edge_text(random),
        "boolean" => json!(random.random::<bool>()),
        "integer" => sample_integer(schema, random),
        "number" if random.random() => json!(random.random_range(-2.0..2.0)),
        "number" => edge_number(random),
        _ => Value::Null,
    }
}

fn sample_object(schema: &Value, root: &Value, random: &mut StdRng, depth: usize) -> Value {
    let required: Vec<&str> =
        schema["required"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    let mut fields = Map::new();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if required.contains(&name.as_str()) || random.random_ratio(1, 3) {
            fields.insert(name.clone(), sample_within(field, root, random, depth + 1));
        }
    }
    Value::Object(fields)
}

/// Arrays of one shape more often than not, as vectors and matrices are.
fn sample_array(schema: &Value, root: &Value, random: &mut StdRng, depth: usize) -> Value {
    let count = random.random_range(0..6);
    if schema.get("items").is_none() {
        return json!((0..count).map(|_| random.random_range(-1.0..1.0)).collect::<Vec<f64>>());
    }
    Value::Array((0..count).map(|_| sample_within(&schema["items"], root, random, depth + 1)).collect())
}

/// Small numbers mostly, so that what is asked for can be done.
fn sample_integer(schema: &Value, random: &mut StdRng) -> Value {
    let least = schema["minimum"].as_u64().unwrap_or(0);
    if random.random_ratio(3, 4) { json!(least.saturating_add(random.random_range(0..5))) } else { edge_number(random) }
}

/// Changes one value somewhere in the document.
pub(crate) fn mutate(value: &mut Value, random: &mut StdRng) {
    match value {
        Value::Object(fields) if !fields.is_empty() && random.random_ratio(3, 4) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let name = names.choose(random).cloned().unwrap_or_default();
            match random.random_range(0..8) {
                0 => drop(fields.remove(&name)),
                1 => {
                    let moved = fields.remove(&name).unwrap_or_default();
                    fields.insert(format!("{name}_"), moved);
                }
                2 => drop(fields.insert("surprise".into(), edge_number(random))),
                _ => fields.get_mut(&name).into_iter().for_each(|inner| mutate(inner, random)),
            }
        }
        Value::Array(items) if !items.is_empty() && random.random_ratio(3, 4) => {
            let at = random.random_range(0..items.len());
            match random.random_range(0..6) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.clear(),
                _ => mutate(&mut items[at], random),
            }
        }
        other => *other = replacement(other.take(), random),
    }
}

fn replacement(old: Value, random: &mut StdRng) -> Value {
    match random.random_range(0..9) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 | 3 => edge_number(random),
        4 | 5 => edge_text(random),
        6 => json!([old]),
        7 => json!({ "$part": (["matrix", "bytes", "none"].choose(random)) }),
        _ => (0..random.random_range(1..100)).fold(old, |inner, _| json!([inner])),
    }
}
