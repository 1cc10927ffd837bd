//! The configuration: built-in defaults, then files, then variables, then flags, checked as a whole.
//!
//! `load` is a function of flags and surroundings and touches nothing but the files it reads: no origin, no mountpoint.
//! Its steps are modules: the table of keys (`keys`) with their kinds (`values`); the layers and their merging
//! (`layers`); resolving and the search for contradictions (`check`); showing the result with its sources (`show`). What
//! comes out is a [`Config`] whose every part has been checked, or all problems at once, each with its file and key.
//!
//! No secret has a place in a `Config`, so it may be printed, logged and sent to the socket as it is.

pub mod check;
pub mod keys;
pub mod layers;
pub mod location;
pub mod paths;
pub mod problem;
pub mod show;
pub mod surroundings;
pub mod values;

#[cfg(test)]
mod tests;

pub use check::socket_path;
pub use layers::{ConfigFile, Flags};
pub use problem::{ConfigError, Fault, Problem, Source};
pub use surroundings::Surroundings;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use musicfs_pure::ids::OriginId;
use musicfs_pure::template::{Template, TemplateOptions};

/// Whether the folder `.origins` is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawView {
    /// It can be entered and is not listed.
    Hidden,
    /// It is listed in the root.
    Listed,
    /// It is not there.
    Off,
}

/// When the library may be looked at after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyRule {
    /// After the first listing of every origin, or its definite failure.
    Listed,
    /// As soon as it is mounted.
    Mounted,
}

/// Who may look at the library, and whose the files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Other users too.
    pub allow_other: bool,
    /// Owner of everything.
    pub uid: u32,
    /// Group of everything.
    pub gid: u32,
    /// Permission bits that are taken away.
    pub umask: u32,
}

/// One origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginConfig {
    /// Its name.
    pub id: OriginId,
    /// Its folder: absolute, normalised by text.
    pub root: PathBuf,
    /// Lower is preferred.
    pub priority: u32,
    /// How often it is listed where nothing announces changes.
    pub poll_interval: Duration,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON, one object per line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// A flag gave the level: it then goes before `MUSICFS_LOG`.
    pub level_is_flag: bool,
    /// How.
    pub format: LogFormat,
}

/// A configuration that has been checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the library is to be: absolute, normalised by text, in no origin and around none.
    pub mountpoint: PathBuf,
    /// How it is arranged.
    pub template: Template,
    /// What stands in for missing fields.
    pub template_options: TemplateOptions,
    /// Whether folders that differ in upper and lower case only are one.
    pub case_insensitive: bool,
    /// Whether `.origins` is there.
    pub raw_view: RawView,
    /// When it may be looked at.
    pub ready: ReadyRule,
    /// Who may look.
    pub access: Access,
    /// The state folder: the catalog, which must survive.
    pub state_dir: PathBuf,
    /// The cache folder, which any cleaner may delete.
    pub cache_dir: PathBuf,
    /// The control socket.
    pub socket_path: PathBuf,
    /// At least one, the preferred ones first.
    pub origins: Vec<OriginConfig>,
    /// The log.
    pub log: LogSettings,
    /// Whether to say on stdout when the library is mounted.
    pub announce: bool,
    /// Every value with its source, for the socket.
    pub document: serde_json::Value,
}

/// What loading found out, usable or not.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration, or everything that is wrong with it.
    pub config: Result<Config, ConfigError>,
    /// What is odd and was passed over.
    pub warnings: Vec<Problem>,
    /// The files, the weaker ones first.
    pub files: Vec<ConfigFile>,
    /// Every value that could be read, with its source.
    pub document: serde_json::Value,
}

/// Loads and checks the configuration.
pub fn load(flags: &Flags, surroundings: &Surroundings) -> Loaded {
    let layers = layers::collect(flags, surroundings);
    let resolved = check::resolve(&layers, flags, surroundings);
    let document = show::document(&layers, &resolved);
    let config = complete(resolved, &layers, !flags.quiet, document.clone());
    Loaded { config, warnings: layers.warnings, files: layers.files, document }
}

/// The configuration, if nothing is missing and nothing is wrong.
fn complete(
    resolved: check::Resolved,
    layers: &layers::Layers,
    announce: bool,
    document: serde_json::Value,
) -> Result<Config, ConfigError> {
    let mut problems = resolved.problems;
    let general = |fault| Problem { source: Source::Default, key: None, fault };
    if layers.origins.is_empty() {
        problems.push(general(Fault::NoOrigin));
    }
    let is_set = layers.entries.contains_key("mountpoint");
    if !is_set && !problems.iter().any(|problem| problem.key.as_deref() == Some("mountpoint")) {
        problems.push(general(Fault::NoMountpoint));
    }
    match (resolved.mountpoint, resolved.state_dir, resolved.cache_dir, resolved.socket_path) {
        (Some(mountpoint), Some(state_dir), Some(cache_dir), Some(socket_path)) if problems.is_empty() => Ok(Config {
            mountpoint,
            template: resolved.template,
            template_options: resolved.template_options,
            case_insensitive: resolved.case_insensitive,
            raw_view: resolved.raw_view,
            ready: resolved.ready,
            access: resolved.access,
            state_dir,
            cache_dir,
            socket_path,
            origins: resolved.origins,
            log: resolved.log,
            announce,
            document,
        }),
        _ => Err(ConfigError { problems }),
    }
}

/// Makes a folder and those above it that are missing, for this user only. A folder that exists is taken as it is.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
