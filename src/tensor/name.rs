//! A tensor's name: shared with the model's signature where it can be, owned where it came from a client.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

/// An immutable string that costs nothing to clone when it comes from a signature or from a received frame.
#[derive(Clone)]
pub enum Name {
    /// Belongs to a model's signature.
    Shared(Arc<str>),
    /// Came with a request.
    Owned(String),
    /// Borrowed from a received frame; the constructor proves that it is UTF-8.
    Slice(Utf8Bytes),
}

/// Bytes of a received frame that are known to be UTF-8.
#[derive(Clone)]
pub struct Utf8Bytes(Bytes);

impl Name {
    /// The name held by `bytes`, or `None` when they are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Option<Name> {
        std::str::from_utf8(&bytes).is_ok().then(|| Name::Slice(Utf8Bytes(bytes)))
    }

    /// The name as a string slice.
    pub fn as_str(&self) -> &str {
        match self {
            Name::Shared(name) => name,
            Name::Owned(name) => name,
            // Proven at construction; an empty name would only fail the lookup that follows.
            Name::Slice(bytes) => std::str::from_utf8(&bytes.0).unwrap_or_default(),
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Name::Owned(String::new())
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Utf8Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Name {}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<String> for Name {
    fn from(name: String) -> Self {
        Name::Owned(name)
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Name::Owned(name.to_owned())
    }
}

impl From<Arc<str>> for Name {
    fn from(name: Arc<str>) -> Self {
        Name::Shared(name)
    }
}
