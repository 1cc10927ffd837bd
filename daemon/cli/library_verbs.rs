//! Verbs about entries of the library: where one comes from, its tags, what is below it.
//!
//! A path is given as the shell sees it. The mount is not looked at to make sense of it: the working folder and the
//! argument go to the daemon as text, which knows its mountpoint. An argument may be a real name or the escaped form that
//! outputs have; a name with a `%` can be both, so it is tried as a real name first. The working folder has two names when
//! a link leads to it (the system's and the shell's `PWD`); the second is tried when the first finds nothing.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use musicfs_protocol::wire::{
    EntryKind, Method, PathRequest, Tags, TreeEntry, TreeReply, TreeRequest, WhyReply, code, method,
};
use musicfs_pure::escape::{escape, unescape};

use super::Context;
use super::client::{CALL_LIMIT, Client};
use super::exit::CliError;
use super::output::{dated, fields, mtime, printable};

/// The ways to understand an argument, the likelier ones first.
fn readings(ctx: &Context<'_>, argument: &OsStr) -> Vec<PathRequest> {
    let bytes = argument.as_bytes();
    let mut paths = vec![escape(bytes).into_owned()];
    if let Some(text) = argument.to_str().filter(|text| unescape(text.as_bytes()) != bytes) {
        paths.push(text.to_owned());
    }
    let text_of = |folder: &Path| escape(folder.as_os_str().as_bytes()).into_owned();
    let by_system = ctx.surroundings.working_folder.as_deref().map(text_of);
    let by_shell = ctx.surroundings.variable("PWD").map(|pwd| text_of(Path::new(pwd)));
    let mut folders = vec![by_system];
    if by_shell.is_some() && !folders.contains(&by_shell) && !argument.as_bytes().starts_with(b"/") {
        folders.push(by_shell);
    }
    let pairs = folders.iter().flat_map(|cwd| paths.iter().map(move |path| (path, cwd)));
    pairs.map(|(path, cwd)| PathRequest { path: path.clone(), cwd: cwd.clone() }).collect()
}

/// Asks with one reading after the other until one finds something.
fn ask<M: Method>(
    ctx: &Context<'_>,
    argument: &OsStr,
    request: impl Fn(PathRequest) -> M::Request,
) -> Result<(Client, PathRequest, M::Reply), CliError> {
    let mut client = ctx.connect()?;
    let mut readings = readings(ctx, argument).into_iter().peekable();
    loop {
        let Some(reading) = readings.next() else { return Err(CliError::ConnectionLost) };
        match client.call::<M>(&request(reading.clone()), Some(CALL_LIMIT)) {
            Ok(reply) => return Ok((client, reading, reply)),
            Err(CliError::Refused(error)) if error.code == code::NOT_FOUND && readings.peek().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn why(ctx: &mut Context<'_>, path: &OsStr) -> Result<(), CliError> {
    let (_, _, reply) = ask::<method::Why>(ctx, path, |request| request)?;
    ctx.print(&reply, why_text)
}

fn why_text(why: &WhyReply) -> String {
    let mut pairs = vec![
        ("path", if why.path.is_empty() { "/".to_owned() } else { why.path.clone() }),
        ("kind", why.kind.as_str().to_owned()),
        ("inode", why.ino.to_string()),
        ("size", why.size.to_string()),
        ("mtime", mtime(why.mtime)),
        ("mode", why.mode.clone()),
    ];
    if let Some(source) = &why.source {
        pairs.push(("origin", format!("{} ({})", source.origin, source.health)));
        pairs.push(("origin path", source.path.clone()));
        pairs.push(("file id", source.file_id.to_string()));
        let etag = source.version.etag.as_ref().map(|etag| format!(", etag {etag}")).unwrap_or_default();
        pairs.push(("version", format!("{} bytes, {}{etag}", source.version.size, mtime(source.version.mtime))));
        pairs.push(("changed", format!("{} times since the start of the daemon", why.revision)));
        if source.embedded_art {
            pairs.push(("made from", "a picture inside that file".to_owned()));
        }
        let tags = match (why.tagged, why.malformed) {
            (true, _) => "read",
            (false, true) => "named like audio, but not readable as such",
            (false, false) => "none",
        };
        pairs.push(("tags", tags.to_owned()));
    }
    pairs.push(("last error", why.last_error.as_ref().map_or_else(|| "none".to_owned(), dated)));
    fields(&pairs)
}

pub(super) fn tags(ctx: &mut Context<'_>, path: &OsStr) -> Result<(), CliError> {
    let (_, _, reply) = ask::<method::TagsOf>(ctx, path, |request| request)?;
    let Some(tags) = &reply.tags else {
        let path = if reply.path.is_empty() { "/".to_owned() } else { reply.path };
        return Err(if reply.malformed { CliError::MalformedTrack { path } } else { CliError::NoTrack { path } });
    };
    ctx.print(&reply, |reply| tags_text(&reply.path, tags))
}

fn tags_text(path: &str, tags: &Tags) -> String {
    let mut pairs = vec![("path", path.to_owned())];
    pairs.extend(tags.format.iter().map(|format| ("format", format.clone())));
    pairs.extend(tags.fields.iter().map(|(name, values)| (name.as_str(), values.join("; "))));
    let raw: Vec<_> = tags.raw.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    format!("{}\nas in the file:\n{}", fields(&pairs), fields(&raw))
}

pub(super) fn tree(ctx: &mut Context<'_>, path: Option<&OsStr>) -> Result<(), CliError> {
    // Without an argument it is the whole library, wherever the shell stands.
    let argument = path.unwrap_or(OsStr::new("/"));
    let first = |request: PathRequest| TreeRequest { path: request.path, cwd: request.cwd, after: None, limit: None };
    let (mut client, reading, mut page) = ask::<method::Tree>(ctx, argument, first)?;
    let mut printer = TreePrinter { json: ctx.json, num_printed: 0 };
    printer.begin(ctx.out)?;
    loop {
        printer.page(ctx.out, &page)?;
        let Some(after) = page.next else { break };
        let request = TreeRequest { after: Some(after), ..first(reading.clone()) };
        page = client.call::<method::Tree>(&request, Some(CALL_LIMIT))?;
    }
    printer.end(ctx.out)
}

/// Prints pages as they come, so that a library of any size costs one page of memory; with JSON still one document.
struct TreePrinter {
    json: bool,
    num_printed: u64,
}

impl TreePrinter {
    fn begin(&self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.json {
            out.write_all(b"{\"entries\":[")?;
        }
        Ok(())
    }

    fn page(&mut self, out: &mut dyn Write, page: &TreeReply) -> Result<(), CliError> {
        for entry in &page.entries {
            if self.json {
                out.write_all(if self.num_printed == 0 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *out, entry).map_err(std::io::Error::from)?;
            } else {
                writeln!(out, "{}", tree_line(entry))?;
            }
            self.num_printed += 1;
        }
        Ok(())
    }

    fn end(&self, out: &mut dyn Write) -> Result<(), CliError> {
        if self.json {
            out.write_all(b"\n]}\n")?;
        }
        Ok(())
    }
}

/// The name, indented by its depth; a folder ends in a slash.
fn tree_line(entry: &TreeEntry) -> String {
    let depth = entry.path.matches('/').count();
    let name = entry.path.rsplit('/').next().unwrap_or_default();
    let slash = if entry.kind == EntryKind::Folder { "/" } else { "" };
    format!("{:indent$}{}{slash}", "", printable(name), indent = depth * 2)
}
