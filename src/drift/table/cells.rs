//! What a text in a cell is: nothing, a number, a truth value, or a text. And what a whole column is.

use super::{ColumnData, Kind};

/// Whether a cell has no value.
pub(super) fn is_missing(text: &str) -> bool {
    matches!(text.trim(), "" | "NA" | "NaN" | "nan" | "null" | "NULL")
}

/// The number that a cell says.
pub fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok()
}

/// The truth value that a cell says.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// What the values of a column have in common so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Guess {
    has_other_than_numbers: bool,
    has_other_than_truths: bool,
    has_any: bool,
}

impl Guess {
    /// Looks at a cell.
    pub(super) fn look(&mut self, text: &str) {
        if is_missing(text) || (self.has_other_than_numbers && self.has_other_than_truths) {
            return;
        }
        self.has_any = true;
        self.has_other_than_numbers |= number(text).is_none();
        self.has_other_than_truths |= truth(text).is_none();
    }

    /// The kind that all values are of; a column without any is one of numbers.
    pub(super) fn kind(self) -> Kind {
        match self {
            Guess { has_any: true, has_other_than_truths: false, .. } => Kind::Bool,
            Guess { has_other_than_numbers: false, .. } => Kind::Number,
            _ => Kind::Text,
        }
    }
}

impl ColumnData {
    /// Adds a cell. `false` when it is not of the column's kind, which can only be when the file has changed meanwhile.
    pub(super) fn push_text(&mut self, text: &str) -> bool {
        let is_missing = is_missing(text);
        match self {
            ColumnData::Texts(values) => values.push((!is_missing).then(|| text.to_owned())),
            ColumnData::Numbers(values) => {
                let value = number(text);
                if value.is_none() && !is_missing {
                    return false;
                }
                values.push(value.filter(|_| !is_missing));
            }
            ColumnData::Bools(values) => {
                let value = truth(text);
                if value.is_none() && !is_missing {
                    return false;
                }
                values.push(value);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_what_all_of_their_cells_are() {
        let check = |cells: &[&str], expected: Kind| {
            let mut guess = Guess::default();
            cells.iter().for_each(|cell| guess.look(cell));
            assert_eq!(guess.kind(), expected, "{cells:?}");
        };
        check(&[], Kind::Number);
        check(&["", "NA", "null", "NaN"], Kind::Number);
        check(&["1", " 2.5 ", "-1e3", "NA", "inf"], Kind::Number);
        check(&["1", "2", "x"], Kind::Text);
        check(&["true", "False", ""], Kind::Bool);
        check(&["true", "1"], Kind::Text);
        check(&["1,5"], Kind::Text);
    }
}
