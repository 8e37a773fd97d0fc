//! A version on its way to a client: a tar stream of its package, of a model repository or of an image.
//!
//! ```text
//! blobs ──► verified pieces ──┐
//! texts ──────────────────────┼──► headers, content, padding ──► channel ──► client
//! image (a folder) ───────────┘
//! ```
//!
//! The length is known before the first byte. A file that is damaged ends the stream before the file's last bytes, so a
//! client never has a whole stream that is wrong. The same version gives the same bytes: files are sorted, times are 0.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::pull::check_record;
use super::remote::Staging;
use super::triton::layout;
use super::{PackageError, oci};
use crate::model::{ModelName, Version};
use crate::registry::blobs;
use crate::registry::record::{FileRef, VersionRecord};
use crate::registry::store::Store;

/// Pieces that wait for a slow client.
const WAITING_MAX: usize = 2;
/// Length of a piece that is read from a local file.
const PIECE_LEN: usize = 512 * 1024;
/// What headers and contents are filled up to.
const BLOCK_LEN: u64 = 512;
/// Two empty blocks end the stream.
static END: [u8; 1024] = [0; 1024];

/// What is sent.
#[derive(Debug)]
pub struct Outgoing {
    /// Ascending by path.
    entries: Vec<Entry>,
    /// Where local files lie, until they are sent.
    staging: Option<Staging>,
}

#[derive(Debug)]
struct Entry {
    header: Bytes,
    size: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Blob(FileRef),
    Text(Bytes),
    Local(PathBuf),
}

impl Outgoing {
    /// The package as it was registered: what `weir pull` writes, and what a registration takes.
    ///
    /// # Errors
    /// [`PackageError`].
    pub fn files(record: &VersionRecord) -> Result<Outgoing, PackageError> {
        check_record(record)?;
        let blob = |file: &FileRef| (file.path.clone(), file.size, Content::Blob(file.clone()));
        Outgoing::of(record.files.iter().map(blob).collect(), None)
    }

    /// A model repository in Triton's layout.
    ///
    /// # Errors
    /// [`PackageError`].
    pub async fn triton(
        store: &Store,
        model: &ModelName,
        version: Version,
        record: &VersionRecord,
    ) -> Result<Outgoing, PackageError> {
        let layout = layout(store, model, version, record).await?;
        let shown = |path: PathBuf| path.display().to_string();
        let blob = |(file, path): (FileRef, PathBuf)| (shown(path), file.size, Content::Blob(file));
        let mut files: Vec<_> = layout.files.into_iter().map(blob).collect();
        if let Some((path, text)) = layout.config {
            files.push((shown(path), text.len() as u64, Content::Text(text.into())));
        }
        Outgoing::of(files, None)
    }

    /// An OCI image layout that serves the version with `program`, made below `staging`.
    ///
    /// # Errors
    /// [`PackageError`]; then nothing is left behind.
    pub async fn image(
        store: &Store,
        (model, version): (&ModelName, Version),
        record: &VersionRecord,
        program: oci::Program,
        staging: &Path,
    ) -> Result<Outgoing, PackageError> {
        let staging = Staging::new(staging)?;
        let folder = staging.path().join("image");
        oci::export(store, model, version, record, program, &folder).await?;
        let mut files = Vec::new();
        for below in ["", "blobs/sha256"] {
            let place = folder.join(below);
            let failed = |error| PackageError::io(&place, error);
            for entry in std::fs::read_dir(&place).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let metadata = entry.metadata().map_err(failed)?;
                if metadata.is_file() {
                    let path = Path::new(below).join(entry.file_name());
                    let content = Content::Local(entry.path());
                    files.push((path.display().to_string(), metadata.len(), content));
                }
            }
        }
        Outgoing::of(files, Some(staging))
    }

    fn of(
        mut files: Vec<(String, u64, Content)>,
        staging: Option<Staging>,
    ) -> Result<Outgoing, PackageError> {
        files.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let entry = |(path, size, content): (String, u64, Content)| {
            let header = header(&path, size).map_err(|error| PackageError::io(Path::new(&path), error))?;
            Ok(Entry { header, size, content })
        };
        let entries = files.into_iter().map(entry).collect::<Result<_, PackageError>>()?;
        Ok(Outgoing { entries, staging })
    }

    /// Bytes of the whole stream.
    pub fn size(&self) -> u64 {
        let entries = self.entries.iter();
        let entries =
            entries.map(|entry| entry.header.len() as u64 + entry.size + padding(entry.size).len() as u64);
        entries.sum::<u64>() + END.len() as u64
    }

    /// Begins to send. An error is the last thing that comes; sending ends when nobody listens.
    pub fn send(self, store: Store) -> mpsc::Receiver<Result<Bytes, PackageError>> {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            let _until_all_is_sent = self.staging;
            for entry in self.entries {
                match send_entry(&store, entry, &tx).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        // The client may have gone.
                        tx.send(Err(error)).await.ok();
                        return;
                    }
                }
            }
            tx.send(Ok(Bytes::from_static(&END))).await.ok();
        });
        rx
    }
}

/// Sends a header, its content and what fills it up; false when nobody listens.
async fn send_entry(
    store: &Store,
    entry: Entry,
    tx: &mpsc::Sender<Result<Bytes, PackageError>>,
) -> Result<bool, PackageError> {
    let Entry { header, size, content } = entry;
    if tx.send(Ok(header)).await.is_err() {
        return Ok(false);
    }
    match content {
        Content::Text(text) => {
            if tx.send(Ok(text)).await.is_err() {
                return Ok(false);
            }
        }
        Content::Blob(file) => {
            let mut pieces = blobs::read_pieces(store, &file).await?;
            while let Some(piece) = pieces.recv().await {
                if tx.send(Ok(piece?)).await.is_err() {
                    return Ok(false);
                }
            }
        }
        Content::Local(path) => {
            let mut left = size;
            let mut file = Some(File::open(&path).map_err(|error| PackageError::io(&path, error))?);
            while let Some(mut input) = file.take().filter(|_| left > 0) {
                let read = tokio::task::spawn_blocking(move || {
                    let piece = read_piece(&mut input, left.min(PIECE_LEN as u64));
                    (input, piece)
                });
                // Only when the runtime ends.
                let Ok((input, piece)) = read.await else { return Ok(false) };
                let piece = piece.map_err(|error| PackageError::io(&path, error))?;
                left -= piece.len() as u64;
                if tx.send(Ok(piece)).await.is_err() {
                    return Ok(false);
                }
                file = Some(input);
            }
        }
    }
    let zeros = padding(size);
    Ok(zeros.is_empty() || tx.send(Ok(Bytes::from_static(zeros))).await.is_ok())
}

/// The next `len` bytes.
fn read_piece(file: &mut File, len: u64) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE_LEN);
    match file.take(len).read_to_end(&mut piece)? as u64 == len {
        true => Ok(Bytes::from(piece)),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What stands before the content of the file `path`, with a longer name before it where one is needed.
fn header(path: &str, size: u64) -> io::Result<Bytes> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, path, io::empty())?;
    Ok(Bytes::from(std::mem::take(tar.get_mut())))
}

/// What fills a content of `size` bytes up.
fn padding(size: u64) -> &'static [u8] {
    let len = size.next_multiple_of(BLOCK_LEN) - size;
    usize::try_from(len).ok().and_then(|len| END.get(..len)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::registry::package::digest_of;
    use crate::registry::sample::record;

    /// A version of files with these contents.
    async fn version(store: &Store, files: &[(&str, &[u8])]) -> VersionRecord {
        let mut refs = Vec::new();
        for (path, content) in files {
            refs.push(blobs::put_bytes(store, path, Bytes::copy_from_slice(content)).await.unwrap());
        }
        let mut record = record(refs);
        record.digest = digest_of(&record.files);
        record.model_file = "model.onnx".to_owned();
        record
    }

    async fn all(outgoing: Outgoing, store: &Store) -> (Vec<u8>, Option<PackageError>) {
        let mut pieces = outgoing.send(store.clone());
        let mut stream = Vec::new();
        while let Some(piece) = pieces.recv().await {
            match piece {
                Ok(piece) => stream.extend_from_slice(&piece),
                Err(error) => return (stream, Some(error)),
            }
        }
        (stream, None)
    }

    fn unpacked(stream: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(stream).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    #[tokio::test]
    async fn a_package_comes_out_as_it_went_in() {
        let store = Store::memory();
        let long = format!("{}/words.txt", "v".repeat(140));
        let block = [7_u8; 512];
        let files: [(&str, &[u8]); 4] =
            [("empty", b""), ("model.onnx", &block), ("notes/card.md", b"a card"), (&long, b"de")];
        let record = version(&store, &files).await;
        let outgoing = Outgoing::files(&record).unwrap();
        let size = outgoing.size();
        let (stream, error) = all(outgoing, &store).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(stream.len() as u64, size);
        let expected = files.iter().map(|(path, content)| ((*path).to_owned(), content.to_vec()));
        assert_eq!(unpacked(&stream), expected.collect());
        let again = all(Outgoing::files(&record).unwrap(), &store).await.0;
        assert_eq!(stream, again);
    }

    #[tokio::test]
    async fn a_repository_has_a_configuration() {
        let store = Store::memory();
        let record = version(&store, &[("model.onnx", b"abc"), ("words.txt", b"a")]).await;
        let model: ModelName = "m".parse().unwrap();
        let number = Version::new(3).unwrap();
        let outgoing = Outgoing::triton(&store, &model, number, &record).await.unwrap();
        let size = outgoing.size();
        let (stream, _) = all(outgoing, &store).await;
        assert_eq!(stream.len() as u64, size);
        let files = unpacked(&stream);
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["m/3/model.onnx", "m/3/words.txt", "m/config.pbtxt"]);
    }

    #[tokio::test]
    async fn an_image_leaves_nothing_behind() {
        let store = Store::memory();
        let record = version(&store, &[("model.onnx", b"abc")]).await;
        let model: ModelName = "m".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let staging = folder.path().join("staging");
        let binary = folder.path().join("weir");
        std::fs::write(&binary, vec![1; PIECE_LEN + 7]).unwrap();
        let program = oci::Program { binary, libraries: BTreeMap::new(), architecture: "amd64".to_owned() };
        let image = async || {
            let of = (&model, Version::new(3).unwrap());
            Outgoing::image(&store, of, &record, program.clone(), &staging).await.unwrap()
        };
        let outgoing = image().await;
        let size = outgoing.size();
        let (stream, error) = all(outgoing, &store).await;
        assert!(error.is_none() && stream.len() as u64 == size, "{error:?}");
        let files = unpacked(&stream);
        assert!(files.contains_key("index.json") && files.contains_key("oci-layout"));
        // Three layers, a configuration, a manifest.
        assert_eq!(files.keys().filter(|path| path.starts_with("blobs/sha256/")).count(), 5);
        assert_eq!(stream, all(image().await, &store).await.0);
        drop(image().await.send(store.clone()));
        for _ in 0..100 {
            if std::fs::read_dir(&staging).unwrap().count() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("a staging folder was left behind");
    }

    #[tokio::test]
    async fn a_damaged_file_ends_the_stream() {
        let store = Store::memory();
        let record = version(&store, &[("a", b"abc"), ("model.onnx", b"model")]).await;
        let key = blobs::blob_key(&record.files[1].sha256);
        store.overwrite(&key, Bytes::from_static(b"modeL")).await.unwrap();
        let (stream, error) = all(Outgoing::files(&record).unwrap(), &store).await;
        assert!(error.unwrap().to_string().contains("model.onnx"));
        assert_eq!(stream.len(), 3 * 512, "a file, and the header of the one that is damaged");
        let mut wrong = record.clone();
        wrong.files[0].path = "../a".to_owned();
        Outgoing::files(&wrong).unwrap_err();
    }
}
