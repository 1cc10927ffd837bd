//! Exit codes and the errors that lead to them.
//!
//! Scripts depend on the numbers, so they are frozen by a test. An error says what failed and what to do next; its code
//! follows from its kind, never from its text.

use std::io;
use std::path::PathBuf;

use musicfs_protocol::wire::{RpcError, code};

use crate::config::{ConfigError, Problem};

/// The table in `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; for doctor: something needs mending
  2  the command line or the configuration is wrong
  3  no daemon answers
  4  the time was up
  5  there is no such file, folder or origin";

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// No daemon answers.
    NoDaemon = 3,
    /// The time was up.
    TimedOut = 4,
    /// There is no such file, folder or origin.
    NotFound = 5,
}

/// A failure for scripts.
pub(super) fn document(message: &str, exit: Exit) -> serde_json::Value {
    serde_json::json!({ "error": { "message": message, "exit_code": exit as u8 } })
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody listens.
    #[error(
        "no daemon answers at {socket} ({reason}); start one with `musicfs mount`, or name its socket with --socket"
    )]
    NoDaemon {
        /// The socket.
        socket: PathBuf,
        /// The system's words.
        reason: io::Error,
    },
    /// The daemon ended while it was asked.
    #[error("the daemon ended the connection; its log says why")]
    ConnectionLost,
    /// The time was up.
    #[error("the time is up: {waiting_for}")]
    TimedOut {
        /// What was waited for.
        waiting_for: String,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(#[from] RpcError),
    /// The daemon speaks another protocol.
    #[error("the daemon (version {version}) speaks protocol {protocol}, which this musicfs does not; restart it")]
    OtherProtocol {
        /// The daemon's version.
        version: String,
        /// Its protocol.
        protocol: u32,
    },
    /// What came back is no answer.
    #[error("what answers at the socket is no musicfs daemon ({reason}); name the right one with --socket")]
    NoAnswer {
        /// What is wrong with it.
        reason: String,
    },
    /// A scan that was waited for did not come to a good end.
    #[error("origin {origin} could not be compared: {reason}; `musicfs origin list` shows how it is")]
    Unscanned {
        /// Which origin.
        origin: String,
        /// Why.
        reason: String,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A flag.
    #[error("{0}")]
    Flag(Problem),
    /// The log could not be set up.
    #[error(transparent)]
    Logging(#[from] crate::logging::LoggingError),
    /// The daemon could not run.
    #[error("{reason}")]
    Daemon {
        /// Why.
        reason: String,
    },
    /// The daemon ended because its threads hung.
    #[error("actors of the daemon froze, so it ended; the log says which, and a service manager starts it again")]
    Frozen,
    /// The daemon ended because its supervisor was gone.
    #[error(
        "the daemon's supervisor failed, so it ended; the log has the place, and a service manager starts it again"
    )]
    Unsupervised,
    /// The daemon ended and left its mount.
    #[error("the daemon has ended and its mount at {mountpoint} is still there; remove it with `fusermount3 -uz`")]
    MountLeft {
        /// Where.
        mountpoint: String,
    },
    /// An entry that has no tags because it is no track.
    #[error("{path} is no track and has no tags; `musicfs why` says what it is")]
    NoTrack {
        /// Its path in the library.
        path: String,
    },
    /// An entry whose tags cannot be read.
    #[error(
        "{path} is named like audio, but not readable as such; replace it in its origin, which `musicfs why` names"
    )]
    MalformedTrack {
        /// Its path in the library.
        path: String,
    },
    /// Doctor found something.
    #[error("{}", if *.num_problems == 1 { "1 problem needs mending".to_owned() } else { format!("{num_problems} problems need mending") })]
    NeedsMending {
        /// How many problems.
        num_problems: usize,
    },
    /// A question of doctor to its children that is none.
    #[error("there is no such probe; `musicfs doctor` asks them by itself")]
    NoProbe,
    /// A verb without a manual page.
    #[error("there is no verb `{verb}`, so no page; `musicfs man` lists the verbs")]
    NoPage {
        /// What was asked for.
        verb: String,
    },
    /// The output could not be written.
    #[error("the output cannot be written: {0}; make room, or send it elsewhere")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoDaemon { .. } => Exit::NoDaemon,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::Refused(error) if error.code == code::NOT_FOUND => Exit::NotFound,
            Self::Refused(error) if matches!(error.code, code::INVALID_PARAMS | code::INVALID_CONFIG) => Exit::Usage,
            Self::Config(_) | Self::Flag(_) | Self::Logging(_) | Self::NoPage { .. } | Self::NoProbe => Exit::Usage,
            Self::ConnectionLost
            | Self::Refused(_)
            | Self::OtherProtocol { .. }
            | Self::NoAnswer { .. }
            | Self::Unscanned { .. }
            | Self::Daemon { .. }
            | Self::Frozen
            | Self::Unsupervised
            | Self::MountLeft { .. }
            | Self::NeedsMending { .. }
            | Self::NoTrack { .. }
            | Self::MalformedTrack { .. }
            | Self::Output(_) => Exit::Failed,
        }
    }

    /// Whoever read the output has had enough: no error at all.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_frozen_and_documented() {
        let codes = [Exit::Done, Exit::Failed, Exit::Usage, Exit::NoDaemon, Exit::TimedOut, Exit::NotFound];
        assert_eq!(codes.map(|code| code as u8), [0, 1, 2, 3, 4, 5]);
        for code in codes {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", code as u8)));
        }
    }

    #[test]
    fn errors_lead_to_their_codes() {
        let no_daemon = CliError::NoDaemon { socket: "/s".into(), reason: io::ErrorKind::NotFound.into() };
        assert_eq!(no_daemon.exit(), Exit::NoDaemon);
        assert_eq!(CliError::TimedOut { waiting_for: String::new() }.exit(), Exit::TimedOut);
        assert_eq!(CliError::Refused(RpcError::new(code::NOT_FOUND, "")).exit(), Exit::NotFound);
        assert_eq!(CliError::Refused(RpcError::new(code::INVALID_PARAMS, "")).exit(), Exit::Usage);
        assert_eq!(CliError::Refused(RpcError::new(code::INTERNAL_ERROR, "")).exit(), Exit::Failed);
        assert_eq!(CliError::Config(ConfigError { problems: Vec::new() }).exit(), Exit::Usage);
        assert!(CliError::Output(io::ErrorKind::BrokenPipe.into()).is_closed_pipe());
        assert!(!CliError::Output(io::ErrorKind::StorageFull.into()).is_closed_pipe());
    }
}
