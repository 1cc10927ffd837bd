//! The template that arranges the library: a text, parsed once, that gives every track its path.
//!
//! Grammar, on bytes:
//! * `$name` is a field, its name the longest run of `[a-z0-9_]` in any case; `${a|b:02}` the first alternative that is
//!   present, its value padded with zeros if it has digits only; `${tag:KEY}` a raw tag, alone or as an alternative;
//! * `$!{name}` is a field whose slashes are folders; in every other value a slash becomes `_`;
//! * `[ … ]` nests, and is shown when at least one field written directly in it is present; inside it a missing field is
//!   empty, outside it takes its default;
//! * `/` separates components, blank ones are dropped; a name that comes out blank is the one the file has already;
//! * `$$`, `$[` and `$]` are literals, `{` and `}` outside `${` are text; a `]` that closes nothing is an error.
//!
//! The dot in `.${ext}` goes with an extension that is missing. Tag values are trimmed, names and paths are not. Parsing
//! finds every mistake, with its position; rendering cannot fail. Must never yield a component that is empty, `.`, `..`,
//! longer than 255 bytes or holds a slash or control character, nor `.origins` in the root.

mod fields;
mod parse;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use fields::{Field, TrackContext};
pub use parse::{MAX_NESTING, MAX_TEMPLATE_BYTES, TemplateError};
pub use render::{MAX_FOLDERS, MAX_FOLDERS_BYTES};

use parse::{Node, Source};

/// The template where none is configured.
pub const DEFAULT_TEMPLATE: &str =
    "${albumartist|artist}/${album}[ (${year})]/[${disc}-][${track:02} - ]${title|filename}.${ext}";

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: Vec<u8>,
    nodes: Vec<Node>,
}

/// What stands in for fields that are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateOptions {
    /// By field, before the built-in defaults (Unknown Artist, Unknown Album, the filename for the title). Of several
    /// alternatives the first that has one here counts. An empty one writes nothing.
    pub defaults: BTreeMap<Field, Vec<u8>>,
    /// For fields that have neither, raw tags among them.
    pub default_all: Option<Vec<u8>>,
    /// Leave out tracks for which a field outside brackets is missing; defaults then do not apply.
    pub skip_on_missing: bool,
}

/// The path of a track below the root of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The folders from the root down; at most [`MAX_FOLDERS`].
    pub folders: Vec<Vec<u8>>,
    /// The name that the file wants in the last of them.
    pub name: Vec<u8>,
}

impl Template {
    /// Parses a template of at most [`MAX_TEMPLATE_BYTES`] with brackets at most [`MAX_NESTING`] deep.
    pub fn parse(source: &[u8]) -> Result<Self, TemplateError> {
        Ok(Self { source: source.to_vec(), nodes: parse::parse(source)? })
    }

    /// The text that was parsed.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// Whether the field is written in the template. What defaults use is not counted: the filename always matters.
    pub fn uses(&self, field: Field) -> bool {
        uses(&self.nodes, field)
    }

    /// The track's path; nothing when `skip_on_missing` leaves it out.
    pub fn render(&self, track: &TrackContext<'_>, options: &TemplateOptions) -> Option<Rendered> {
        render::render(&self.nodes, track, options)
    }
}

fn uses(nodes: &[Node], field: Field) -> bool {
    nodes.iter().any(|node| match node {
        Node::Text(_) => false,
        Node::Placeholder(placeholder) => placeholder.alternatives.contains(&Source::Field(field)),
        Node::Group(inner) => uses(inner, field),
    })
}

impl Default for Template {
    fn default() -> Self {
        match Self::parse(DEFAULT_TEMPLATE.as_bytes()) {
            Ok(template) => template,
            Err(error) => unreachable!("the default template parses: {error}"),
        }
    }
}
