//! Which rows a search or a deletion is about, said in terms of their metadata. Pure.
//!
//! An absent field is equal to nothing, in no range and in no list; `Not` takes exactly the other rows.

use super::metadata::{Column, MetaTable, Schema, rows_with_texts};
use super::{Bits, FieldKind, MetaValue, SetError};

/// Levels of a filter.
pub const FILTER_DEPTH_MAX: usize = 16;
/// Conditions of a filter.
pub const FILTER_CONDITIONS_MAX: usize = 1024;
/// Values of one list.
pub const FILTER_VALUES_MAX: usize = 10_000;

/// A condition on the metadata of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of them; without any, every row.
    And(Vec<Filter>),
    /// At least one of them; without any, no row.
    Or(Vec<Filter>),
    /// The other rows.
    Not(Box<Filter>),
    /// The field has this value; of a list, one entry is it.
    Eq {
        /// Which field.
        field: String,
        /// The value; never a list.
        value: MetaValue,
    },
    /// The field has one of these values; of a list, one entry is one of them.
    In {
        /// Which field.
        field: String,
        /// The values; never lists.
        values: Vec<MetaValue>,
    },
    /// The field is a number within these bounds, each of which may be absent.
    Range {
        /// Which field.
        field: String,
        /// The bounds.
        bounds: Bounds,
    },
    /// The field is there.
    Exists(String),
}

/// Ends of a range of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// At least this.
    pub gte: Option<f64>,
    /// More than this.
    pub gt: Option<f64>,
    /// At most this.
    pub lte: Option<f64>,
    /// Less than this.
    pub lt: Option<f64>,
}

impl Bounds {
    fn contain(&self, number: f64) -> bool {
        self.gte.is_none_or(|bound| number >= bound)
            && self.gt.is_none_or(|bound| number > bound)
            && self.lte.is_none_or(|bound| number <= bound)
            && self.lt.is_none_or(|bound| number < bound)
    }

    fn are_given(&self) -> bool {
        [self.gte, self.gt, self.lte, self.lt].iter().any(Option::is_some)
    }
}

impl Filter {
    /// Errors: `Invalid` at the condition's path for bounds of the language that are passed: levels, conditions, values, lists of lists, empty ranges.
    pub fn check(&self) -> Result<(), SetError> {
        let mut conditions = 0;
        self.check_at(&Path::Root, (0, &mut conditions))
    }

    fn check_at(&self, path: &Path<'_>, (depth, conditions): (usize, &mut usize)) -> Result<(), SetError> {
        *conditions += 1;
        if depth > FILTER_DEPTH_MAX {
            return Err(SetError::invalid(path.text(), format!("deeper than {FILTER_DEPTH_MAX} levels")));
        }
        if *conditions > FILTER_CONDITIONS_MAX {
            return Err(SetError::invalid(path.text(), format!("more than {FILTER_CONDITIONS_MAX} conditions")));
        }
        match self {
            Self::And(inner) | Self::Or(inner) => {
                let name = self.name();
                inner
                    .iter()
                    .enumerate()
                    .try_for_each(|(place, inner)| inner.check_at(&Path::Item(path, name, place), (depth + 1, conditions)))
            }
            Self::Not(inner) => inner.check_at(&Path::Key(path, "not"), (depth + 1, conditions)),
            Self::Eq { value, .. } => scalar(value, &Path::Key(&Path::Key(path, "eq"), "value")),
            Self::In { values, .. } if values.len() > FILTER_VALUES_MAX => {
                let reason = format!("found {} values; at most {FILTER_VALUES_MAX} are allowed", values.len());
                Err(SetError::invalid(Path::Key(&Path::Key(path, "in"), "values").text(), reason))
            }
            Self::In { values, .. } => {
                let at = Path::Key(path, "in");
                values.iter().enumerate().try_for_each(|(place, value)| scalar(value, &Path::Item(&at, "values", place)))
            }
            Self::Range { bounds, .. } if !bounds.are_given() => {
                Err(SetError::invalid(Path::Key(path, "range").text(), "needs one of gte, gt, lte and lt"))
            }
            Self::Range { .. } | Self::Exists(_) => Ok(()),
        }
    }

    /// The word that it is written with.
    fn name(&self) -> &'static str {
        match self {
            Self::And(_) => "and",
            Self::Or(_) => "or",
            Self::Not(_) => "not",
            Self::Eq { .. } => "eq",
            Self::In { .. } => "in",
            Self::Range { .. } => "range",
            Self::Exists(_) => "exists",
        }
    }

    /// Errors: `Invalid` at the condition's path for a field that no row of the set has, or values of another kind than the field's.
    pub(super) fn check_against(&self, schema: &Schema) -> Result<(), SetError> {
        self.against(schema, &Path::Root)
    }

    fn against(&self, schema: &Schema, path: &Path<'_>) -> Result<(), SetError> {
        let at = Path::Key(path, self.name());
        let of_kind = |field: &str, values: &[MetaValue]| {
            let known = kind(schema, field, &at)?;
            let expected = if known == FieldKind::Texts { FieldKind::Text } else { known };
            match values.iter().find(|value| value.kind() != expected) {
                None => Ok(()),
                Some(value) => {
                    let reason = format!("found {}; the values of `{field}` are {}", value.kind().words(), known.words());
                    Err(SetError::invalid(at.text(), reason))
                }
            }
        };
        match self {
            Self::And(inner) | Self::Or(inner) => {
                let name = self.name();
                inner.iter().enumerate().try_for_each(|(place, inner)| inner.against(schema, &Path::Item(path, name, place)))
            }
            Self::Not(inner) => inner.against(schema, &at),
            Self::Eq { field, value } => of_kind(field, std::slice::from_ref(value)),
            Self::In { field, values } => of_kind(field, values),
            Self::Exists(field) => kind(schema, field, &at).map(drop),
            Self::Range { field, .. } => match kind(schema, field, &at)? {
                FieldKind::Number => Ok(()),
                other => Err(SetError::invalid(at.text(), format!("the values of `{field}` are {}; ranges are of numbers", other.words()))),
            },
        }
    }

    /// The rows of a segment that it admits.
    pub(super) fn rows(&self, table: &MetaTable, rows: usize) -> Bits {
        match self {
            Self::And(inner) => inner.iter().fold(Bits::all(rows), |mut all, inner| {
                all.and(&inner.rows(table, rows));
                all
            }),
            Self::Or(inner) => inner.iter().fold(Bits::none(rows), |mut all, inner| {
                all.or(&inner.rows(table, rows));
                all
            }),
            Self::Not(inner) => {
                let mut others = inner.rows(table, rows);
                others.invert();
                others
            }
            Self::Eq { field, value } => one_of(table.column(field), rows, std::slice::from_ref(value)),
            Self::In { field, values } => one_of(table.column(field), rows, values),
            Self::Range { field, bounds } => match table.column(field) {
                Some(Column::Numbers { rows: places, values }) => {
                    let inside = places.iter().zip(values).filter(|(_, value)| bounds.contain(**value));
                    of_places(rows, inside.map(|(place, _)| *place))
                }
                _ => Bits::none(rows),
            },
            Self::Exists(field) => match table.column(field) {
                None => Bits::none(rows),
                Some(Column::Flags(flags)) => Bits::of(rows, |row| flags[row] > 0),
                Some(Column::Numbers { rows: places, .. }) => of_places(rows, places.iter().copied()),
                Some(Column::Texts { codes, .. }) => Bits::of(rows, |row| codes[row] > 0),
                Some(Column::Lists { starts, .. }) => Bits::of(rows, |row| starts[row] < starts[row + 1]),
            },
        }
    }
}

fn of_places(rows: usize, places: impl Iterator<Item = u16>) -> Bits {
    let mut bits = Bits::none(rows);
    places.for_each(|place| {
        bits.insert(usize::from(place));
    });
    bits
}

/// The rows whose value is one of these.
fn one_of(column: Option<&Column>, rows: usize, values: &[MetaValue]) -> Bits {
    match column {
        None => Bits::none(rows),
        Some(Column::Flags(flags)) => {
            let wanted = |flag: u8| values.contains(&MetaValue::Flag(flag == 2));
            let (no, yes) = (wanted(1), wanted(2));
            Bits::of(rows, |row| (flags[row] == 1 && no) || (flags[row] == 2 && yes))
        }
        Some(Column::Numbers { rows: places, values: numbers }) => {
            let mut wanted: Vec<f64> =
                values.iter().filter_map(|value| if let MetaValue::Number(number) = value { Some(*number) } else { None }).collect();
            wanted.sort_by(f64::total_cmp);
            let has = |number: f64| wanted.binary_search_by(|known| known.partial_cmp(&number).unwrap_or(std::cmp::Ordering::Less)).is_ok();
            of_places(rows, places.iter().zip(numbers).filter(|(_, number)| has(**number)).map(|(place, _)| *place))
        }
        Some(column) => {
            let wanted: Vec<&str> =
                values.iter().filter_map(|value| if let MetaValue::Text(text) = value { Some(text.as_str()) } else { None }).collect();
            rows_with_texts(column, rows, &wanted)
        }
    }
}

fn scalar(value: &MetaValue, path: &Path<'_>) -> Result<(), SetError> {
    match value {
        MetaValue::Texts(_) => {
            Err(SetError::invalid(path.text(), "found a list; a field is compared with a string, a number or a boolean"))
        }
        MetaValue::Number(number) if !number.is_finite() => Err(SetError::invalid(path.text(), "numbers must be finite")),
        _ => Ok(()),
    }
}

fn kind(schema: &Schema, field: &str, path: &Path<'_>) -> Result<FieldKind, SetError> {
    schema.get(field).copied().ok_or_else(|| {
        let known: Vec<&str> = schema.keys().map(|name| &**name).take(16).collect();
        let known = if known.is_empty() { "its rows carry none".into() } else { format!("they have {}", known.join(", ")) };
        let shown: String = field.chars().take(64).collect();
        SetError::invalid(path.text(), format!("no row of the set has a field `{shown}`; {known}"))
    })
}

/// Where a condition stands, written only for errors.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'static str),
    Item(&'a Path<'a>, &'static str, usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        match self {
            Self::Root => "filter".into(),
            Self::Key(outer, key) => format!("{}.{key}", outer.text()),
            Self::Item(outer, key, place) => format!("{}.{key}[{place}]", outer.text()),
        }
    }
}
