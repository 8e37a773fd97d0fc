//! Which route a method and a path mean: a pure function, with inference first because it is asked most.
//!
//! A path is split at its slashes and each part is percent-decoded once; nothing is normalised, so there is one
//! spelling of every route.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Infer(Target<'a>),
    ServerMetadata,
    Live,
    Ready,
    ModelList,
    AllStatistics,
    Metadata(Target<'a>),
    ModelReady(Target<'a>),
    Config(Target<'a>),
    Statistics(Target<'a>),
    Index,
    Load(Cow<'a, str>),
    Unload(Cow<'a, str>),
    /// The stream of events.
    Events,
    /// Reading and changing trace settings.
    TraceSetting,
    /// Reading and changing log settings.
    Logging,
}

impl Route<'_> {
    /// The model that is asked about.
    pub(super) fn model(&self) -> Option<&str> {
        match self {
            Route::Infer(target)
            | Route::Metadata(target)
            | Route::ModelReady(target)
            | Route::Config(target)
            | Route::Statistics(target) => Some(&target.model),
            Route::Load(model) | Route::Unload(model) => Some(model),
            Route::ServerMetadata
            | Route::Live
            | Route::Ready
            | Route::ModelList
            | Route::AllStatistics
            | Route::Index
            | Route::Events
            | Route::TraceSetting
            | Route::Logging => None,
        }
    }
}

/// A model and a version; an empty version is the default.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) model: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
}

/// Why there is no route.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// No such address.
    Unknown,
    /// The address takes other methods.
    Method(&'static str),
    /// A name that is not UTF-8 once percent-decoded.
    Encoding,
}

/// The route of `method` and `path`.
pub(super) fn route<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, NoRoute> {
    let Some(rest) = path.strip_prefix("/v2") else {
        return match path {
            "/api/v1/events" => only(method, Method::GET, Route::Events),
            _ => Err(NoRoute::Unknown),
        };
    };
    let mut parts = Parts { rest };
    match parts.next() {
        None if !rest.is_empty() => Err(NoRoute::Unknown),
        None => only(method, Method::GET, Route::ServerMetadata),
        Some("models") => models(method, parts),
        Some("health") => match (parts.next(), parts.next()) {
            (Some("live"), None) => only(method, Method::GET, Route::Live),
            (Some("ready"), None) => only(method, Method::GET, Route::Ready),
            _ => Err(NoRoute::Unknown),
        },
        Some("repository") => repository(method, parts),
        Some("trace") if parts.rest == "/setting" => either(method, Route::TraceSetting),
        Some("logging") if parts.rest.is_empty() => either(method, Route::Logging),
        _ => Err(NoRoute::Unknown),
    }
}

/// What follows `/v2/models`.
fn models<'a>(method: &Method, mut parts: Parts<'a>) -> Result<Route<'a>, NoRoute> {
    let Some(model) = parts.next() else { return only(method, Method::GET, Route::ModelList) };
    if model == "stats" && parts.rest.is_empty() {
        return only(method, Method::GET, Route::AllStatistics);
    }
    let mut target = Target { model: decode(model)?, version: Cow::Borrowed("") };
    let mut action = parts.next();
    if action == Some("versions") {
        target.version = decode(parts.next().ok_or(NoRoute::Unknown)?)?;
        action = parts.next();
    }
    match action {
        Some("trace") if parts.rest == "/setting" => either(method, Route::TraceSetting),
        _ if !parts.rest.is_empty() => Err(NoRoute::Unknown),
        Some("infer") => only(method, Method::POST, Route::Infer(target)),
        None => only(method, Method::GET, Route::Metadata(target)),
        Some("ready") => only(method, Method::GET, Route::ModelReady(target)),
        Some("config") => only(method, Method::GET, Route::Config(target)),
        Some("stats") => only(method, Method::GET, Route::Statistics(target)),
        Some(_) => Err(NoRoute::Unknown),
    }
}

/// What follows `/v2/repository`. A repository's name may stand before `index` and `models`; there is only one, and
/// its name is not looked at.
fn repository<'a>(method: &Method, mut parts: Parts<'a>) -> Result<Route<'a>, NoRoute> {
    let mut first = parts.next();
    if !parts.rest.is_empty() && first != Some("models") {
        first = parts.next();
    }
    match (first, parts.next(), parts.next(), parts.rest) {
        (Some("index"), None, None, "") => only(method, Method::POST, Route::Index),
        (Some("models"), Some(model), Some("load"), "") => {
            only(method, Method::POST, Route::Load(decode(model)?))
        }
        (Some("models"), Some(model), Some("unload"), "") => {
            only(method, Method::POST, Route::Unload(decode(model)?))
        }
        _ => Err(NoRoute::Unknown),
    }
}

/// The parts of a path between slashes.
struct Parts<'a> {
    /// Empty, or what follows, slash first.
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix('/')?;
        let (part, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        self.rest = rest;
        Some(part)
    }
}

fn decode(part: &str) -> Result<Cow<'_, str>, NoRoute> {
    if part.is_empty() {
        return Err(NoRoute::Unknown);
    }
    percent_decode_str(part).decode_utf8().map_err(|_| NoRoute::Encoding)
}

fn only<'a>(method: &Method, allowed: Method, route: Route<'a>) -> Result<Route<'a>, NoRoute> {
    let get = allowed == Method::GET;
    match *method {
        Method::HEAD if get => Ok(route),
        _ if *method == allowed => Ok(route),
        _ => Err(NoRoute::Method(if get { "GET" } else { "POST" })),
    }
}

fn either<'a>(method: &Method, route: Route<'a>) -> Result<Route<'a>, NoRoute> {
    match *method {
        Method::GET | Method::HEAD | Method::POST => Ok(route),
        _ => Err(NoRoute::Method("GET, POST")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(model: &'static str, version: &'static str) -> Target<'static> {
        Target { model: model.into(), version: version.into() }
    }

    fn check(method: Method, path: &'static str, expected: Result<Route<'static>, NoRoute>) {
        assert_eq!(route(&method, path), expected, "{method} {path}");
    }

    #[test]
    fn routes_are_found() {
        let get = |path, expected| check(Method::GET, path, Ok(expected));
        let post = |path, expected| check(Method::POST, path, Ok(expected));
        get("/v2", Route::ServerMetadata);
        get("/v2/health/live", Route::Live);
        get("/v2/health/ready", Route::Ready);
        get("/v2/models", Route::ModelList);
        get("/v2/models/stats", Route::AllStatistics);
        get("/v2/models/iris", Route::Metadata(target("iris", "")));
        get("/v2/models/iris/versions/2", Route::Metadata(target("iris", "2")));
        get("/v2/models/iris/ready", Route::ModelReady(target("iris", "")));
        get("/v2/models/iris/versions/v1/ready", Route::ModelReady(target("iris", "v1")));
        get("/v2/models/iris/config", Route::Config(target("iris", "")));
        get("/v2/models/stats/stats", Route::Statistics(target("stats", "")));
        get("/v2/models/iris/trace/setting", Route::TraceSetting);
        post("/v2/models/iris/infer", Route::Infer(target("iris", "")));
        post("/v2/models/iris/versions/2/infer", Route::Infer(target("iris", "2")));
        post("/v2/models/a%20b%2Fc%2525/infer", Route::Infer(target("a b/c%25", "")));
        post("/v2/repository/index", Route::Index);
        post("/v2/repository/main/index", Route::Index);
        post("/v2/repository/models/iris/load", Route::Load("iris".into()));
        post("/v2/repository/main/models/iris/unload", Route::Unload("iris".into()));
        post("/v2/repository/models/models/load", Route::Load("models".into()));
        get("/v2/trace/setting", Route::TraceSetting);
        get("/api/v1/events", Route::Events);
        post("/v2/logging", Route::Logging);
    }

    #[test]
    fn other_addresses_are_not() {
        for path in [
            "/",
            "",
            "/v1",
            "/v2x",
            "/v2/",
            "/v2//models/iris/infer",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/iris/",
            "/v2/models/iris/infer/",
            "/v2/models/iris/infer/x",
            "/v2/models/iris/versions",
            "/v2/models/iris/versions//infer",
            "/V2",
            "/v2/health",
            "/v2/health/live/",
            "/v2/repository",
            "/v2/repository/models",
            "/v2/repository/models//load",
            "/v2/repository/models/x",
            "/v2/trace",
            "/v2/systemsharedmemory/status",
        ] {
            check(Method::POST, path, Err(NoRoute::Unknown));
            check(Method::GET, path, Err(NoRoute::Unknown));
        }
        check(Method::POST, "/v2/models/%ff/infer", Err(NoRoute::Encoding));
    }

    #[test]
    fn other_methods_are_named() {
        check(Method::GET, "/v2/models/iris/infer", Err(NoRoute::Method("POST")));
        check(Method::POST, "/v2", Err(NoRoute::Method("GET")));
        check(Method::DELETE, "/v2/logging", Err(NoRoute::Method("GET, POST")));
        check(Method::HEAD, "/v2/health/live", Ok(Route::Live));
    }
}
