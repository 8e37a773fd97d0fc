//! A version as an OCI image layout: a folder that `skopeo`, `podman` and registries take, made without any of them.
//!
//! Three layers without a base: the program with the libraries it needs, the model, the configuration; so a new model
//! shares the first and the last with the one before. The same inputs give the same bytes: entries are sorted, times are
//! 0, owners are root, nothing is compressed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::PackageError;
use super::pull::Building;
use super::triton::layout;
use crate::model::{ModelName, Version};
use crate::registry::blobs;
use crate::registry::record::VersionRecord;
use crate::registry::revision::hex;
use crate::registry::store::Store;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Where the program lies in the image.
const PROGRAM: &str = "usr/bin/weir";
/// Where its configuration lies.
const SETTINGS: &str = "etc/weir/weir.toml";
/// Nobody: the image writes nothing.
const USER: &str = "65532:65532";
/// Every time in the image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The program that the image runs.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its file.
    pub binary: PathBuf,
    /// Files that it needs, by their paths in the image, without a leading `/`.
    pub libraries: BTreeMap<String, Node>,
    /// The processor, as Go names it: `amd64`, `arm64`.
    pub architecture: String,
}

/// Something in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A copy of a local file; whether it can be run.
    File(PathBuf, bool),
    /// These bytes.
    Bytes(Vec<u8>),
    /// A symbolic link.
    Link(String),
}

/// A blob of the layout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Blob {
    digest: String,
    size: u64,
}

/// Writes the image to `target`.
///
/// # Errors
/// [`PackageError`]; then there is nothing at `target`.
pub async fn export(
    store: &Store,
    model: &ModelName,
    version: Version,
    record: &VersionRecord,
    program: Program,
    target: &Path,
) -> Result<(), PackageError> {
    let building = Building::start(target)?;
    let plan = layout(store, model, version, record).await?;
    let staging = building.path().join("staging");
    let mut models = BTreeMap::new();
    for (file, path) in &plan.files {
        let local = staging.join(path);
        blobs::fetch_to(store, file, &local).await?;
        models.insert(format!("models/{}", path.display()), Node::File(local, false));
    }
    let settings =
        "[server]\naddress = \"0.0.0.0\"\n\n[repository]\npaths = [\"/models\"]\nmodel_control = \"none\"\n";
    let mut programs = program.libraries;
    programs.insert(PROGRAM.to_owned(), Node::File(program.binary, true));
    let config = BTreeMap::from([(SETTINGS.to_owned(), Node::Bytes(settings.as_bytes().to_vec()))]);
    let layers = vec![("program", programs), ("model", models), ("configuration", config)];
    let labels = labels(model, version, record);
    let work = tokio::task::spawn_blocking(move || {
        write_image(building.path(), &layers, &program.architecture, labels).map(|()| building)
    });
    let written = work.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let building = written.map_err(|error| PackageError::io(target, error))?;
    std::fs::remove_dir_all(&staging).map_err(|error| PackageError::io(&staging, error))?;
    building.finish()
}

fn labels(model: &ModelName, version: Version, record: &VersionRecord) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), model.to_string()),
        ("org.opencontainers.image.version".to_owned(), version.to_string()),
        ("io.weir.digest".to_owned(), record.digest.clone()),
    ]);
    if let Some(git) = &record.git {
        labels.insert("org.opencontainers.image.revision".to_owned(), git.commit.clone());
        labels.insert("org.opencontainers.image.source".to_owned(), git.remote.clone());
    }
    labels
}

/// Writes layers, configuration, manifest and index below `folder`.
fn write_image(
    folder: &Path,
    layers: &[(&str, BTreeMap<String, Node>)],
    architecture: &str,
    labels: BTreeMap<String, String>,
) -> io::Result<()> {
    let home = folder.join("blobs/sha256");
    std::fs::create_dir_all(&home)?;
    let mut written = Vec::new();
    for (_, nodes) in layers {
        written.push(write_blob(&home, |out| write_layer(out, nodes))?);
    }
    let history = layers
        .iter()
        .map(|(name, _)| json!({ "created": EPOCH, "created_by": format!("weir export: {name}") }));
    let config = json!({
        "created": EPOCH,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": { "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {} },
            "Env": ["PATH=/usr/bin"],
            "Entrypoint": [format!("/{PROGRAM}"), "serve", "--config", format!("/{SETTINGS}")],
            "WorkingDir": "/",
            "Labels": labels,
        },
        // Layers are not compressed, so each is its own content.
        "rootfs": { "type": "layers", "diff_ids": written.iter().map(Blob::id).collect::<Vec<_>>() },
        "history": history.collect::<Vec<_>>(),
    });
    let config = write_json(&home, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": written.iter().map(|layer| layer.descriptor(LAYER)).collect::<Vec<_>>(),
    });
    let manifest = write_json(&home, &manifest)?;
    let mut entry = manifest.descriptor(MANIFEST);
    if let Some(entry) = entry.as_object_mut() {
        let name = labels.get("org.opencontainers.image.version").cloned().unwrap_or_default();
        entry.insert("platform".to_owned(), json!({ "architecture": architecture, "os": "linux" }));
        entry.insert("annotations".to_owned(), json!({ "org.opencontainers.image.ref.name": name }));
    }
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    std::fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
    std::fs::write(folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
}

impl Blob {
    fn id(&self) -> String {
        format!("sha256:{}", self.digest)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.id(), "size": self.size })
    }
}

/// Writes and hashes a blob, and names it by its hash.
fn write_blob(home: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<Blob> {
    let temporary = home.join(".writing");
    let mut out =
        Hashing { inner: BufWriter::new(File::create(&temporary)?), digest: Sha256::new(), size: 0 };
    write(&mut out)?;
    out.flush()?;
    let blob = Blob { digest: hex(&out.digest.finalize()), size: out.size };
    std::fs::rename(&temporary, home.join(&blob.digest))?;
    Ok(blob)
}

fn write_json(home: &Path, value: &Value) -> io::Result<Blob> {
    let bytes = serde_json::to_vec(value)?;
    write_blob(home, |out| out.write_all(&bytes))
}

/// A tar of `nodes` and the folders above them, in the order of their paths.
fn write_layer(out: &mut dyn Write, nodes: &BTreeMap<String, Node>) -> io::Result<()> {
    let mut folders: BTreeMap<String, Option<&Node>> = BTreeMap::new();
    for (path, node) in nodes {
        let above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        folders.extend(above.map(|folder| (format!("{folder}/"), None)));
        folders.insert(path.clone(), Some(node));
    }
    let mut tar = tar::Builder::new(out);
    for (path, node) in folders {
        let mut header = tar::Header::new_gnu();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mode(0o755);
        match node {
            None => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, &path, io::empty())?;
            }
            Some(Node::Link(target)) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, &path, target)?;
            }
            Some(Node::Bytes(bytes)) => {
                header.set_mode(0o644);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, &path, bytes.as_slice())?;
            }
            Some(Node::File(local, is_program)) => {
                let file = File::open(local)?;
                let size = file.metadata()?.len();
                header.set_mode(if *is_program { 0o755 } else { 0o644 });
                header.set_size(size);
                // A file that grows meanwhile must not shift what follows it.
                tar.append_data(&mut header, &path, io::Read::take(file, size))?;
            }
        }
    }
    tar.into_inner()?.flush()
}

/// Counts and hashes what is written.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..len).unwrap_or_default());
        self.size += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path) {
        let file = folder.join("program");
        std::fs::write(&file, b"#!").unwrap();
        let long = format!("models/{}/model.onnx", "a".repeat(120));
        let nodes = |pairs: Vec<(&str, Node)>| {
            pairs.into_iter().map(|(path, node)| (path.to_owned(), node)).collect()
        };
        let layers = [
            (
                "program",
                nodes(vec![
                    ("usr/bin/weir", Node::File(file, true)),
                    ("lib/x.so", Node::Link("y.so".into())),
                ]),
            ),
            ("model", nodes(vec![(&long, Node::Bytes(b"model".to_vec()))])),
        ];
        let labels = BTreeMap::from([("org.opencontainers.image.version".to_owned(), "3".to_owned())]);
        write_image(&folder.join("image"), &layers, "amd64", labels).unwrap();
    }

    fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for name in ["index.json", "oci-layout"] {
            files.insert(name.to_owned(), std::fs::read(folder.join(name)).unwrap());
        }
        for entry in std::fs::read_dir(folder.join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            files.insert(entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        }
        files
    }

    #[test]
    fn images_are_the_same_and_hold_together() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(one.path());
        write(two.path());
        let files = tree(&one.path().join("image"));
        assert_eq!(files, tree(&two.path().join("image")));
        for (name, content) in files.iter().filter(|(name, _)| name.len() == 64) {
            assert_eq!(*name, hex(&Sha256::digest(content)));
        }
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = &files[digest];
            assert_eq!(descriptor["size"], content.len());
            content.clone()
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&index["manifests"][0])).unwrap();
        let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        for (layer, diff_id) in layers.iter().zip(config["rootfs"]["diff_ids"].as_array().unwrap()) {
            assert_eq!(layer["digest"], *diff_id);
        }
        let tar_bytes = blob(&layers[0]);
        let mut tar = tar::Archive::new(&tar_bytes[..]);
        let entries: Vec<(String, u64, u32)> = tar
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .map(|entry| {
                let header = entry.header();
                (entry.path().unwrap().display().to_string(), header.mtime().unwrap(), header.mode().unwrap())
            })
            .collect();
        let names: Vec<&str> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["lib/", "lib/x.so", "usr/", "usr/bin/", "usr/bin/weir"]);
        assert!(entries.iter().all(|(_, time, mode)| *time == 0 && *mode == 0o755));
    }
}
