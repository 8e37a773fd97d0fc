//! Who asks and what they may do: roles in order, each granted for models whose names match a pattern. Values only.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::error::AuthError;

/// What may be done; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read and infer.
    Reader,
    /// Register models and versions, and describe them.
    Publisher,
    /// Change what is served: load and unload, deploy, split traffic, move aliases, roll back.
    Promoter,
    /// Everything, deleting and the server's own settings among it.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Role; 4] = [Role::Reader, Role::Publisher, Role::Promoter, Role::Admin];

    /// Its name in files and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Publisher => "publisher",
            Role::Promoter => "promoter",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| "expected a role: reader, publisher, promoter or admin".to_owned())
    }
}

/// A name in which `*` stands for any text, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Longest pattern.
    const LEN_MAX: usize = 256;

    /// The pattern that every name matches.
    pub fn any() -> Pattern {
        Pattern("*".to_owned())
    }

    /// Whether every name matches.
    pub fn is_any(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'*')
    }

    /// Whether `name` matches. Takes at most as many steps as the lengths multiplied.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut from) = (0, 0);
        // The last star and where in the name it stopped.
        let mut star: Option<(usize, usize)> = None;
        while from < name.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, from));
                    at += 1;
                }
                Some(byte) if name.get(from) == Some(byte) => {
                    at += 1;
                    from += 1;
                }
                _ => match star {
                    None => return false,
                    Some((star_at, stopped)) => {
                        star = Some((star_at, stopped + 1));
                        at = star_at + 1;
                        from = stopped + 1;
                    }
                },
            }
        }
        pattern.iter().skip(at).all(|byte| *byte == b'*')
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        if text.is_empty() || text.len() > Pattern::LEN_MAX || text.chars().any(char::is_control) {
            return Err(format!("expected a name with '*' for any text, of 1 to {} bytes", Pattern::LEN_MAX));
        }
        Ok(Pattern(text.to_owned()))
    }
}

/// A role for some models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: Role,
    /// The models, by name.
    pub models: Vec<Pattern>,
}

impl Grant {
    /// `role` for every model.
    pub fn everywhere(role: Role) -> Grant {
        Grant { role, models: vec![Pattern::any()] }
    }

    fn covers(&self, role: Role, model: Option<&str>) -> bool {
        let named = |pattern: &Pattern| match model {
            Some(model) => pattern.matches(model),
            None => role == Role::Reader || pattern.is_any(),
        };
        self.role >= role && self.models.iter().any(named)
    }
}

/// How someone showed who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Not at all.
    Anonymous,
    /// By being on this host, where only this host can reach the server.
    Local,
    /// By an API key.
    ApiKey,
    /// By a token of the configured issuer.
    Jwt,
    /// By a client certificate.
    Mtls,
}

impl Method {
    /// Its name in logs and in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Anonymous => "anonymous",
            Method::Local => "local",
            Method::ApiKey => "api_key",
            Method::Jwt => "jwt",
            Method::Mtls => "mtls",
        }
    }
}

/// What is answered to someone whose grants do not suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Denied,
    Missing,
    NotLocal,
}

/// Who asks, and what they may do. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    subject: Arc<str>,
    method: Method,
    grants: Arc<[Grant]>,
    refusal: Refusal,
    reading_is_open: bool,
}

impl Identity {
    /// Someone who showed credentials.
    pub(super) fn known(subject: Arc<str>, method: Method, grants: Arc<[Grant]>) -> Identity {
        Identity { subject, method, grants, refusal: Refusal::Denied, reading_is_open: false }
    }

    /// The one on this host, where no credentials are configured: may do everything.
    pub fn local() -> Identity {
        Identity::known("local".into(), Method::Local, [Grant::everywhere(Role::Admin)].into())
    }

    /// Someone without credentials where they are configured.
    pub(super) fn anonymous() -> Identity {
        let known = Identity::known("anonymous".into(), Method::Anonymous, [].into());
        Identity { refusal: Refusal::Missing, ..known }
    }

    /// Someone from elsewhere where no credentials are configured.
    pub(super) fn stranger() -> Identity {
        Identity { refusal: Refusal::NotLocal, ..Identity::anonymous() }
    }

    /// The same, who may read everything without a grant.
    pub(super) fn reading_open(self, reading_is_open: bool) -> Identity {
        Identity { reading_is_open, ..self }
    }

    /// Who it is: the actor in the registry's log.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// How they showed it.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Whether they may act as `role` on `model`, or on the server and every model when it is `None`. Reading without
    /// a model (a list) takes any grant: show what [`Identity::allows`] of each name then.
    pub fn allows(&self, role: Role, model: Option<&str>) -> bool {
        (role == Role::Reader && self.reading_is_open)
            || self.grants.iter().any(|grant| grant.covers(role, model))
    }

    /// Fails unless they may act as `role` on `model`; see [`Identity::allows`].
    ///
    /// # Errors
    /// [`AuthError::Missing`], [`AuthError::NotLocal`] or [`AuthError::Denied`].
    pub fn require(&self, role: Role, model: Option<&str>) -> Result<(), AuthError> {
        if self.allows(role, model) {
            return Ok(());
        }
        Err(match self.refusal {
            Refusal::Missing => AuthError::Missing,
            // Nobody could read if only this host may: such a server is refused when it starts.
            Refusal::NotLocal => AuthError::NotLocal,
            Refusal::Denied => AuthError::Denied {
                subject: shorten(&self.subject),
                role,
                scope: match model {
                    Some(model) => format!("for the model '{}'", shorten(model)),
                    None => "for every model".to_owned(),
                },
            },
        })
    }
}

/// A text, short and printable enough for an error message.
fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(grants: &[(Role, &[&str])]) -> Identity {
        let grant = |(role, models): &(Role, &[&str])| Grant {
            role: *role,
            models: models.iter().map(|text| text.parse().unwrap()).collect(),
        };
        Identity::known("ci".into(), Method::ApiKey, grants.iter().map(grant).collect())
    }

    #[test]
    fn stars_match_any_text() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        };
        for (pattern, name) in
            [("*", ""), ("a", "a"), ("a*", "a"), ("*b*d", "abcd"), ("a*b*c", "aXbbYbc"), ("**", "x")]
        {
            check(pattern, name, true);
        }
        for (pattern, name) in [("a", "A"), ("a", "ab"), ("a*", "ba"), ("*a", "ab"), ("a*b", "a"), ("a", "")]
        {
            check(pattern, name, false);
        }
        // No blow-up: this returns at once.
        check(&"*a".repeat(100), &"a".repeat(99), false);
        for bad in ["", "a\n", &"x".repeat(257)] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_role_includes_those_below_it_and_nothing_above() {
        for (index, role) in Role::ALL.into_iter().enumerate() {
            let who = identity(&[(role, &["*"])]);
            for (other_index, other) in Role::ALL.into_iter().enumerate() {
                assert_eq!(who.allows(other, Some("m")), other_index <= index, "{role} {other}");
                assert_eq!(who.allows(other, None), other_index <= index, "{role} {other}");
            }
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("root".parse::<Role>().is_err());
    }

    #[test]
    fn grants_hold_for_their_models() {
        let who = identity(&[(Role::Reader, &["*"]), (Role::Promoter, &["fraud-*", "iris"])]);
        assert!(who.allows(Role::Promoter, Some("fraud-eu")) && who.allows(Role::Publisher, Some("iris")));
        assert!(!who.allows(Role::Publisher, Some("irises")) && !who.allows(Role::Promoter, None));
        assert!(who.allows(Role::Reader, Some("irises")) && who.allows(Role::Reader, None));
        let narrow = identity(&[(Role::Reader, &["a"])]);
        assert!(narrow.allows(Role::Reader, None) && !narrow.allows(Role::Reader, Some("b")));
        let denied = narrow.require(Role::Promoter, Some("a\u{7}")).unwrap_err().to_string();
        assert_eq!(denied, "'ci' may not do this: it needs the role promoter for the model 'a\\u{7}'");
        let denied = narrow.require(Role::Admin, None).unwrap_err().to_string();
        assert_eq!(denied, "'ci' may not do this: it needs the role admin for every model");
    }

    #[test]
    fn those_without_credentials_may_read_where_reading_is_open() {
        assert_eq!(Identity::anonymous().require(Role::Reader, None), Err(AuthError::Missing));
        let reader = Identity::anonymous().reading_open(true);
        assert_eq!(reader.require(Role::Reader, Some("m")), Ok(()));
        assert_eq!(reader.require(Role::Publisher, Some("m")), Err(AuthError::Missing));
        assert_eq!(Identity::stranger().require(Role::Publisher, None), Err(AuthError::NotLocal));
        assert_eq!(Identity::local().require(Role::Admin, None), Ok(()));
        assert_eq!((Identity::local().subject(), Identity::local().method().as_str()), ("local", "local"));
    }
}
