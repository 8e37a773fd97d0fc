//! Two hosts and a store between them.

use object_store::memory::InMemory;

use super::*;

const HOUR_US: i64 = 3_600_000_000;
const NOW_US: i64 = 1_000 * HOUR_US;
const FOLDER: &str = "taxi/3/main/0123456789abcdef";

struct Host {
    folder: tempfile::TempDir,
    share: Share,
}

impl Host {
    fn new(store: &Arc<InMemory>, replica: &str) -> Host {
        let folder = tempfile::tempdir().unwrap();
        let config = DriftConfig {
            folder: Some(folder.path().to_owned()),
            replica: replica.to_owned(),
            ..DriftConfig::default()
        };
        let share = Share::new(Arc::clone(store) as Arc<dyn ObjectStore>, &config, &Registry::new());
        Host { folder, share: share.unwrap().unwrap() }
    }

    fn write(&self, name: &str, bytes: &str) {
        let folder = self.folder.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), bytes).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(FOLDER).join(name)).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let found = fs::read_dir(self.folder.path().join(FOLDER)).into_iter().flatten().flatten();
        let mut names: Vec<String> = found.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn sync(&mut self) -> Shared {
        self.share.sync(NOW_US).await.unwrap()
    }
}

fn name(hours: i64, length: i64, replica: &str) -> String {
    format!("{}-{}-{replica}.json", hours * HOUR_US, length * HOUR_US)
}

#[tokio::test]
async fn both_hosts_have_the_panes_of_both_and_what_is_joined_is_replaced() {
    let store = Arc::new(InMemory::new());
    let (mut a, mut b) = (Host::new(&store, "a"), Host::new(&store, "b"));
    let (first, second, other) = (name(990, 1, "a"), name(991, 1, "a"), name(990, 1, "b"));
    a.write(&first, "1");
    a.write(&second, "22");
    a.write("decisions-a.json", "mine alone");
    b.write(&other, "333");
    assert_eq!(a.sync().await, Shared { sent: 2, ..Shared::default() });
    assert_eq!(b.sync().await, Shared { sent: 1, fetched: 2, ..Shared::default() });
    assert_eq!(a.sync().await, Shared { fetched: 1, ..Shared::default() });
    assert_eq!(b.names(), [first.clone(), other.clone(), second.clone()]);
    assert_eq!(fs::read(b.folder.path().join(FOLDER).join(&second)).unwrap(), b"22");
    assert_eq!((a.sync().await, b.sync().await), (Shared::default(), Shared::default()));

    // The owner writes a pane anew, and joins both.
    a.write(&first, "1 and more");
    assert_eq!(a.sync().await.sent, 1);
    let wide = name(990, 2, "a");
    a.write(&wide, "4444");
    a.remove(&first);
    a.remove(&second);
    assert_eq!(a.sync().await, Shared { sent: 1, removed: 2, ..Shared::default() });
    assert_eq!(b.sync().await, Shared { fetched: 1, removed: 2, ..Shared::default() });
    assert_eq!(b.names(), [other.clone(), wide.clone()]);

    // A host that lost its folder has its own panes back.
    let mut again = Host::new(&store, "a");
    assert_eq!(again.sync().await.fetched, 2);
    assert_eq!(again.names(), [other, wide]);
}

#[tokio::test]
async fn what_is_no_pane_is_not_fetched() {
    let store = Arc::new(InMemory::new());
    for path in ["drift/taxi/3/main/0123456789abcdef/notes.txt", "drift/taxi/3/learned.json", "capture/x"] {
        store.put(&Path::from(path), PutPayload::from_static(b"x")).await.unwrap();
    }
    let mut host = Host::new(&store, "a");
    assert_eq!(host.sync().await, Shared::default());
    assert_eq!(host.names(), [""; 0]);
}

/// A folder where a pane should be: nothing can be written there.
#[tokio::test]
async fn what_fails_is_counted_tried_again_and_removes_nothing() {
    let store = Arc::new(InMemory::new());
    let (mut a, mut b) = (Host::new(&store, "a"), Host::new(&store, "b"));
    let (fine, wide) = (name(990, 1, "a"), name(990, 2, "a"));
    a.write(&fine, "1");
    a.sync().await;
    b.sync().await;
    a.write(&wide, "2");
    a.remove(&fine);
    a.sync().await;
    let place = b.folder.path().join(FOLDER).join(&wide);
    fs::create_dir(&place).unwrap();
    assert_eq!(b.sync().await, Shared { failed: 1, ..Shared::default() });
    assert!(b.names().contains(&fine));
    fs::remove_dir(&place).unwrap();
    assert_eq!(b.sync().await, Shared { fetched: 1, removed: 1, ..Shared::default() });
    assert_eq!(b.names(), [wide]);
}
