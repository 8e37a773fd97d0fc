//! Deliverers with a fake receiver and paused time, and the real sender against addresses that it must not reach.

use std::net::IpAddr;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use super::*;
use crate::metrics::Registry as Metrics;
use crate::model::ModelName;
use crate::registry::cloudevent::CloudEvent;
use crate::registry::feed::Positions;
use crate::registry::webhook::address::AddressPolicy;
use crate::registry::webhook::cursor::{self, Cursor};
use crate::registry::webhook::dead;
use crate::registry::webhook::filter::Filter;
use crate::registry::webhook::schedule::Outcome;
use crate::registry::webhook::signature::SigningKey;
use crate::registry::{Actor, Intent, Op, Store};

/// The answer to an event that came so many times before.
type Rule = dyn Fn(&CloudEvent, usize) -> Outcome + Send + Sync;

/// Answers by a rule, and remembers what came and when.
struct Receiver {
    begin: Instant,
    rule: Box<Rule>,
    /// Event id and seconds since the beginning.
    seen: Mutex<Vec<(String, u64)>>,
}

impl Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

impl Receiver {
    fn new(rule: impl Fn(&CloudEvent, usize) -> Outcome + Send + Sync + 'static) -> Arc<Receiver> {
        Arc::new(Receiver { begin: Instant::now(), rule: Box::new(rule), seen: Mutex::default() })
    }

    fn seen(&self) -> Vec<(String, u64)> {
        self.seen.lock().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.seen().into_iter().map(|(id, _)| id).collect()
    }
}

impl Post for Receiver {
    fn post<'a>(&'a self, _: &'a Url, _: &'a [SigningKey], event: &'a CloudEvent) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let mut seen = self.seen.lock().unwrap();
            let before = seen.iter().filter(|(id, _)| *id == event.id).count();
            seen.push((event.id.clone(), self.begin.elapsed().as_secs()));
            (self.rule)(event, before)
        })
    }

    fn handshake<'a>(&'a self, _: &'a Url, _: &'a str) -> BoxFuture<'a, Result<(), Outcome>> {
        Box::pin(async { Ok(()) })
    }
}

#[derive(Debug)]
struct NoSecrets;

impl SecretSource for NoSecrets {
    fn secret(&self, _: &str) -> Option<String> {
        None
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, retry_after: None }
}

async fn registry() -> Arc<Registry> {
    Arc::new(Registry::open(Store::memory()).await.unwrap())
}

async fn commit(registry: &Registry, model: &str, op: Op) {
    let intent = Intent {
        actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
        reason: "test".to_owned(),
        request_id: String::new(),
        if_match: None,
    };
    let model: ModelName = model.parse().unwrap();
    registry.commit(&model, &intent, |_| Ok(vec![op.clone()])).await.unwrap();
}

async fn create(registry: &Registry, model: &str) {
    commit(registry, model, Op::CreateModel { description: String::new() }).await;
}

async fn tag(registry: &Registry, model: &str, value: u32) {
    let op = Op::SetTag { version: None, key: "k".to_owned(), value: value.to_string() };
    commit(registry, model, op).await;
}

async fn subscribe(registry: &Registry, change: impl FnOnce(&mut Subscription)) {
    let mut subscription = Subscription {
        format: webhook::FORMAT,
        name: "ci".to_owned(),
        url: "https://hooks.example.com/".to_owned(),
        filter: Filter::default(),
        secrets: Vec::new(),
        handshake: false,
        actor: Actor { sub: "ada".to_owned(), method: "cli".to_owned() },
        time: Default::default(),
        stopped: None,
        removed: false,
    };
    change(&mut subscription);
    webhook::write(registry.store(), 0, &subscription).await.unwrap();
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(registry: &Arc<Registry>, receiver: &Arc<Receiver>, name: &str) -> Running {
        Running::start_with(registry, receiver, name, |_| {})
    }

    fn start_with(
        registry: &Arc<Registry>,
        receiver: &Arc<Receiver>,
        name: &str,
        change: impl FnOnce(&mut Deliverer),
    ) -> Running {
        let settings = DeliverySettings {
            name: name.to_owned(),
            term: Duration::from_secs(20),
            poll_interval: Duration::from_secs(1),
        };
        let metrics = WebhookMetrics::register(&Metrics::new()).unwrap();
        let sender: Arc<dyn Post> = Arc::<Receiver>::clone(receiver);
        let mut deliverer =
            Deliverer::new(Arc::clone(registry), sender, Arc::new(NoSecrets), settings, metrics);
        change(&mut deliverer);
        let (stop, stopped) = watch::channel(false);
        Running { stop, task: tokio::spawn(deliverer.run(stopped)) }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failing_event_is_tried_by_the_table_and_holds_back_its_subject_only() {
    let registry = registry().await;
    create(&registry, "bad").await;
    create(&registry, "good").await;
    tag(&registry, "bad", 1).await;
    subscribe(&registry, |_| {}).await;
    let receiver =
        Receiver::new(|event, before| answered(if event.id == "bad/1/0" && before < 4 { 503 } else { 200 }));
    let running = Running::start(&registry, &receiver, "a");
    seconds(30).await;
    assert!(receiver.ids().contains(&"good/1/0".to_owned()));
    assert!(!receiver.ids().contains(&"bad/2/0".to_owned()));
    seconds(1000).await;
    let times: Vec<u64> =
        receiver.seen().into_iter().filter(|(id, _)| id == "bad/1/0").map(|(_, at)| at).collect();
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, table) in waits.iter().zip([10, 30, 60, 300]) {
        assert!((table..=table + table / 10 + 1).contains(wait), "{waits:?}");
    }
    assert_eq!((times.len(), receiver.ids().last().unwrap().as_str()), (5, "bad/2/0"));
    running.end().await;
    let (_, cursor) = cursor::read(registry.store(), "ci").await.unwrap();
    assert!(cursor.pending.is_empty() && cursor.taken["bad"].rev == 2, "{cursor:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deliverer_that_panics_begins_again() {
    let registry = registry().await;
    create(&registry, "m").await;
    subscribe(&registry, |_| {}).await;
    let receiver = Receiver::new(|_, _| answered(200));
    let running = Running::start_with(&registry, &receiver, "a", |deliverer| deliverer.breaks_once = true);
    seconds(60).await;
    assert_eq!(receiver.ids(), ["m/1/0"]);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_kept_and_sent_again_on_request() {
    let registry = registry().await;
    create(&registry, "m").await;
    subscribe(&registry, |_| {}).await;
    let receiver = Receiver::new(|_, before| answered(if before == 0 { 400 } else { 200 }));
    let running = Running::start(&registry, &receiver, "a");
    seconds(30).await;
    let letters = dead::letters(registry.store(), "ci").await.unwrap();
    assert_eq!((letters.len(), letters[0].1.event.id.as_str()), (1, "m/1/0"));
    dead::request(registry.store(), "ci", "0", &letters[0].1.event).await.unwrap();
    seconds(30).await;
    assert_eq!(receiver.ids(), ["m/1/0", "m/1/0"]);
    assert!(dead::requests(registry.store(), "ci").await.unwrap().is_empty());
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_is_gone_stops_its_subscription_and_keeps_its_events() {
    let registry = registry().await;
    create(&registry, "m").await;
    subscribe(&registry, |_| {}).await;
    let receiver = Receiver::new(|_, before| answered(if before == 0 { 410 } else { 200 }));
    let running = Running::start(&registry, &receiver, "a");
    seconds(3600).await;
    assert_eq!(receiver.ids(), ["m/1/0"]);
    let (number, mut stopped) = webhook::find(registry.store(), "ci").await.unwrap().unwrap();
    assert_eq!(stopped.stopped.as_deref(), Some("the receiver answered 410"));
    stopped.stopped = None;
    webhook::write(registry.store(), number, &stopped).await.unwrap();
    seconds(60).await;
    assert_eq!(receiver.ids(), ["m/1/0", "m/1/0"], "it goes on where it stopped");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_of_two_delivers_and_the_other_takes_over() {
    let registry = registry().await;
    subscribe(&registry, |_| {}).await;
    let receiver = Receiver::new(|_, _| answered(200));
    let a = Running::start(&registry, &receiver, "a");
    seconds(1).await;
    let b = Running::start(&registry, &receiver, "b");
    create(&registry, "m").await;
    seconds(60).await;
    // a is killed: nothing is given back, nothing is written.
    a.task.abort();
    for value in 0..10 {
        tag(&registry, "m", value).await;
    }
    // The lease runs out after 20 seconds. Times in the cursor are by the wall clock, which is not paused: to the
    // successor they seem a minute ahead.
    seconds(120).await;
    let expected: Vec<String> = (1..=11).map(|rev| format!("m/{rev}/0")).collect();
    b.end().await;
    let mut ids = receiver.ids();
    // What was on its way when a ended may have come twice.
    ids.dedup();
    assert_eq!(ids, expected);
}

#[tokio::test(start_paused = true)]
async fn filters_and_the_place_to_begin_are_obeyed() {
    let registry = registry().await;
    create(&registry, "old").await;
    subscribe(&registry, |subscription| subscription.filter.types = vec!["model.created".to_owned()]).await;
    let taken = Positions::from([("old".to_owned(), crate::registry::feed::Position { rev: 1, signal: 0 })]);
    cursor::write(registry.store(), "ci", 1, &Cursor::at(taken)).await.unwrap();
    let receiver = Receiver::new(|_, _| answered(200));
    let running = Running::start(&registry, &receiver, "a");
    tag(&registry, "old", 1).await;
    create(&registry, "new").await;
    seconds(60).await;
    assert_eq!(receiver.ids(), ["new/1/0"]);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_its_secret_nothing_is_sent() {
    let registry = registry().await;
    create(&registry, "m").await;
    subscribe(&registry, |subscription| subscription.secrets = vec!["missing".to_owned()]).await;
    let receiver = Receiver::new(|_, _| answered(200));
    let running = Running::start(&registry, &receiver, "a");
    seconds(600).await;
    assert_eq!(receiver.ids(), Vec::<String>::new());
    running.end().await;
    let (_, cursor) = cursor::read(registry.store(), "ci").await.unwrap();
    assert!(cursor.pending[0].attempts > 0, "{cursor:?}");
}

/// Looks every name up as the same addresses.
#[derive(Debug)]
struct Liar(Vec<IpAddr>);

impl Lookup for Liar {
    fn lookup(&self, _: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(addresses) })
    }
}

/// A server on 127.0.0.1 that answers everything with `answer`, and how many asked.
async fn server(answer: String) -> (u16, Arc<Mutex<usize>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let mut buffer = vec![0; 64 << 10];
            drop(stream.read(&mut buffer).await);
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (port, count)
}

fn event() -> CloudEvent {
    CloudEvent {
        specversion: "1.0".to_owned(),
        id: "m/1/0".to_owned(),
        source: "s".to_owned(),
        kind: "io.weir.x".to_owned(),
        subject: "models/m".to_owned(),
        time: String::new(),
        datacontenttype: "application/json".to_owned(),
        sequence: String::new(),
        data: Default::default(),
    }
}

async fn post(policy: &AddressPolicy, resolved: &[&str], url: &str) -> Outcome {
    // Another test may have been first.
    rustls::crypto::ring::default_provider().install_default().ok();
    let addresses = resolved.iter().map(|address| address.parse().unwrap()).collect();
    let sender = Sender::new(policy.clone(), Arc::new(Liar(addresses))).unwrap();
    sender.post(&Url::parse(url).unwrap(), &[], &event()).await
}

#[tokio::test]
async fn addresses_that_are_not_public_are_not_connected_to() {
    let (port, count) = server("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_owned()).await;
    let closed = AddressPolicy { http: true, ..AddressPolicy::default() };
    for host in
        ["127.0.0.1", "2130706433", "0x7f.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"]
    {
        let outcome = post(&closed, &[], &format!("http://{host}:{port}/")).await;
        assert!(matches!(outcome, Outcome::NotSent(_)), "{host}: {outcome:?}");
    }
    for resolved in [&["127.0.0.1"][..], &["::1", "10.0.0.1"], &["::ffff:127.0.0.1"], &["169.254.169.254"]] {
        let outcome = post(&closed, resolved, &format!("http://innocent.example:{port}/")).await;
        assert!(matches!(outcome, Outcome::NotSent(_)), "{resolved:?}: {outcome:?}");
    }
    let outcome = post(&AddressPolicy::default(), &["127.0.0.1"], &format!("http://a.example:{port}/")).await;
    assert_eq!(outcome, Outcome::NotSent("http without TLS is not allowed here".to_owned()));
    assert_eq!(*count.lock().unwrap(), 0, "somebody was connected to");
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let open = AddressPolicy { http: true, networks, ..AddressPolicy::default() };
    for host in ["127.0.0.1", "innocent.example"] {
        let outcome = post(&open, &["127.0.0.1"], &format!("http://{host}:{port}/")).await;
        assert_eq!(outcome, answered(204), "{host}");
    }
    assert_eq!(*count.lock().unwrap(), 2);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (target, reached) = server("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    let location = format!("http://127.0.0.1:{target}/");
    let answer =
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let (port, asked) = server(answer).await;
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let open = AddressPolicy { http: true, networks, ..AddressPolicy::default() };
    let outcome = post(&open, &[], &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome, answered(307));
    assert_eq!((*asked.lock().unwrap(), *reached.lock().unwrap()), (1, 0));
}

#[tokio::test]
async fn an_answer_may_say_when_to_come_back() {
    let answer = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 77\r\ncontent-length: 0\r\n\r\n";
    let (port, _) = server(answer.to_owned()).await;
    let networks = vec!["127.0.0.1".parse().unwrap()];
    let open = AddressPolicy { http: true, networks, ..AddressPolicy::default() };
    let outcome = post(&open, &[], &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(outcome, Outcome::Answered { status: 429, retry_after: Some(Duration::from_secs(77)) });
}
