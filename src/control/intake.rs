//! Registration through this server: a package that a client sends is written to a folder, tried in a child process and
//! registered, as `weir register` does it.
//!
//! A registration that has begun goes on when its client goes away, because what it has begun in other models' logs must
//! be ended; the same request again finds the version.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::register::{RegisterError, Registered, Registration, register};
use super::registry::RegistryDoor;
use crate::error::{Code, Coded};
use crate::registry::package::incoming::{Form, receive};
use crate::registry::package::{Choice, Limits, Package};
use crate::serving::Validate;

/// Most packages that arrive or are tried at a time.
const AT_A_TIME: usize = 4;
/// Pieces of a body that wait for the disk.
const WAITING_MAX: usize = 8;
/// What the log says of where a package came from.
const SOURCE: &str = "upload";

/// What registrations through a server need.
#[derive(Debug, Clone)]
pub struct Intake {
    validator: Arc<dyn Validate>,
    limits: Limits,
    staging: PathBuf,
    room: Arc<Semaphore>,
}

/// Why nothing was registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntakeError {
    /// This server takes none.
    #[error("this server takes no packages: it was started without trials (runtime.probe)")]
    Closed,
    /// As many as may be are on their way.
    #[error("{AT_A_TIME} packages are being registered already")]
    Full,
    /// The package, its trial or the registry.
    #[error(transparent)]
    Register(#[from] RegisterError),
}

impl Coded for IntakeError {
    fn code(&self) -> Code {
        match self {
            IntakeError::Closed => Code::FailedPrecondition,
            IntakeError::Full => Code::ResourceExhausted,
            IntakeError::Register(error) => error.code(),
        }
    }

    fn public_message(&self) -> String {
        match self {
            IntakeError::Register(error) => error.public_message(),
            other => other.to_string(),
        }
    }
}

impl Intake {
    /// Packages within `limits` are written below `staging` and tried by `validator`.
    pub fn new(validator: Arc<dyn Validate>, limits: Limits, staging: PathBuf) -> Intake {
        Intake { validator, limits, staging, room: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Begins to take a package.
    ///
    /// # Errors
    /// [`IntakeError::Full`].
    pub(super) fn begin(&self, form: Form, choice: Choice) -> Result<Receiving, IntakeError> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| IntakeError::Full)?;
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        let (staging, limits) = (self.staging.clone(), self.limits);
        let receiving = tokio::task::spawn_blocking(move || {
            let input = Pieces { rx, piece: Bytes::new() };
            receive(input, form, choice, (&staging, SOURCE), limits)
        });
        Ok(Receiving { tx, receiving, permit })
    }
}

/// A package on its way. Dropped before its end, it leaves nothing behind.
#[derive(Debug)]
pub struct Receiving {
    tx: mpsc::Sender<io::Result<Bytes>>,
    receiving: tokio::task::JoinHandle<Result<Package, crate::registry::package::PackageError>>,
    permit: OwnedSemaphorePermit,
}

impl Receiving {
    /// Takes the next piece of the body; false when no more is wanted, and [`Receiving::register`] says why.
    pub async fn push(&self, piece: Bytes) -> bool {
        piece.is_empty() || self.tx.send(Ok(piece)).await.is_ok()
    }

    /// The body has broken off: nothing is registered.
    pub async fn abandon(self) {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the body broke off");
        self.tx.send(Err(error)).await.ok();
        drop(self.tx);
        self.receiving.await.ok();
    }

    /// Registers what was sent.
    ///
    /// # Errors
    /// [`IntakeError`].
    pub async fn register(
        self,
        door: &RegistryDoor,
        registration: Registration,
    ) -> Result<Registered, IntakeError> {
        drop(self.tx);
        let untried = |error: tokio::task::JoinError| RegisterError::Untried(error.to_string());
        let package = self.receiving.await.map_err(untried)?.map_err(RegisterError::from)?;
        let (door, permit) = (door.clone(), self.permit);
        let Some(intake) = door.intake().cloned() else { return Err(IntakeError::Closed) };
        let registered = tokio::spawn(async move {
            let _permit = permit;
            let registered = register(door.inner(), &intake.validator, &package, &registration).await;
            door.adopt_known(&registration.model);
            registered
        });
        Ok(registered.await.map_err(untried)??)
    }
}

/// The body as something to read from, on a thread that may wait.
struct Pieces {
    rx: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = match self.rx.blocking_recv() {
                Some(piece) => piece?,
                None => return Ok(0),
            };
        }
        let len = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(buffer.get_mut(..len).unwrap_or_default());
        Ok(len)
    }
}
