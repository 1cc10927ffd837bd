//! Extended attributes: where a file really is, under `user.musicfs.`.
//!
//! They are made from the catalog's row at each request and cost nothing else. Scanners and `ls` ask for attributes of
//! security modules on every file; a name outside our prefix is refused before the catalog is asked. What is not known is
//! absent: a value is never made up.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::ReplyXattr;
use musicfs_protocol::library::Source;

use super::call::Call;
use super::edge::Edge;
use super::errno::Failure;
use super::nodes::Node;

/// What all our attributes begin with.
const PREFIX: &[u8] = b"user.musicfs.";

/// The attributes of a file, without the prefix. A folder has none.
const NAMES: [&str; 4] = ["origin", "path", "version", "file"];

/// The value of an attribute, if there is one of this name.
fn value(source: &Source, name: &[u8]) -> Option<Vec<u8>> {
    match name {
        b"origin" => Some(source.origin.as_str().as_bytes().to_vec()),
        b"path" => Some(source.path.as_bytes().to_vec()),
        b"version" => {
            let (size, mtime) = (source.version.size, source.version.mtime);
            Some(format!("size={size},mtime={}.{:09}", mtime.secs, mtime.nanos).into_bytes())
        }
        b"file" => Some(source.file.to_string().into_bytes()),
        _ => None,
    }
}

/// The names of all attributes as the kernel wants them: each ended by a NUL.
fn name_list() -> Vec<u8> {
    NAMES.iter().flat_map(|name| [PREFIX, name.as_bytes(), &b"\0"[..]].concat()).collect()
}

/// Answers with a value, or with its size when that is what was asked for.
fn answer(call: Call<ReplyXattr>, value: &[u8], room: u32) {
    let len = value.len() as u32;
    if room == 0 {
        call.answer(|reply| reply.size(len));
    } else if len > room {
        call.refuse(&Failure::BufferTooSmall);
    } else {
        call.answer(|reply| reply.data(value));
    }
}

impl Edge {
    /// One attribute.
    pub(super) fn getxattr(&self, call: Call<ReplyXattr>, node: Node, name: &OsStr, room: u32) {
        let Some(name) = name.as_bytes().strip_prefix(PREFIX) else { return call.refuse(&Failure::NoAttribute) };
        match self.source_of(node) {
            Ok(source) => match source.and_then(|source| value(&source, name)) {
                Some(value) => answer(call, &value, room),
                None => call.refuse(&Failure::NoAttribute),
            },
            Err(failure) => call.refuse(&failure),
        }
    }

    /// The names of all attributes.
    pub(super) fn listxattr(&self, call: Call<ReplyXattr>, node: Node, room: u32) {
        match self.source_of(node) {
            Ok(Some(_)) => answer(call, &name_list(), room),
            Ok(None) => answer(call, b"", room),
            Err(failure) => call.refuse(&failure),
        }
    }

    /// Where the bytes of a node come from; nothing for a folder.
    fn source_of(&self, node: Node) -> Result<Option<Source>, Failure> {
        let attr = self.catalog.attr(node.ino)?;
        if attr.is_some_and(|attr| Node::of(&attr) == node) {
            return Ok(self.catalog.source(node.ino)?);
        }
        let open = self.handles.on_node(node).ok_or(Failure::Stale)?;
        Ok(Some(open.source.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_pure::ids::{FileId, OriginId, OriginPath};
    use musicfs_pure::version::{Granularity, Timestamp, Version};

    #[test]
    fn every_listed_name_has_a_value_and_no_other_has() {
        let mtime = Timestamp::new(-2, 5);
        let version = Version { size: 7, mtime, granularity: Granularity::Nanos, ino: None, etag: None };
        let path = OriginPath::parse(b"a/\xff").expect("valid");
        let origin = OriginId::parse("nas").expect("valid");
        let source = Source { file: FileId(9), origin, path, version, art: None };
        let values = NAMES.map(|name| value(&source, name.as_bytes()));
        let expected: [&[u8]; 4] = [b"nas", b"a/\xff", b"size=7,mtime=-2.000000005", b"9"];
        assert_eq!(values, expected.map(|value| Some(value.to_vec())));
        assert_eq!(value(&source, b"held"), None);
        assert!(name_list().starts_with(b"user.musicfs.origin\0user.musicfs.path\0"));
    }
}
