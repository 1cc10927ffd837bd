//! The server over a real socket: good clients, hostile ones, and ports that a test plays.
//!
//! Nothing sleeps and no time is asserted: a test waits for an answer, for the end of a connection, or for a count.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, Context, Handler};
use musicfs_protocol::health::{Health, OriginHealth};
use musicfs_protocol::scan::ScanState;
use musicfs_protocol::wire::{
    Answer, Empty, MAX_LINE_BYTES, Method, PathRequest, RescanRequest, RpcError, TreeRequest, WaitFor, WaitRequest,
    call_line, code, method, parse_answer,
};
use musicfs_protocol::{ActorStats, AwaitBarrier, StopDaemon, WorkToken};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::fake::{FakeCatalog, nas, services};
use super::{BoundSocket, ControlServer, ControlServerConfig, ControlServices, bind, server};

mod stream;

struct Rig {
    _folder: tempfile::TempDir,
    socket: Arc<BoundSocket>,
    services: Arc<ControlServices>,
    stats: Arc<ActorStats>,
    catalog: Arc<FakeCatalog>,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = Arc::new(bind(&folder.path().join("control.sock")).expect("binds"));
    let catalog = Arc::new(FakeCatalog::new());
    catalog.add_file(b"Artist/Album/01 - One.flac");
    catalog.add_file(b"Artist/Album/02 - \xff.flac");
    let services = Arc::new(services(Arc::clone(&catalog)));
    Rig { _folder: folder, socket, services, stats: Arc::new(ActorStats::default()), catalog }
}

impl Rig {
    fn start(&self) -> actix::Addr<ControlServer> {
        let config = ControlServerConfig { socket: Arc::clone(&self.socket) };
        ControlServer::new(config, Arc::clone(&self.services), Arc::clone(&self.stats)).start()
    }

    async fn client(&self) -> Client {
        let stream = UnixStream::connect(self.socket.path()).await.expect("connects");
        Client(BufReader::new(stream))
    }
}

struct Client(BufReader<UnixStream>);

impl Client {
    async fn say(&mut self, line: &[u8]) {
        self.0.get_mut().write_all(line).await.expect("sends");
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("receives");
        line
    }

    async fn is_dropped(&mut self) -> bool {
        let mut rest = Vec::new();
        // A server that closes with unread bytes resets the connection.
        self.0.read_to_end(&mut rest).await.map_or(true, |_| rest.is_empty())
    }

    async fn call<M: Method>(&mut self, request: &M::Request) -> Result<M::Reply, RpcError> {
        self.say(&call_line(1, M::NAME, request).expect("serialises")).await;
        let answer: Answer = parse_answer(self.hear().await.as_bytes()).expect("an answer");
        assert_eq!(answer.id, Some(1));
        let result = answer.into_outcome()?;
        Ok(serde_json::from_str(result.get()).expect("the reply's type"))
    }

    async fn code_of(&mut self, line: &str) -> i32 {
        self.say(format!("{line}\n").as_bytes()).await;
        let line = self.hear().await;
        parse_answer(line.as_bytes()).expect("an answer").into_outcome().expect_err("an error").code
    }
}

fn path(path: &str) -> PathRequest {
    PathRequest { path: path.to_owned(), cwd: None }
}

#[actix::test]
async fn every_method_of_the_table_is_answered() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    for name in method::NAMES {
        client
            .say(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{name}\",\"params\":{{\"?\":1}}}}\n").as_bytes())
            .await;
        let error = parse_answer(client.hear().await.as_bytes()).expect("an answer").into_outcome();
        assert_eq!(error.expect_err("unknown member").code, code::INVALID_PARAMS, "{name}");
    }
}

#[actix::test]
async fn status_shows_what_the_tables_say() {
    let rig = rig();
    rig.start();
    rig.services.scans.update(&nas(), |scan| scan.num_listed = 5);
    let work = rig.services.work.begin();
    let status = rig.client().await.call::<method::Status>(&Empty {}).await.expect("answers");
    assert_eq!((status.num_files, status.num_tracks, status.num_pending), (2, 1, 1));
    assert_eq!(status.mountpoint, "/home/u/Music");
    assert!(!status.ready);
    let origin = &status.origins[0];
    assert_eq!((origin.name.as_str(), origin.health.as_str(), origin.scan.as_str()), ("nas", "unknown", "pending"));
    assert_eq!((origin.num_listed, origin.num_files, origin.priority), (5, 2, 10));
    drop(work);
}

#[actix::test]
async fn why_tells_the_source_and_the_last_error() {
    let rig = rig();
    rig.start();
    rig.services.board.record_error("nas:Artist/Album/02 - %FF.flac".to_owned(), "unreadable");
    let mut client = rig.client().await;
    let why = client.call::<method::Why>(&path("/home/u/Music/Artist/Album/02 - %FF.flac")).await.expect("answers");
    assert_eq!(why.path, "Artist/Album/02 - %FF.flac");
    assert_eq!(why.last_error.expect("recorded").text, "unreadable");
    let source = why.source.expect("a file");
    assert_eq!((source.origin.as_str(), source.path.as_str()), ("nas", "Artist/Album/02 - %FF.flac"));
    let error = client.call::<method::Why>(&path("Artist/none")).await.expect_err("not there");
    assert_eq!(error.code, code::NOT_FOUND);
    let error = client.call::<method::Why>(&path("Artist/Album/01 - One.flac/x")).await.expect_err("not there");
    assert_eq!(error.code, code::NOT_FOUND);
    let error = client.call::<method::Why>(&path("damaged")).await.expect_err("a damaged row");
    assert_eq!(error.code, code::INTERNAL_ERROR);
    assert_eq!(rig.stats.snapshot().failed, 1);
}

#[actix::test]
async fn tags_of_a_track_and_of_a_folder() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    let tags = client.call::<method::TagsOf>(&path("Artist/Album/01 - One.flac")).await.expect("answers");
    let tags = tags.tags.expect("audio");
    assert_eq!(tags.format.as_deref(), Some("flac"));
    assert_eq!(tags.fields, [("title".to_owned(), vec!["One\u{1b}[31m".to_owned()])]);
    assert!(client.call::<method::TagsOf>(&path("Artist")).await.expect("answers").tags.is_none());
}

#[actix::test]
async fn tree_in_pages_of_any_size_is_the_same_tree() {
    let rig = rig();
    for number in 0..20 {
        rig.catalog.add_file(format!("Artist/Album {}/{number:02}.flac", number % 3).as_bytes());
        rig.catalog.add_file(format!("B{}/x", 30 - number).as_bytes());
    }
    rig.start();
    let mut client = rig.client().await;
    let mut whole: Option<Vec<String>> = None;
    for limit in [4096, 1, 2, 7] {
        let mut request = TreeRequest { path: String::new(), cwd: None, after: None, limit: Some(limit) };
        let mut paths = Vec::new();
        loop {
            let page = client.call::<method::Tree>(&request).await.expect("answers");
            assert!(page.entries.len() <= limit as usize);
            paths.extend(page.entries.into_iter().map(|entry| entry.path));
            request.after = page.next;
            if request.after.is_none() {
                break;
            }
        }
        let by_name = |path: &String| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert!(paths.is_sorted_by_key(by_name));
        assert_eq!(whole.get_or_insert_with(|| paths.clone()), &paths, "{limit}");
    }
    assert_eq!(whole.map(|paths| paths.len()), Some(1 + 1 + 2 + 3 + 20 + 40));
}

#[actix::test]
async fn tree_goes_on_when_the_cursor_has_gone() {
    let rig = rig();
    rig.catalog.add_file(b"Artist/Album/03.flac");
    rig.catalog.add_file(b"Zz/1.flac");
    rig.start();
    let mut client = rig.client().await;
    let first = TreeRequest { path: "Artist".to_owned(), cwd: None, after: None, limit: Some(2) };
    let page = client.call::<method::Tree>(&first).await.expect("answers");
    assert_eq!(page.next.as_deref(), Some("Artist/Album/01 - One.flac"));
    rig.catalog.remove(b"Artist/Album/01 - One.flac");
    let rest = client.call::<method::Tree>(&TreeRequest { after: page.next, limit: None, ..first }).await;
    let paths: Vec<_> = rest.expect("answers").entries.into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths, ["Artist/Album/02 - %FF.flac", "Artist/Album/03.flac"]);
}

#[actix::test]
async fn tree_of_a_file_is_the_file() {
    let rig = rig();
    rig.start();
    let request = TreeRequest { path: "Artist/Album/01 - One.flac".to_owned(), cwd: None, after: None, limit: None };
    let page = rig.client().await.call::<method::Tree>(&request).await.expect("answers");
    assert_eq!((page.entries.len(), page.next), (1, None));
}

#[actix::test]
async fn rescan_of_a_known_origin_is_put_into_the_inbox() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    let wanted = RescanRequest { name: "nas".to_owned(), accept_removals: true };
    client.call::<method::OriginRescan>(&wanted).await.expect("answers");
    assert_eq!(rig.services.work.pending(), 1);
    assert!(rig.services.rescans.drain()[&nas()].accept_removals);
    let wanted = RescanRequest { name: "other".to_owned(), accept_removals: false };
    assert_eq!(client.call::<method::OriginRescan>(&wanted).await.expect_err("unknown").code, code::NOT_FOUND);
}

#[actix::test]
async fn malformed_lines_are_answered_and_survived() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    assert_eq!(client.code_of("{{{").await, code::PARSE_ERROR);
    assert_eq!(client.code_of("[]").await, code::INVALID_REQUEST);
    assert_eq!(client.code_of(&"[".repeat(10_000)).await, code::PARSE_ERROR);
    assert_eq!(client.code_of(r#"{"jsonrpc":"2.0","id":1,"method":"no.such"}"#).await, code::METHOD_NOT_FOUND);
    assert_eq!(client.code_of(r#"{"jsonrpc":"2.0","id":1,"method":"hello","params":[1]}"#).await, code::INVALID_PARAMS);
    assert_eq!(client.code_of(r#"{"jsonrpc":"2.0","id":1,"method":"hello"}"#).await, code::INVALID_PARAMS);
    client.say(b"\xff\xfe\n").await;
    assert!(client.hear().await.contains("-32700"));
    client.say(b"\n \n").await; // empty lines say nothing
    client.call::<method::Actors>(&Empty {}).await.expect("still answers");
}

#[actix::test]
async fn line_beyond_the_limit_drops_its_client_only() {
    let rig = rig();
    rig.start();
    let mut hostile = rig.client().await;
    let mut good = rig.client().await;
    let flood = vec![b'x'; MAX_LINE_BYTES + 64 * 1024];
    // The server may close before it has read everything.
    let _ = hostile.0.get_mut().write_all(&flood).await;
    let mut answer = Vec::new();
    let _ = hostile.0.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || String::from_utf8_lossy(&answer).contains("-32600"));
    good.call::<method::Actors>(&Empty {}).await.expect("answers");
}

#[actix::test]
async fn connections_beyond_the_limit_are_told_and_closed() {
    let rig = rig();
    rig.start();
    let mut held = Vec::new();
    for _ in 0..server::MAX_CONNECTIONS {
        let mut client = rig.client().await;
        client.call::<method::Actors>(&Empty {}).await.expect("answers");
        held.push(client);
    }
    let mut surplus = rig.client().await;
    assert!(surplus.hear().await.contains("-32001"));
    assert!(surplus.is_dropped().await);
    drop(held.pop());
    loop {
        // The place is free when the server has seen the end of the connection.
        let mut next = rig.client().await;
        let line = call_line(1, "daemon.actors", &Empty {}).expect("serialises");
        if next.0.get_mut().write_all(&line).await.is_ok() && next.hear().await.contains("result") {
            break;
        }
    }
    assert_eq!(rig.services.metrics.control_connections.get(), server::MAX_CONNECTIONS as u64 + 1);
}

#[actix::test]
async fn notification_gets_no_answer() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    client
        .say(b"{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"daemon.actors\"}\n")
        .await;
    client.say(b"{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"daemon.actors\"}\n").await;
    assert!(client.hear().await.starts_with("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":"));
}

#[actix::test]
async fn client_that_shut_down_its_sending_side_gets_its_answer() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    client.say(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.actors\"}").await;
    client.0.get_mut().shutdown().await.expect("shuts down");
    assert!(client.hear().await.contains("result"));
    assert!(client.is_dropped().await);
}

/// A watcher that counts barriers, and gives up one held piece of work at the first.
struct FakeWatcher {
    num_barriers: Arc<AtomicUsize>,
    held: Option<WorkToken>,
}

impl Actor for FakeWatcher {
    type Context = Context<Self>;
}

impl Handler<AwaitBarrier> for FakeWatcher {
    type Result = ();

    fn handle(&mut self, _: AwaitBarrier, _: &mut Context<Self>) {
        self.num_barriers.fetch_add(1, Ordering::Relaxed);
        if let Some(work) = self.held.take() {
            // The event that the barrier pushed out is handled a moment later.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(work);
            });
        }
    }
}

fn request(goal: WaitFor, timeout_ms: u64) -> WaitRequest {
    WaitRequest { goal, timeout_ms: Some(timeout_ms) }
}

#[actix::test]
async fn wait_for_scanned_ends_when_every_reachable_origin_is_scanned() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    let reply = client.call::<method::Wait>(&request(WaitFor::Scanned, 1)).await.expect("answers");
    assert!(!reply.reached);
    assert!(reply.waiting_for[0].contains("nas"), "{:?}", reply.waiting_for);
    rig.services.scans.update(&nas(), |scan| scan.state = ScanState::Failed { reason: "gone".to_owned() });
    assert!(client.call::<method::Wait>(&request(WaitFor::Scanned, 60_000)).await.expect("answers").reached);
    rig.services.scans.update(&nas(), |scan| scan.state = ScanState::Pending);
    let down =
        OriginHealth { health: Health::Down, since: std::time::SystemTime::now(), num_failures: 1, last_error: None };
    rig.services.health.publish(nas(), down);
    assert!(client.call::<method::Wait>(&request(WaitFor::Scanned, 60_000)).await.expect("answers").reached);
}

#[actix::test]
async fn wait_for_idle_confirms_with_a_second_barrier() {
    let rig = rig();
    rig.start();
    rig.services.scans.update(&nas(), |scan| scan.state = ScanState::Done);
    let num_barriers = Arc::new(AtomicUsize::new(0));
    let held = Some(rig.services.work.begin());
    let watcher = FakeWatcher { num_barriers: Arc::clone(&num_barriers), held }.start();
    rig.services.barrier.bind(&watcher);
    let reply = rig.client().await.call::<method::Wait>(&request(WaitFor::Idle, 60_000)).await.expect("answers");
    assert!(reply.reached);
    assert_eq!(num_barriers.load(Ordering::Relaxed), 2);
}

#[actix::test]
async fn wait_for_idle_without_a_watcher_says_what_it_waits_for() {
    let rig = rig();
    rig.start();
    rig.services.scans.update(&nas(), |scan| scan.state = ScanState::Done);
    let mut client = rig.client().await;
    let reply = client.call::<method::Wait>(&request(WaitFor::Idle, 1)).await.expect("answers");
    assert!(!reply.reached && reply.waiting_for[0].contains("watcher"), "{:?}", reply.waiting_for);
    let work = rig.services.work.begin();
    let reply = client.call::<method::Wait>(&request(WaitFor::Idle, 1)).await.expect("answers");
    assert!(reply.waiting_for[0].contains("1 changes"), "{:?}", reply.waiting_for);
    drop(work);
}

#[actix::test]
async fn wait_of_a_client_that_has_gone_ends() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    client.call::<method::Actors>(&Empty {}).await.expect("answers");
    let endless = WaitRequest { goal: WaitFor::Scanned, timeout_ms: None };
    client.say(&call_line(2, "daemon.wait", &endless).expect("serialises")).await;
    while rig.stats.snapshot().waiting == 0 {
        tokio::task::yield_now().await;
    }
    // The server's task holds the services as long as it lives.
    let holders = Arc::strong_count(&rig.services);
    drop(client);
    while Arc::strong_count(&rig.services) >= holders {
        tokio::task::yield_now().await;
    }
}

struct FakeSupervisor(Arc<AtomicUsize>);

impl Actor for FakeSupervisor {
    type Context = Context<Self>;
}

impl Handler<StopDaemon> for FakeSupervisor {
    type Result = ();

    fn handle(&mut self, _: StopDaemon, _: &mut Context<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[actix::test]
async fn stop_reaches_the_supervisor_and_is_answered() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    let error = client.call::<method::Stop>(&Empty {}).await.expect_err("nobody there");
    assert_eq!(error.code, code::UNAVAILABLE);
    let num_stops = Arc::new(AtomicUsize::new(0));
    rig.services.stop.bind(&FakeSupervisor(Arc::clone(&num_stops)).start());
    let reply = client.call::<method::Stop>(&Empty {}).await.expect("answers");
    assert_eq!((reply.pid, num_stops.load(Ordering::Relaxed)), (std::process::id(), 1));
}

#[actix::test]
async fn server_that_is_started_again_serves_the_same_socket() {
    let rig = rig();
    for _ in 0..2 {
        let config = ControlServerConfig { socket: Arc::clone(&rig.socket) };
        let server = ControlServer::new(config, Arc::clone(&rig.services), Arc::clone(&rig.stats));
        let arbiter = actix::Arbiter::new();
        ControlServer::start_in_arbiter(&arbiter.handle(), move |_| server);
        rig.client().await.call::<method::Actors>(&Empty {}).await.expect("answers");
        arbiter.stop();
        arbiter.join().expect("ends");
    }
    assert!(rig.socket.path().exists());
}
