//! The command line: a thin client of the control socket, and the daemon itself for the verb `mount`.
//!
//! One table of verbs (`verbs`), one function per verb in the module of its subject. A verb writes through its
//! [`Context`] and returns; only [`main`] decides about exit codes and prints errors. A verb that asks the daemon needs the
//! socket's path and nothing else of the configuration, so that a broken file does not hide a running daemon.
//!
//! A failure goes to standard error, with `--json` as a document: standard output belongs to what was asked for, and a
//! verb may have printed its own document before it failed (`config check`, `wait`).

mod client;
mod config_verbs;
mod daemon_verbs;
mod doctor;
mod event_verbs;
mod exit;
mod library_verbs;
mod manual;
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
            return refused_by_clap(&error);
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
            complain(cli.global.json, &error.to_string(), error.exit());
            error.exit()
        }
    };
    if matches!(cli.verb, Verb::Mount(_)) {
        end_process(exit as u8);
    }
    ExitCode::from(exit as u8)
}

/// Help, the version, and command lines that are wrong.
fn refused_by_clap(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
    // The line could not be read as a whole, so whether it asks for JSON is looked for in its words.
    let wants_json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if exit == Exit::Usage && wants_json {
        let text = error.to_string();
        complain(true, text.trim_end().trim_start_matches("error: "), exit);
    } else {
        // A closed pipe is no error, and there is nowhere else to say anything.
        let _ = error.print();
    }
    ExitCode::from(exit as u8)
}

/// Says why it failed. When nobody reads that, the code is all that is left.
fn complain(json: bool, message: &str, exit: Exit) {
    let mut err = std::io::stderr();
    let _ = if json {
        output::document(&mut err, &exit::document(message, exit))
    } else {
        writeln!(err, "musicfs: {message}")
    };
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
        Verb::Doctor(args) => match &args.probe {
            Some(words) => doctor::probe(&mut ctx, words),
            None => doctor::doctor(&mut ctx),
        },
        Verb::Completions(args) => manual::completions(&mut ctx, args.shell),
        Verb::Man(args) => manual::man(&mut ctx, &args.verb, args.into.as_deref()),
    }
}
