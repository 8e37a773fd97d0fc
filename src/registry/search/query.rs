//! The language of searches as a tree, and how it is written.
//!
//! A tree that is printed and read again is the same tree.

use std::fmt;

/// What a search asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// Everything.
    All,
    /// Both.
    And(Vec<Query>),
    /// Any.
    Or(Vec<Query>),
    /// Not this.
    Not(Box<Query>),
    /// A field compared with a value.
    Is(Comparison),
}

/// A field compared with a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The field, for example `tags` or `name`.
    pub field: Field,
    /// How.
    pub operator: Operator,
    /// With what, as it was written.
    pub value: String,
}

/// A field; those with keys carry the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// The model's name.
    Name,
    /// The version's number.
    Version,
    /// The description of the version; of the model when models are searched.
    Description,
    /// When it was made.
    Created,
    /// When it was last changed.
    Updated,
    /// An alias.
    Alias,
    /// A deployment.
    Deployment,
    /// The program that wrote the ONNX file.
    Producer,
    /// The version of the default operator set.
    Opset,
    /// An operator of the graph.
    Operator,
    /// The training run.
    Run,
    /// The git commit.
    GitCommit,
    /// The git branch.
    GitBranch,
    /// The git remote.
    GitRemote,
    /// Whether it is deleted.
    Deleted,
    /// Who registered it.
    Actor,
    /// A tag.
    Tag(String),
    /// A property.
    Property(String),
    /// A metric.
    Metric(String),
    /// A dataset, by role.
    Dataset(String),
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Equal.
    Eq,
    /// Not equal; true as well where the field is absent.
    Ne,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Matches a pattern of `*` and `?`.
    Like,
}

/// Fields without a key and their names.
pub(super) const FIELDS: [(&str, Field); 16] = [
    ("name", Field::Name),
    ("version", Field::Version),
    ("description", Field::Description),
    ("created", Field::Created),
    ("updated", Field::Updated),
    ("alias", Field::Alias),
    ("deployment", Field::Deployment),
    ("producer", Field::Producer),
    ("opset", Field::Opset),
    ("operator", Field::Operator),
    ("run", Field::Run),
    ("git.commit", Field::GitCommit),
    ("git.branch", Field::GitBranch),
    ("git.remote", Field::GitRemote),
    ("deleted", Field::Deleted),
    ("actor", Field::Actor),
];

/// Makes the field of a key.
type MakeField = fn(String) -> Field;

/// Prefixes of fields with a key.
pub(super) const KEYED: [(&str, MakeField); 6] = [
    ("tags", Field::Tag),
    ("tag", Field::Tag),
    ("property", Field::Property),
    ("metric", Field::Metric),
    ("metrics", Field::Metric),
    ("dataset", Field::Dataset),
];

impl Field {
    /// The field of that name.
    pub(super) fn parse(name: &str) -> Option<Field> {
        if let Some((_, field)) = FIELDS.iter().find(|(known, _)| *known == name) {
            return Some(field.clone());
        }
        let (prefix, key) = name.split_once('.')?;
        let (_, make) = KEYED.iter().find(|(known, _)| *known == prefix)?;
        (!key.is_empty()).then(|| make(key.to_owned()))
    }

    /// Whether its values are ordered: numbers and times.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(self, Field::Version | Field::Created | Field::Updated | Field::Opset | Field::Metric(_))
    }

    /// Whether its values are times.
    pub(super) fn is_time(&self) -> bool {
        matches!(self, Field::Created | Field::Updated)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Tag(key) => write_name(f, "tags", key),
            Field::Property(key) => write_name(f, "property", key),
            Field::Metric(key) => write_name(f, "metric", key),
            Field::Dataset(key) => write_name(f, "dataset", key),
            plain => {
                let known = FIELDS.iter().find(|(_, field)| field == plain);
                f.write_str(known.map_or("", |(name, _)| name))
            }
        }
    }
}

fn write_name(f: &mut fmt::Formatter<'_>, prefix: &str, key: &str) -> fmt::Result {
    match key.chars().all(is_word) {
        true => write!(f, "{prefix}.{key}"),
        false => write!(f, "{prefix}.{}", Quoted(key)),
    }
}

/// Whether a character needs no quotes.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '*' | '?' | '+' | '@')
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.replace('\'', "''"))
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::Eq => "=",
            Operator::Ne => "!=",
            Operator::Lt => "<",
            Operator::Le => "<=",
            Operator::Gt => ">",
            Operator::Ge => ">=",
            Operator::Like => "~",
        })
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, parts: &[Query], word: &str| {
            for (at, part) in parts.iter().enumerate() {
                if at > 0 {
                    write!(f, " {word} ")?;
                }
                match part {
                    Query::And(_) | Query::Or(_) => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Query::All => Ok(()),
            Query::And(parts) => join(f, parts, "AND"),
            Query::Or(parts) => join(f, parts, "OR"),
            Query::Not(part) => match **part {
                Query::And(_) | Query::Or(_) => write!(f, "NOT ({part})"),
                _ => write!(f, "NOT {part}"),
            },
            Query::Is(found) => write!(f, "{} {} {}", found.field, found.operator, Quoted(&found.value)),
        }
    }
}
