//! The registry's log under many writers, failing stores, kill -9 and disks that refuse.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use weir::registry::{Op, Registry, RegistryError, RegistryOptions, Seen, Store, StoreOptions};

use crate::faulty_store::FaultyStore;
use crate::registry_writers::{contend, intent, log, model, options};

/// Set for the process that commits until it is killed.
const CHILD_REGISTRY: &str = "WEIR_TEST_CHILD_REGISTRY";

fn local(folder: &Path) -> Store {
    Store::open(folder.to_str().expect("text"), &StoreOptions::default()).expect("a registry")
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_log_in_memory() {
    let store = Store::memory();
    assert_eq!(contend(&store, &store, 64, 100).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_log_in_a_directory_with_fsync() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = local(folder.path());
    assert_eq!(contend(&store, &store, 64, 100).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_log_over_a_failing_store() {
    for seed in [1, 2] {
        let memory = Arc::new(InMemory::new());
        let faulty = FaultyStore::new(memory.clone(), seed, 10);
        let clean = Store::over(memory, "memory");
        let unclear = contend(&Store::over(Arc::new(faulty.clone()), "faulty"), &clean, 8, 25).await;
        let counts = faulty.counts();
        assert!(counts.len() >= 8, "seed {seed}: not every fault happened: {counts:?}");
        // Whoever does not get through says so; patience is long enough that few do not.
        assert!(unclear < 50, "seed {seed}: {unclear} of 200 commits ended without an answer; {counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_one_log_over_a_failing_directory() {
    let folder = tempfile::tempdir().expect("a folder");
    let clean = local(folder.path());
    let faulty = FaultyStore::new(Arc::clone(clean.raw()), 7, 10);
    contend(&Store::over(Arc::new(faulty.clone()), "faulty"), &clean, 4, 20).await;
    assert!(faulty.counts().len() >= 6, "{:?}", faulty.counts());
}

/// A reader that is told of changes by stale and unordered listings learns of all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_over_a_failing_store_learns_of_every_change() {
    let memory = Arc::new(InMemory::new());
    let faulty = Store::over(Arc::new(FaultyStore::new(memory.clone(), 11, 30)), "faulty");
    let writer = Registry::open(Store::over(memory, "memory")).await.expect("opens");
    let reader = loop {
        if let Ok(reader) = Registry::open(faulty.clone()).await {
            break reader;
        }
    };
    let mut seen = Seen::default();
    for round in 1..=20 {
        let name = format!("m{}", round % 5).parse().expect("a name");
        let mut rev = 0;
        writer
            .commit(&name, &intent("w"), |state| {
                Ok(match state.rev {
                    0 => vec![Op::CreateModel { description: String::new() }],
                    _ => vec![Op::SetTag { version: None, key: "k".to_owned(), value: round.to_string() }],
                })
            })
            .await
            .map(|commit| rev = commit.rev)
            .expect("commits");
        let told = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let views = reader.changed(&mut seen).await.unwrap_or_default();
                if views.iter().any(|view| view.state.model == name && view.state.rev == rev) {
                    return;
                }
            }
        });
        told.await.unwrap_or_else(|_| panic!("round {round} was not told"));
    }
}

/// Commits until it is killed, when the test below starts it with a registry; a test of its own says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD_REGISTRY) else { return };
    let registry = Registry::open_with(local(Path::new(&folder)), options()).await.expect("opens");
    let sub = format!("child-{}", std::process::id());
    let body = "x".repeat(200_000);
    for sequence in 1_u64.. {
        let ops =
            vec![Op::SetTag { version: None, key: "k".to_owned(), value: format!("{sequence} {body}") }];
        let commit = registry.commit(&model(), &intent(&sub), |_| Ok(ops.clone())).await;
        let rev = commit.expect("commits").rev;
        println!("\nacked {rev} {sub}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = local(folder.path());
    let registry = Registry::open(store.clone()).await.expect("opens");
    let ops = vec![Op::CreateModel { description: String::new() }];
    registry.commit(&model(), &intent("first"), |_| Ok(ops.clone())).await.expect("commits");
    let mut acked = Vec::new();
    for kill in 0..25_u64 {
        acked.extend(run_and_kill(folder.path(), kill));
    }
    let revisions = log(&store).await;
    for (rev, sub) in &acked {
        let found = revisions.get(usize::try_from(*rev).expect("small") - 1);
        assert_eq!(found.map(|(author, _)| author), Some(sub), "revision {rev} was acknowledged");
    }
    assert!(acked.len() >= 25, "{} commits in 25 lives", acked.len());
    let view = registry.view(&model()).await.expect("is read");
    assert_eq!((view.state.rev, view.fault), (revisions.len() as u64, None));
    store.sweep(Duration::ZERO).await.expect("sweeps");
    assert_eq!(staging_files(folder.path()), Vec::<String>::new());
    assert_eq!(log(&store).await, revisions);
}

/// Lets a child commit a few times and kills it at some moment of the next commit.
fn run_and_kill(folder: &Path, kill: u64) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "registry_log::child_that_is_killed", "--nocapture"])
        .env(CHILD_REGISTRY, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let mut acked = Vec::new();
    let wanted = 1 + usize::try_from(kill % 5).expect("small");
    while acked.len() < wanted {
        let line = lines.next().expect("the child commits").expect("text");
        acked.extend(parse_ack(&line));
    }
    std::thread::park_timeout(Duration::from_micros(kill * kill * 37 % 4_000));
    child.kill().expect("the child is killed");
    child.wait().expect("the child is gone");
    acked.extend(lines.map_while(Result::ok).filter_map(|line| parse_ack(&line)));
    acked
}

fn parse_ack(line: &str) -> Option<(u64, String)> {
    let (rev, sub) = line.strip_prefix("acked ")?.split_once(' ')?;
    Some((rev.parse().ok()?, sub.to_owned()))
}

fn staging_files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else if entry.file_name().to_string_lossy().contains('#') {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn only_old_staging_files_are_swept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = local(folder.path());
    let registry = Registry::open(store.clone()).await.expect("opens");
    let ops = vec![Op::CreateModel { description: String::new() }];
    registry.commit(&model(), &intent("first"), |_| Ok(ops.clone())).await.expect("commits");
    let log_folder = folder.path().join("models/contended/log");
    let two_days_ago = std::time::SystemTime::now() - Duration::from_secs(48 * 3600);
    let tomorrow = std::time::SystemTime::now() + Duration::from_secs(24 * 3600);
    for (name, time) in
        [("old.json#1", two_days_ago), ("clock.json#12", tomorrow), ("a#b.json", two_days_ago)]
    {
        let file = std::fs::File::create(log_folder.join(name)).expect("a file");
        file.set_modified(time).expect("a time");
    }
    std::fs::write(log_folder.join("young.json#1"), "").expect("a file");
    // The stamp of the last sweep is from before, so opening sweeps.
    let stamp = std::fs::File::create(folder.path().join("probe/swept")).expect("a file");
    stamp.set_modified(two_days_ago).expect("a time");
    Registry::open(store.clone()).await.expect("opens");
    let left = |name: &str| log_folder.join(name).exists();
    assert!(!left("old.json#1"));
    assert!(left("young.json#1") && left("clock.json#12") && left("a#b.json"));
    assert_eq!(store.sweep(Duration::ZERO).await.expect("sweeps"), 2);
}

#[tokio::test]
async fn disks_that_refuse_are_named() {
    // Root may write anywhere, so what refuses is a file in the place of a folder, and a file system of the kernel.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let refused =
        Store::open(&format!("{}/sub", file.display()), &StoreOptions::default()).expect_err("a file");
    assert!(refused.to_string().contains("cannot use the registry"), "{refused}");
    for location in ["http://127.0.0.1:9/x", "ftp://host/x", "memory:///x"] {
        let refused = Store::open(location, &StoreOptions::default()).expect_err("not a store");
        assert!(refused.to_string().contains("cannot use the registry"), "{refused}");
    }
    let registry = Registry::open(local(folder.path())).await.expect("opens");
    std::fs::remove_dir_all(folder.path().join("probe")).expect("removed");
    std::fs::write(folder.path().join("probe"), "").expect("a file");
    let ops = vec![Op::CreateModel { description: String::new() }];
    let refused =
        registry.commit(&model(), &intent("first"), |_| Ok(ops.clone())).await.expect_err("no folder");
    assert!(matches!(refused, RegistryError::Store(_)), "{refused}");
}

/// A store whose conditional writes are not: the second of two writers would replace the first one's revision.
#[derive(Debug)]
struct Careless(InMemory);

impl std::fmt::Display for Careless {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Careless")
    }
}

#[async_trait::async_trait]
impl object_store::ObjectStore for Careless {
    async fn put_opts(
        &self,
        path: &object_store::path::Path,
        payload: object_store::PutPayload,
        _: object_store::PutOptions,
    ) -> object_store::Result<object_store::PutResult> {
        self.0.put_opts(path, payload, object_store::PutOptions::default()).await
    }
    async fn put_multipart_opts(
        &self,
        path: &object_store::path::Path,
        options: object_store::PutMultipartOptions,
    ) -> object_store::Result<Box<dyn object_store::MultipartUpload>> {
        self.0.put_multipart_opts(path, options).await
    }
    async fn get_opts(
        &self,
        path: &object_store::path::Path,
        options: object_store::GetOptions,
    ) -> object_store::Result<object_store::GetResult> {
        self.0.get_opts(path, options).await
    }
    fn delete_stream(
        &self,
        paths: futures_util::stream::BoxStream<'static, object_store::Result<object_store::path::Path>>,
    ) -> futures_util::stream::BoxStream<'static, object_store::Result<object_store::path::Path>> {
        self.0.delete_stream(paths)
    }
    fn list(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> futures_util::stream::BoxStream<'static, object_store::Result<object_store::ObjectMeta>> {
        self.0.list(prefix)
    }
    async fn list_with_delimiter(
        &self,
        prefix: Option<&object_store::path::Path>,
    ) -> object_store::Result<object_store::ListResult> {
        self.0.list_with_delimiter(prefix).await
    }
    async fn copy_opts(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        options: object_store::CopyOptions,
    ) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_ignores_create_is_refused_unless_there_is_one_writer() {
    let store = Store::over(Arc::new(Careless(InMemory::new())), "careless");
    let create = vec![Op::CreateModel { description: String::new() }];
    let registry = Registry::open(store.clone()).await.expect("opens");
    let refused =
        registry.commit(&model(), &intent("a"), |_| Ok(create.clone())).await.expect_err("two writers");
    assert!(refused.to_string().contains("single_writer"), "{refused}");
    let alone = RegistryOptions { single_writer: true, ..options() };
    let registry = Registry::open_with(store.clone(), alone).await.expect("opens");
    registry.commit(&model(), &intent("a"), |_| Ok(create.clone())).await.expect("commits");
    assert_eq!(log(&store).await.len(), 1);
}
