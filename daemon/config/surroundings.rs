//! What the process was started with: variables, working folder, user.
//!
//! Read once at the edge and handed on, so that everything behind is a function of it and a test can make it up. The
//! rules of XDG and of `~` are here; no folder is looked at except the system's one for runtime files.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::paths::normalise;
use super::problem::{Fault, PathFault, Source};

/// The surroundings of the process, or those that a test makes up.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The environment.
    pub variables: BTreeMap<OsString, OsString>,
    /// The working folder; nothing when it has been removed.
    pub working_folder: Option<PathBuf>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The file of the whole machine.
    pub system_file: PathBuf,
    /// Where the system keeps users' runtime folders.
    pub runtime_folders: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os().collect(),
            working_folder: std::env::current_dir().ok(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            system_file: PathBuf::from("/etc/musicfs/config.toml"),
            runtime_folders: PathBuf::from("/run/user"),
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path; others are ignored, as the XDG specification says.
    fn folder(&self, name: &str) -> Option<&Path> {
        self.variable(name).map(Path::new).filter(|path| path.is_absolute())
    }

    /// The user's home.
    pub fn home(&self) -> Result<&Path, PathFault> {
        self.folder("HOME").ok_or(PathFault::NoHome)
    }

    /// musicfs' folder below an XDG folder, or below its default in the home.
    pub fn xdg_folder(&self, variable: &str, below_home: &str) -> Result<PathBuf, PathFault> {
        let base = match self.folder(variable) {
            Some(folder) => folder.to_owned(),
            None => self.home()?.join(below_home),
        };
        Ok(normalise(&base.join("musicfs")))
    }

    /// The folder for sockets, where the system has one.
    pub fn runtime_folder(&self) -> Option<PathBuf> {
        let by_uid = || Some(self.runtime_folders.join(self.uid.to_string())).filter(|folder| folder.is_dir());
        self.folder("XDG_RUNTIME_DIR").map(Path::to_owned).or_else(by_uid)
    }

    /// The path that a text stands for: `~/` is the home, and what is relative begins at the working folder where the
    /// text was typed by someone who stands in it.
    pub fn absolute(&self, text: &OsStr, source: &Source) -> Result<PathBuf, Fault> {
        let bytes = text.as_encoded_bytes();
        let path = Path::new(text);
        let full = match bytes {
            b"" => return Err(PathFault::Empty.into()),
            _ if bytes.contains(&0) => return Err(PathFault::Nul.into()),
            _ if bytes.len() > musicfs_pure::ids::MAX_ORIGIN_PATH_BYTES => return Err(PathFault::TooLong.into()),
            [b'/', ..] => path.to_owned(),
            b"~" => self.home()?.to_owned(),
            [b'~', b'/', ..] => self.home()?.join(path.strip_prefix("~").unwrap_or(path)),
            // A folder that is really called so can be written as `./~name`.
            [b'~', ..] => return Err(PathFault::OtherHome.into()),
            _ if !matches!(source, Source::Flag(_)) => return Err(PathFault::Relative.into()),
            _ => self.working_folder.as_ref().ok_or(PathFault::NoWorkingFolder)?.join(path),
        };
        Ok(normalise(&full))
    }
}
