//! Verbs about the configuration: show it with its sources, look for mistakes, name its files, have it reloaded.
//!
//! They look at what `musicfs mount` would use with the same flags and variables, daemon or not; `show --running` asks
//! the daemon for what it runs with, and `reload` is done by the daemon, with the flags that it was started with.

use musicfs_protocol::wire::{Empty, ReloadOutcome, ReloadRow, method};
use musicfs_pure::escape::escape;
use serde_json::json;

use super::Context;
use super::client::CALL_LIMIT;
use super::exit::CliError;
use super::output;
use super::verbs::ConfigVerb;
use crate::config::{self, Loaded, Problem};

pub(super) fn config(ctx: &mut Context<'_>, verb: &ConfigVerb) -> Result<(), CliError> {
    match verb {
        ConfigVerb::Show { running: true } => {
            let reply = ctx.connect()?.call::<method::Config>(&Empty {}, Some(CALL_LIMIT))?;
            ctx.print(&reply.config, config::show::toml)
        }
        ConfigVerb::Show { running: false } => {
            let loaded = config::load(&ctx.flags, &ctx.surroundings);
            ctx.print(&loaded.document, config::show::toml)?;
            // Shown as far as it could be read; what is wrong decides about the exit code.
            loaded.config.map(|_| ()).map_err(CliError::Config)
        }
        ConfigVerb::Check => check(ctx),
        ConfigVerb::Reload => reload(ctx),
        ConfigVerb::Path => path(ctx),
    }
}

fn reload(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let reply = ctx.connect()?.call::<method::Reload>(&Empty {}, Some(CALL_LIMIT))?;
    if ctx.json {
        return ctx.print(&reply, |_| String::new());
    }
    for warning in &reply.warnings {
        writeln!(ctx.out, "warning: {}", output::printable(warning))?;
    }
    if reply.keys.is_empty() {
        return ctx.say("nothing has changed");
    }
    write!(ctx.out, "{}", reloaded_text(&reply.keys))?;
    if reply.keys.iter().any(|row| row.outcome == ReloadOutcome::RestartNeeded) {
        ctx.say("what needs a restart keeps its old value until then: `musicfs stop`, then start the daemon again")?;
    }
    let places_tracks =
        |key: &str| matches!(key, "template" | "skip_on_missing" | "case_insensitive") || key.starts_with("defaults.");
    if reply.keys.iter().any(|row| row.outcome == ReloadOutcome::Applied && places_tracks(&row.key)) {
        ctx.say("tracks move to their new places; `musicfs wait --for idle` waits for the last one")?;
    }
    Ok(())
}

fn reloaded_text(keys: &[ReloadRow]) -> String {
    let shown = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "-".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut rows = vec![["KEY", "OLD", "NEW", "OUTCOME"].map(str::to_owned).to_vec()];
    rows.extend(
        keys.iter().map(|row| vec![row.key.clone(), shown(&row.old), shown(&row.new), row.outcome.as_str().to_owned()]),
    );
    output::table(&rows)
}

fn check(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let loaded = config::load(&ctx.flags, &ctx.surroundings);
    if ctx.json {
        let problems = loaded.config.as_ref().err().map(|error| error.problems.as_slice()).unwrap_or_default();
        let report = json!({
            "files": loaded.document["files"],
            "problems": problems.iter().map(problem_json).collect::<Vec<_>>(),
            "warnings": loaded.warnings.iter().map(problem_json).collect::<Vec<_>>(),
        });
        output::document(ctx.out, &report)?;
    } else {
        check_text(ctx, &loaded)?;
    }
    loaded.config.map(|_| ()).map_err(CliError::Config)
}

fn check_text(ctx: &mut Context<'_>, loaded: &Loaded) -> Result<(), CliError> {
    for warning in &loaded.warnings {
        writeln!(ctx.out, "warning: {warning}")?;
    }
    if loaded.config.is_ok() {
        ctx.say("nothing is wrong with the configuration")?;
    }
    Ok(())
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    json!({ "source": problem.source.to_string(), "key": problem.key, "problem": problem.fault.to_string() })
}

fn path(ctx: &mut Context<'_>) -> Result<(), CliError> {
    let loaded = config::load(&ctx.flags, &ctx.surroundings);
    if ctx.json {
        return Ok(output::document(ctx.out, &loaded.document["files"])?);
    }
    for file in &loaded.files {
        let absent = if file.present { "" } else { "  (absent)" };
        writeln!(ctx.out, "{}{absent}", escape(file.path.as_os_str().as_encoded_bytes()))?;
    }
    Ok(())
}
