//! Subscriptions over a real socket: what is sent between answers, to whom, and what happens to those who do not listen.
//!
//! A client that has been told that it is caught up is subscribed, so that what is published next must come.

use musicfs_protocol::Happening;
use musicfs_protocol::event_log::{MAX_FILE_EVENTS, MAX_RING_BYTES};
use musicfs_protocol::wire::{EventBody, EventNotice, LaggedNotice, SubscribeRequest, notice, parse_notice};
use musicfs_pure::ids::OriginPath;

use super::*;

fn subscription(types: &[&str], recall: bool) -> SubscribeRequest {
    SubscribeRequest { types: types.iter().map(|&name| name.to_owned()).collect(), recall }
}

fn added(name: &str) -> Happening {
    Happening::FileAdded { origin: nas(), path: OriginPath::parse(name.as_bytes()).expect("a path") }
}

fn down() -> Happening {
    Happening::OriginDown { origin: nas(), reason: "gone".to_owned() }
}

/// A notice of the stream.
#[derive(Debug, PartialEq)]
enum Heard {
    Event(u64, &'static str),
    Lagged(u64),
    CaughtUp,
}

impl Client {
    async fn notice(&mut self) -> Heard {
        let line = self.hear().await;
        let heard = parse_notice(line.as_bytes()).unwrap_or_else(|| panic!("no notice: {line}"));
        match heard.method.as_str() {
            notice::EVENT => {
                let event: EventNotice = serde_json::from_str(heard.params.get()).expect("an event");
                let name = match event.body {
                    EventBody::FileAdded { .. } => "file.added",
                    EventBody::OriginDown { .. } => "origin.down",
                    other => panic!("{other:?}"),
                };
                Heard::Event(event.seq, name)
            }
            notice::LAGGED => {
                Heard::Lagged(serde_json::from_str::<LaggedNotice>(heard.params.get()).expect("a number").missed)
            }
            notice::CAUGHT_UP => Heard::CaughtUp,
            other => panic!("{other}"),
        }
    }

    async fn subscribed(&mut self, types: &[&str]) {
        self.call::<method::Subscribe>(&subscription(types, false)).await.expect("subscribed");
        assert_eq!(self.notice().await, Heard::CaughtUp);
    }
}

#[actix::test]
async fn events_are_sent_as_they_come_and_other_calls_go_on() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    rig.services.events.publish(down());
    client.subscribed(&[]).await;
    rig.services.events.publish_all([added("a"), down()]);
    assert_eq!(client.notice().await, Heard::Event(2, "file.added"));
    assert_eq!(client.notice().await, Heard::Event(3, "origin.down"));
    client.call::<method::Actors>(&Empty {}).await.expect("answers");
    client.call::<method::Unsubscribe>(&Empty {}).await.expect("answers");
    rig.services.events.publish(down());
    client.call::<method::Actors>(&Empty {}).await.expect("answers, and nothing came before");
    assert_eq!(rig.services.events.snapshot().followers, 0);
}

#[actix::test]
async fn what_is_remembered_comes_first_and_filtered() {
    let rig = rig();
    rig.start();
    rig.services.events.publish_all([down(), added("a"), down()]);
    let mut client = rig.client().await;
    client.call::<method::Subscribe>(&subscription(&["file"], true)).await.expect("subscribed");
    assert_eq!(client.notice().await, Heard::Event(2, "file.added"));
    assert_eq!(client.notice().await, Heard::CaughtUp);
    // another subscription takes the place of the first
    client.call::<method::Subscribe>(&subscription(&["origin"], true)).await.expect("subscribed");
    assert_eq!(client.notice().await, Heard::Event(1, "origin.down"));
    assert_eq!(client.notice().await, Heard::Event(3, "origin.down"));
    assert_eq!(client.notice().await, Heard::CaughtUp);
    assert_eq!(rig.services.events.snapshot().followers, 1);
}

#[actix::test]
async fn unknown_type_is_refused_by_name() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    let error = client.call::<method::Subscribe>(&subscription(&["orign"], false)).await.expect_err("unknown");
    assert_eq!(error.code, code::INVALID_PARAMS);
    assert!(error.message.contains("`orign`") && error.message.contains("origin.down"), "{error}");
}

#[actix::test]
async fn events_come_while_a_call_waits() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    client.subscribed(&[]).await;
    client.say(&call_line(7, "daemon.wait", &request(WaitFor::Scanned, 60_000)).expect("serialises")).await;
    while rig.stats.snapshot().waiting == 0 {
        tokio::task::yield_now().await;
    }
    rig.services.events.publish(down());
    assert_eq!(client.notice().await, Heard::Event(1, "origin.down"));
    rig.services.scans.update(&nas(), |scan| scan.state = ScanState::Done);
    let answer = parse_answer(client.hear().await.as_bytes()).expect("an answer");
    assert_eq!(answer.id, Some(7));
}

#[actix::test]
async fn client_that_has_nothing_more_to_say_still_hears() {
    let rig = rig();
    rig.start();
    let mut client = rig.client().await;
    client.subscribed(&["origin"]).await;
    client.0.get_mut().shutdown().await.expect("shuts down");
    rig.services.events.publish(down());
    assert_eq!(client.notice().await, Heard::Event(1, "origin.down"));
    drop(client);
    // its place is given up once it has gone
    while rig.services.events.snapshot().followers > 0 {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn client_that_never_reads_is_dropped_and_harms_nobody() {
    let rig = rig();
    rig.start();
    let (mut stuck, mut good) = (rig.client().await, rig.client().await);
    stuck.subscribed(&[]).await;
    good.subscribed(&["origin"]).await;
    while rig.services.events.snapshot().followers == 2 {
        rig.services.events.publish_all((0..1000).map(|number| added(&format!("{number}.flac"))));
        tokio::task::yield_now().await;
    }
    rig.services.events.publish(down());
    assert!(matches!(good.notice().await, Heard::Event(_, "origin.down")), "the other one hears on");
}

#[actix::test]
async fn storm_reaches_a_slow_client_as_a_number_and_costs_no_memory() {
    let rig = rig();
    rig.start();
    let mut slow = rig.client().await;
    slow.subscribed(&["file"]).await;
    let other = &rig.services.events;
    for batch in 0..100 {
        other.publish_all((0..1000).map(|number| added(&format!("{}/{batch}/{number}.flac", "x".repeat(100)))));
        tokio::task::yield_now().await;
        assert!(other.snapshot().bytes <= MAX_RING_BYTES);
    }
    other.publish(added("last"));
    let (mut num_events, mut num_missed) = (0, 0);
    loop {
        match slow.notice().await {
            Heard::Event(100_001, _) => break,
            Heard::Event(..) => num_events += 1,
            Heard::Lagged(missed) => num_missed += missed,
            Heard::CaughtUp => panic!("comes once"),
        }
    }
    assert_eq!(num_events + num_missed, 100_000, "each is either sent or counted");
    assert!(num_missed >= 100_000 - MAX_FILE_EVENTS as u64 - 10_000, "{num_missed}");
    assert_eq!(rig.services.events.snapshot().missed, num_missed);
}
