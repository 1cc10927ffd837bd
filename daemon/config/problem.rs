//! What can be wrong with a configuration, where it was found and what to do about it.
//!
//! All problems are collected before anything is said, so that a file is mended in one go. A problem never repeats a
//! value: it may be a secret that was written into the wrong place.

use std::fmt;
use std::path::PathBuf;

use musicfs_pure::escape::escape;
use musicfs_pure::ids::InvalidOriginId;
use musicfs_pure::template::TemplateError;

use super::location::LocationError;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave one.
    Default,
    /// A file.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
    /// A flag or argument of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(&escape(path.as_os_str().as_encoded_bytes())),
            Self::Variable(name) => f.write_str(&escape(name.as_bytes())),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A key that is not in the table.
    #[error("unknown key; the nearest valid key is `{nearest}`")]
    UnknownKey {
        /// The most similar one.
        nearest: String,
    },
    /// A variable that is no key's.
    #[error("unknown variable, ignored; the nearest valid one is {nearest}")]
    UnknownVariable {
        /// The most similar one.
        nearest: String,
    },
    /// A key of a feature that is not built.
    #[error("not supported yet; {}", advice(.accepted))]
    NotSupported {
        /// Values that are accepted already.
        accepted: Vec<String>,
    },
    /// A value of the wrong kind.
    #[error("expected {expected}")]
    Misfit {
        /// What fits.
        expected: String,
    },
    /// A value where a table is expected.
    #[error("this is a table; write `[{name}]` and its keys below")]
    NotATable {
        /// Its name.
        name: String,
    },
    /// A file that is not TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A file that cannot be read.
    #[error("cannot be read: {reason}; mend its permissions, or name another file with --config")]
    Unreadable {
        /// The system's words.
        reason: String,
    },
    /// The name of an origin.
    #[error(transparent)]
    OriginName(#[from] InvalidOriginId),
    /// A value of `--origin`; not repeated, because a location may hold a password.
    #[error("expected NAME=LOCATION, with a name of a-z, 0-9, `_` and `-`")]
    OriginFlag,
    /// A path that cannot be used.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// A location that cannot be used.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// No origin at all.
    #[error("no origin is configured; add `[origin.NAME]` with a `location`, or give --origin NAME=LOCATION")]
    NoOrigin,
    /// An origin without a place.
    #[error("this origin has no `location`; add one")]
    NoLocation,
    /// Too many origins.
    #[error("more than {max} origins; each has a thread of its own, so put folders of one disk into one origin")]
    TooManyOrigins {
        /// The limit.
        max: usize,
    },
    /// No mountpoint.
    #[error("no mountpoint is configured; add `mountpoint`, or name it: musicfs mount MOUNTPOINT")]
    NoMountpoint,
    /// Two paths of which one lies in the other.
    #[error("lies {relation} {other}; {advice}")]
    Nested {
        /// `inside`, `around` or `at`.
        relation: &'static str,
        /// What the other one is.
        other: String,
        /// What to do.
        advice: &'static str,
    },
    /// No folder for the control socket.
    #[error(
        "there is no folder for the control socket: XDG_RUNTIME_DIR is not set and /run/user has none for this user; give --socket PATH or --data-dir DIR"
    )]
    NoRuntimeFolder,
    /// The control socket's path is too long for the system.
    #[error("the path of the control socket has {len} bytes and may have {max}; give a shorter one with --socket")]
    SocketPathTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}

fn advice(accepted: &[String]) -> String {
    if accepted.is_empty() {
        "leave it out".to_owned()
    } else {
        format!("leave it out or write {}", accepted.join(" or "))
    }
}

/// Why a path cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// Nothing there.
    #[error("the path is empty; write one")]
    Empty,
    /// A NUL byte.
    #[error("the path has a NUL byte; remove it")]
    Nul,
    /// Longer than Linux allows.
    #[error("the path is longer than a path can be; shorten it")]
    TooLong,
    /// Relative, where nobody knows to what.
    #[error("the path is relative; write it from `/` or from `~/`")]
    Relative,
    /// Another user's home.
    #[error("`~user` is not understood; write the path from `/` or from `~/`")]
    OtherHome,
    /// No home.
    #[error("HOME is not set; set it, write the path from `/`, or give --data-dir DIR")]
    NoHome,
    /// The working folder is gone.
    #[error("the working folder does not exist any more; write the path from `/`")]
    NoWorkingFolder,
}

/// A fault and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, variable or flag.
    pub source: Source,
    /// The key, where one is concerned.
    pub key: Option<String>,
    /// What is wrong.
    pub fault: Fault,
}

impl Problem {
    /// A problem of a key.
    pub fn of_key(source: Source, key: impl Into<String>, fault: impl Into<Fault>) -> Self {
        Self { source, key: Some(key.into()), fault: fault.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source != Source::Default {
            write!(f, "{}: ", self.source)?;
        }
        if let Some(key) = &self.key {
            write!(f, "`{}`: ", escape(key.as_bytes()))?;
        }
        self.fault.fmt(f)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ConfigError {}
