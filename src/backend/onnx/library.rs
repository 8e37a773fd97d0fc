//! Where `libonnxruntime.so` comes from: unpacked from the binary into an anonymous memory file, or a path.
//!
//! The memory file has no name in any folder, is sealed against writing, and is *not* closed on exec: a child process
//! finds it under the same `/proc/self/fd/N` and need not unpack it again.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

#[cfg(feature = "bundled-onnxruntime")]
use self::bundled::unpack;
use super::super::BackendError;

/// Which ONNX Runtime to use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LibrarySource {
    /// The one in this binary.
    #[default]
    Bundled,
    /// A shared library on this machine, for example a CUDA build.
    Path(PathBuf),
}

/// A library that can be opened by path, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Library {
    path: PathBuf,
    /// Keeps the memory file open. ONNX Runtime stays mapped without it, but a child could not inherit it.
    _memory: Option<OwnedFd>,
}

impl Library {
    /// Makes `source` openable.
    ///
    /// # Errors
    /// [`BackendError::Runtime`] when there is no such file, or this binary holds none.
    pub(super) fn locate(source: &LibrarySource) -> Result<Library, BackendError> {
        match source {
            LibrarySource::Bundled => unpack(),
            LibrarySource::Path(path) => {
                let failed =
                    |error: std::io::Error| BackendError::Runtime(format!("{}: {error}", path.display()));
                // Not resolved: a memory file under `/proc/self/fd` has a name that leads nowhere.
                std::fs::metadata(path).map_err(failed)?;
                Ok(Library { path: std::path::absolute(path).map_err(failed)?, _memory: None })
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(not(feature = "bundled-onnxruntime"))]
fn unpack() -> Result<Library, BackendError> {
    Err(BackendError::Runtime(
        "this binary was built without it; pass --onnxruntime PATH or set ORT_DYLIB_PATH".to_owned(),
    ))
}

/// The library in this binary.
#[cfg(feature = "bundled-onnxruntime")]
mod bundled {
    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::path::PathBuf;

    use rustix::fs::{MemfdFlags, SealFlags};

    use super::{BackendError, Library};

    pub(super) fn unpack() -> Result<Library, BackendError> {
        static COMPRESSED: &[u8] = include_bytes!(env!("WEIR_ONNXRUNTIME_ZSTD"));
        let failed = |error: std::io::Error| {
            BackendError::Runtime(format!("cannot unpack the embedded library: {error}"))
        };
        let memory = memory_file().map_err(|error| failed(error.into()))?;
        let mut file = File::from(memory);
        zstd::stream::copy_decode(COMPRESSED, &mut file).map_err(failed)?;
        let memory = OwnedFd::from(file);
        rustix::fs::fcntl_add_seals(
            &memory,
            SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )
        .map_err(|error| failed(error.into()))?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
        Ok(Library { path, _memory: Some(memory) })
    }

    /// Asks for a file that may be executed by name, which hardened kernels (6.3 and later) want to be told; older ones
    /// do not know the flag.
    fn memory_file() -> rustix::io::Result<OwnedFd> {
        const NAME: &str = "libonnxruntime.so";
        rustix::fs::memfd_create(NAME, MemfdFlags::ALLOW_SEALING | MemfdFlags::EXEC)
            .or_else(|_| rustix::fs::memfd_create(NAME, MemfdFlags::ALLOW_SEALING))
    }
}
