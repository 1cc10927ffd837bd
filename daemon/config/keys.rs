//! The table of keys: every key of the configuration with its kind, its default and whether it does something yet.
//!
//! Files, variables, the example file, `config show` and the advice for a misspelt key all come from this table, so that
//! a key exists in all of them or in none. A key whose feature is not built is refused when it asks for something, not
//! ignored: a bound on the cache that nothing keeps would be a promise broken in silence.

use musicfs_pure::template::DEFAULT_TEMPLATE;

use super::values::Kind;

/// Whether a key does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Built,
    /// Not yet: only these values are accepted, because they ask for what happens anyway.
    Only(&'static [&'static str]),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted; `*` stands for the name of an origin.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Its value when it is left out, where that is a constant.
    pub default: Option<&'static str>,
    /// Whether it does something.
    pub support: Support,
}

const fn key(name: &'static str, kind: Kind, default: Option<&'static str>) -> Key {
    Key { name, kind, default, support: Support::Built }
}

/// A key for later: its default is accepted.
const fn later(name: &'static str, kind: Kind, default: &'static [&'static str]) -> Key {
    let value = if default.is_empty() { None } else { Some(default[0]) };
    Key { name, kind, default: value, support: Support::Only(default) }
}

/// Below a second a poll of a large origin would never rest; beyond a day it is a mistake in the unit.
const POLL_INTERVAL: Kind = Kind::Time { min_secs: 1, max_secs: 24 * 60 * 60 };
/// Any time below a day.
const TIME: Kind = Kind::Time { min_secs: 0, max_secs: 24 * 60 * 60 };
/// Ids of users and groups; the last one means "unchanged" to the kernel.
const ID: Kind = Kind::Number { min: 0, max: u32::MAX as u64 - 1 };

/// Every key, in the order of the example file.
pub const KEYS: &[Key] = &[
    key("mountpoint", Kind::Path, None),
    key("template", Kind::Text, Some(DEFAULT_TEMPLATE)),
    key("skip_on_missing", Kind::Switch, Some("false")),
    key("case_insensitive", Kind::Switch, Some("false")),
    key("raw_view", Kind::Choice(&["hidden", "listed", "off"]), Some("hidden")),
    key("ready", Kind::Choice(&["listed", "mounted"]), Some("listed")),
    key("allow_other", Kind::Switch, Some("false")),
    key("uid", ID, None),
    key("gid", ID, None),
    key("umask", Kind::Octal, Some("000")),
    key("state_dir", Kind::Path, None),
    key("defaults.all", Kind::Text, None),
    key("defaults.title", Kind::Text, None),
    key("defaults.artist", Kind::Text, None),
    key("defaults.albumartist", Kind::Text, None),
    key("defaults.album", Kind::Text, None),
    key("defaults.track", Kind::Text, None),
    key("defaults.tracktotal", Kind::Text, None),
    key("defaults.disc", Kind::Text, None),
    key("defaults.disctotal", Kind::Text, None),
    key("defaults.year", Kind::Text, None),
    key("defaults.date", Kind::Text, None),
    key("defaults.genre", Kind::Text, None),
    key("defaults.composer", Kind::Text, None),
    key("defaults.comment", Kind::Text, None),
    key("defaults.ext", Kind::Text, None),
    key("defaults.filename", Kind::Text, None),
    key("defaults.origin", Kind::Text, None),
    key("defaults.path", Kind::Text, None),
    key("cache.dir", Kind::Path, None),
    later("cache.size", Kind::Size, &["10GiB"]),
    later("cache.reserve", Kind::Size, &["1GiB"]),
    later("cache.verify", Kind::Choice(&["first", "always"]), &["first"]),
    later("read.budget", Kind::Size, &["64MiB"]),
    later("read.deadline", TIME, &["18s"]),
    key("origin.*.location", Kind::Location, None),
    key("origin.*.priority", Kind::Number { min: 0, max: 1_000_000 }, Some("100")),
    // A local disk is never cached, so "auto" and false are what happens.
    later("origin.*.cache", Kind::SwitchOrAuto, &["auto", "false"]),
    key("origin.*.poll_interval", POLL_INTERVAL, Some("60s")),
    later("origin.*.include", Kind::List, &["**"]),
    later("origin.*.exclude", Kind::List, &[""]),
    later("origin.*.identity_file", Kind::Path, &[]),
    later("origin.*.known_hosts", Kind::Path, &[]),
    later("origin.*.use_agent", Kind::Switch, &["true"]),
    later("origin.*.connections", Kind::Number { min: 1, max: 64 }, &["4"]),
    later("origin.*.endpoint", Kind::Text, &[]),
    later("origin.*.region", Kind::Text, &[]),
    later("origin.*.path_style", Kind::Switch, &["false"]),
    later("origin.*.ca_file", Kind::Path, &[]),
    later("origin.*.credentials", Kind::Text, &[]),
    key("log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Some("info")),
    key("log.format", Kind::Choice(&["text", "json"]), Some("text")),
    later("metrics.listen", Kind::Text, &[]),
];

/// What the table has at a path.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A key.
    Key(&'static Key),
    /// A table of keys.
    Table,
    /// Nothing.
    Nothing,
}

/// Looks a path up.
pub fn find(path: &[&str]) -> Place {
    let mut place = Place::Nothing;
    for key in KEYS {
        let mut names = key.name.split('.');
        if path.iter().all(|&part| names.next().is_some_and(|name| name == "*" || name == part)) {
            if names.next().is_none() {
                return Place::Key(key);
            }
            place = Place::Table;
        }
    }
    place
}

/// The valid key or table that is most like a path that is none.
pub fn nearest(path: &[&str]) -> String {
    let origin = if path.first() == Some(&"origin") { path.get(1).copied() } else { None };
    let full = path.join(".");
    let leaf = path.last().copied().unwrap_or_default();
    let likeness = |candidate: &str| {
        let candidate_leaf = candidate.rsplit('.').next().unwrap_or_default();
        // A key in the wrong table is as likely as a misspelt one, but the right table comes first.
        let moved = strsim::normalized_damerau_levenshtein(leaf, candidate_leaf) * 0.9;
        strsim::normalized_damerau_levenshtein(&full, candidate).max(moved)
    };
    let mut best = (0.0, String::from("mountpoint"));
    for candidate in candidates(origin.unwrap_or("NAME")) {
        let score = likeness(&candidate);
        if score > best.0 {
            best = (score, candidate);
        }
    }
    best.1
}

/// Every key and every table, with an origin's name put in.
fn candidates(origin: &str) -> impl Iterator<Item = String> {
    KEYS.iter().flat_map(move |key| {
        let parts: Vec<&str> = key.name.split('.').map(|part| if part == "*" { origin } else { part }).collect();
        (1..=parts.len()).map(move |num_parts| parts[..num_parts].join(".")).collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_pure::template::Field;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for key in KEYS {
            let mut values: Vec<&str> = key.default.into_iter().collect();
            if let Support::Only(accepted) = key.support {
                values.extend(accepted);
            }
            for value in values {
                assert!(key.kind.read_text(value).is_ok(), "{} = {value}", key.name);
            }
        }
    }

    #[test]
    fn every_field_of_the_template_has_a_default_key() {
        for field in Field::ALL {
            assert!(matches!(find(&["defaults", field.name()]), Place::Key(_)), "{}", field.name());
        }
    }

    #[test]
    fn lookup_tells_keys_from_tables() {
        assert!(matches!(find(&["origin", "nas", "priority"]), Place::Key(key) if key.name == "origin.*.priority"));
        assert!(matches!(find(&["origin", "nas"]), Place::Table));
        assert!(matches!(find(&["origin"]), Place::Table));
        assert!(matches!(find(&["origin", "nas", "priority", "x"]), Place::Nothing));
        assert!(matches!(find(&["nas"]), Place::Nothing));
    }

    #[test]
    fn misspelt_and_misplaced_keys_have_a_near_one() {
        for (path, expected) in [
            (&["cach"][..], "cache"),
            (&["mount_point"], "mountpoint"),
            (&["cache", "siez"], "cache.size"),
            (&["orgin", "nas", "location"], "origin.NAME.location"),
            (&["origin", "nas", "prority"], "origin.nas.priority"),
            (&["level"], "log.level"),
            (&["priority"], "origin.NAME.priority"),
            (&["cache", "level"], "log.level"),
        ] {
            assert_eq!(nearest(path), expected, "{path:?}");
        }
    }
}
