//! `musicfs doctor`: looks for what keeps musicfs from working, explains it, and prints the command that mends it.
//!
//! ```text
//!   configuration ─┐                        ┌─► findings: what, why, mend
//!   the daemon ────┼─► subject ──► checks ──┤
//!   the system ────┘    children ask places └─► exit code 0 or 1
//! ```
//!
//! What is examined is the configuration of a running daemon, else the one that a daemon would be started with. Each check
//! is a function from facts to findings, in the module of its subject; facts about places that may hang come from child
//! processes (`probe`), so that neither a dead mount nor a dead disk holds doctor up. Nothing is changed: commands are
//! printed for a person to judge. A *problem* decides about the exit code, a *note* does not.

mod folders;
mod fuse;
mod limits;
mod mounts;
mod origins;
mod probe;
mod running;
mod world;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use musicfs_pure::escape::unescape;
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::exit::CliError;
use super::output;
use crate::config::{self, Fault, Problem, Source};
use running::Running;
use world::{World, quoted};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// It must be mended.
    Problem,
    /// It is worth knowing.
    Note,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// The check that found it.
    check: &'static str,
    level: Level,
    /// What is wrong.
    what: String,
    /// Why it matters.
    why: String,
    /// The command that mends it.
    mend: String,
}

impl Finding {
    fn problem(check: &'static str, what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, what: what.into(), why: why.into(), mend: mend.into() }
    }

    fn note(check: &'static str, what: impl Into<String>, why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::problem(check, what, why, mend) }
    }
}

/// What is examined: the parts of a configuration that the system must bear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Subject {
    mountpoint: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    cache_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    allow_other: bool,
    /// Names and roots of local origins.
    origins: Vec<(String, PathBuf)>,
}

impl Subject {
    /// From a document as `config show --json` prints it; what is missing or was refused is not examined.
    fn of_document(document: &Value) -> Self {
        let path =
            |value: &Value| value.as_str().map(|text| PathBuf::from(OsString::from_vec(unescape(text.as_bytes()))));
        let value = |key: &str| &document["values"][key]["value"];
        let rows = document["values"].as_object().into_iter().flatten();
        let origins = rows.filter_map(|(key, row)| {
            let name = key.strip_prefix("origin.")?.strip_suffix(".location")?;
            Some((name.to_owned(), path(&row["value"]).filter(|root| root.is_absolute())?))
        });
        Self {
            mountpoint: path(value("mountpoint")),
            state_dir: path(value("state_dir")),
            cache_dir: path(value("cache.dir")),
            socket: path(&document["socket"]),
            allow_other: value("allow_other") == &Value::Bool(true),
            origins: origins.collect(),
        }
    }
}

/// The verb.
pub(super) fn doctor(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let world = World::of_process(&ctx.surroundings, same_daemon(ctx));
    let findings = examine(ctx, &world);
    let num_problems = findings.iter().filter(|finding| finding.level == Level::Problem).count();
    if ctx.json {
        output::document(ctx.out, &json!({ "findings": findings, "num_problems": num_problems }))?;
    } else {
        write!(ctx.out, "{}", text(&findings))?;
        if num_problems == 0 {
            ctx.say("nothing needs mending")?;
        }
    }
    if num_problems == 0 { Ok(()) } else { Err(CliError::NeedsMending { num_problems }) }
}

/// The child's side of a probe.
pub(super) fn probe(ctx: &mut Context<'_>, words: &[OsString]) -> Result<(), CliError> {
    let facts = probe::respond(words).ok_or(CliError::NoProbe)?;
    Ok(writeln!(ctx.out, "{facts}")?)
}

/// `musicfs` with the flags that name the same daemon and configuration.
fn same_daemon(ctx: &Context<'_>) -> String {
    let flags = [
        ("--config", ctx.flags.config_file.as_ref().map(|file| file.clone().into_os_string())),
        ("--data-dir", ctx.flags.data_dir.clone()),
        ("--socket", ctx.flags.socket.clone()),
    ];
    let given = flags.into_iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", quoted(&value?))));
    std::iter::once("musicfs".to_owned()).chain(given).collect()
}

fn examine(ctx: &Context<'_>, world: &World) -> Vec<Finding> {
    let loaded = config::load(&ctx.flags, &ctx.surroundings);
    let socket = ctx.socket().ok();
    let (running, mut findings) = running::examine(world, socket.as_deref());
    let document = running.as_ref().map_or(&loaded.document, |running| &running.document);
    let subject = Subject::of_document(document);
    let problems = loaded.config.as_ref().err().map(|error| error.problems.as_slice()).unwrap_or_default();
    findings.extend(problems.iter().filter_map(|problem| configuration(world, problem, running.as_ref())));
    findings.extend(fuse::examine(world, &subject));
    findings.extend(mounts::examine(world, &subject, running.as_ref()));
    findings.extend(folders::examine(world, &subject));
    findings.extend(origins::examine(world, &subject));
    findings.extend(limits::descriptors(world, running.as_ref().map(|running| running.pid)));
    // the worst first, else in the order of the checks
    findings.sort_by_key(|finding| finding.level == Level::Note);
    findings
}

/// A mistake in the configuration.
fn configuration(world: &World, problem: &Problem, running: Option<&Running>) -> Option<Finding> {
    // A daemon that was given these by flags lacks nothing.
    if running.is_some() && matches!(problem.fault, Fault::NoOrigin | Fault::NoMountpoint) {
        return None;
    }
    let why = if running.is_some() {
        "the daemon goes on with what it was started with, but would not start again"
    } else {
        "the daemon does not start with it"
    };
    if problem.fault == Fault::NoRuntimeFolder {
        let mend = format!("{}loginctl enable-linger {}", world.sudo(), world.user);
        let why = "without XDG_RUNTIME_DIR and /run/user there is no place for the control socket";
        return Some(Finding::problem("runtime_folder", "there is no runtime folder for this user", why, mend));
    }
    let editor = |file: &Path| format!("${{EDITOR:-vi}} {}", quoted(file.as_os_str()));
    let mend = match (&problem.source, &problem.fault) {
        (Source::File(file), Fault::Unreadable { .. }) => {
            format!("{}chmod a+r {}", world.sudo(), quoted(file.as_os_str()))
        }
        (Source::File(file), _) => editor(file),
        (Source::Variable(name), _) => format!("unset {}", quoted(OsStr::new(name))),
        (_, Fault::NoOrigin | Fault::NoMountpoint) => {
            format!("{} mount ~/Library --origin music=/path/to/music", world.musicfs)
        }
        _ => format!("{} config check", world.musicfs),
    };
    Some(Finding::problem("configuration", problem.to_string(), why, mend))
}

fn text(findings: &[Finding]) -> String {
    let shown = |finding: &Finding| {
        let level = if finding.level == Level::Problem { "problem" } else { "note" };
        let [what, why, mend] = [&finding.what, &finding.why, &finding.mend].map(|text| output::printable(text));
        format!("{level}: {}: {what}\n  why:  {why}\n  mend: {mend}\n\n", finding.check)
    };
    findings.iter().map(shown).collect()
}
