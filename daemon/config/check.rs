//! From layers to a [`Config`] that can be used: defaults filled in, paths resolved, contradictions found.
//!
//! Everything is decided by text. In particular no origin and no mountpoint is looked at: either may hang, and whether
//! an origin is there is found out by its probe, which can wait. What is refused here is what could never work or would
//! do harm: a mountpoint in its own origin deadlocks, and a state folder in an origin would be written to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use musicfs_actors::control_server::MAX_SOCKET_PATH_BYTES;
use musicfs_pure::ids::OriginId;
use musicfs_pure::template::{Field, Template, TemplateOptions};

use super::keys::{self, Place};
use super::layers::{Flags, Layers};
use super::location::{Location, LocationError};
use super::paths::{normalise, relation};
use super::problem::{Fault, Problem, Source};
use super::surroundings::Surroundings;
use super::values::Setting;
use super::{Access, LogFormat, LogSettings, OriginConfig, RawView, ReadyRule};

/// The most origins: each has a thread and watches of its own.
const MAX_ORIGINS: usize = 64;

/// What could be made of the layers. Parts that are missing or wrong are nothing; the problems say why.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The mountpoint.
    pub mountpoint: Option<PathBuf>,
    /// The template.
    pub template: Template,
    /// What stands in for missing fields.
    pub template_options: TemplateOptions,
    /// Whether folders that differ in upper and lower case only are one.
    pub case_insensitive: bool,
    /// Whether `.origins` is there.
    pub raw_view: RawView,
    /// When the library may be looked at.
    pub ready: ReadyRule,
    /// Who may look.
    pub access: Access,
    /// The state folder.
    pub state_dir: Option<PathBuf>,
    /// The cache folder.
    pub cache_dir: Option<PathBuf>,
    /// The control socket.
    pub socket_path: Option<PathBuf>,
    /// The origins, the preferred ones first.
    pub origins: Vec<OriginConfig>,
    /// The log.
    pub log: LogSettings,
    /// Everything that is wrong, missing parts apart.
    pub problems: Vec<Problem>,
}

/// The control socket that flags and surroundings lead to, for the daemon and its clients.
pub fn socket_path(flags: &Flags, surroundings: &Surroundings) -> Result<PathBuf, Problem> {
    let flagged = |flag, text| {
        let source = Source::Flag(flag);
        let path = surroundings.absolute(text, &source);
        path.map_err(|fault| Problem { source, key: None, fault })
    };
    let path = if let Some(socket) = &flags.socket {
        flagged("--socket", socket)?
    } else if let Some(folder) = surroundings.runtime_folder() {
        folder.join("musicfs/control.sock")
    } else if let Some(data_dir) = &flags.data_dir {
        flagged("--data-dir", data_dir)?.join("control.sock")
    } else {
        return Err(Problem { source: Source::Default, key: None, fault: Fault::NoRuntimeFolder });
    };
    let len = path.as_os_str().len();
    if len > MAX_SOCKET_PATH_BYTES {
        let fault = Fault::SocketPathTooLong { len, max: MAX_SOCKET_PATH_BYTES };
        return Err(Problem { source: Source::Default, key: None, fault });
    }
    Ok(path)
}

/// Resolves everything that can be.
pub fn resolve(layers: &Layers, flags: &Flags, surroundings: &Surroundings) -> Resolved {
    let mut reader = Reader { layers, surroundings, problems: layers.problems.clone() };
    let (template, template_options) = reader.template();
    let mut resolved = Resolved {
        mountpoint: reader.path("mountpoint"),
        template,
        template_options,
        case_insensitive: reader.is_on("case_insensitive"),
        raw_view: match reader.word("raw_view").as_str() {
            "listed" => RawView::Listed,
            "off" => RawView::Off,
            _ => RawView::Hidden,
        },
        ready: if reader.word("ready") == "mounted" { ReadyRule::Mounted } else { ReadyRule::Listed },
        access: reader.access(),
        state_dir: reader.folder(flags, "state", "state_dir", ("XDG_STATE_HOME", ".local/state")),
        cache_dir: reader.folder(flags, "cache", "cache.dir", ("XDG_CACHE_HOME", ".cache")),
        socket_path: reader.kept(socket_path(flags, surroundings)),
        origins: reader.origins(),
        log: LogSettings {
            level: reader.word("log.level"),
            level_is_flag: matches!(reader.source("log.level"), Source::Flag(_)),
            format: if reader.word("log.format") == "json" { LogFormat::Json } else { LogFormat::Text },
        },
        problems: Vec::new(),
    };
    let nested = nesting(&resolved, &reader);
    resolved.problems = reader.problems;
    resolved.problems.extend(nested);
    resolved
}

/// Reads values with their defaults and collects what is wrong.
struct Reader<'a> {
    layers: &'a Layers,
    surroundings: &'a Surroundings,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn source(&self, name: &str) -> Source {
        self.layers.entries.get(name).map_or(Source::Default, |entry| entry.source.clone())
    }

    /// The value of a key, or its default.
    fn setting(&self, name: &str) -> Option<Setting> {
        if let Some(entry) = self.layers.entries.get(name) {
            return Some(entry.setting.clone());
        }
        let parts: Vec<&str> = name.split('.').collect();
        let Place::Key(key) = keys::find(&parts) else { return None };
        key.default.and_then(|text| key.kind.read_text(text).ok())
    }

    fn word(&self, name: &str) -> String {
        match self.setting(name) {
            Some(Setting::Text(text)) => text,
            _ => String::new(),
        }
    }

    fn is_on(&self, name: &str) -> bool {
        self.setting(name) == Some(Setting::Switch(true))
    }

    fn number(&self, name: &str) -> Option<u32> {
        match self.setting(name) {
            Some(Setting::Number(number)) => u32::try_from(number).ok(),
            _ => None,
        }
    }

    fn refuse(&mut self, name: &str, fault: impl Into<Fault>) {
        self.problems.push(Problem::of_key(self.source(name), name, fault));
    }

    /// A result whose problem is kept.
    fn kept<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn path(&mut self, name: &str) -> Option<PathBuf> {
        let Some(Setting::Raw(text)) = self.setting(name) else { return None };
        self.surroundings.absolute(&text, &self.source(name)).map_err(|fault| self.refuse(name, fault)).ok()
    }

    /// The state or cache folder: below `--data-dir`, else the key's, else XDG's.
    fn folder(&mut self, flags: &Flags, below: &str, name: &str, xdg: (&str, &str)) -> Option<PathBuf> {
        if let Some(data_dir) = &flags.data_dir {
            let source = Source::Flag("--data-dir");
            let folder = self.surroundings.absolute(data_dir, &source);
            let folder = self.kept(folder.map_err(|fault| Problem { source, key: None, fault }))?;
            return Some(folder.join(below));
        }
        if self.layers.entries.contains_key(name) {
            return self.path(name);
        }
        self.surroundings.xdg_folder(xdg.0, xdg.1).map_err(|fault| self.refuse(name, fault)).ok()
    }

    fn access(&self) -> Access {
        Access {
            allow_other: self.is_on("allow_other"),
            uid: self.number("uid").unwrap_or(self.surroundings.uid),
            gid: self.number("gid").unwrap_or(self.surroundings.gid),
            umask: match self.setting("umask") {
                Some(Setting::Octal(bits)) => bits,
                _ => 0,
            },
        }
    }

    fn template(&mut self) -> (Template, TemplateOptions) {
        let template = Template::parse(self.word("template").as_bytes());
        let template = template.map_err(|error| self.refuse("template", error)).unwrap_or_default();
        let default_of = |name: &str| match self.setting(&format!("defaults.{name}")) {
            Some(Setting::Text(text)) => Some(text.into_bytes()),
            _ => None,
        };
        let defaults = Field::ALL.into_iter().filter_map(|field| Some((field, default_of(field.name())?))).collect();
        let options = TemplateOptions {
            defaults,
            default_all: default_of("all"),
            skip_on_missing: self.is_on("skip_on_missing"),
        };
        (template, options)
    }

    fn origins(&mut self) -> Vec<OriginConfig> {
        let names: Vec<String> = self.layers.origins.keys().cloned().collect();
        if names.len() > MAX_ORIGINS {
            self.refuse("origin", Fault::TooManyOrigins { max: MAX_ORIGINS });
        }
        let mut origins: Vec<_> = names.iter().filter_map(|name| self.origin(name)).collect();
        origins.sort_by(|a, b| (a.priority, &a.id).cmp(&(b.priority, &b.id)));
        origins
    }

    fn origin(&mut self, name: &str) -> Option<OriginConfig> {
        let key = format!("origin.{name}.location");
        if !self.layers.entries.contains_key(&key) {
            let is_told = self.problems.iter().any(|problem| problem.key.as_deref() == Some(&key));
            if !is_told {
                let source = self.layers.origins.get(name).cloned().unwrap_or(Source::Default);
                self.problems.push(Problem::of_key(source, format!("origin.{name}"), Fault::NoLocation));
            }
            return None;
        }
        let id = OriginId::parse(name).ok()?;
        let root = self.root(&key)?;
        let poll_interval = match self.setting(&format!("origin.{name}.poll_interval")) {
            Some(Setting::Time(time)) => time,
            _ => Duration::from_mins(1),
        };
        let priority = self.number(&format!("origin.{name}.priority")).unwrap_or_default();
        Some(OriginConfig { id, root, priority, poll_interval })
    }

    fn root(&mut self, key: &str) -> Option<PathBuf> {
        let Some(Setting::Raw(text)) = self.setting(key) else { return None };
        let folder = match Location::parse(&text) {
            Ok(Location::Folder(folder)) => self.surroundings.absolute(&folder, &self.source(key)),
            Ok(Location::Sftp(_)) => Err(LocationError::NotServed { scheme: "sftp" }.into()),
            Ok(Location::S3(_)) => Err(LocationError::NotServed { scheme: "s3" }.into()),
            Err(error) => Err(error.into()),
        };
        folder.map_err(|fault| self.refuse(key, fault)).ok()
    }
}

/// Finds paths that lie in each other and must not.
fn nesting(resolved: &Resolved, reader: &Reader<'_>) -> Vec<Problem> {
    const WRITTEN: &str = "an origin is never written to; choose another folder, for example with --data-dir";
    const MOUNTED: &str = "the daemon would wait for itself; choose another mountpoint";
    let mut problems = Vec::new();
    let mut compare = |name: &str, path: &Path, other_name: &str, other: &Path, words: &[&str], advice| {
        if let Some(relation) = relation(path, other).filter(|relation| words.contains(relation)) {
            let other = format!("{other_name} {}", musicfs_pure::escape::escape(other.as_os_str().as_encoded_bytes()));
            let fault = Fault::Nested { relation, other, advice };
            problems.push(Problem::of_key(reader.source(name), name, fault));
        }
    };
    let own = [
        ("state_dir", &resolved.state_dir),
        ("cache.dir", &resolved.cache_dir),
        ("control socket", &resolved.socket_path),
    ];
    let own = own.map(|(name, path)| (name, path.as_deref().map(normalise)));
    for origin in &resolved.origins {
        let name = format!("origin {}", origin.id);
        if let Some(mountpoint) = &resolved.mountpoint {
            compare("mountpoint", mountpoint, &name, &origin.root, &["at", "inside", "around"], MOUNTED);
        }
        for (own_name, path) in &own {
            if let Some(path) = path {
                compare(own_name, path, &name, &origin.root, &["at", "inside"], WRITTEN);
            }
        }
    }
    for (own_name, path) in &own {
        if let (Some(path), Some(mountpoint)) = (path, &resolved.mountpoint) {
            compare(own_name, path, "the mountpoint", mountpoint, &["at", "inside"], MOUNTED);
        }
    }
    problems
}
