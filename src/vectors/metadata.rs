//! What rows carry for filters: typed fields, kept in columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Bits, SetError};

/// Fields of one set.
pub const FIELDS_MAX: usize = 64;
/// Bytes of a field's name.
pub const FIELD_NAME_BYTES_MAX: usize = 64;
/// Bytes of one text.
pub const META_TEXT_BYTES_MAX: usize = 4096;
/// Texts of one list.
pub const META_LIST_MAX: usize = 64;

/// The value of a field of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// True or false.
    Flag(bool),
    /// A finite number.
    Number(f64),
    /// A text.
    Text(String),
    /// A list of texts; an empty one is as good as none.
    Texts(Vec<String>),
}

impl MetaValue {
    /// The kind of field that it belongs to.
    #[must_use]
    pub fn kind(&self) -> FieldKind {
        match self {
            Self::Flag(_) => FieldKind::Flag,
            Self::Number(_) => FieldKind::Number,
            Self::Text(_) => FieldKind::Text,
            Self::Texts(_) => FieldKind::Texts,
        }
    }

    /// Errors: `Invalid` at `path` for a value beyond the bounds.
    fn check(&self, path: &dyn Fn() -> String) -> Result<(), SetError> {
        let text = |text: &String| {
            if text.len() <= META_TEXT_BYTES_MAX {
                return Ok(());
            }
            Err(SetError::invalid(path(), format!("found a text of {} bytes; at most {META_TEXT_BYTES_MAX} are allowed", text.len())))
        };
        match self {
            Self::Flag(_) => Ok(()),
            Self::Number(number) if number.is_finite() => Ok(()),
            Self::Number(number) => Err(SetError::invalid(path(), format!("found {number}; numbers must be finite"))),
            Self::Text(found) => text(found),
            Self::Texts(texts) if texts.len() > META_LIST_MAX => {
                Err(SetError::invalid(path(), format!("found {} texts; at most {META_LIST_MAX} are allowed", texts.len())))
            }
            Self::Texts(texts) => texts.iter().try_for_each(text),
        }
    }
}

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// True or false.
    Flag,
    /// Numbers.
    Number,
    /// Texts.
    Text,
    /// Lists of texts.
    Texts,
}

impl FieldKind {
    /// What its values are, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Flag => "booleans",
            Self::Number => "numbers",
            Self::Text => "strings",
            Self::Texts => "lists of strings",
        }
    }
}

/// The fields of a set. The first value of a field says what all of them are.
pub type Schema = BTreeMap<Arc<str>, FieldKind>;

/// Values of many rows: a column a field, a place a row.
pub type MetaColumns = BTreeMap<String, Vec<Option<MetaValue>>>;

/// The schema with what these columns add.
///
/// Errors: `Invalid` at `metadata[row].field` for a value of another kind than the field's, or beyond the bounds; at `metadata` for too many fields, for a
/// column that has not a place for each of `rows`.
pub(super) fn extended(schema: &Arc<Schema>, columns: &MetaColumns, rows: usize) -> Result<Arc<Schema>, SetError> {
    let mut extended = Arc::clone(schema);
    for (name, values) in columns {
        if values.len() != rows {
            let reason = format!("found {} values of `{name}` for {rows} rows; one each is needed", values.len());
            return Err(SetError::invalid("metadata", reason));
        }
        let path = |row: usize| format!("metadata[{row}].{name}");
        let mut kind = extended.get(name.as_str()).copied();
        for (row, value) in values.iter().enumerate().filter_map(|(row, value)| Some((row, value.as_ref()?))) {
            value.check(&|| path(row))?;
            let known = *kind.get_or_insert(value.kind());
            if known != value.kind() {
                let reason = format!("found {}; the values of this field are {}", value.kind().words(), known.words());
                return Err(SetError::invalid(path(row), reason));
            }
        }
        if let (Some(kind), false) = (kind, extended.contains_key(name.as_str())) {
            check_field(name)?;
            if extended.len() == FIELDS_MAX {
                return Err(SetError::invalid("metadata", format!("`{name}` is one field too many; a set has at most {FIELDS_MAX}")));
            }
            Arc::make_mut(&mut extended).insert(name.as_str().into(), kind);
        }
    }
    Ok(extended)
}

fn check_field(name: &str) -> Result<(), SetError> {
    if (1..=FIELD_NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let found: String = name.chars().take(32).collect();
    Err(SetError::invalid(
        "metadata",
        format!("found a field {found:?}; a name has 1 to {FIELD_NAME_BYTES_MAX} bytes and no control characters"),
    ))
}

/// Texts, each once, ascending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Dictionary(Vec<Box<str>>);

impl Dictionary {
    fn of<'a>(texts: impl Iterator<Item = &'a String>) -> Self {
        let mut texts: Vec<Box<str>> = texts.map(|text| text.as_str().into()).collect();
        texts.sort_unstable();
        texts.dedup();
        Self(texts)
    }

    /// The place of a text.
    pub(super) fn find(&self, text: &str) -> Option<usize> {
        self.0.binary_search_by(|known| (**known).cmp(text)).ok()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|text| text.len() as u64 + 16).sum()
    }
}

/// Most bytes that a column takes for a row without a value, and once more for its end.
pub(super) const COLUMN_ROW_BYTES: u64 = 4;

/// The values of one field in the rows of a segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Column {
    /// 0 absent, 1 false, 2 true.
    Flags(Vec<u8>),
    /// The value of each row that has one, with its row.
    Numbers { rows: Vec<u16>, values: Vec<f64> },
    /// 0 absent, else one more than the place in the dictionary.
    Texts { dictionary: Dictionary, codes: Vec<u16> },
    /// Where the list of each row begins, one more for the end; places in the dictionary.
    Lists { dictionary: Dictionary, starts: Vec<u32>, codes: Vec<u32> },
}

impl Column {
    fn of(kind: FieldKind, values: &[Option<MetaValue>]) -> Self {
        let mut column = Self::loose(kind, values);
        column.shrink();
        column
    }

    /// Gives back what growing took too much.
    fn shrink(&mut self) {
        match self {
            Self::Flags(flags) => flags.shrink_to_fit(),
            Self::Numbers { rows, values } => {
                rows.shrink_to_fit();
                values.shrink_to_fit();
            }
            Self::Texts { dictionary, codes } => {
                dictionary.0.shrink_to_fit();
                codes.shrink_to_fit();
            }
            Self::Lists { dictionary, starts, codes } => {
                dictionary.0.shrink_to_fit();
                starts.shrink_to_fit();
                codes.shrink_to_fit();
            }
        }
    }

    fn loose(kind: FieldKind, values: &[Option<MetaValue>]) -> Self {
        match kind {
            FieldKind::Flag => Self::Flags(
                values.iter().map(|value| if let Some(MetaValue::Flag(flag)) = value { 1 + u8::from(*flag) } else { 0 }).collect(),
            ),
            FieldKind::Number => {
                let number = |(row, value): (usize, &Option<MetaValue>)| {
                    if let Some(MetaValue::Number(number)) = value { Some((row as u16, *number)) } else { None }
                };
                let (rows, values) = values.iter().enumerate().filter_map(number).unzip();
                Self::Numbers { rows, values }
            }
            FieldKind::Text => {
                let text = |value: &'_ Option<MetaValue>| if let Some(MetaValue::Text(text)) = value { Some(text.clone()) } else { None };
                let texts: Vec<Option<String>> = values.iter().map(text).collect();
                let dictionary = Dictionary::of(texts.iter().flatten());
                let code = |text: &Option<String>| text.as_ref().and_then(|text| dictionary.find(text)).map_or(0, |place| place as u16 + 1);
                Self::Texts { codes: texts.iter().map(code).collect(), dictionary }
            }
            FieldKind::Texts => {
                let list =
                    |value: &'_ Option<MetaValue>| if let Some(MetaValue::Texts(texts)) = value { texts.clone() } else { Vec::new() };
                let lists: Vec<Vec<String>> = values.iter().map(list).collect();
                let dictionary = Dictionary::of(lists.iter().flatten());
                let (mut starts, mut codes) = (Vec::with_capacity(lists.len() + 1), Vec::new());
                for list in &lists {
                    starts.push(codes.len() as u32);
                    codes.extend(list.iter().filter_map(|text| dictionary.find(text)).map(|place| place as u32));
                }
                starts.push(codes.len() as u32);
                Self::Lists { dictionary, starts, codes }
            }
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Flags(flags) => flags.capacity() as u64,
            Self::Numbers { rows, values } => rows.capacity() as u64 * 2 + values.capacity() as u64 * 8,
            Self::Texts { dictionary, codes } => dictionary.bytes() + codes.capacity() as u64 * 2,
            Self::Lists { dictionary, starts, codes } => dictionary.bytes() + (starts.capacity() + codes.capacity()) as u64 * 4,
        }
    }

    fn get(&self, row: usize) -> Option<MetaValue> {
        match self {
            Self::Flags(flags) => (flags[row] > 0).then_some(MetaValue::Flag(flags[row] == 2)),
            Self::Numbers { rows, values } => rows.binary_search(&(row as u16)).ok().map(|place| MetaValue::Number(values[place])),
            Self::Texts { dictionary, codes } => {
                let place = usize::from(codes[row]).checked_sub(1)?;
                Some(MetaValue::Text(dictionary.0[place].to_string()))
            }
            Self::Lists { dictionary, starts, codes } => {
                let codes = &codes[starts[row] as usize..starts[row + 1] as usize];
                let text = |code: &u32| dictionary.0[*code as usize].to_string();
                (!codes.is_empty()).then(|| MetaValue::Texts(codes.iter().map(text).collect()))
            }
        }
    }

    /// True when it is about so many rows and every place in it exists: what comes from a file may say anything.
    fn is_sound(&self, rows: usize) -> bool {
        let sorted = |dictionary: &Dictionary| dictionary.0.is_sorted_by(|one, next| one < next);
        match self {
            Self::Flags(flags) => flags.len() == rows && flags.iter().all(|flag| *flag <= 2),
            Self::Numbers { rows: places, values } => {
                let inside = places.iter().all(|place| usize::from(*place) < rows);
                places.len() == values.len()
                    && inside
                    && places.is_sorted_by(|one, next| one < next)
                    && values.iter().all(|value| value.is_finite())
            }
            Self::Texts { dictionary, codes } => {
                codes.len() == rows && sorted(dictionary) && codes.iter().all(|code| usize::from(*code) <= dictionary.0.len())
            }
            Self::Lists { dictionary, starts, codes } => {
                let ends = starts.first() == Some(&0) && starts.last() == Some(&(codes.len() as u32));
                let known = codes.iter().all(|code| (*code as usize) < dictionary.0.len());
                starts.len() == rows + 1 && ends && starts.is_sorted() && sorted(dictionary) && known
            }
        }
    }

    fn kind(&self) -> FieldKind {
        match self {
            Self::Flags(_) => FieldKind::Flag,
            Self::Numbers { .. } => FieldKind::Number,
            Self::Texts { .. } => FieldKind::Text,
            Self::Lists { .. } => FieldKind::Texts,
        }
    }
}

/// The metadata of a segment's rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct MetaTable(BTreeMap<Box<str>, Column>);

impl MetaTable {
    /// Columns of one segment; of the kinds that the schema says.
    pub(super) fn new(schema: &Schema, columns: &BTreeMap<&str, &[Option<MetaValue>]>) -> Self {
        let filled = columns.iter().filter(|(_, values)| values.iter().any(Option::is_some));
        let column = |(name, values): (&&str, &&[Option<MetaValue>])| Some(((*name).into(), Column::of(*schema.get(*name)?, values)));
        Self(filled.filter_map(column).collect())
    }

    /// What a table of these columns holds at most, in heap bytes.
    pub(super) fn bytes_max(columns: &BTreeMap<&str, &[Option<MetaValue>]>) -> u64 {
        let value = |value: &Option<MetaValue>| match value {
            None => 10,
            Some(MetaValue::Flag(_) | MetaValue::Number(_)) => 12,
            Some(MetaValue::Text(text)) => 34 + text.len() as u64,
            Some(MetaValue::Texts(texts)) => 12 + texts.iter().map(|text| 36 + text.len() as u64).sum::<u64>(),
        };
        columns.iter().map(|(name, values)| 256 + name.len() as u64 + values.iter().map(value).sum::<u64>()).sum()
    }

    /// Heap bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(name, column)| 128 + name.len() as u64 + column.bytes()).sum()
    }

    /// What a row carries.
    pub(super) fn row(&self, row: usize) -> BTreeMap<String, MetaValue> {
        self.0.iter().filter_map(|(name, column)| Some((name.to_string(), column.get(row)?))).collect()
    }

    /// A field of a row.
    pub(super) fn value(&self, field: &str, row: usize) -> Option<MetaValue> {
        self.0.get(field)?.get(row)
    }

    pub(super) fn column(&self, field: &str) -> Option<&Column> {
        self.0.get(field)
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, FieldKind)> {
        self.0.iter().map(|(name, column)| (&**name, column.kind()))
    }

    /// A table that came from a file; `None` when it is not one of so many rows.
    pub(super) fn sound(mut self, rows: usize) -> Option<Self> {
        self.0.values_mut().for_each(Column::shrink);
        self.0.values().all(|column| column.is_sound(rows)).then_some(self)
    }
}

/// The rows of a column for which `wanted` says yes.
pub(super) fn rows_with_texts(column: &Column, rows: usize, wanted: &[&str]) -> Bits {
    let places = |dictionary: &Dictionary| {
        let mut places = Bits::none(dictionary.0.len());
        wanted.iter().filter_map(|text| dictionary.find(text)).for_each(|place| {
            places.insert(place);
        });
        places
    };
    match column {
        Column::Texts { dictionary, codes } => {
            let places = places(dictionary);
            Bits::of(rows, |row| usize::from(codes[row]).checked_sub(1).is_some_and(|place| places.get(place)))
        }
        Column::Lists { dictionary, starts, codes } => {
            let places = places(dictionary);
            Bits::of(rows, |row| codes[starts[row] as usize..starts[row + 1] as usize].iter().any(|code| places.get(*code as usize)))
        }
        Column::Flags(_) | Column::Numbers { .. } => Bits::none(rows),
    }
}
