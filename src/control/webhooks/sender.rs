//! Posts one event to one address, and says how that ended. Retries are not its business.
//!
//! An address is checked twice on its way: the URL before anything is looked up, and what its host's name was resolved
//! to, in the resolver that the connection itself uses. So what was checked is what is connected to. There are no
//! proxies and no redirects, which would lead around both.

use std::error::Error;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use crate::registry::cloudevent::{CloudEvent, MEDIA_TYPE};
use crate::registry::webhook::address::AddressPolicy;
use crate::registry::webhook::schedule::{Outcome, retry_after};
use crate::registry::webhook::signature::{SigningKey, delivery_id, sign};

/// How long a receiver has to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("webhooks cannot be delivered: {0}")]
pub struct SenderError(String);

/// Posts events. A trait, so that a test need not have a network.
pub trait Post: Debug + Send + Sync {
    /// Posts `event` to `target`, signed with `keys`.
    fn post<'a>(
        &'a self,
        target: &'a Url,
        keys: &'a [SigningKey],
        event: &'a CloudEvent,
    ) -> BoxFuture<'a, Outcome>;

    /// Asks the receiver whether it wants events from `origin` (CloudEvents, HTTP webhooks, abuse protection); what is
    /// returned otherwise is how that ended.
    fn handshake<'a>(&'a self, target: &'a Url, origin: &'a str) -> BoxFuture<'a, Result<(), Outcome>>;
}

/// Finds the addresses of a host's name. A trait, so that a test can lie.
pub trait Lookup: Debug + Send + Sync {
    /// The addresses of `host`.
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Resolves names to addresses that may be connected to.
#[derive(Debug)]
struct GuardedResolver {
    policy: Arc<AddressPolicy>,
    lookup: Arc<dyn Lookup>,
}

/// An address is not allowed; found in the chain of a connection's error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotAllowed(String);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, looked_up) = (Arc::clone(&self.policy), self.lookup.lookup(name.as_str().to_owned()));
        Box::pin(async move {
            let mut refusal = None;
            let mut allowed = Vec::new();
            for address in looked_up.await? {
                match policy.check_address(address) {
                    Ok(()) => allowed.push(SocketAddr::new(address, 0)),
                    Err(reason) => refusal = Some(reason),
                }
            }
            match refusal {
                Some(reason) if allowed.is_empty() => Err(Box::new(NotAllowed(reason)) as Box<_>),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Posts events.
#[derive(Debug)]
pub struct Sender {
    client: reqwest::Client,
    policy: Arc<AddressPolicy>,
}

impl Sender {
    /// A sender that connects to what `policy` allows, with names looked up by `lookup`. The process must have a
    /// default provider of rustls.
    ///
    /// # Errors
    /// [`SenderError`].
    pub fn new(policy: AddressPolicy, lookup: Arc<dyn Lookup>) -> Result<Sender, SenderError> {
        let policy = Arc::new(policy);
        let resolver = GuardedResolver { policy: Arc::clone(&policy), lookup };
        let client = reqwest::Client::builder()
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .dns_resolver(Arc::new(resolver))
            .build();
        Ok(Sender { client: client.map_err(|error| SenderError(describe(&error)))?, policy })
    }

    fn outcome(&self, response: &reqwest::Response) -> Outcome {
        // The resolver and the check of the URL leave no other address; should one be left, it is not trusted.
        if let Some(Err(reason)) = response.remote_addr().map(|peer| self.policy.check_address(peer.ip())) {
            return Outcome::NotSent(reason);
        }
        let wanted = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = wanted.and_then(|value| retry_after(value, Utc::now()));
        Outcome::Answered { status: response.status().as_u16(), retry_after }
    }
}

impl Post for Sender {
    fn post<'a>(
        &'a self,
        target: &'a Url,
        keys: &'a [SigningKey],
        event: &'a CloudEvent,
    ) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if let Err(reason) = self.policy.check_url(target) {
                return Outcome::NotSent(reason);
            }
            let (body, headers) = match message(keys, event) {
                Ok(message) => message,
                Err(reason) => return Outcome::NotSent(reason),
            };
            let sent = self.client.post(target.clone()).headers(headers).body(body).send().await;
            sent.map_or_else(|error| failure(&error), |response| self.outcome(&response))
        })
    }

    fn handshake<'a>(&'a self, target: &'a Url, origin: &'a str) -> BoxFuture<'a, Result<(), Outcome>> {
        Box::pin(async move {
            self.policy.check_url(target).map_err(Outcome::NotSent)?;
            let request = self.client.request(http::Method::OPTIONS, target.clone());
            let response = request.header("webhook-request-origin", origin).send().await;
            let response = response.map_err(|error| failure(&error))?;
            let allowed =
                response.headers().get("webhook-allowed-origin").and_then(|value| value.to_str().ok());
            match (self.outcome(&response), allowed) {
                (Outcome::Answered { status: 200..=299, .. }, Some(allowed))
                    if [origin, "*"].contains(&allowed) =>
                {
                    Ok(())
                }
                (Outcome::Answered { status: 200..=299, .. }, _) => {
                    Err(Outcome::NotSent("the receiver does not agree to be sent events".to_owned()))
                }
                (outcome, _) => Err(outcome),
            }
        })
    }
}

/// The body and the headers of a delivery.
fn message(keys: &[SigningKey], event: &CloudEvent) -> Result<(Vec<u8>, HeaderMap), String> {
    let body = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    let (id, timestamp) = (delivery_id(event), Utc::now().timestamp());
    let mut headers = HeaderMap::new();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    headers.insert(CONTENT_TYPE, value(&format!("{MEDIA_TYPE}; charset=utf-8"))?);
    headers.insert("webhook-id", value(&id)?);
    headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
    if !keys.is_empty() {
        headers.insert("webhook-signature", value(&sign(keys, &id, timestamp, &body))?);
    }
    Ok((body, headers))
}

fn failure(error: &reqwest::Error) -> Outcome {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(NotAllowed(reason)) = current.downcast_ref() {
            return Outcome::NotSent(reason.clone());
        }
        cause = current.source();
    }
    if error.is_timeout() {
        return Outcome::Unreachable("the receiver did not answer in time".to_owned());
    }
    Outcome::Unreachable(describe(error))
}

/// The last cause of an error, without the URL, which may hold a token.
fn describe(error: &reqwest::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let what = if error.is_connect() { "the receiver cannot be reached" } else { "the exchange broke off" };
    if std::ptr::eq(last, error as &dyn Error) { what.to_owned() } else { format!("{what}: {last}") }
}
