//! Starts to follow the registry that the configuration names. Says who this process is and where its copies lie; how to
//! follow is `control`'s business.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::config::{Config, RegistryConfig};
use super::registry::common::{read_signer, staging_folder, store_options};
use super::registry::program;
use super::run::make_prober;
use super::startup::Addresses;
use crate::backend::onnx::Runtime;
use crate::control::announce::{Announcements, Announcer};
use crate::control::follow::{FollowConfig, Follower};
use crate::control::images::Images;
use crate::control::intake::Intake;
use crate::control::{ControlPlane, RegistryDoor};
use crate::metrics::Registry as Metrics;
use crate::registry::Store;
use crate::serving::{Engine, Manager, Validator};

/// Longest part of a host's name that is used.
const HOST_LEN_MAX: usize = 64;

/// Refuses a registry's URL that no store can be opened with, before anything is loaded.
pub(super) fn check_registry(config: &Config) -> anyhow::Result<()> {
    let Some(registry) = &config.registry else { return Ok(()) };
    Ok(Store::check(&registry.location, &store_options())?)
}

/// Follows the registry, if there is one.
pub(super) fn start_follower(
    config: &Config,
    addresses: &Addresses,
    manager: &Arc<Manager>,
    engine: &Arc<Engine>,
    metrics: &Metrics,
    announcer: Announcer,
) -> anyhow::Result<Option<Arc<Follower>>> {
    let Some(registry) = &config.registry else { return Ok(None) };
    let scheme = if addresses.is_tls { "https" } else { "http" };
    let follow = FollowConfig {
        location: registry.location.clone(),
        store: store_options(),
        deployment: registry.deployment.clone(),
        poll_interval: registry.poll_interval,
        cache_folder: cache_folder(registry)?,
        cache_bytes_max: registry.cache_bytes_max,
        replica: registry.replica.clone().unwrap_or_else(replica),
        url: format!("{scheme}://{}", addresses.http),
        signer: registry.signing_key.as_deref().map(read_signer).transpose()?,
        announcer,
    };
    let follower = Follower::start(follow, Arc::clone(manager), Arc::clone(engine), metrics)?;
    Ok(Some(follower))
}

/// Opens the door to the registry when it is reached.
pub(super) async fn attach_registry(
    control: Arc<ControlPlane>,
    follower: Arc<Follower>,
    intake: Option<Intake>,
) {
    let registry = follower.reached().await;
    let program = || program::running().map_err(|error| format!("{error:#}"));
    let door =
        RegistryDoor::new(registry, Some(follower)).with_images(Images::new(program, staging_folder()));
    control.attach_registry(match intake {
        Some(intake) => door.with_intake(intake),
        None => door,
    });
}

/// Takes packages that clients send, where they can be tried.
pub(super) fn make_intake(config: &Config, runtime: &Runtime) -> Option<Intake> {
    let (options, limits) = (config.runtime.probe?, config.registry.as_ref()?.package_limits);
    // One trial at a time, so that registering takes no more than one core from serving.
    let prober = Arc::new(make_prober(options, runtime, 1, None));
    let validator = Validator::new(prober, runtime.build_info());
    Some(Intake::new(Arc::new(validator), limits, staging_folder()))
}

/// Writes what this server announces, as soon as the registry is reached.
pub(super) async fn announce(announcements: Announcements, follower: Arc<Follower>) {
    announcements.run(follower.reached().await).await;
}

/// Where copies are kept. Without a cache they go to a folder of this process.
fn cache_folder(registry: &RegistryConfig) -> anyhow::Result<PathBuf> {
    let folder = registry.cache_dir.clone().unwrap_or_else(|| {
        tracing::warn!(
            "there is no cache folder: after a restart nothing can be served while the registry is away"
        );
        std::env::temp_dir().join(format!("weir-{}", uuid::Uuid::now_v7()))
    });
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot keep copies of models in {}", folder.display()))?;
    folder.canonicalize().with_context(|| format!("cannot keep copies of models in {}", folder.display()))
}

/// A name for this process that no other has: the host's and a number.
pub(super) fn replica() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(HOST_LEN_MAX)
        .collect();
    let number = uuid::Uuid::new_v4().simple().to_string();
    let number: String = number.chars().take(12).collect();
    if host.is_empty() { number } else { format!("{host}-{number}") }
}
