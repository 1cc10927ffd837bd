//! The control socket under bad input: nonsense, endless lines, many connections, peers that go away.
//!
//! A peer is answered with an error or cut off, the daemon's memory does not follow its wishes, and the next honest
//! client is served. The mount is not affected.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::music::Track;
use crate::support::sandbox::Sandbox;
use crate::support::tree::files;

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home
}

fn connect(home: &Sandbox) -> UnixStream {
    let stream = UnixStream::connect(home.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.set_write_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

/// Sends bytes and reads until the other side closes or one line has come.
fn ask(home: &Sandbox, bytes: &[u8]) -> String {
    let mut stream = connect(home);
    let _ = stream.write_all(bytes);
    let mut line = String::new();
    let _ = BufReader::new(stream).read_line(&mut line);
    line
}

#[test]
fn nonsense_is_answered_with_an_error() {
    let home = home();
    let daemon = home.start();
    for bytes in [
        &b"nonsense\n"[..],
        b"{}\n",
        b"[]\n",
        b"\n",
        b"\xff\xfe\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x.y\"}\n",
    ] {
        let line = ask(&home, bytes);
        if !line.is_empty() {
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(answer["error"]["code"].is_i64(), "{line}");
        }
        daemon.cli(&["status"]).ok();
    }
    assert_eq!(files(&home.mnt()).len(), 1);
    daemon.stop();
}

#[test]
fn deeply_nested_json_is_refused() {
    let home = home();
    let daemon = home.start();
    let nested = [b"[".repeat(60_000), b"\n".to_vec()].concat();
    ask(&home, &nested);
    let params = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\",\"params\":{}}}\n", "[".repeat(50_000));
    ask(&home, params.as_bytes());
    daemon.cli(&["status"]).ok();
    daemon.stop();
}

#[test]
fn endless_line_is_cut_off() {
    let home = home();
    let daemon = home.start();
    let mut stream = connect(&home);
    let block = vec![b'x'; 64 * 1024];
    // 256 MiB is far beyond what a line may have: the daemon closes, or has answered and ignores the rest.
    let cut_off = (0..4096).any(|_| stream.write_all(&block).is_err());
    let mut rest = Vec::new();
    let answered = stream.read_to_end(&mut rest).is_ok() && !rest.is_empty();
    assert!(cut_off || answered, "an endless line was swallowed without a word");
    daemon.cli(&["status"]).ok();
    daemon.stop();
}

#[test]
fn many_silent_connections_do_not_keep_others_out_for_good() {
    let home = home();
    let daemon = home.start();
    let silent: Vec<UnixStream> = (0..200).map_while(|_| UnixStream::connect(home.socket()).ok()).collect();
    assert_eq!(files(&home.mnt()).len(), 1, "the mount answers meanwhile");
    drop(silent);
    crate::support::eventually("the socket serves again", || home.cli(&["status"]).status.success());
    daemon.stop();
}

#[test]
fn client_that_goes_away_in_the_middle_harms_nobody() {
    let home = home();
    let daemon = home.start();
    for _ in 0..50 {
        let mut stream = connect(&home);
        stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.wait\",\"params\":{\"for\":\"id").unwrap();
    }
    daemon.cli(&["status"]).ok();
    daemon.stop();
}
