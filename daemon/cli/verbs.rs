//! The table of verbs: what the command line takes.
//!
//! clap reads it, and help, completions and man pages come from it, so a verb or flag is described in one place. What
//! happens when something is left out stands in brackets at the end of its description. Values are taken as bytes wherever
//! they name a file, and `--origin` is not taken apart here: clap repeats a value that it refuses, and a location may hold
//! a password.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use musicfs_protocol::wire::WaitFor;

use super::exit::EXIT_CODES;
use crate::config::Flags;

/// One music library over many places, served as a file system.
#[derive(Debug, Parser)]
#[command(name = "musicfs", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// Flags of every verb.
    #[command(flatten)]
    pub global: GlobalFlags,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes, before it or after it.
#[derive(Clone, Debug, Default, Args)]
pub struct GlobalFlags {
    /// Read this configuration file and no other [default: /etc/musicfs/config.toml, then musicfs/config.toml in
    /// `$XDG_CONFIG_HOME` or ~/.config].
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The daemon's control socket [default: musicfs/control.sock in `$XDG_RUNTIME_DIR` or /run/user/UID].
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub socket: Option<OsString>,
    /// Keep state and cache in DIR/state and DIR/cache [default: musicfs in `$XDG_STATE_HOME` or ~/.local/state, and in
    /// `$XDG_CACHE_HOME` or ~/.cache].
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<OsString>,
    /// Print JSON: one document to standard output, and a failure as one document to standard error [default: words].
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more; twice for everything [default: the configured level].
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log errors only and print nothing that was not asked for.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// What musicfs does.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the daemon in the foreground: mount the library and keep it in step with its origins.
    Mount(MountArgs),
    /// Show how the daemon, its origins and the library are.
    Status,
    /// Show where a file of the library comes from, and what went wrong with it last.
    Why(PathArg),
    /// Wait until the library is scanned or idle; for a daemon to appear, too.
    Wait(WaitArgs),
    /// Show or rescan origins.
    #[command(subcommand)]
    Origin(OriginVerb),
    /// Show every actor's numbers.
    Actors,
    /// Print every metric as OpenMetrics text.
    Metrics,
    /// Print what happened to origins, actors, files and the daemon.
    Events(EventsArgs),
    /// Print a part of the library, or all of it.
    Tree(TreeArgs),
    /// Print the tags of a track.
    Tags(PathArg),
    /// Show, check or reload the configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// End the daemon, and wait until it has ended and the library is unmounted.
    Stop,
    /// Look for what keeps musicfs from working, and print the command that mends each thing.
    Doctor(DoctorArgs),
    /// Print a script that lets a shell complete verbs and flags.
    Completions(CompletionsArgs),
    /// Print the manual.
    Man(ManArgs),
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Answer a question about a place and nothing else: doctor asks children of its own, because a place may hang.
    #[arg(long, hide = true, num_args = 2, value_names = ["QUESTION", "PLACE"])]
    pub probe: Option<Vec<OsString>>,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell.
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The verb whose page is wanted, as it is typed: origin rescan [default: the page of musicfs itself].
    #[arg(value_name = "VERB")]
    pub verb: Vec<String>,
    /// Write every page into this folder, each into a file of its own [default: print one page].
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "verb")]
    pub into: Option<PathBuf>,
}

/// Arguments of `mount`.
#[derive(Debug, Args)]
pub struct MountArgs {
    /// Where the library appears [default: the configured mountpoint].
    #[arg(value_hint = ValueHint::DirPath)]
    pub mountpoint: Option<OsString>,
    /// Add an origin to the configured ones, or replace the one of this name [default: the configured origins].
    #[arg(long = "origin", value_name = "NAME=LOCATION")]
    pub origins: Vec<OsString>,
    /// How the library is arranged [default: the configured template].
    #[arg(long, value_name = "T")]
    pub template: Option<OsString>,
}

/// A path of the library.
#[derive(Debug, Args)]
pub struct PathArg {
    /// A path below the mountpoint as the shell sees it, or in the library; percent-escapes are understood.
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: OsString,
}

/// Arguments of `tree`.
#[derive(Debug, Args)]
pub struct TreeArgs {
    /// A path as `why` takes it [default: the whole library].
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: Option<OsString>,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on, until the daemon ends.
    #[arg(long)]
    pub follow: bool,
    /// Print events of this type only, like `file.added`, or of all types that begin with this word, like `file`. Opened
    /// files (`file.opened`) are remembered only while somebody follows them.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// scanned: every reachable origin is listed, its tags are read and the tree is built. idle: also nothing is
    /// pending, in flight or queued for the kernel.
    #[arg(long = "for", value_name = "WHAT")]
    pub goal: Goal,
    /// Give up after this time [default: wait for ever].
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub timeout: Option<Duration>,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// Listed, tags read, tree built.
    Scanned,
    /// Scanned, and nothing pending.
    Idle,
}

impl From<Goal> for WaitFor {
    fn from(goal: Goal) -> Self {
        match goal {
            Goal::Scanned => Self::Scanned,
            Goal::Idle => Self::Idle,
        }
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected a number of seconds, 0 or more".to_owned())
}

/// What can be done with origins.
#[derive(Debug, Subcommand)]
pub enum OriginVerb {
    /// Show every origin.
    List,
    /// Compare an origin with what is known of it.
    Rescan {
        /// The origin's name.
        name: String,
        /// Believe a listing that looks like a lost disk: forget what it does not show [default: such a listing removes
        /// nothing].
        #[arg(long)]
        accept_removals: bool,
        /// Wait until everything that it finds is in the library, and fail when it cannot come to its end.
        #[arg(long)]
        wait: bool,
    },
}

/// What can be done with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Print every value in effect and where it comes from.
    Show {
        /// Ask the running daemon for the values that it runs with [default: what a daemon would be started with].
        #[arg(long)]
        running: bool,
    },
    /// Look for mistakes.
    Check,
    /// Have the running daemon read its configuration again: what can change does so at once, the rest is named.
    Reload,
    /// Print the files that are read, the weaker ones first.
    Path,
}

impl Cli {
    /// What the flags say about the configuration.
    pub fn config_flags(&self) -> Flags {
        let global = &self.global;
        let log_level = match (global.quiet, global.verbose) {
            (true, _) => Some(("error", "-q")),
            (false, 0) => None,
            (false, 1) => Some(("debug", "-v")),
            (false, _) => Some(("trace", "-vv")),
        };
        let mut flags = Flags {
            config_file: global.config.clone(),
            data_dir: global.data_dir.clone(),
            socket: global.socket.clone(),
            log_level,
            quiet: global.quiet,
            ..Flags::default()
        };
        if let Verb::Mount(mount) = &self.verb {
            flags.mountpoint.clone_from(&mount.mountpoint);
            flags.template.clone_from(&mount.template);
            flags.origins.clone_from(&mount.origins);
        }
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn table_of_verbs_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_are_taken_before_and_after_the_verb() {
        for line in [
            &["musicfs", "--socket", "/s", "--json", "-q", "origin", "list"][..],
            &["musicfs", "origin", "--socket", "/s", "list", "--json", "-q"],
            &["musicfs", "origin", "list", "--socket", "/s", "--json", "-q"],
        ] {
            let cli = Cli::try_parse_from(line).expect("parses");
            assert_eq!(cli.global.socket.as_deref(), Some("/s".as_ref()), "{line:?}");
            assert!(cli.global.json && cli.global.quiet, "{line:?}");
        }
    }

    #[test]
    fn mistakes_of_usage_end_with_two_and_help_with_zero() {
        for line in [
            &["musicfs"][..],
            &["musicfs", "nonsense"],
            &["musicfs", "wait"],
            &["musicfs", "wait", "--for", "godot"],
            &["musicfs", "wait", "--for", "idle", "--timeout", "-1"],
            &["musicfs", "wait", "--for", "idle", "--timeout", "1e400"],
            &["musicfs", "status", "-v", "-q"],
            &["musicfs", "why"],
        ] {
            assert_eq!(Cli::try_parse_from(line).expect_err("a mistake").exit_code(), 2, "{line:?}");
        }
        assert_eq!(Cli::try_parse_from(["musicfs", "--help"]).expect_err("help").exit_code(), 0);
        assert_eq!(Cli::try_parse_from(["musicfs", "--version"]).expect_err("version").exit_code(), 0);
    }

    #[test]
    fn timeout_takes_fractions_of_a_second() {
        assert_eq!(parse_seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_seconds("60"), Ok(Duration::from_mins(1)));
        assert!(parse_seconds("NaN").is_err());
    }
}
