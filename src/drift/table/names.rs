//! Which column is which feature.
//!
//! Training data says `age`; capture and the features of a model say `in.age`. A column is found for a feature by the first
//! of these that gives one:
//!
//! 1. a column that was mapped to it (`--map churned=out.label`),
//! 2. a column of the same name,
//! 3. the name with `in.` put before it, on either side.
//!
//! A column that was mapped serves its feature and no other. Outputs are never guessed: `label` is not `out.label` until
//! someone says so, because a column of training data is an input more often.

use std::collections::BTreeMap;

/// What capture calls the number of rows that a row stands for.
pub(super) const WEIGHT: &str = "sample_weight";
/// What names of inputs begin with.
const INPUT: &str = "in.";
/// What names of outputs begin with.
const OUTPUT: &str = "out.";
/// Columns by which files of capture are known.
const MARKS: [&str; 3] = ["request_id", "ts_us", WEIGHT];

/// Whether a table that has the columns for which `has` is true was written by capture.
pub(super) fn is_captured(has: impl Fn(&str) -> bool) -> bool {
    MARKS.iter().all(|mark| has(mark))
}

/// Whether a column of capture is a feature, and not what capture says about the row.
pub(super) fn is_feature_of_capture(name: &str) -> bool {
    name.starts_with(INPUT) || name.starts_with(OUTPUT)
}

/// Finds the column of each feature.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// By column, the feature.
    mapped: BTreeMap<String, String>,
}

impl Names {
    /// With columns that are mapped to features.
    pub fn new(mapped: impl IntoIterator<Item = (String, String)>) -> Names {
        Names { mapped: mapped.into_iter().collect() }
    }

    /// The columns that are mapped.
    pub fn mapped(&self) -> impl Iterator<Item = &str> {
        self.mapped.keys().map(String::as_str)
    }

    /// What `column` is called as a feature of a table that nothing else names.
    pub fn own<'a>(&'a self, column: &'a str) -> &'a str {
        self.mapped.get(column).map_or(column, String::as_str)
    }

    /// The position of the column for `feature`.
    pub fn find<'a>(&self, feature: &str, columns: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
        let find = |is_it: &dyn Fn(&str) -> bool| columns.clone().position(is_it);
        let free = |column: &str| !self.mapped.contains_key(column);
        find(&|column| self.mapped.get(column).is_some_and(|mapped| mapped == feature))
            .or_else(|| find(&|column| free(column) && column == feature))
            .or_else(|| find(&|column| free(column) && feature.strip_prefix(INPUT) == Some(column)))
            .or_else(|| find(&|column| free(column) && column.strip_prefix(INPUT) == Some(feature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_map_by_name_and_with_in_before_it() {
        let names = Names::new([("churned".to_owned(), "out.label".to_owned())]);
        let check = |feature: &str, columns: &[&str], expected: Option<usize>| {
            assert_eq!(names.find(feature, columns.iter().copied()), expected, "{feature} in {columns:?}");
        };
        check("age", &["x", "age", "in.age"], Some(1));
        check("in.age", &["age", "in.age"], Some(1));
        check("in.age", &["age"], Some(0));
        check("age", &["in.age"], Some(0));
        check("out.label", &["label", "churned"], Some(1));
        check("out.label", &["label"], None);
        check("churned", &["churned"], None);
        check("in.x[0]", &["x[0]"], Some(0));
        check("age", &["Age"], None);
        assert_eq!((names.own("churned"), names.own("age")), ("out.label", "age"));
    }
}
