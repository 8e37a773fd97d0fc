//! Which columns are read, and for which features.

use std::path::Path;

use clap::Args;

use crate::app::cli::complain;
use crate::app::registry::common::pair;
use crate::app::registry::exit::Failure;
use crate::drift::embedding::sample;
use crate::drift::offline::{Wanted, kind_of};
use crate::drift::profile::{COORDINATES_MAX, PointSample};
use crate::drift::table::Table;
use crate::drift::table::names::Names;

/// Most names in one warning.
const NAMED_MAX: usize = 12;

/// Which columns are read, and for which features.
#[derive(Debug, Args)]
pub(super) struct ColumnArgs {
    /// A column and the feature that it is, for example churned=out.label
    #[arg(long = "map", value_name = "COLUMN=FEATURE", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Only these columns or features
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
}

impl ColumnArgs {
    /// The rule by which columns are found for features.
    pub(super) fn names(&self) -> Names {
        Names::new(self.map.iter().cloned())
    }

    /// Whether the column, called `feature` as a feature, is asked for.
    pub(super) fn is_wanted(&self, column: &str, feature: &str) -> bool {
        self.columns.is_empty() || self.columns.iter().any(|name| name == column || name == feature)
    }

    /// The columns of an embedding, coordinate by coordinate: `NAME[0]`, `NAME[1]` and so on.
    pub(super) fn of_embedding(&self, name: &str, table: &Table) -> Vec<usize> {
        let (names, columns) = (self.names(), || table.columns().iter().map(|column| column.name.as_str()));
        (0..COORDINATES_MAX).map_while(|at| names.find(&format!("{name}[{at}]"), columns())).collect()
    }

    /// A sample of the rows of an embedding; `None` when the table has no such columns, or a single one.
    pub(super) fn points(&self, name: &str, table: &Table) -> Result<Option<PointSample>, Failure> {
        let columns = self.of_embedding(name, table);
        if columns.len() < 2 {
            return Ok(None);
        }
        sample(table, &columns).map(Some).map_err(|error| Failure::coded(&error))
    }

    /// Every column of a table that is asked for, as a feature.
    pub(super) fn of_table(&self, table: &Table) -> Result<Vec<Wanted>, Failure> {
        let names = self.names();
        let columns = table.columns().iter().enumerate().map(|(column, found)| Wanted {
            name: names.own(&found.name).to_owned(),
            kind: kind_of(found),
            column,
        });
        let wanted: Vec<Wanted> =
            columns.filter(|it| self.is_wanted(&table.columns()[it.column].name, &it.name)).collect();
        if wanted.is_empty() {
            let message = format!("{} has none of the columns that --columns names", table.path().display());
            return Err(Failure::usage(message));
        }
        Ok(wanted)
    }
}

/// Opens a table and says which of its columns cannot be read.
pub(super) fn open(path: &Path) -> Result<Table, Failure> {
    let table = Table::open(path).map_err(|error| Failure::coded(&error))?;
    for refused in table.refused().iter().take(NAMED_MAX) {
        complain(&format!(
            "warning: {}: column '{}' is left out: it {}",
            path.display(),
            refused.name,
            refused.reason
        ));
    }
    Ok(table)
}

/// Warns about names, if there are any.
pub(super) fn warn(what: &str, names: &[String]) {
    if !names.is_empty() {
        complain(&format!("warning: {what}: {}", listed(names)));
    }
}

/// Names with commas between them, not endlessly many.
pub(super) fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}
