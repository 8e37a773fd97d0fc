//! Images of versions for those who ask this server: the program that runs here, and the version, as one OCI image.
//!
//! An image is as long as the program, its libraries and the model together and lies on the disk while it is sent, so one
//! is made at a time.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Code, Coded};
use crate::model::{ModelName, Version};
use crate::registry::package::PackageError;
use crate::registry::package::oci::Program;
use crate::registry::package::outgoing::Outgoing;
use crate::registry::{Store, VersionRecord};

/// Finds the program that an image runs, or says why it cannot be found. Blocking.
pub type FindProgram = fn() -> Result<Program, String>;

/// What images need.
#[derive(Debug, Clone)]
pub struct Images {
    program: FindProgram,
    staging: PathBuf,
    room: Arc<Semaphore>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// This server makes none.
    #[error("this server makes no images")]
    Closed,
    /// Another one is made or sent.
    #[error("an image is being made already")]
    Full,
    /// The program cannot be put into an image.
    #[error("the program of this server cannot be put into an image: {0}")]
    Program(String),
    /// The version or the disk.
    #[error(transparent)]
    Package(#[from] PackageError),
}

impl Coded for ImageError {
    fn code(&self) -> Code {
        match self {
            ImageError::Closed => Code::FailedPrecondition,
            ImageError::Full => Code::ResourceExhausted,
            ImageError::Program(_) => Code::Internal,
            ImageError::Package(error) => error.code(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            // The reason may name paths of this machine.
            ImageError::Program(_) => "the program of this server cannot be put into an image".to_owned(),
            ImageError::Package(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

impl Images {
    /// Images with what `program` finds, made below `staging`.
    pub fn new(program: FindProgram, staging: PathBuf) -> Images {
        Images { program, staging, room: Arc::new(Semaphore::new(1)) }
    }

    /// Makes an image. Its room is free again when the permit is dropped.
    ///
    /// # Errors
    /// [`ImageError`]; then nothing is left behind.
    pub(super) async fn make(
        &self,
        store: &Store,
        of: (&ModelName, Version),
        record: &VersionRecord,
    ) -> Result<(Outgoing, OwnedSemaphorePermit), ImageError> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| ImageError::Full)?;
        let found = tokio::task::spawn_blocking(self.program).await;
        let program = found.unwrap_or_else(|error| Err(error.to_string())).map_err(ImageError::Program)?;
        let outgoing = Outgoing::image(store, of, record, program, &self.staging).await?;
        Ok((outgoing, permit))
    }
}
