//! From a template's text to its nodes, and every way in which a text is no template.
//!
//! One pass of recursive descent over the bytes; the depth of brackets is bounded, so the stack is too. Every error
//! carries the byte position of what is wrong, counted from 0, and ends with what to write instead. Must never accept a
//! text of which a part would silently be ignored.

use super::fields::Field;
use crate::escape::escape;

/// The longest template, in bytes: some hundred fields, more than a path has room for.
pub const MAX_TEMPLATE_BYTES: usize = 4096;

/// The deepest nesting of brackets; nobody reads deeper, and it bounds the stack.
pub const MAX_NESTING: usize = 32;

/// The most bytes of an unknown name that an error repeats.
const MAX_SHOWN_BYTES: usize = 40;

/// Why a text is no template. Positions are in bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The text is longer than [`MAX_TEMPLATE_BYTES`].
    #[error("the template is longer than {MAX_TEMPLATE_BYTES} bytes; shorten it")]
    TooLong,
    /// The `[` that opens one bracket too many.
    #[error("`[` at byte {position} is nested deeper than {MAX_NESTING}; use fewer brackets")]
    TooDeep {
        /// Of the bracket.
        position: usize,
    },
    /// A name that is no field's.
    #[error("unknown field `{name}` at byte {position}; {}", advice(*.nearest))]
    UnknownField {
        /// Of the name's first byte.
        position: usize,
        /// The name as written, escaped and shortened.
        name: String,
        /// The field that was probably meant.
        nearest: Option<Field>,
    },
    /// `${}`, `${a||b}` and the like.
    #[error("empty alternative at byte {position}; write a field's name there or remove the `|`")]
    EmptyAlternative {
        /// Where the name should be.
        position: usize,
    },
    /// `tag` without a key.
    #[error("`tag` at byte {position} has no key; write `${{tag:KEY}}`")]
    MissingTagKey {
        /// Of `tag`.
        position: usize,
    },
    /// A key of a raw tag that is not UTF-8.
    #[error("the tag key at byte {position} is not UTF-8, and keys of tags are; write it in UTF-8")]
    TagKeyNotText {
        /// Of the key.
        position: usize,
    },
    /// What follows the `:` is not a width, or not at the end.
    #[error(
        "bad format at byte {position}; write `:0` and a width from 1 to 99 behind the last alternative, as in `:02`"
    )]
    BadFormat {
        /// Of the `:`.
        position: usize,
    },
    /// A `{` without its `}`.
    #[error("`{{` at byte {position} is never closed; add `}}`")]
    UnclosedBrace {
        /// Of the brace.
        position: usize,
    },
    /// A `[` without its `]`.
    #[error("`[` at byte {position} is never closed; add `]`, or write `$[` for a bracket in the name")]
    UnclosedBracket {
        /// Of the bracket.
        position: usize,
    },
    /// A `]` without its `[`.
    #[error("`]` at byte {position} closes nothing; remove it, or write `$]` for a bracket in the name")]
    UnopenedBracket {
        /// Of the bracket.
        position: usize,
    },
    /// A `$` that begins nothing.
    #[error("`$` at byte {position} begins nothing; write `$$` for a dollar sign, or a field as in `$title`")]
    StrayDollar {
        /// Of the dollar sign.
        position: usize,
    },
}

impl TemplateError {
    /// Where in the template the error is, in bytes from 0.
    pub fn position(&self) -> usize {
        match *self {
            Self::TooLong => MAX_TEMPLATE_BYTES,
            Self::TooDeep { position }
            | Self::UnknownField { position, .. }
            | Self::EmptyAlternative { position }
            | Self::MissingTagKey { position }
            | Self::TagKeyNotText { position }
            | Self::BadFormat { position }
            | Self::UnclosedBrace { position }
            | Self::UnclosedBracket { position }
            | Self::UnopenedBracket { position }
            | Self::StrayDollar { position } => position,
        }
    }
}

fn advice(nearest: Option<Field>) -> String {
    match nearest {
        Some(field) => format!("did you mean `{}`?", field.name()),
        None => format!("use one of {}, or `${{tag:KEY}}`", Field::ALL.map(Field::name).join(", ")),
    }
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Bytes as they are; a slash among them separates components.
    Text(Vec<u8>),
    /// `$name` or `${…}`.
    Placeholder(Placeholder),
    /// `[…]`.
    Group(Vec<Node>),
}

/// A place where a value goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placeholder {
    /// The first one present counts; never empty.
    pub(super) alternatives: Vec<Source>,
    /// Digits are padded with zeros to this many; 0 pads nothing.
    pub(super) width: usize,
    /// Slashes in the value separate components: `$!{…}`.
    pub(super) slashes_are_folders: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A field.
    Field(Field),
    /// A raw tag by its key.
    Tag(String),
}

/// Parses a whole template.
pub(super) fn parse(source: &[u8]) -> Result<Vec<Node>, TemplateError> {
    if source.len() > MAX_TEMPLATE_BYTES {
        return Err(TemplateError::TooLong);
    }
    Parser { source, at: 0 }.nodes(None, 0)
}

struct Parser<'a> {
    source: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.source[self.at..]
    }

    /// Nodes up to the bracket that closes the one at `opened`, or up to the end.
    fn nodes(&mut self, opened: Option<usize>, depth: usize) -> Result<Vec<Node>, TemplateError> {
        let mut nodes = Vec::new();
        while let Some(&byte) = self.rest().first() {
            let position = self.at;
            self.at += 1;
            match byte {
                b']' if opened.is_some() => return Ok(nodes),
                b']' => return Err(TemplateError::UnopenedBracket { position }),
                b'[' if depth == MAX_NESTING => return Err(TemplateError::TooDeep { position }),
                b'[' => nodes.push(Node::Group(self.nodes(Some(position), depth + 1)?)),
                b'$' => self.dollar(position, &mut nodes)?,
                literal => push_text(&mut nodes, literal),
            }
        }
        opened.map_or(Ok(nodes), |position| Err(TemplateError::UnclosedBracket { position }))
    }

    /// What follows the `$` at `position`.
    fn dollar(&mut self, position: usize, nodes: &mut Vec<Node>) -> Result<(), TemplateError> {
        match *self.rest() {
            [literal @ (b'$' | b'[' | b']'), ..] => {
                self.at += 1;
                push_text(nodes, literal);
            }
            [b'{', ..] => nodes.push(self.braced(false)?),
            [b'!', b'{', ..] => {
                self.at += 1;
                nodes.push(self.braced(true)?);
            }
            [first, ..] if is_name_byte(first) => nodes.push(self.bare()?),
            _ => return Err(TemplateError::StrayDollar { position }),
        }
        Ok(())
    }

    /// `$name`: the longest run of letters, digits and underscores.
    fn bare(&mut self) -> Result<Node, TemplateError> {
        let start = self.at;
        let len = self.rest().iter().take_while(|&&byte| is_name_byte(byte)).count();
        self.at += len;
        let source = field(&self.source[start..self.at], start)?;
        Ok(Node::Placeholder(Placeholder { alternatives: vec![source], width: 0, slashes_are_folders: false }))
    }

    /// `{a|b:02}`, beginning at its brace.
    fn braced(&mut self, slashes_are_folders: bool) -> Result<Node, TemplateError> {
        let position = self.at;
        let len = self.rest().iter().position(|&byte| byte == b'}').ok_or(TemplateError::UnclosedBrace { position })?;
        let inner = &self.rest()[1..len];
        self.at += len + 1;
        let (inner, width) = split_format(inner, position + 1)?;
        let mut alternatives = Vec::new();
        let mut start = position + 1;
        for name in inner.split(|&byte| byte == b'|') {
            alternatives.push(alternative(name, start)?);
            start += name.len() + 1;
        }
        Ok(Node::Placeholder(Placeholder { alternatives, width, slashes_are_folders }))
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn push_text(nodes: &mut Vec<Node>, byte: u8) {
    match nodes.last_mut() {
        Some(Node::Text(text)) => text.push(byte),
        _ => nodes.push(Node::Text(vec![byte])),
    }
}

/// The key of `tag:KEY`, which may hold colons itself (`TXXX:Mood`).
fn tag_key(alternative: &[u8]) -> Option<&[u8]> {
    let (name, key) = alternative.split_at_checked(4)?;
    name.eq_ignore_ascii_case(b"tag:").then_some(key)
}

/// The alternatives, and the width of a format behind the last one. In `${tag:KEY}` a format is what ends in `:0` and
/// digits; everything else belongs to the key.
fn split_format(inner: &[u8], start: usize) -> Result<(&[u8], usize), TemplateError> {
    let last = inner.rsplit(|&byte| byte == b'|').next().unwrap_or_default();
    let last_start = inner.len() - last.len();
    let (name, is_tag) = tag_key(last).map_or((last, false), |key| (key, true));
    let Some(colon) = name.iter().rposition(|&byte| byte == b':') else { return Ok((inner, 0)) };
    let colon = last_start + last.len() - name.len() + colon;
    match parse_width(&inner[colon + 1..]) {
        Some(width) => Ok((&inner[..colon], width)),
        None if is_tag => Ok((inner, 0)),
        None => Err(TemplateError::BadFormat { position: start + colon }),
    }
}

/// The width in `02`.
fn parse_width(format: &[u8]) -> Option<usize> {
    let (b'0', digits @ ([_] | [_, _])) = format.split_first()? else { return None };
    let width =
        digits.iter().try_fold(0, |width, &digit| Some(width * 10 + char::from(digit).to_digit(10)? as usize))?;
    (width > 0).then_some(width)
}

/// One alternative between the bars.
fn alternative(name: &[u8], position: usize) -> Result<Source, TemplateError> {
    if name.is_empty() {
        return Err(TemplateError::EmptyAlternative { position });
    }
    match tag_key(name) {
        Some(b"") => Err(TemplateError::MissingTagKey { position }),
        Some(key) => match std::str::from_utf8(key) {
            Ok(key) => Ok(Source::Tag(key.to_owned())),
            Err(_) => Err(TemplateError::TagKeyNotText { position: position + 4 }),
        },
        None => field(name, position),
    }
}

fn field(name: &[u8], position: usize) -> Result<Source, TemplateError> {
    if let Some(field) = Field::parse(name) {
        return Ok(Source::Field(field));
    }
    if name.eq_ignore_ascii_case(b"tag") {
        return Err(TemplateError::MissingTagKey { position });
    }
    if let Some(colon) = name.iter().position(|&byte| byte == b':') {
        return Err(TemplateError::BadFormat { position: position + colon });
    }
    let name = escape(crate::naming::cut_at_character(name, MAX_SHOWN_BYTES)).into_owned();
    let nearest = Field::nearest(&name);
    Err(TemplateError::UnknownField { position, name, nearest })
}
