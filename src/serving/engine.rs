//! The data plane's door: one function for an inference, and look-ups for those who describe models.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::catalog::Catalog;
use super::error::shorten;
use super::gate::Gate;
use super::metrics::{Measured, ServingMetrics};
use super::respond::Selection;
use super::table::{Miss, Routing, ServingTable, SplitKeys};
use super::tapping::{Watched, acknowledged};
use super::validate::Bound;
use super::{EngineError, IndexEntry, ModelStatistics, Servable, respond};
use crate::error::{Code, Coded};
use crate::events::{Event, EventBus};
use crate::infer::{AnswerObserver, Choice, InferRequest, InferResponse, Protocol, TapSource, Timing};
use crate::metrics::{MetricsError, Registry};
use crate::model::{ModelName, Version};
use crate::scheduler::{Job, Reply};

/// The data plane.
#[derive(Debug)]
pub struct Engine {
    /// What is served. Requests only load it; `publish` alone stores.
    table: ArcSwap<ServingTable>,
    /// Models of the table that want something of a request's headers; kept here so that the doors ask without loading the
    /// table.
    wanted_headers: AtomicUsize,
    /// Held while a new table is made from the current one, so that no publication is lost.
    publishing: Mutex<()>,
    /// What is known, served or not.
    pub(super) catalog: Arc<Catalog>,
    /// Who is inside, for shutting down.
    gate: Gate,
    /// The operator is about to stop the server.
    is_leaving: AtomicBool,
    /// A device does nothing more for this process.
    device_lost: watch::Sender<bool>,
    /// The families of metrics.
    pub(super) metrics: ServingMetrics,
    /// What happens to models.
    pub(super) events: EventBus,
    /// Who watches what versions answer; set once, before the first version is loaded.
    pub(super) taps: Arc<OnceLock<Arc<dyn TapSource>>>,
}

impl Engine {
    /// An engine that serves nothing yet; a [`Manager`](super::Manager) fills it.
    ///
    /// # Errors
    /// When its metric families are registered already.
    pub fn new(registry: &Registry) -> Result<Engine, MetricsError> {
        Ok(Engine {
            table: ArcSwap::default(),
            wanted_headers: AtomicUsize::new(0),
            publishing: Mutex::new(()),
            catalog: Arc::default(),
            gate: Gate::default(),
            is_leaving: AtomicBool::new(false),
            device_lost: watch::Sender::new(false),
            metrics: ServingMetrics::register(registry)?,
            events: EventBus::new(),
            taps: Arc::default(),
        })
    }

    /// Answers one request. The only way in, for every protocol.
    ///
    /// # Errors
    /// [`EngineError`], counted by its code. A caller that drops the future frees the request's place at once.
    pub async fn infer(&self, mut request: InferRequest) -> Result<InferResponse, EngineError> {
        let protocol = request.protocol;
        let entered = self.gate.enter().ok_or(EngineError::ShuttingDown);
        let keys = SplitKeys { id: &request.id, header: &request.split_key };
        let routed = entered.and_then(|pass| Ok((pass, self.route(&request.model, &request.version, keys)?)));
        let (_pass, (servable, choice)) = routed.inspect_err(|error| self.refused(protocol, error.code()))?;
        let measured = Measured::start(&servable.metrics, protocol, request.received);
        let mut watched = Watched::begin(&servable, &request, choice);
        let mut answered = run(&servable, &mut request, &mut watched).await;
        if let Some(waits) = watched.and_then(|watched| watched.ended(&servable, &answered))
            && let Err(error) = acknowledged(&servable, waits).await
        {
            answered = Err(error);
        }
        match answered {
            Ok((response, rows)) => {
                measured.succeeded(rows, &response.timing);
                Ok(response)
            }
            Err(error) => {
                measured.failed(error.code());
                if error.is_device_lost() {
                    self.lose_device(&error);
                }
                Err(error)
            }
        }
    }

    /// Has `source` make a tap for every version that is loaded from now on. Only the first call counts.
    pub fn watch(&self, source: Arc<dyn TapSource>) {
        self.taps.get_or_init(|| source);
    }

    /// Counts a request that a transport refused before it could come here: malformed, too large, or too many.
    pub fn refused(&self, protocol: Protocol, code: Code) {
        self.metrics.unrouted(protocol, code);
    }

    /// Whether the process works: only another can use a device that is lost.
    pub fn is_live(&self) -> bool {
        !*self.device_lost.borrow()
    }

    /// Whether every model that must be served is, and the server is not draining.
    pub fn is_ready(&self) -> bool {
        self.catalog.is_ready()
            && self.is_live()
            && !self.gate.is_closed()
            && !self.is_leaving.load(Ordering::SeqCst)
    }

    /// Waits until a device is lost. Other models are served until the process ends, which should be soon.
    pub async fn device_lost(&self) {
        // The sender is this engine's, so there is no error.
        self.device_lost.subscribe().wait_for(|is_lost| *is_lost).await.ok();
    }

    /// Is live and ready no more.
    #[cold]
    pub(super) fn lose_device(&self, error: &dyn std::error::Error) {
        if !self.device_lost.send_replace(true) {
            tracing::error!(%error, "a device is lost until this process is started anew");
            self.decide_ready();
        }
    }

    /// Is ready no more, and answers as before: load balancers look away before the doors close.
    pub fn announce_drain(&self) {
        self.is_leaving.store(true, Ordering::SeqCst);
        self.decide_ready();
    }

    /// Lets no more requests in, and is ready no more. Those inside finish.
    pub fn begin_drain(&self) {
        self.gate.close();
        self.decide_ready();
    }

    /// Requests that are being answered.
    pub fn in_flight(&self) -> usize {
        self.gate.inside()
    }

    /// Waits until no request is being answered.
    pub async fn idle(&self) {
        self.gate.idle().await;
    }

    /// What happens to models from now on.
    pub fn events(&self) -> &EventBus {
        &self.events
    }

    /// The version that describes `model` and `version`: a number, an alias, or empty for the default, which has the
    /// largest share of the requests that name no version.
    ///
    /// # Errors
    /// When it is not served.
    pub fn find(&self, model: &str, version: &str) -> Result<Arc<Servable>, EngineError> {
        // The guard ends with this function; what a request keeps across its awaits is the version itself.
        match self.table.load().describe(model, version) {
            Ok(servable) => Ok(Arc::clone(servable)),
            Err(miss) => Err(self.explain(miss, model, version)),
        }
    }

    /// The version that a request with `keys` goes to, and how it was chosen.
    ///
    /// # Errors
    /// When it is not served.
    pub fn route(
        &self,
        model: &str,
        version: &str,
        keys: SplitKeys<'_>,
    ) -> Result<(Arc<Servable>, Choice), EngineError> {
        match self.table.load().route(model, version, keys) {
            Ok((servable, choice)) => Ok((Arc::clone(servable), choice)),
            Err(miss) => Err(self.explain(miss, model, version)),
        }
    }

    /// The name of the HTTP header or gRPC metadata entry that a request for `model` should carry along as
    /// [`InferRequest::split_key`], if any. Costs a look at one number while no model wants a header.
    pub fn split_header(&self, model: &str, version: &str) -> Option<Arc<str>> {
        if self.wanted_headers.load(Ordering::Relaxed) == 0 || !version.is_empty() {
            return None;
        }
        self.table.load().split_header(model)
    }

    /// The names of the HTTP headers or gRPC metadata entries that a request for `model` should carry along as
    /// [`InferRequest::attributes`], if any. Costs a look at one number while no model wants a header.
    pub fn captured_headers(&self, model: &str) -> Option<Arc<[Arc<str>]>> {
        match self.wanted_headers.load(Ordering::Relaxed) {
            0 => None,
            _ => self.table.load().captured_headers(model),
        }
    }

    /// The served versions of `model`, ascending.
    pub fn versions(&self, model: &str) -> Vec<Version> {
        self.table.load().versions(model).iter().map(|servable| servable.id.version).collect()
    }

    /// Everything the server knows of, served or not, by name and version.
    pub fn index(&self, ready_only: bool) -> Vec<IndexEntry> {
        self.catalog.index(ready_only)
    }

    /// Statistics of one version, of all served versions of a model (empty `version`), or of everything (empty
    /// `model`).
    ///
    /// # Errors
    /// When `model` or `version` is not served.
    pub fn statistics(&self, model: &str, version: &str) -> Result<Vec<ModelStatistics>, EngineError> {
        let servables = match (model, version) {
            ("", _) => self.served(),
            (model, "") => {
                self.find(model, "")?;
                self.table.load().versions(model).to_vec()
            }
            (model, version) => vec![self.find(model, version)?],
        };
        Ok(servables.iter().map(|servable| servable.metrics.statistics.snapshot(servable)).collect())
    }

    /// Everything that is served, by name and version.
    pub fn served(&self) -> Vec<Arc<Servable>> {
        self.table.load().all()
    }

    /// Serves exactly `versions` of `model` from now on, routed by `routing`: one store. Requests that were routed before
    /// go on with the version they hold.
    pub(super) fn publish(&self, model: &ModelName, versions: Vec<Arc<Servable>>, routing: Option<&Routing>) {
        let _publishing = self.publishing.lock();
        let next = self.table.load().with_model(model, versions, routing);
        self.wanted_headers.store(next.headers(), Ordering::Relaxed);
        self.table.store(Arc::new(next));
    }

    /// Takes away what is shown of a version that is served no more. Requests that hold it still count in their
    /// handles, which nobody sees.
    pub(super) fn retire(&self, servable: &Servable) {
        servable.metrics.retire();
        self.metrics.forget_version(&servable.id);
        self.events.send(Event::Unloaded { id: servable.id.clone() });
    }

    /// Decides readiness anew, after a change.
    pub(super) fn decide_ready(&self) {
        self.catalog.decide_ready();
        self.metrics.server_ready(self.is_ready());
    }

    /// Why the table has no answer. Slow path: a request that finds its version never comes here.
    #[cold]
    fn explain(&self, miss: Miss, model: &str, version: &str) -> EngineError {
        let Some(entry) = self.catalog.get(model) else {
            return EngineError::ModelNotFound { model: shorten(model) };
        };
        let status = version.parse().ok().and_then(|number: Version| entry.versions.get(&number));
        match (status, miss) {
            (Some(status), _) if !version.is_empty() => EngineError::NotReady {
                model: model.to_owned(),
                reason: format!("version {version} is {}: {}", status.state.as_index_state(), status.reason),
            },
            (_, Miss::Version) => {
                EngineError::VersionNotFound { model: shorten(model), version: shorten(version) }
            }
            _ if !version.is_empty() => {
                EngineError::VersionNotFound { model: shorten(model), version: shorten(version) }
            }
            _ => EngineError::NotReady { model: model.to_owned(), reason: entry.unavailable_reason() },
        }
    }
}

/// Has `request` run, and puts the answer together. Returns its rows, too; what whoever watches may see stands in `watched`.
/// What lasts while the model runs lies in the future of every request, and is kept small.
async fn run(
    servable: &Servable,
    request: &mut InferRequest,
    watched: &mut Option<Watched>,
) -> Result<(InferResponse, usize), EngineError> {
    let selection = respond::select(servable, &request.outputs)?;
    let job = bind(servable, request, watched)?;
    let rows = job.rows;
    let reply = servable.scheduler.submit(job).await?;
    response_of(servable, request, &selection, reply, watched).map(|response| (response, rows))
}

/// Validates `request` against the version it was routed to. Its inputs go into the job.
fn bind(
    servable: &Servable,
    request: &mut InferRequest,
    watched: &mut Option<Watched>,
) -> Result<Job, EngineError> {
    let Bound { rows, inputs } =
        servable.contract.bind(&servable.name, std::mem::take(&mut request.inputs))?;
    if let Some(watched) = watched {
        watched.bound(rows, &inputs);
    }
    Ok(Job { inputs, rows, priority: request.priority, deadline: request.deadline })
}

/// The answer to `request` from what the model gave.
fn response_of(
    servable: &Servable,
    request: &mut InferRequest,
    selection: &Selection,
    reply: Reply,
    watched: &mut Option<Watched>,
) -> Result<InferResponse, EngineError> {
    if let Some(watched) = watched {
        watched.ran(servable, &reply.outputs)?;
    }
    Ok(InferResponse {
        model: Arc::clone(&servable.name),
        version: servable.id.version,
        version_text: Arc::clone(&servable.version_text),
        id: std::mem::take(&mut request.id),
        outputs: respond::collect(servable, selection, reply.outputs)?,
        timing: Timing { received: request.received, decode: request.decode, ..reply.timing },
        observer: Some(Arc::clone(&servable.metrics) as Arc<dyn AnswerObserver>),
    })
}
