//! What is served now: names, versions, aliases, splits and the default version. Immutable once published; the engine
//! holds it in one `ArcSwap`, and every change is a new table and one store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Servable;
use super::split::Split;
use crate::infer::{Choice, Route};
use crate::model::{ModelName, Version};

/// Names to their served versions.
#[derive(Debug, Default, Clone)]
pub(super) struct ServingTable {
    models: HashMap<ModelName, Arc<ServedModel>>,
    /// Models that want something of a request's headers; requests look for nothing while it is 0.
    headers: usize,
}

/// The served versions of one model; never empty.
#[derive(Debug)]
pub(super) struct ServedModel {
    /// Ascending by version.
    versions: Vec<Arc<Servable>>,
    /// The position of the version that describes the model, and that requests go to when there is no split.
    default: usize,
    /// Texts that stand for versions, ascending.
    aliases: Vec<(Box<str>, usize)>,
    /// The shares of requests that name no version, and what decides them.
    split: Option<(Split, SplitKey)>,
    /// See [`Routing::revision`].
    revision: u64,
    /// The headers that any of its versions captures; `None` when none does.
    captured: Option<Arc<[Arc<str>]>>,
}

/// Where requests go that name no version, or an alias. Without one, they go to the highest version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routing {
    /// Versions by weight; with a weight of 0 a version is only served to those who name it.
    pub traffic: BTreeMap<Version, u32>,
    /// What decides a request's share.
    pub key: SplitKey,
    /// Texts that stand for versions. None of them is a number.
    pub aliases: BTreeMap<String, Version>,
    /// The registry's revision of the model that says so.
    pub revision: u64,
}

/// What is hashed to choose a version of a split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SplitKey {
    /// The request's id.
    #[default]
    RequestId,
    /// The HTTP header or gRPC metadata entry of this name, in lower case.
    Header(Arc<str>),
}

/// What a request has for a split to be decided by.
#[derive(Debug, Clone, Copy, Default)]
pub struct SplitKeys<'a> {
    /// Its id; empty when it has none.
    pub id: &'a str,
    /// The value of the header that [`Engine::split_header`](super::Engine::split_header) named; empty when there is none.
    pub header: &'a str,
}

/// Why the table has no answer. Says nothing about versions that are loading or failed: the catalog knows those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// No version of the model is served.
    Model,
    /// Others are, but not this one.
    Version,
}

impl Routing {
    /// The version that describes the model: the one with the largest share, of equals the newest.
    pub fn main(&self) -> Option<Version> {
        self.traffic.iter().max_by_key(|(version, weight)| (**weight, **version)).map(|(version, _)| *version)
    }
}

impl ServedModel {
    /// The model with `versions`, which are not empty, and the routes that lead to one of them.
    fn new(model: &str, mut versions: Vec<Arc<Servable>>, routing: Option<&Routing>) -> ServedModel {
        versions.sort_by_key(|servable| servable.id.version);
        debug_assert!(versions.windows(2).all(|pair| pair[0].id.version < pair[1].id.version));
        let wanted: BTreeSet<&Arc<str>> =
            versions.iter().flat_map(|servable| &servable.config.monitoring.capture.attributes).collect();
        let captured = (!wanted.is_empty()).then(|| wanted.into_iter().map(Arc::clone).collect());
        let mut served = ServedModel {
            captured,
            default: versions.len().saturating_sub(1),
            versions,
            aliases: Vec::new(),
            split: None,
            revision: routing.map_or(0, |routing| routing.revision),
        };
        let Some(routing) = routing else { return served };
        let at = |version: &Version| served.position(*version);
        let aliases =
            routing.aliases.iter().filter_map(|(alias, version)| Some((alias.as_str().into(), at(version)?)));
        let aliases = aliases.collect();
        let shares: Vec<(usize, Version, u32)> = routing
            .traffic
            .iter()
            .filter(|(_, weight)| **weight > 0)
            .filter_map(|(version, weight)| Some((at(version)?, *version, *weight)))
            .collect();
        debug_assert!(!shares.is_empty(), "somebody must get the requests that name no version");
        let main = routing.main().and_then(|version| at(&version));
        let split = (shares.len() > 1).then(|| (Split::new(model, shares), routing.key.clone()));
        served.default = main.unwrap_or(served.default);
        served.aliases = aliases;
        served.split = split;
        served
    }

    fn position(&self, version: Version) -> Option<usize> {
        self.versions.binary_search_by_key(&version, |servable| servable.id.version).ok()
    }

    /// The version that `text` names: a number or an alias.
    fn named(&self, text: &str) -> Option<&Arc<Servable>> {
        let at = match text.parse::<Version>() {
            Ok(number) => self.position(number)?,
            Err(_) => {
                let found = self.aliases.binary_search_by(|(alias, _)| (**alias).cmp(text)).ok()?;
                self.aliases.get(found)?.1
            }
        };
        self.versions.get(at)
    }

    fn wants_headers(&self) -> bool {
        matches!(self.split, Some((_, SplitKey::Header(_)))) || self.captured.is_some()
    }
}

impl ServingTable {
    /// The version that a description of `model` and `version` (a number, an alias, or empty for the default) is about.
    /// Allocates nothing.
    pub(super) fn describe(&self, model: &str, version: &str) -> Result<&Arc<Servable>, Miss> {
        let served = self.models.get(model).ok_or(Miss::Model)?;
        match version {
            "" => served.versions.get(served.default).ok_or(Miss::Model),
            version => served.named(version).ok_or(Miss::Version),
        }
    }

    /// The version that a request goes to, and how it was chosen. Allocates nothing.
    pub(super) fn route(
        &self,
        model: &str,
        version: &str,
        keys: SplitKeys<'_>,
    ) -> Result<(&Arc<Servable>, Choice), Miss> {
        let served = self.models.get(model).ok_or(Miss::Model)?;
        let by = |route| Choice { route, revision: served.revision };
        if !version.is_empty() {
            return served.named(version).map(|servable| (servable, by(Route::Named))).ok_or(Miss::Version);
        }
        let at = match &served.split {
            None => served.default,
            Some((split, SplitKey::RequestId)) => split.choose(keys.id),
            Some((split, SplitKey::Header(_))) => split.choose(keys.header),
        };
        let route = match &served.split {
            None => Route::Default,
            Some(_) if at == served.default => Route::Champion,
            Some(_) => Route::Canary,
        };
        served.versions.get(at).map(|servable| (servable, by(route))).ok_or(Miss::Model)
    }

    /// The header that decides the split of `model`.
    pub(super) fn split_header(&self, model: &str) -> Option<Arc<str>> {
        match &self.models.get(model)?.split {
            Some((_, SplitKey::Header(name))) => Some(Arc::clone(name)),
            _ => None,
        }
    }

    /// The headers of requests for `model` that are captured.
    pub(super) fn captured_headers(&self, model: &str) -> Option<Arc<[Arc<str>]>> {
        self.models.get(model)?.captured.clone()
    }

    /// Models that want something of a request's headers.
    pub(super) fn headers(&self) -> usize {
        self.headers
    }

    /// The served versions of `model`, ascending; empty when none is.
    pub(super) fn versions(&self, model: &str) -> &[Arc<Servable>] {
        self.models.get(model).map_or(&[], |served| &served.versions)
    }

    /// Everything that is served, by name and version.
    pub(super) fn all(&self) -> Vec<Arc<Servable>> {
        let mut all: Vec<_> =
            self.models.values().flat_map(|served| served.versions.iter().cloned()).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// A table that serves exactly `versions` of `model`, routed by `routing`; an empty list takes the model away.
    pub(super) fn with_model(
        &self,
        model: &ModelName,
        versions: Vec<Arc<Servable>>,
        routing: Option<&Routing>,
    ) -> ServingTable {
        let mut models = self.models.clone();
        let mut headers = self.headers;
        let next = (!versions.is_empty()).then(|| Arc::new(ServedModel::new(model, versions, routing)));
        headers += usize::from(next.as_ref().is_some_and(|served| served.wants_headers()));
        let old = match next {
            Some(served) => models.insert(model.clone(), served),
            None => models.remove(&**model),
        };
        headers -= usize::from(old.is_some_and(|served| served.wants_headers()));
        ServingTable { models, headers }
    }
}
