//! The layers: files below variables below flags, each value with where it came from.
//!
//! figment merges files and variables and keeps a tag with every value; the merged tree is then walked against the table
//! of keys, so that an unknown key is found with its file. Flags are laid on top afterwards, because `--origin` replaces
//! an origin as a whole: what a file says about connections of an old place must not apply to a new one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use musicfs_pure::ids::OriginId;

use super::keys::{self, Key, Place, Support};
use super::problem::{Fault, Problem, Source};
use super::surroundings::Surroundings;
use super::values::Setting;

/// The most bytes of a file that are read: thousands of origins would fit, and a device file ends somewhere.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`: replaces both files.
    pub config_file: Option<PathBuf>,
    /// `--data-dir`: state and cache folders are made in it.
    pub data_dir: Option<OsString>,
    /// `--socket`.
    pub socket: Option<OsString>,
    /// The argument of `mount`.
    pub mountpoint: Option<OsString>,
    /// `--template`.
    pub template: Option<OsString>,
    /// `--origin`, each as NAME=LOCATION.
    pub origins: Vec<OsString>,
    /// The level that `-v` and `-q` stand for, and which of them it was.
    pub log_level: Option<(&'static str, &'static str)>,
    /// `-q`: say nothing that was not asked for.
    pub quiet: bool,
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: &'static Key,
    /// The value.
    pub setting: Setting,
    /// Where it came from.
    pub source: Source,
}

/// A configuration file and whether it was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// It is there.
    pub present: bool,
}

/// All layers laid over each other.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// By dotted key, with names of origins put in.
    pub entries: BTreeMap<String, Entry>,
    /// Origins that have a table, and where it is.
    pub origins: BTreeMap<String, Source>,
    /// The files, the weaker ones first.
    pub files: Vec<ConfigFile>,
    /// What is wrong and can be passed over.
    pub warnings: Vec<Problem>,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Reads every layer.
pub fn collect(flags: &Flags, surroundings: &Surroundings) -> Layers {
    let mut layers = Layers::default();
    let mut figment = Figment::new();
    for (path, is_required) in config_files(flags, surroundings) {
        figment = layers.read_file(figment, path, is_required);
    }
    figment = layers.read_variables(figment, surroundings);
    let profiles = figment.data().unwrap_or_default(); // both providers hand over what is already parsed
    for (name, value) in profiles.into_values().flatten() {
        layers.walk(&figment, &mut vec![name], &value);
    }
    layers.lay_flags(flags);
    layers
}

/// The files in the order of their strength, and whether each must be there.
fn config_files(flags: &Flags, surroundings: &Surroundings) -> Vec<(PathBuf, bool)> {
    if let Some(file) = &flags.config_file {
        return vec![(file.clone(), true)];
    }
    let user_folder = surroundings.xdg_folder("XDG_CONFIG_HOME", ".config").ok();
    let user_file = user_folder.map(|folder| (folder.join("config.toml"), false));
    [(surroundings.system_file.clone(), false)].into_iter().chain(user_file).collect()
}

/// A file, already parsed.
struct FileLayer<'a> {
    path: &'a Path,
    dict: Dict,
}

impl Provider for FileLayer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", self.path)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// One variable of the environment, already typed.
struct VariableLayer {
    variable: String,
    path: Vec<String>,
    value: Value,
}

impl Provider for VariableLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.variable.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let mut value = self.value.clone();
        let mut dict = Dict::new();
        for name in self.path.iter().rev() {
            dict = Dict::from([(name.clone(), value)]);
            value = Value::from(dict.clone());
        }
        Ok(Profile::Default.collect(dict))
    }
}

impl Layers {
    fn read_file(&mut self, figment: Figment, path: PathBuf, is_required: bool) -> Figment {
        let text = match read_bounded(&path) {
            Ok(text) => text,
            Err(error) => {
                let is_absent = error.kind() == io::ErrorKind::NotFound;
                if is_required || !is_absent {
                    self.refuse(&path, Fault::Unreadable { reason: error.to_string() });
                }
                self.files.push(ConfigFile { path, present: !is_absent });
                return figment;
            }
        };
        let figment = match <Toml as Format>::from_str::<Dict>(&text) {
            Ok(dict) => figment.merge(FileLayer { path: &path, dict }),
            Err(error) => {
                let start = error.span().map_or(0, |span| span.start);
                let line = 1 + text.as_bytes().iter().take(start).filter(|&&byte| byte == b'\n').count();
                self.refuse(&path, Fault::Syntax { line, message: error.message().to_owned() });
                figment
            }
        };
        self.files.push(ConfigFile { path, present: true });
        figment
    }

    fn refuse(&mut self, path: &Path, fault: Fault) {
        self.problems.push(Problem { source: Source::File(path.to_owned()), key: None, fault });
    }

    /// A variable that names a key holds its value; other variables that begin like ours are probably misspelt.
    fn read_variables(&mut self, mut figment: Figment, surroundings: &Surroundings) -> Figment {
        for (name, value) in &surroundings.variables {
            let Some((name, path)) = name.to_str().and_then(key_of_variable) else { continue };
            if value.is_empty() {
                continue;
            }
            let parts: Vec<&str> = path.iter().map(String::as_str).collect();
            let Place::Key(key) = keys::find(&parts) else {
                let fault = Fault::UnknownVariable { nearest: variable_of_key(&keys::nearest(&parts)) };
                self.warnings.push(Problem { source: Source::Variable(name.to_owned()), key: None, fault });
                continue;
            };
            let Some(text) = value.to_str() else {
                let fault = Fault::Misfit { expected: "UTF-8".to_owned() };
                self.problems.push(Problem { source: Source::Variable(name.to_owned()), key: None, fault });
                continue;
            };
            let value = key.kind.value_of_text(text);
            figment = figment.merge(VariableLayer { variable: name.to_owned(), path, value });
        }
        figment
    }

    /// Goes through the merged tree and takes over what the table of keys knows.
    fn walk(&mut self, figment: &Figment, path: &mut Vec<String>, value: &Value) {
        let source = source_of(figment, value);
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let name = path.join(".");
        match (keys::find(&parts), value) {
            (Place::Key(key), _) => self.take(key, name, value, source),
            (Place::Table, Value::Dict(_, dict)) => {
                if let ["origin", origin] = *parts {
                    if let Err(error) = OriginId::parse(origin) {
                        self.problems.push(Problem::of_key(source_below(figment, value), name, error));
                        return;
                    }
                    self.origins.insert(origin.to_owned(), source_below(figment, value));
                }
                for (child, value) in dict {
                    path.push(child.clone());
                    self.walk(figment, path, value);
                    path.pop();
                }
            }
            (Place::Table, _) => {
                self.problems.push(Problem::of_key(source, name.clone(), Fault::NotATable { name }));
            }
            (Place::Nothing, _) => {
                let fault = Fault::UnknownKey { nearest: keys::nearest(&parts) };
                self.problems.push(Problem::of_key(source_below(figment, value), name, fault));
            }
        }
    }

    fn take(&mut self, key: &'static Key, name: String, value: &Value, source: Source) {
        let Some(setting) = key.kind.read(value) else {
            self.problems.push(Problem::of_key(source, name, Fault::Misfit { expected: key.kind.expected() }));
            return;
        };
        if let Support::Only(accepted) = key.support {
            let is_accepted = accepted.iter().any(|text| key.kind.read_text(text).as_ref() == Ok(&setting));
            if !is_accepted {
                let accepted = accepted.iter().map(|text| shown(key, text)).collect();
                self.problems.push(Problem::of_key(source, name, Fault::NotSupported { accepted }));
                return;
            }
        }
        self.entries.insert(name, Entry { key, setting, source });
    }

    fn lay_flags(&mut self, flags: &Flags) {
        let raw = |text: &OsString| Setting::Raw(text.clone());
        if let Some(mountpoint) = &flags.mountpoint {
            self.lay("mountpoint", raw(mountpoint), Source::Flag("MOUNTPOINT"));
        }
        if let Some(template) = &flags.template {
            match template.to_str() {
                Some(text) => self.lay("template", Setting::Text(text.to_owned()), Source::Flag("--template")),
                None => self.problems.push(Problem {
                    source: Source::Flag("--template"),
                    key: None,
                    fault: Fault::Misfit { expected: "UTF-8".to_owned() },
                }),
            }
        }
        if let Some(data_dir) = &flags.data_dir {
            for (name, below) in [("state_dir", "state"), ("cache.dir", "cache")] {
                let folder = Path::new(data_dir).join(below);
                self.lay(name, Setting::Raw(folder.into_os_string()), Source::Flag("--data-dir"));
            }
        }
        if let Some((level, flag)) = flags.log_level {
            self.lay("log.level", Setting::Text(level.to_owned()), Source::Flag(flag));
        }
        for origin in &flags.origins {
            match split_origin(origin) {
                Some((name, location)) => self.replace_origin(&name, location),
                None => self.problems.push(Problem {
                    source: Source::Flag("--origin"),
                    key: None,
                    fault: Fault::OriginFlag,
                }),
            }
        }
    }

    fn lay(&mut self, name: &str, setting: Setting, source: Source) {
        let parts: Vec<&str> = name.split('.').collect();
        if let Place::Key(key) = keys::find(&parts) {
            self.entries.insert(name.to_owned(), Entry { key, setting, source });
        }
    }

    fn replace_origin(&mut self, name: &OriginId, location: OsString) {
        let prefix = format!("origin.{name}.");
        self.entries.retain(|key, _| !key.starts_with(&prefix));
        self.problems.retain(|problem| problem.key.as_ref().is_none_or(|key| !key.starts_with(&prefix)));
        self.origins.insert(name.to_string(), Source::Flag("--origin"));
        self.lay(&format!("{prefix}location"), Setting::Raw(location), Source::Flag("--origin"));
    }
}

/// An accepted value as a file would have it.
fn shown(key: &Key, text: &str) -> String {
    key.kind.read_text(text).map_or_else(
        |_| text.to_owned(),
        |setting| match setting.to_json() {
            serde_json::Value::String(text) if matches!(text.as_str(), "true" | "false") => text,
            other => other.to_string(),
        },
    )
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// The path of the key that a variable's name stands for: `MUSICFS_CACHE__DIR` is `cache.dir`.
fn key_of_variable(name: &str) -> Option<(&str, Vec<String>)> {
    // MUSICFS_LOG is the filter of the log, not a key.
    let rest = name.strip_prefix("MUSICFS_").filter(|&rest| rest != "LOG")?;
    Some((name, rest.to_ascii_lowercase().split("__").map(str::to_owned).collect()))
}

fn variable_of_key(key: &str) -> String {
    format!("MUSICFS_{}", key.to_ascii_uppercase().replace('.', "__"))
}

fn source_of(figment: &Figment, value: &Value) -> Source {
    let Some(metadata) = figment.get_metadata(value.tag()) else { return Source::Default };
    match metadata.source.as_ref().and_then(figment::Source::file_path) {
        Some(path) => Source::File(path.to_owned()),
        None => Source::Variable(metadata.name.to_string()),
    }
}

/// Where a table came from: figment tags values, so the first value in it says.
fn source_below(figment: &Figment, value: &Value) -> Source {
    match value {
        Value::Dict(_, dict) if source_of(figment, value) == Source::Default => {
            dict.values().next().map_or(Source::Default, |first| source_below(figment, first))
        }
        _ => source_of(figment, value),
    }
}

fn split_origin(origin: &OsStr) -> Option<(OriginId, OsString)> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = origin.as_bytes();
    let equals = bytes.iter().position(|&byte| byte == b'=')?;
    let name = std::str::from_utf8(&bytes[..equals]).ok()?;
    let location = OsStr::from_bytes(&bytes[equals + 1..]);
    Some((OriginId::parse(name).ok()?, location.to_owned()))
}
