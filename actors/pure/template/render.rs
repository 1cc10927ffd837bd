//! A template and a track give a path.
//!
//! Everything is written into one buffer, in which a slash separates components: those of the template's text and of
//! `$!{…}` stay, others become `_` as they are written. The buffer is then split, each component cleaned by `naming`,
//! blank ones dropped. Every size is bounded: values, folders, and the path as a whole. Must never yield a path that a
//! filesystem call could not take, nor one with nothing in it.

use std::borrow::Cow;

use super::fields::{Field, MAX_VALUE_BYTES, TrackContext, raw_value};
use super::parse::{Node, Placeholder, Source};
use super::{Rendered, TemplateOptions};
use crate::naming::{cut_at_character, is_blank, sanitize_component, split_extension};

/// The most folders that a file is put into; those beyond are left out. Nobody sorts deeper, and a tag full of slashes
/// must not build a tower.
pub const MAX_FOLDERS: usize = 64;

/// The most bytes of all folders of a path together, with their slashes: Linux takes paths of 4,096 bytes, the name has
/// up to 255, and the mountpoint needs its share. Folders beyond are left out.
pub const MAX_FOLDERS_BYTES: usize = 3072;

/// The name that the root keeps for the raw views.
const RESERVED_NAME: &[u8] = b".origins";

/// What the root shows in its place.
const RESERVED_SUBSTITUTE: &[u8] = b"_origins";

/// The track's path, or nothing when a field is missing that the options insist on.
pub(super) fn render(nodes: &[Node], track: &TrackContext<'_>, options: &TemplateOptions) -> Option<Rendered> {
    let mut writer = Writer { track, options, out: Vec::new() };
    writer.write_nodes(nodes, false)?;
    Some(split_path(&writer.out, track.filename))
}

struct Writer<'a> {
    track: &'a TrackContext<'a>,
    options: &'a TemplateOptions,
    out: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Writes nodes; nothing when the track is to be left out.
    fn write_nodes(&mut self, nodes: &[Node], in_brackets: bool) -> Option<()> {
        let mut after_dot = false;
        for node in nodes {
            match node {
                Node::Text(text) => self.out.extend_from_slice(text),
                Node::Placeholder(placeholder) => {
                    let is_written = self.write_placeholder(placeholder, in_brackets)?;
                    // The dot before an extension goes with it: `song`, not `song.`.
                    if !is_written && after_dot && placeholder.alternatives == [Source::Field(Field::Ext)] {
                        self.out.pop();
                    }
                }
                Node::Group(inner) if self.is_shown(inner) => self.write_nodes(inner, true)?,
                Node::Group(_) => {}
            }
            after_dot = matches!(node, Node::Text(text) if text.ends_with(b"."));
        }
        Some(())
    }

    /// Whether a bracket has something to show: a field written directly in it is present.
    fn is_shown(&self, nodes: &[Node]) -> bool {
        nodes.iter().any(|node| matches!(node, Node::Placeholder(field) if self.value(field).is_some()))
    }

    /// The first alternative present.
    fn value(&self, placeholder: &Placeholder) -> Option<Cow<'a, [u8]>> {
        placeholder.alternatives.iter().find_map(|source| match source {
            Source::Field(field) => field.value(self.track),
            Source::Tag(key) => raw_value(key, self.track.tags?),
        })
    }

    /// What stands in for a field that is missing: a configured default of one of the alternatives, else a built-in
    /// one, else the global one. A built-in default says more than the global one can, so that one only fills the rest.
    fn default_value(&self, placeholder: &Placeholder) -> &'a [u8] {
        let fields = || {
            placeholder.alternatives.iter().filter_map(|source| match source {
                Source::Field(field) => Some(*field),
                Source::Tag(_) => None,
            })
        };
        let options = self.options;
        let configured = fields().find_map(|field| options.defaults.get(&field)).map(Vec::as_slice);
        let built_in = || fields().find_map(|field| self.built_in_default(field));
        configured.or_else(built_in).or(options.default_all.as_deref()).unwrap_or_default()
    }

    fn built_in_default(&self, field: Field) -> Option<&'a [u8]> {
        match field {
            Field::Artist | Field::AlbumArtist => Some(b"Unknown Artist"),
            Field::Album => Some(b"Unknown Album"),
            Field::Title | Field::Filename => Some(split_extension(self.track.filename).0),
            _ => None,
        }
    }

    /// Writes a field, and answers whether that was anything; nothing when the track is to be left out.
    fn write_placeholder(&mut self, placeholder: &Placeholder, in_brackets: bool) -> Option<bool> {
        let value = match self.value(placeholder) {
            Some(value) => value,
            None if in_brackets => Cow::Borrowed(&b""[..]),
            None if self.options.skip_on_missing => return None,
            None => Cow::Borrowed(self.default_value(placeholder)),
        };
        self.write_value(&value, placeholder);
        Some(!value.is_empty())
    }

    fn write_value(&mut self, value: &[u8], placeholder: &Placeholder) {
        let value = cut_at_character(value, MAX_VALUE_BYTES);
        if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
            self.out.extend(std::iter::repeat_n(b'0', placeholder.width.saturating_sub(value.len())));
        }
        let separates = placeholder.slashes_are_folders;
        self.out.extend(value.iter().map(|&byte| if byte == b'/' && !separates { b'_' } else { byte }));
    }
}

/// The components of what was written. What is behind the last slash is the name; where that is blank, the file keeps
/// the one that it has at its origin.
fn split_path(written: &[u8], filename: &[u8]) -> Rendered {
    let (folders, name) = match written.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&written[..slash], &written[slash + 1..]),
        None => (&written[..0], written),
    };
    let mut room = MAX_FOLDERS_BYTES;
    let fits = |folder: &Vec<u8>| {
        let left = room.checked_sub(folder.len() + 1);
        room = left.unwrap_or(room);
        left.is_some()
    };
    let folders = folders.split(|&byte| byte == b'/').filter_map(clean_component);
    let mut folders: Vec<_> = folders.take_while(fits).take(MAX_FOLDERS).collect();
    let name = clean_component(name).or_else(|| clean_component(filename));
    let mut name = name.unwrap_or_else(|| b"_".to_vec());
    let top = folders.first_mut().unwrap_or(&mut name);
    if top == RESERVED_NAME {
        *top = RESERVED_SUBSTITUTE.to_vec();
    }
    Rendered { folders, name }
}

/// A component, unless it is blank, or would be once it is cut.
fn clean_component(written: &[u8]) -> Option<Vec<u8>> {
    let clean = || Some(sanitize_component(written)).filter(|clean| !is_blank(clean));
    if is_blank(written) { None } else { clean() }
}
