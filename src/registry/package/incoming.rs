//! A package that a client sends: a tar stream, or one ONNX file, written to a folder of its own while it arrives.
//!
//! What a client says about lengths is not believed: what is written is counted, and what the headers of a tar stream may
//! take is bounded. Only plain files and folders are taken; what a package may hold otherwise is for [`folder`].

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::remote::Staging;
use super::{Choice, Limits, Package, PackageError, check_path, folder};

/// Most bytes of what stands between two files of a tar stream: names, and what pads them.
const HEADER_BYTES_MAX: u64 = 256 * 1024;
/// Most bytes that are read after the end of a tar stream: writers fill up to a whole record.
const REST_BYTES_MAX: u64 = 1024 * 1024;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A tar stream of the package's folder.
    Tar,
    /// One ONNX file.
    Model,
}

/// Writes what `input` gives to a new folder below `staging`, and reads it as a package: `shown` says where it comes
/// from. Blocking.
///
/// # Errors
/// [`PackageError`]; then nothing is left behind.
pub fn receive(
    input: impl Read,
    form: Form,
    choice: Choice,
    (staging, shown): (&Path, &str),
    limits: Limits,
) -> Result<Package, PackageError> {
    let staging = Arc::new(Staging::new(staging)?);
    let folder = staging.path().join("package");
    std::fs::create_dir(&folder).map_err(|error| PackageError::io(&folder, error))?;
    let path = match form {
        Form::Tar => {
            unpack(input, &folder, limits)?;
            folder
        }
        Form::Model => {
            let file = folder.join("model.onnx");
            let left = &mut limits.bytes_max.clone();
            write(&mut { input }, &file, "model.onnx", left, limits)?;
            file
        }
    };
    let mut packages = folder::read(&path, shown, choice, limits)?;
    let package = match packages.len() {
        1 => packages.pop(),
        _ => None,
    };
    let mut package = package.ok_or_else(|| PackageError::invalid("name one version of the model"))?;
    package.staging = Some(staging);
    Ok(package)
}

fn unpack(input: impl Read, folder: &Path, limits: Limits) -> Result<(), PackageError> {
    let allowance = Rc::new(Cell::new(HEADER_BYTES_MAX));
    let mut archive = tar::Archive::new(Metered { input, allowance: Rc::clone(&allowance) });
    let mut left = limits.bytes_max;
    let mut files = 0_usize;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?;
        let path = path.to_str().ok_or_else(|| PackageError::invalid("a file name is not UTF-8"))?;
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        files += 1;
        // Folders count, too; twice as many entries are more than any package needs.
        if files > limits.files_max.saturating_mul(2) {
            return Err(PackageError::invalid(format!("there are more than {} files", limits.files_max)));
        }
        let kind = entry.header().entry_type();
        let is_root = matches!(path.as_str(), "" | ".");
        match () {
            () if kind.is_dir() && is_root => {}
            () if kind.is_dir() => {
                check_path(&path).map_err(PackageError::Invalid)?;
                make_folder(&folder.join(&path), &path)?;
            }
            () if kind.is_file() || kind.is_gnu_sparse() => {
                check_path(&path).map_err(PackageError::Invalid)?;
                allowance.set(u64::MAX);
                write(&mut entry, &folder.join(&path), &path, &mut left, limits)?;
            }
            () => {
                let shown = path.escape_debug();
                return Err(PackageError::invalid(format!("'{shown}' is neither a file nor a folder")));
            }
        }
        allowance.set(HEADER_BYTES_MAX);
    }
    let mut rest = archive.into_inner().input.take(REST_BYTES_MAX);
    io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
    Ok(())
}

/// Writes a new file of what `input` gives, of at most `left` bytes.
fn write(
    input: &mut impl Read,
    file: &Path,
    path: &str,
    left: &mut u64,
    limits: Limits,
) -> Result<(), PackageError> {
    if let Some(parent) = file.parent() {
        make_folder(parent, path)?;
    }
    let mut output = File::create_new(file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            PackageError::invalid(format!("'{}' is in it twice", path.escape_debug()))
        }
        _ => PackageError::io(file, error),
    })?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = input.read(&mut buffer).map_err(broken)?;
        if read == 0 {
            return Ok(());
        }
        let too_long = || {
            PackageError::TooLarge(format!("the files are longer than {} bytes together", limits.bytes_max))
        };
        *left = left.checked_sub(read as u64).ok_or_else(too_long)?;
        let piece = buffer.get(..read).unwrap_or_default();
        output.write_all(piece).map_err(|error| PackageError::io(file, error))?;
    }
}

/// What the client sends cannot be read. The reason may quote it, so it is shown short and without control characters.
fn broken(error: io::Error) -> PackageError {
    let reason: String = error.to_string().chars().take(120).flat_map(char::escape_debug).collect();
    PackageError::invalid(format!("the package cannot be read: {reason}"))
}

/// Makes the folder of the file `path`, unless a file of the package is in its place.
fn make_folder(folder: &Path, path: &str) -> Result<(), PackageError> {
    std::fs::create_dir_all(folder).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            PackageError::invalid(format!("'{}' lies below something that is a file", path.escape_debug()))
        }
        _ => PackageError::io(folder, error),
    })
}

/// Reads no more than it is allowed.
struct Metered<R> {
    input: R,
    allowance: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        let left = self.allowance.get().checked_sub(read as u64);
        let left = left.ok_or_else(|| io::Error::other("what stands between two files is too long"))?;
        self.allowance.set(left);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { files_max: 4, bytes_max: 4096 };

    /// A tar stream of files and what stands in them.
    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            // Written by hand: the builder refuses the names that this is about.
            let name = path.as_bytes();
            if name.len() <= 100 {
                header.as_mut_bytes()[..name.len()].copy_from_slice(name);
                header.set_cksum();
                builder.append(&header, *content).unwrap();
            } else {
                header.set_cksum();
                builder.append_data(&mut header, path, *content).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn take(bytes: &[u8], form: Form) -> Result<Vec<(String, u64)>, String> {
        let parent = tempfile::tempdir().unwrap();
        let received = receive(bytes, form, Choice::Newest, (parent.path(), "a test"), LIMITS);
        let files = received.as_ref().map(|package| {
            package.files.iter().map(|file| (file.path.clone(), file.size())).collect::<Vec<_>>()
        });
        let files = files.map_err(ToString::to_string);
        drop(received);
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0, "nothing is left behind");
        files
    }

    #[test]
    fn packages_are_taken() {
        let long = format!("{}/words.txt", "v".repeat(120));
        let tar = tar_of(&[("./model.onnx", b"abc"), (&long, b"de"), ("./.git/config", b"hidden")]);
        assert_eq!(take(&tar, Form::Tar).unwrap(), [("model.onnx".to_owned(), 3), (long, 2)]);
        assert_eq!(take(b"abc", Form::Model).unwrap(), [("model.onnx".to_owned(), 3)]);
    }

    fn refused(bytes: &[u8], form: Form, expected: &str) {
        let error = take(bytes, form).unwrap_err();
        assert!(error.contains(expected), "{error} should say {expected}");
    }

    #[test]
    fn what_would_leave_the_folder_is_refused() {
        for path in ["../model.onnx", "/model.onnx", "a/../../model.onnx", "a\\b.onnx", "model.onnx/x "] {
            let error = take(&tar_of(&[(path, b"abc")]), Form::Tar).unwrap_err();
            assert!(error.contains("the path"), "{path}: {error}");
        }
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "model.onnx", "/etc/passwd").unwrap();
        refused(&builder.into_inner().unwrap(), Form::Tar, "neither a file nor a folder");
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let bytes = [7_u8; 4097];
        refused(&bytes, Form::Model, "longer than 4096 bytes");
        refused(&tar_of(&[("model.onnx", &bytes[..4000]), ("b", &bytes[..97])]), Form::Tar, "longer than");
        let many: Vec<String> = (0..9).map(|n| format!("f{n}")).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        refused(&tar_of(&many), Form::Tar, "more than 4 files");
        // A name of a megabyte is no name.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 20);
        header.set_cksum();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append(&header, &vec![b'a'; 1 << 20][..]).unwrap();
        builder.append(&{ tar_header("model.onnx") }, &b""[..]).unwrap();
        refused(&builder.into_inner().unwrap(), Form::Tar, "too long");
    }

    fn tar_header(path: &str) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_path(path).unwrap();
        header.set_size(0);
        header.set_cksum();
        header
    }

    #[test]
    fn what_is_no_package_is_refused() {
        refused(&tar_of(&[("model.onnx", b"a"), ("model.onnx", b"b")]), Form::Tar, "twice");
        refused(&tar_of(&[("a", b"a"), ("a/model.onnx", b"b")]), Form::Tar, "below something that is a file");
        refused(&tar_of(&[("words.txt", b"a")]), Form::Tar, "no .onnx file");
        refused(b"", Form::Tar, "no .onnx file");
        refused(&[1_u8; 700], Form::Tar, "cannot be read");
        let whole = tar_of(&[("model.onnx", b"abcdef")]);
        refused(&whole[..514], Form::Tar, "cannot be read");
    }
}
