//! The envelope of JSON-RPC 2.0: calls, answers and errors, as lines.
//!
//! A line is taken apart in two steps, so that the error says what is wrong: text that is not JSON is a parse error, JSON
//! that is not a call is an invalid request. The id is never interpreted: it is kept as the text that the peer sent and
//! echoed byte for byte. A call without an id is a notification and gets no answer, not even an error. Batches are
//! refused: a line is the unit of work here, and a batch would be an unbounded one.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::MAX_LINE_BYTES;

/// Error codes. Those of JSON-RPC itself, and ours from the range that it leaves to servers.
pub mod code {
    /// The line is not JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// The line is JSON and no call.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The method does not take these parameters.
    pub const INVALID_PARAMS: i32 = -32602;
    /// The daemon failed.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// As many connections as are allowed are open.
    pub const BUSY: i32 = -32001;
    /// An actor that is needed is not running now.
    pub const UNAVAILABLE: i32 = -32002;
    /// There is no such entry or origin.
    pub const NOT_FOUND: i32 = -32004;
    /// The configuration that was to be read is wrong.
    pub const INVALID_CONFIG: i32 = -32005;
}

/// An error as the wire carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// One of [`code`].
    pub code: i32,
    /// What happened and what to do.
    pub message: String,
}

impl RpcError {
    /// An error of this code.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A call that is one: the version and the form of its members have been checked.
#[derive(Debug)]
pub struct Call {
    /// The id as it was sent; nothing for a notification.
    pub id: Option<Box<RawValue>>,
    /// The method's name.
    pub method: String,
    /// The parameters; nothing when they were left out.
    pub params: Option<Box<RawValue>>,
}

/// A line that is no call, and what to answer.
#[derive(Debug)]
pub struct Refusal {
    /// The id, where it could be made out.
    pub id: Option<Box<RawValue>>,
    /// What is wrong.
    pub error: RpcError,
}

#[derive(Deserialize)]
struct LooseCall {
    #[serde(default)]
    jsonrpc: Option<String>,
    #[serde(default, deserialize_with = "present")]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

/// `"id": null` is an id, unlike an `id` that is not there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Takes a line apart.
pub fn parse_call(line: &[u8]) -> Result<Call, Refusal> {
    let refuse = |id, code, message: &str| Err(Refusal { id, error: RpcError::new(code, message) });
    let text: &RawValue = match serde_json::from_slice(line) {
        Ok(text) => text,
        Err(error) => return refuse(None, code::PARSE_ERROR, &format!("the line is not JSON: {error}")),
    };
    if text.get().starts_with('[') {
        return refuse(None, code::INVALID_REQUEST, "batches are not taken; send one object per line");
    }
    let Ok(call) = serde_json::from_str::<LooseCall>(text.get()) else {
        return refuse(
            None,
            code::INVALID_REQUEST,
            "the line is no JSON-RPC call; send an object with a text `method`",
        );
    };
    if call.id.as_deref().is_some_and(|id| !is_id(id.get())) {
        return refuse(None, code::INVALID_REQUEST, "`id` must be a text, a number or null");
    }
    if call.jsonrpc.as_deref() != Some("2.0") {
        return refuse(call.id, code::INVALID_REQUEST, "`jsonrpc` must be \"2.0\"");
    }
    let Some(method) = call.method else {
        return refuse(call.id, code::INVALID_REQUEST, "`method` is missing");
    };
    Ok(Call { id: call.id, method, params: call.params })
}

fn is_id(text: &str) -> bool {
    text == "null" || text.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

#[derive(Serialize)]
struct OutgoingAnswer<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

/// The line that answers a call, with its newline. A result that does not fit into a line becomes an error.
pub fn answer_line(id: Option<&RawValue>, outcome: &Result<Box<RawValue>, RpcError>) -> Vec<u8> {
    let too_long = RpcError::new(code::INTERNAL_ERROR, "the answer is longer than a line may be; ask for less");
    let fits = |result: &&RawValue| result.get().len() + id.map_or(0, |id| id.get().len()) + 64 <= MAX_LINE_BYTES;
    let (result, error) = match outcome {
        Ok(result) if fits(&&**result) => (Some(&**result), None),
        Ok(_) => (None, Some(&too_long)),
        Err(error) => (None, Some(error)),
    };
    let answer = OutgoingAnswer { jsonrpc: "2.0", id, result, error };
    // Texts and checked raw values always serialise.
    let mut line = serde_json::to_vec(&answer).unwrap_or_default();
    line.push(b'\n');
    line
}

#[derive(Serialize)]
struct OutgoingCall<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

/// The line that makes a call, with its newline.
pub fn call_line<P: Serialize>(id: u64, method: &str, params: &P) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&OutgoingCall { jsonrpc: "2.0", id, method, params })?;
    line.push(b'\n');
    Ok(line)
}

#[derive(Serialize)]
struct OutgoingNotice<'a, P> {
    jsonrpc: &'static str,
    method: &'a str,
    params: &'a P,
}

/// The line that tells a client something unasked, with its newline.
pub fn notice_line<P: Serialize>(method: &str, params: &P) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = serde_json::to_vec(&OutgoingNotice { jsonrpc: "2.0", method, params })?;
    line.push(b'\n');
    Ok(line)
}

/// What a server tells unasked, as a client sees it.
#[derive(Debug, Deserialize)]
pub struct Notice {
    /// What it is about.
    pub method: String,
    /// What it says.
    pub params: Box<RawValue>,
}

/// Takes the line of a notice apart; nothing when it is an answer.
pub fn parse_notice(line: &[u8]) -> Option<Notice> {
    serde_json::from_slice(line).ok()
}

/// An answer as a client sees it.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The id of the call; nothing when the server could not make it out.
    #[serde(default)]
    pub id: Option<u64>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RpcError>,
}

impl Answer {
    /// The result, or the error that came in its place.
    pub fn into_outcome(self) -> Result<Box<RawValue>, RpcError> {
        match (self.result, self.error) {
            (_, Some(error)) => Err(error),
            (Some(result), None) => Ok(result),
            (None, None) => RawValue::from_string("null".to_owned())
                .map_err(|error| RpcError::new(code::INTERNAL_ERROR, error.to_string())),
        }
    }
}

/// Takes the line of an answer apart.
pub fn parse_answer(line: &[u8]) -> Result<Answer, serde_json::Error> {
    serde_json::from_slice(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{HelloReply, HelloRequest, Method, PROTOCOL, method};

    fn refused(line: &str) -> (Option<String>, i32) {
        let refusal = parse_call(line.as_bytes()).expect_err(line);
        (refusal.id.map(|id| id.get().to_owned()), refusal.error.code)
    }

    #[test]
    fn handshake_is_frozen_to_the_byte() {
        let request = HelloRequest { client: "musicfs".to_owned(), version: "0.1.0".to_owned() };
        let line = call_line(1, method::Hello::NAME, &request).expect("serialises");
        assert_eq!(
            String::from_utf8(line).expect("text"),
            concat!(
                r#"{"jsonrpc":"2.0","id":1,"method":"hello","params":{"client":"musicfs","version":"0.1.0"}}"#,
                "\n"
            )
        );
        let reply = HelloReply { server: "musicfs".to_owned(), version: "0.1.0".to_owned(), protocol: PROTOCOL };
        let result = serde_json::value::to_raw_value(&reply).expect("serialises");
        let id = RawValue::from_string("1".to_owned()).expect("valid");
        assert_eq!(
            String::from_utf8(answer_line(Some(&id), &Ok(result))).expect("text"),
            concat!(r#"{"jsonrpc":"2.0","id":1,"result":{"server":"musicfs","version":"0.1.0","protocol":1}}"#, "\n")
        );
    }

    #[test]
    fn error_answer_is_frozen_to_the_byte() {
        let line = answer_line(None, &Err(RpcError::new(code::PARSE_ERROR, "no")));
        assert_eq!(line, b"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,\"message\":\"no\"}}\n");
    }

    #[test]
    fn notice_is_frozen_to_the_byte_and_told_apart_from_an_answer() {
        let line = notice_line("events.lagged", &crate::wire::LaggedNotice { missed: 3 }).expect("serialises");
        assert_eq!(line, b"{\"jsonrpc\":\"2.0\",\"method\":\"events.lagged\",\"params\":{\"missed\":3}}\n");
        let notice = parse_notice(&line).expect("a notice");
        assert_eq!((notice.method.as_str(), notice.params.get()), ("events.lagged", "{\"missed\":3}"));
        assert!(parse_notice(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}").is_none());
    }

    #[test]
    fn ids_are_kept_as_they_were_sent() {
        for id in ["1", "-7", "\"a\\u0020b\"", "null", "1.50", "123456789012345678901234567890"] {
            let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"hello"}}"#);
            let call = parse_call(line.as_bytes()).expect(id);
            assert_eq!(call.id.expect("present").get(), id);
        }
    }

    #[test]
    fn call_without_id_is_a_notification() {
        let call = parse_call(br#"{"jsonrpc":"2.0","method":"daemon.stop"}"#).expect("a call");
        assert!(call.id.is_none());
        assert!(call.params.is_none());
    }

    #[test]
    fn line_that_is_no_call_is_refused_with_its_code() {
        for line in ["", "{", "nonsense", "{\"jsonrpc\":\"2.0\"", "\u{0}"] {
            assert_eq!(refused(line), (None, code::PARSE_ERROR), "{line}");
        }
        for line in ["[]", "[{}]", "3", "null", "\"x\"", r#"{"method":3}"#, r#"{"id":{},"method":"x"}"#] {
            assert_eq!(refused(line), (None, code::INVALID_REQUEST), "{line}");
        }
        assert_eq!(refused(r#"{"id":7,"method":"x"}"#), (Some("7".to_owned()), code::INVALID_REQUEST));
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7}"#), (Some("7".to_owned()), code::INVALID_REQUEST));
        assert_eq!(refused(&"[".repeat(100_000)).1, code::PARSE_ERROR);
        assert!(parse_call(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").is_err());
    }

    #[test]
    fn answer_longer_than_a_line_becomes_an_error() {
        let long = serde_json::value::to_raw_value(&"x".repeat(MAX_LINE_BYTES)).expect("serialises");
        let line = answer_line(None, &Ok(long));
        assert!(line.len() < 1000);
        let error = parse_answer(&line).expect("an answer").into_outcome().expect_err("too long");
        assert_eq!(error.code, code::INTERNAL_ERROR);
    }
}
