//! Locks between processes that keep their copies in the same folder. The system lets go of them when a process ends,
//! however it ends.
//!
//! | lock | held by |
//! |---|---|
//! | `lock` | whoever makes or removes copies, alone |
//! | `models/<model>/<n>.lock` | everybody who uses the version, together; alone by who removes it |
//!
//! The second is only asked for by who holds the first, so nobody waits for it, and its file can go with the version.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    /// Open for as long as the lock is held.
    _file: File,
}

/// Waits until nobody else holds `path`, and holds it alone. Blocks.
pub(super) fn alone(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    ask(&file, FlockOperation::LockExclusive)?;
    Ok(Lock { _file: file })
}

/// Holds `path` alone; `None` when somebody else holds it.
pub(super) fn try_alone(path: &Path) -> io::Result<Option<Lock>> {
    let file = open(path)?;
    let is_held = ask(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(is_held.then_some(Lock { _file: file }))
}

/// Holds `path` together with others.
pub(super) fn together(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    ask(&file, FlockOperation::LockShared)?;
    Ok(Lock { _file: file })
}

/// Whether the file system of `path` knows locks. Without them a folder must not be shared.
pub(super) fn are_known(path: &Path) -> io::Result<bool> {
    let file = open(path)?;
    Ok(!matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(error) if is_unknown(error)))
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// False when another has it. A file system without locks gives every lock: `are_known` has told of that.
fn ask(file: &File, operation: FlockOperation) -> io::Result<bool> {
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) if is_unknown(error) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_unknown(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK | Errno::INVAL)
}
