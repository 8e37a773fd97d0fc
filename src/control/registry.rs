//! The registry, as those see it who read and change it through this server. A change that was made here is served at
//! once, without waiting for the next look at the store.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::catalog::Catalog;
use super::events::EventSource;
use super::images::{ImageError, Images};
use super::intake::{Intake, IntakeError, Receiving};
use crate::model::{ModelName, Version};
use crate::registry::gc::{self, GcOptions, GcReport};
use crate::registry::keys::{self, KeyChange, KeyRing};
use crate::registry::leases::{self, Lease};
use crate::registry::ops::{self, Change};
use crate::registry::package::Choice;
use crate::registry::package::incoming::Form;
use crate::registry::package::outgoing::Outgoing;
use crate::registry::search::{Page, Search};
use crate::registry::verify::{self, VerifyOptions, VerifyReport};
use crate::registry::{
    Intent, ModelState, Op, Refusal, Registry, RegistryError, RegistryInfo, Revision, VersionRecord, history,
};

/// Carries out what the registry says, and knows how old its knowledge is.
pub trait Follow: Send + Sync + std::fmt::Debug {
    /// The deployment that it follows.
    fn deployment(&self) -> &str;

    /// Time since the store last answered; `None` before the first answer.
    fn staleness(&self) -> Option<Duration>;

    /// Looks at the registry now, and returns when what it found is carried out or has failed.
    fn refresh(&self) -> futures_util::future::BoxFuture<'_, Result<(), RegistryError>>;

    /// Carries out what `state` says without a look at the store. Does not wait.
    fn adopt(&self, state: &Arc<ModelState>);
}

/// Time between two looks at the logs for a stream of events.
const EVENTS_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Most streams of events at a time.
const EVENT_STREAMS_MAX: usize = 64;

/// The registry of this server.
#[derive(Debug, Clone)]
pub struct RegistryDoor {
    registry: Arc<Registry>,
    follower: Option<Arc<dyn Follow>>,
    events: EventSource,
    catalog: Arc<Catalog>,
    intake: Option<Intake>,
    images: Option<Images>,
    /// One walk through the whole registry at a time: it reads everything.
    walking: Arc<Semaphore>,
}

impl RegistryDoor {
    /// The door to `registry`, whose deployment `follower` serves.
    pub fn new(registry: Arc<Registry>, follower: Option<Arc<dyn Follow>>) -> RegistryDoor {
        let events = EventSource::new(Arc::clone(&registry), EVENTS_POLL_INTERVAL, EVENT_STREAMS_MAX);
        let catalog = Arc::new(Catalog::new(Arc::clone(&registry)));
        let walking = Arc::new(Semaphore::new(1));
        RegistryDoor { registry, follower, events, catalog, intake: None, images: None, walking }
    }

    /// The same, for a server that takes packages.
    pub fn with_intake(self, intake: Intake) -> RegistryDoor {
        RegistryDoor { intake: Some(intake), ..self }
    }

    /// The same, for a server that makes images.
    pub fn with_images(self, images: Images) -> RegistryDoor {
        RegistryDoor { images: Some(images), ..self }
    }

    pub(super) fn intake(&self) -> Option<&Intake> {
        self.intake.as_ref()
    }

    /// Begins to take a package that is to be registered.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn receive(&self, form: Form, choice: Choice) -> Result<Receiving, IntakeError> {
        self.intake.as_ref().ok_or(IntakeError::Closed)?.begin(form, choice)
    }

    /// An image that serves a version of `model`.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn image(
        &self,
        model: &ModelName,
        version: Version,
        record: &VersionRecord,
    ) -> Result<(Outgoing, OwnedSemaphorePermit), ImageError> {
        let images = self.images.as_ref().ok_or(ImageError::Closed)?;
        images.make(self.registry.store(), (model, version), record).await
    }

    /// Serves and finds what is known of `model` after a change, without waiting for the next look at the store.
    pub(super) fn adopt_known(&self, model: &ModelName) {
        if let Some(view) = self.registry.known(model) {
            self.adopt(&view.state);
        }
    }

    fn adopt(&self, state: &Arc<ModelState>) {
        self.catalog.adopt(state);
        if let Some(follower) = self.follower.as_deref() {
            follower.adopt(state);
        }
    }

    /// A page of what fits, and the states of the models on it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn search(&self, search: &Search<'_>) -> Result<(Page, Vec<Arc<ModelState>>), RegistryError> {
        self.catalog.search(search, Utc::now()).await
    }

    /// The only walk through the whole registry that may go on; `None` while there is one.
    pub fn walk(&self) -> Option<Walk> {
        let permit = Arc::clone(&self.walking).try_acquire_owned().ok()?;
        Some(Walk { registry: Arc::clone(&self.registry), _permit: permit })
    }

    /// The public key of what this server signs with.
    pub fn public_key(&self) -> Option<String> {
        self.registry.signer().map(|signer| signer.public().to_owned())
    }

    /// What happens in the registry, as streams.
    pub fn events(&self) -> &EventSource {
        &self.events
    }

    /// What the registry is.
    pub fn info(&self) -> &RegistryInfo {
        self.registry.info()
    }

    /// The registry itself, to read from.
    pub fn inner(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The deployment that this server follows.
    pub fn deployment(&self) -> Option<&str> {
        self.follower.as_deref().map(Follow::deployment)
    }

    /// Time since the store last answered.
    pub fn staleness(&self) -> Option<Duration> {
        self.follower.as_deref().and_then(Follow::staleness)
    }

    /// The newest state of `model`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn state(&self, model: &ModelName) -> Result<Arc<ModelState>, RegistryError> {
        self.registry.state(model).await
    }

    /// The revisions in `range`, ascending; fewer where the log ends.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn revisions(
        &self,
        model: &ModelName,
        range: Range<u64>,
    ) -> Result<Vec<Revision>, RegistryError> {
        history::range(self.registry.store(), model, range).await
    }

    /// The servers that told of themselves lately.
    ///
    /// # Errors
    /// [`RegistryError::Store`].
    pub async fn leases(&self) -> Result<Vec<Lease>, RegistryError> {
        Ok(leases::read_current(self.registry.store(), Utc::now()).await?)
    }

    /// Changes `model` as `plan` wants, or proposes it where the model's policy asks for a second person.
    ///
    /// # Errors
    /// [`RegistryError`]; after [`RegistryError::Store`] the change may have been made all the same.
    pub async fn change<P>(
        &self,
        model: &ModelName,
        intent: &Intent,
        plan: P,
    ) -> Result<Change, RegistryError>
    where
        P: Fn(&ModelState) -> Result<Vec<Op>, Refusal>,
    {
        let change = ops::change(&self.registry, model, intent, plan).await?;
        if change.is_made() {
            self.adopt(&change.state);
        }
        Ok(change)
    }

    /// Looks at the registry now, and returns when what was found is carried out.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn refresh(&self) -> Result<(), RegistryError> {
        match self.follower.as_deref() {
            Some(follower) => follower.refresh().await,
            None => Ok(()),
        }
    }
}

/// A walk through the whole registry.
#[derive(Debug)]
pub struct Walk {
    registry: Arc<Registry>,
    _permit: OwnedSemaphorePermit,
}

impl Walk {
    /// Proves what `options` says.
    ///
    /// # Errors
    /// [`RegistryError`]; what is wrong in the registry is in the report.
    pub async fn verify(self, options: &VerifyOptions) -> Result<VerifyReport, RegistryError> {
        verify::verify(self.registry.store(), options).await
    }

    /// Changes whose signatures count; for [`KeyChange::Accept`], up to which revision of which model.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn change_keys(
        self,
        intent: &Intent,
        change: KeyChange,
        up_to: Option<(ModelName, u64)>,
    ) -> Result<KeyRing, RegistryError> {
        let store = self.registry.store();
        let heads = match up_to {
            Some((model, rev)) => keys::accepted(store, &model, rev).await?,
            None => verify::heads(&self.registry).await?,
        };
        keys::append(store, intent, change, heads, self.registry.signer()).await
    }

    /// Deletes what nobody needs.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn collect(self, options: &GcOptions) -> Result<GcReport, RegistryError> {
        gc::collect(&self.registry, options, Utc::now()).await
    }
}
