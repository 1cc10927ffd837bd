//! The command line: a thin client of the control socket, and the daemon itself for the verb `mount`.
//!
//! One table of verbs (`verbs`), one function per verb in the module of its subject. A verb writes through its
//! [`Context`] and returns; only [`main`] decides about exit codes and prints errors. A verb that asks the daemon needs the
//! socket's path and nothing else of the configuration, so that a broken file does not hide a running daemon.

mod client;
mod config_verbs;
mod daemon_verbs;
mod event_verbs;
mod exit;
mod library_verbs;
mod output;
mod process;
mod progress;
mod verbs;
mod waiting;

#[cfg(test)]
mod tests;

pub use exit::{CliError, EXIT_CODES, Exit};
pub use verbs::Cli;

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{self, Flags, Surroundings};
use crate::lifecycle::end_process;
use client::{CALL_LIMIT, Client};
use verbs::{OriginVerb, Verb};

/// What a verb works with.
struct Context<'a> {
    /// What the flags say about the configuration.
    flags: Flags,
    /// The process's surroundings.
    surroundings: Surroundings,
    /// Print JSON.
    json: bool,
    /// Print nothing that was not asked for.
    quiet: bool,
    /// Where to print.
    out: &'a mut dyn Write,
}

impl Context<'_> {
    /// The control socket's path.
    fn socket(&self) -> Result<PathBuf, CliError> {
        config::socket_path(&self.flags, &self.surroundings).map_err(CliError::Flag)
    }

    /// A connection to the daemon.
    fn connect(&self) -> Result<Client, CliError> {
        Client::connect(&self.socket()?, Some(CALL_LIMIT))
    }

    /// Prints a reply: as a document, or as the text that people get.
    fn print<R: serde::Serialize>(&mut self, reply: &R, text: impl FnOnce(&R) -> String) -> Result<(), CliError> {
        if self.json {
            output::document(self.out, reply)?;
        } else {
            self.out.write_all(text(reply).as_bytes())?;
        }
        Ok(())
    }

    /// Prints what is worth saying and was not asked for.
    fn say(&mut self, text: &str) -> Result<(), CliError> {
        if !self.quiet && !self.json {
            writeln!(self.out, "{text}")?;
        }
        Ok(())
    }
}

/// The process's entry: reads the command line, does what it says, ends with a documented code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no error, and there is nowhere else to say anything.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    let surroundings = Surroundings::of_process();
    let mut out = BufWriter::new(std::io::stdout());
    let outcome = run(&cli, surroundings, &mut out).and_then(|()| Ok(out.flush()?));
    let exit = match outcome {
        Ok(()) => Exit::Done,
        Err(error) if error.is_closed_pipe() => Exit::Done,
        Err(error) => {
            let _ = out.flush();
            let _ = writeln!(std::io::stderr(), "musicfs: {error}");
            error.exit()
        }
    };
    if matches!(cli.verb, Verb::Mount(_)) {
        end_process(exit as u8);
    }
    ExitCode::from(exit as u8)
}

/// Does what a command line says.
pub fn run(cli: &Cli, surroundings: Surroundings, out: &mut dyn Write) -> Result<(), CliError> {
    let (json, quiet) = (cli.global.json, cli.global.quiet);
    let mut ctx = Context { flags: cli.config_flags(), surroundings, json, quiet, out };
    match &cli.verb {
        Verb::Mount(_) => daemon_verbs::mount(&mut ctx),
        Verb::Status => daemon_verbs::status(&mut ctx),
        Verb::Actors => daemon_verbs::actors(&mut ctx),
        Verb::Metrics => daemon_verbs::metrics(&mut ctx),
        Verb::Origin(OriginVerb::List) => daemon_verbs::origin_list(&mut ctx),
        Verb::Origin(OriginVerb::Rescan { name, accept_removals, wait }) => {
            waiting::rescan(&mut ctx, name, *accept_removals, *wait)
        }
        Verb::Events(args) => event_verbs::events(&mut ctx, args),
        Verb::Wait(args) => waiting::wait(&mut ctx, args.goal.into(), args.timeout),
        Verb::Stop => waiting::stop(&mut ctx),
        Verb::Why(arg) => library_verbs::why(&mut ctx, &arg.path),
        Verb::Tags(arg) => library_verbs::tags(&mut ctx, &arg.path),
        Verb::Tree(args) => library_verbs::tree(&mut ctx, args.path.as_deref()),
        Verb::Config(verb) => config_verbs::config(&mut ctx, verb),
    }
}
