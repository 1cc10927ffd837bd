//! `events`: what the daemon remembers, and what happens from then on.
//!
//! Without `--follow` it ends where the past ends, which the daemon says by itself. Events are taken as they come and not
//! by their types, so that a newer daemon's are shown too. With `--json` each is a line of its own, as the daemon sent it
//! and in the order in which things happened: what a script can read while it goes on.

use musicfs_protocol::wire::{SubscribeRequest, method, notice};
use serde_json::{Map, Value, json};

use super::Context;
use super::client::CALL_LIMIT;
use super::exit::CliError;
use super::output::{moment, printable};
use super::verbs::EventsArgs;

/// The column that types are padded to: the longest one.
const TYPE_WIDTH: usize = "origin.quarantined".len();

pub(super) fn events(ctx: &mut Context<'_>, args: &EventsArgs) -> Result<(), CliError> {
    let mut client = ctx.connect()?;
    let request = SubscribeRequest { types: args.types.clone(), recall: true };
    client.call::<method::Subscribe>(&request, Some(CALL_LIMIT))?;
    let mut is_stopping = false;
    loop {
        if !client.has_more() {
            ctx.out.flush()?;
        }
        let notice = match client.next_notice() {
            Err(CliError::ConnectionLost) if is_stopping => return Ok(()),
            notice => notice?,
        };
        if notice.method == notice::CAUGHT_UP {
            if args.follow {
                continue;
            }
            return Ok(());
        }
        let mut event: Map<String, Value> = serde_json::from_str(notice.params.get()).unwrap_or_default();
        is_stopping |= event.get("type").is_some_and(|name| name == "daemon.stopping");
        if ctx.json && notice.method == notice::EVENT {
            writeln!(ctx.out, "{}", notice.params.get())?;
        } else {
            // An event has its type in it; whatever else is told is named by its method.
            event.entry("type").or_insert_with(|| json!(notice.method));
            let line = if ctx.json { Value::Object(event).to_string() } else { text(&event) };
            writeln!(ctx.out, "{line}")?;
        }
    }
}

/// What an event is about; stands before whatever else it says.
const SUBJECTS: [&str; 3] = ["origin", "actor", "path"];

/// An event as a line for people: when, what, about what, and whatever it says about that.
fn text(event: &Map<String, Value>) -> String {
    let at = event.get("unix_ms").and_then(Value::as_u64).map_or_else(|| "-".to_owned(), moment);
    let name = event.get("type").and_then(Value::as_str).unwrap_or("?");
    let mut line = format!("{at:<20}  {:<TYPE_WIDTH$}", printable(name));
    let subjects = SUBJECTS.iter().filter_map(|&name| event.get_key_value(name));
    let is_said = |key: &str| ["seq", "unix_ms", "type"].contains(&key) || SUBJECTS.contains(&key);
    for (key, value) in subjects.chain(event.iter().filter(|(key, _)| !is_said(key))) {
        let value = match value {
            Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => text.clone(),
            other => other.to_string(),
        };
        line.extend(["  ", &printable(key), "=", &printable(&value)]);
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(event: Value) -> String {
        text(event.as_object().expect("an object"))
    }

    #[test]
    fn line_names_time_type_and_everything_that_is_said() {
        assert_eq!(
            line(json!({"seq": 1, "unix_ms": 0, "type": "file.added", "origin": "a", "path": "x/y z.flac"})),
            "1970-01-01T00:00:00Z  file.added          origin=a  path=\"x/y z.flac\""
        );
        assert_eq!(
            line(json!({"type": "events.lagged", "missed": 7})),
            "-                     events.lagged       missed=7"
        );
    }

    #[test]
    fn line_begins_with_what_it_is_about() {
        assert_eq!(
            line(json!({"type": "sync.finished", "error": "no", "origin": "a"})),
            "-                     sync.finished       origin=a  error=no"
        );
    }

    #[test]
    fn what_is_unknown_or_hostile_is_shown_without_control_characters() {
        let shown = line(json!({"type": "a\u{1b}b", "x\n": ["\u{7}"], "reason": "\u{1b}[2J"}));
        assert!(!shown.contains(char::is_control), "{shown:?}");
    }
}
