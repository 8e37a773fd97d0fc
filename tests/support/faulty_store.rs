//! An object store that fails as real ones do, by a seed.
//!
//! | Fault | What happens |
//! |---|---|
//! | `503 before` | nothing is written, an error is returned |
//! | `503 after` | it is written; its author gets an error, or is told that it exists, as after a retry |
//! | `timeout after` | it is written, an error is returned |
//! | `written late` | an error is returned, and a moment later it is written |
//! | `409 with nothing written` | it is said to exist, and does not |
//! | `412` | it exists, and the answer is a failed precondition |
//! | `slow`, `read 503`, `partial body` | of reads; the partial body is a success |
//! | `stale list`, `list out of order` | of listings |

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    random: Mutex<u64>,
    /// Of 100 calls, how many fail.
    percent: u64,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    listings: Mutex<BTreeMap<String, Vec<ObjectMeta>>>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, seed: u64, percent: u64) -> FaultyStore {
        let shared = Shared {
            random: Mutex::new(seed | 1),
            percent,
            counts: Mutex::default(),
            listings: Mutex::default(),
        };
        FaultyStore { inner, shared: Arc::new(shared) }
    }

    /// How often each fault happened.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counts.lock().clone()
    }

    fn random(&self, below: u64) -> u64 {
        let mut state = self.shared.random.lock();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % below
    }

    /// One of `faults`, now and then.
    fn fault(&self, faults: &[&'static str]) -> Option<&'static str> {
        if self.random(100) >= self.shared.percent {
            return None;
        }
        let index = usize::try_from(self.random(faults.len() as u64)).ok()?;
        let fault = *faults.get(index)?;
        *self.shared.counts.lock().entry(fault).or_default() += 1;
        Some(fault)
    }
}

fn failed(reason: &str) -> Error {
    Error::Generic { store: "faulty", source: reason.to_owned().into() }
}

fn exists(path: &Path) -> Error {
    Error::AlreadyExists { path: path.to_string(), source: "injected".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return match self.fault(&["503 before", "503 after"]) {
                Some("503 before") => Err(failed("503")),
                Some(_) => {
                    self.inner.put_opts(path, payload, options).await?;
                    Err(failed("503"))
                }
                None => self.inner.put_opts(path, payload, options).await,
            };
        }
        let faults =
            ["503 before", "503 after", "timeout after", "written late", "409 with nothing written", "412"];
        match self.fault(&faults) {
            Some("503 before") => Err(failed("503")),
            Some("503 after") => {
                self.inner.put_opts(path, payload, options).await?;
                Err(if self.random(2) == 0 { failed("503") } else { exists(path) })
            }
            Some("timeout after") => {
                self.inner.put_opts(path, payload, options).await?;
                Err(failed("timed out"))
            }
            Some("written late") => {
                let (inner, path) = (Arc::clone(&self.inner), path.clone());
                let late = Duration::from_millis(self.random(30));
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    inner.put_opts(&path, payload, options).await.ok();
                });
                Err(failed("timed out"))
            }
            Some("409 with nothing written") => Err(exists(path)),
            Some(_) => match self.inner.put_opts(path, payload, options).await {
                Err(Error::AlreadyExists { path, source }) => Err(Error::Precondition { path, source }),
                done => done,
            },
            None => self.inner.put_opts(path, payload, options).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        match self.fault(&["slow", "read 503", "partial body"]) {
            Some("slow") => {
                tokio::time::sleep(Duration::from_millis(self.random(20))).await;
                self.inner.get_opts(path, options).await
            }
            Some("read 503") => Err(failed("503")),
            Some(_) => {
                let found = self.inner.get_opts(path, options).await?;
                let (meta, range) = (found.meta.clone(), found.range.clone());
                let (attributes, extensions) = (found.attributes.clone(), found.extensions.clone());
                let whole = found.bytes().await?;
                let length = usize::try_from(self.random(whole.len() as u64 + 1)).unwrap_or_default();
                let part: Bytes = whole.slice(..length);
                let payload = GetResultPayload::Stream(stream::iter([Ok(part)]).boxed());
                Ok(GetResult { payload, meta, range, attributes, extensions })
            }
            None => self.inner.get_opts(path, options).await,
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let key = prefix.map(ToString::to_string).unwrap_or_default();
        let fault = self.fault(&["stale list", "list out of order"]);
        let stale = self.shared.listings.lock().get(&key).cloned().filter(|_| fault == Some("stale list"));
        if let Some(stale) = stale {
            return stream::iter(stale.into_iter().map(Ok)).boxed();
        }
        let (inner, shared, prefix) = (Arc::clone(&self.inner), Arc::clone(&self.shared), prefix.cloned());
        let is_reversed = fault.is_some();
        let listed = async move {
            let mut listed: Vec<ObjectMeta> = inner.list(prefix.as_ref()).try_collect().await?;
            shared.listings.lock().insert(key, listed.clone());
            if is_reversed {
                listed.reverse();
            }
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.inner.list_with_delimiter(prefix).await?;
        if self.fault(&["list out of order"]).is_some() {
            listed.common_prefixes.reverse();
        }
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
