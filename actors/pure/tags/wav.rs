//! RIFF WAVE: chunks behind their lengths.
//!
//! The audio is jumped over; `LIST INFO` and an `id3 ` chunk are read on either side of it. A chunk that claims more
//! than the file has (0xFFFFFFFF from a recorder that never came back to write its length) goes to the end. In RF64 and
//! BW64 (EBU Tech 3306) the `ds64` chunk has the true length of the audio.

use super::Format;
use super::found::{Found, MAX_VALUE_BYTES, Rank};
use super::id3;
use super::source::{Hop, Source, Stop};
use super::text::fixed_field;

const CHUNK_HEADER_BYTES: u64 = 8;

/// The length that says "see `ds64`", or nothing at all.
const UNKNOWN_LEN: u32 = u32::MAX;

/// Reads the tags of all chunks.
pub(super) fn walk(source: &Source, found: &mut Found) -> Result<(), Stop> {
    found.format = Some(Format::Wav);
    let size = source.size();
    let mut long_data_len = None;
    let mut at = 12;
    while size.saturating_sub(at) >= CHUNK_HEADER_BYTES {
        let [a, b, c, d, len @ ..] = source.array::<8>(at, Hop::within(size))?;
        let body = at + CHUNK_HEADER_BYTES;
        let mut len = match (&[a, b, c, d], u32::from_le_bytes(len)) {
            (b"data", UNKNOWN_LEN) => long_data_len.unwrap_or(u64::MAX),
            (_, len) => u64::from(len),
        };
        len = len.min(size - body);
        match &[a, b, c, d] {
            b"ds64" if len >= 16 => {
                long_data_len = Some(u64::from_le_bytes(source.array(body + 8, Hop::within(size))?));
            }
            b"LIST" => read_list(source, body, body + len, found)?,
            b"id3 " | b"ID3 " => {
                id3::walk(source, body, body + len, found)?;
            }
            _ => {}
        }
        at = body + len + (len & 1);
    }
    Ok(())
}

/// Reads a list of texts; lists of other kinds are cue points and the like.
fn read_list(source: &Source, start: u64, end: u64, found: &mut Found) -> Result<(), Stop> {
    let hop = Hop::within(source.size());
    if end - start < 4 || &source.array::<4>(start, hop)? != b"INFO" {
        return Ok(());
    }
    found.begin_layer(Rank::Poor);
    let mut at = start + 4;
    while end.saturating_sub(at) >= CHUNK_HEADER_BYTES {
        let [a, b, c, d, len @ ..] = source.array::<8>(at, hop)?;
        let body = at + CHUNK_HEADER_BYTES;
        let len = u64::from(u32::from_le_bytes(len)).min(end - body);
        let value = fixed_field(source.read(body, len.min(MAX_VALUE_BYTES as u64), hop)?);
        if let Ok(key) = std::str::from_utf8(&[a, b, c, d]) {
            found.push(Rank::Poor, key, &value);
        }
        at = body + len + (len & 1);
    }
    Ok(())
}
