//! Answers about entries: where one comes from, its tags, a page of what is below it.
//!
//! An entry is found name by name through the get-only catalog; neither the mount nor an origin is asked. What is not
//! there is an answer of its own (`NOT_FOUND`), told apart from a catalog that fails.

use std::os::unix::ffi::OsStrExt;

use musicfs_protocol::EntryAttr;
use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::health::Health;
use musicfs_protocol::library::{EntryInfo, Source};
use musicfs_protocol::wire::{
    EntryKind, FileVersion, PathRequest, RpcError, Tags, TagsReply, TreeReply, TreeRequest, WhyReply, WhySource, code,
};
use musicfs_pure::escape::escape;
use musicfs_pure::ids::Ino;
use musicfs_pure::tags::{Format, TrackTags};
use musicfs_pure::version::Version;

use super::daemon_calls::catalog_failed;
use super::{ControlServices, paths, tree};

/// The word for a kind of node.
pub(super) fn kind(node: NodeKind) -> EntryKind {
    match node {
        NodeKind::Folder => EntryKind::Folder,
        NodeKind::File => EntryKind::File,
    }
}

fn no_such_entry() -> RpcError {
    RpcError::new(code::NOT_FOUND, "the library has no such entry; `musicfs tree` shows what it has")
}

/// The entry at a path, found name by name from the root.
fn find(services: &ControlServices, path: &str, cwd: Option<&str>) -> Result<(EntryAttr, Vec<u8>), RpcError> {
    let components = paths::resolve(services.mountpoint.as_os_str().as_bytes(), path, cwd)?;
    let mut found = services.catalog.attr(Ino::ROOT).map_err(catalog_failed)?.ok_or_else(no_such_entry)?;
    for name in &components {
        if found.kind != NodeKind::Folder {
            return Err(no_such_entry());
        }
        found = services.catalog.lookup(found.ino, name).map_err(catalog_failed)?.ok_or_else(no_such_entry)?;
    }
    Ok((found, components.join(&b'/')))
}

fn describe(services: &ControlServices, request: &PathRequest) -> Result<EntryInfo, RpcError> {
    let (attr, _) = find(services, &request.path, request.cwd.as_deref())?;
    services.catalog.describe(attr.ino).map_err(catalog_failed)?.ok_or_else(no_such_entry)
}

pub(super) fn tree(services: &ControlServices, request: &TreeRequest) -> Result<TreeReply, RpcError> {
    let (top, path) = find(services, &request.path, request.cwd.as_deref())?;
    tree::page(&*services.catalog, &top, &path, request).map_err(catalog_failed)
}

pub(super) fn why(services: &ControlServices, request: &PathRequest) -> Result<WhyReply, RpcError> {
    let info = describe(services, request)?;
    let last_error = info
        .source
        .as_ref()
        .and_then(|source| services.board.last_error(&format!("{}:{}", source.origin, source.path)));
    Ok(WhyReply {
        path: escape(&info.library_path).into_owned(),
        kind: kind(info.attr.kind),
        ino: info.attr.ino.0,
        size: info.attr.size,
        mtime: info.attr.mtime.into(),
        mode: format!("{:04o}", info.attr.mode),
        revision: info.attr.revision.0,
        source: info.source.map(|source| why_source(services, source)),
        tagged: info.tags.is_some(),
        malformed: info.malformed,
        last_error: last_error.map(Into::into),
    })
}

fn why_source(services: &ControlServices, source: Source) -> WhySource {
    let health = services.health.get(&source.origin).map_or(Health::Unknown, |health| health.health);
    WhySource {
        origin: source.origin.to_string(),
        health: health.as_str().to_owned(),
        path: source.path.to_string(),
        file_id: source.file.0,
        version: file_version(source.version),
        embedded_art: source.art.is_some(),
    }
}

fn file_version(version: Version) -> FileVersion {
    FileVersion {
        size: version.size,
        mtime: version.mtime.into(),
        ino: version.ino,
        etag: version.etag.map(|etag| escape(etag.as_bytes()).into_owned()),
    }
}

pub(super) fn tags(services: &ControlServices, request: &PathRequest) -> Result<TagsReply, RpcError> {
    let info = describe(services, request)?;
    Ok(TagsReply {
        path: escape(&info.library_path).into_owned(),
        malformed: info.malformed,
        tags: info.tags.map(wire_tags),
    })
}

fn wire_tags(tags: TrackTags) -> Tags {
    let one = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let fields = [
        ("title", tags.title),
        ("artist", tags.artist),
        ("albumartist", tags.albumartist),
        ("album", tags.album),
        ("track", one(tags.track)),
        ("tracktotal", one(tags.tracktotal)),
        ("disc", one(tags.disc)),
        ("disctotal", one(tags.disctotal)),
        ("year", one(tags.year)),
        ("date", one(tags.date)),
        ("genre", tags.genre),
        ("composer", tags.composer),
        ("comment", tags.comment),
    ];
    let present = fields.into_iter().filter(|(_, values)| !values.is_empty());
    Tags {
        format: tags.format.map(|format| format_name(format).to_owned()),
        fields: present.map(|(name, values)| (name.to_owned(), values)).collect(),
        raw: tags.raw,
    }
}

const fn format_name(format: Format) -> &'static str {
    match format {
        Format::Flac => "flac",
        Format::Mp3 => "mp3",
        Format::OggVorbis => "ogg vorbis",
        Format::Opus => "opus",
        Format::OggFlac => "ogg flac",
        Format::Mp4 => "mp4",
        Format::Wav => "wav",
        Format::Aiff => "aiff",
        Format::WavPack => "wavpack",
        Format::MonkeysAudio => "monkey's audio",
        Format::Musepack => "musepack",
    }
}
