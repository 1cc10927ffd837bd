//! The configuration in effect, every value with its source: as a JSON document and as TOML for people.
//!
//! Paths are shown as they were resolved. A location that was refused is not shown at all, because a refused one may hold
//! a password; an accepted one cannot. Keys whose feature is not built are shown only when somebody wrote them.

use std::ffi::OsStr;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::check::Resolved;
use super::keys::{KEYS, Key, Support};
use super::layers::Layers;
use super::problem::Source;

/// One value with its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Dotted, with the origin's name put in.
    pub key: String,
    /// The value in effect.
    pub value: Value,
    /// Where it came from.
    pub source: Source,
}

/// Every value in effect, in the order of the table of keys.
pub fn rows(layers: &Layers, resolved: &Resolved) -> Vec<Row> {
    let mut rows = Vec::new();
    for key in KEYS.iter().filter(|key| !key.name.starts_with("origin.")) {
        rows.extend(row(layers, resolved, key, key.name.to_owned()));
    }
    for origin in layers.origins.keys() {
        for key in KEYS.iter().filter(|key| key.name.starts_with("origin.")) {
            rows.extend(row(layers, resolved, key, key.name.replace('*', origin)));
        }
    }
    rows
}

fn row(layers: &Layers, resolved: &Resolved, table_key: &Key, key: String) -> Option<Row> {
    let Key { kind, default, support, .. } = *table_key;
    let entry = layers.entries.get(&key);
    if entry.is_none() && support != Support::Built {
        return None;
    }
    let source = entry.map_or(Source::Default, |entry| entry.source.clone());
    let value = match resolved_value(resolved, &key) {
        Some(value) => value,
        None if key.ends_with(".location") => return None,
        None => match entry {
            Some(entry) => entry.setting.to_json(),
            None => kind.read_text(default?).map_or(Value::Null, |setting| setting.to_json()),
        },
    };
    Some(Row { key, value, source })
}

/// What resolving made of a key, where that differs from what was written.
fn resolved_value(resolved: &Resolved, key: &str) -> Option<Value> {
    let text = |path: &Path| json!(musicfs_pure::escape::escape(AsRef::<OsStr>::as_ref(path).as_encoded_bytes()));
    match key {
        "mountpoint" => resolved.mountpoint.as_deref().map(text),
        "state_dir" => resolved.state_dir.as_deref().map(text),
        "cache.dir" => resolved.cache_dir.as_deref().map(text),
        "uid" => Some(json!(resolved.access.uid)),
        "gid" => Some(json!(resolved.access.gid)),
        _ => {
            let name = key.strip_prefix("origin.")?.strip_suffix(".location")?;
            resolved.origins.iter().find(|origin| origin.id.as_str() == name).map(|origin| text(&origin.root))
        }
    }
}

/// The document of `config show --json` and of the socket's `config.show`.
pub fn document(layers: &Layers, resolved: &Resolved) -> Value {
    let values: serde_json::Map<String, Value> = rows(layers, resolved)
        .into_iter()
        .map(|row| (row.key, json!({ "value": row.value, "source": row.source.to_string() })))
        .collect();
    let escaped = |path: &Path| musicfs_pure::escape::escape(path.as_os_str().as_encoded_bytes()).into_owned();
    let files: Vec<Value> =
        layers.files.iter().map(|file| json!({ "path": escaped(&file.path), "present": file.present })).collect();
    json!({ "files": files, "socket": resolved.socket_path.as_deref().map(escaped), "values": values })
}

/// The document as TOML, with the sources as comments.
pub fn toml(document: &Value) -> String {
    let mut text = String::new();
    if let Some(socket) = document["socket"].as_str() {
        let _ = writeln!(text, "# control socket: {socket}");
    }
    let empty = serde_json::Map::new();
    let values = document["values"].as_object().unwrap_or(&empty);
    let mut tables: std::collections::BTreeMap<&str, Vec<(&str, &Value)>> = std::collections::BTreeMap::new();
    for (key, row) in values {
        let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
        tables.entry(table).or_default().push((name, row));
    }
    for (table, rows) in tables {
        if !table.is_empty() {
            let _ = writeln!(text, "\n[{table}]");
        }
        for (name, row) in rows {
            let _ =
                writeln!(text, "{name} = {}  # {}", toml_value(&row["value"]), row["source"].as_str().unwrap_or(""));
        }
    }
    text
}

/// JSON's texts, numbers, switches and lists are TOML's too, but for DEL, which TOML wants escaped.
fn toml_value(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007F")
}
