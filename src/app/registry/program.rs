//! This program as an image needs it: its file, and the libraries that the dynamic linker has given it.
//!
//! What a process has mapped is what it needs, so nothing has to understand the format of programs. ONNX Runtime is opened
//! first, because it needs libraries of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::super::config::runtime;
use super::super::run::start_runtime;
use super::super::settings::Settings;
use crate::registry::package::oci::{Node, Program};

/// A program that needs no libraries.
pub(super) fn other(binary: &Path) -> anyhow::Result<Program> {
    anyhow::ensure!(binary.is_file(), "{} is no file", binary.display());
    Ok(Program {
        binary: binary.to_owned(),
        libraries: BTreeMap::new(),
        architecture: machine()?.0.to_owned(),
    })
}

/// This program.
pub(super) fn this(settings: &Settings) -> anyhow::Result<Program> {
    let _runtime = start_runtime(&runtime(settings)?)?;
    running()
}

/// This program, which has opened ONNX Runtime.
pub(in crate::app) fn running() -> anyhow::Result<Program> {
    let (architecture, loader) = machine()?;
    let maps =
        std::fs::read_to_string("/proc/self/maps").context("cannot read which libraries are needed")?;
    let mut libraries = BTreeMap::new();
    for path in mapped(&maps) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if loader.ends_with(name) || name.starts_with("ld-") {
            libraries.insert(in_image(Path::new(loader)), Node::File(path.clone(), true));
        }
        // Programs ask for a library by a name that is a link to the file.
        for link in links_to(&path) {
            libraries.insert(in_image(&link), Node::Link(name.to_owned()));
        }
        libraries.insert(in_image(&path), Node::File(path, true));
    }
    anyhow::ensure!(libraries.contains_key(&in_image(Path::new(loader))), "the dynamic linker was not found");
    let binary = std::env::current_exe().context("cannot find this program")?;
    Ok(Program { binary, libraries, architecture: architecture.to_owned() })
}

/// The processor as images name it, and the path of the dynamic linker that programs for it name.
fn machine() -> anyhow::Result<(&'static str, &'static str)> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(("amd64", "/lib64/ld-linux-x86-64.so.2")),
        "aarch64" => Ok(("arm64", "/lib/ld-linux-aarch64.so.1")),
        other => bail!("images for {other} are not made"),
    }
}

/// The shared libraries among the mapped files, without those that are only in memory.
fn mapped(maps: &str) -> Vec<PathBuf> {
    let paths = maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    let is_library = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        !path.starts_with("/memfd:") && !path.ends_with(" (deleted)") && name.contains(".so")
    };
    let mut libraries: Vec<PathBuf> = paths.filter(is_library).map(PathBuf::from).collect();
    libraries.sort();
    libraries.dedup();
    libraries
}

/// The links beside `path` that lead to it.
fn links_to(path: &Path) -> Vec<PathBuf> {
    let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let entries = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let leads = |link: &PathBuf| {
        link.is_symlink()
            && std::fs::read_link(link).is_ok_and(|target| Some(target.as_os_str()) == path.file_name())
    };
    let mut links: Vec<PathBuf> = entries.filter(leads).collect();
    links.sort();
    links
}

fn in_image(path: &Path) -> String {
    path.display().to_string().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libraries_on_disk_count() {
        let maps = "7f00-7f01 r-xp 00000000 fe:01 12 /usr/lib/libc.so.6\n7f01-7f02 r--p 0 fe:01 12 /usr/lib/libc.so.6\n\
            55-56 r-xp 0 fe:01 9 /usr/bin/weir\n7f05-7f06 r-xp 0 00:01 3 /memfd:libonnxruntime.so (deleted)\n7ff-800 rw-p 0 00:00 0 [stack]\n";
        assert_eq!(mapped(maps), [PathBuf::from("/usr/lib/libc.so.6")]);
    }
}
