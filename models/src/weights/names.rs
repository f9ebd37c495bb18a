//! How tensors are called in a file and how layers ask for them, where the two differ. Pure. What stands in such a table is the business of whoever
//! knows both sides.

/// Pairs of (name in the file, name that layers ask for), without the last part (`weight`, `bias`); `*` is the number of a block.
#[derive(Clone, Copy, Debug)]
pub struct TensorNames(pub &'static [(&'static str, &'static str)]);

impl TensorNames {
    /// No table: both sides say the same.
    pub const SAME: Self = Self(&[]);

    /// The name under which layers ask for a tensor of the file; `None` when the table does not have it.
    #[must_use]
    pub fn in_layers(self, name: &str) -> Option<String> {
        self.translated(name, |&(from, to)| (from, to))
    }

    /// The name in the file of what layers ask for; the same where the table does not have it.
    #[must_use]
    pub fn in_file(self, name: &str) -> String {
        self.translated(name, |&(from, to)| (to, from)).unwrap_or_else(|| name.to_owned())
    }

    fn translated(self, name: &str, order: impl Fn(&(&'static str, &'static str)) -> (&'static str, &'static str)) -> Option<String> {
        if self.0.is_empty() {
            return Some(name.to_owned());
        }
        let (stem, kind) = name.rsplit_once('.')?;
        self.0.iter().map(order).find_map(|(from, to)| Some(format!("{}.{kind}", filled(from, to, stem)?)))
    }
}

/// `to` with the number that `*` stands for in `from`, when `from` matches.
fn filled(from: &str, to: &str, stem: &str) -> Option<String> {
    let Some((before, behind)) = from.split_once('*') else { return (from == stem).then(|| to.to_owned()) };
    let number = stem.strip_prefix(before)?.strip_suffix(behind)?;
    let is_number = !number.is_empty() && number.len() <= 4 && number.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| to.replacen('*', number, 1))
}
