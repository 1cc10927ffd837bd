//! Reading the configuration again in a running daemon: by SIGHUP, `musicfs config reload` or the service manager.
//!
//! ```text
//!   load ──► wrong: every mistake is told, nothing changes
//!     │
//!   compare with what runs, key by key ──► live keys: applied     others: named, the old value stays
//! ```
//!
//! The same flags and variables as at the start count, so a key that a flag decides stays decided. The list of live keys is
//! here and nowhere else; a key that is not in it needs a restart, so a new key is told honestly until somebody makes it
//! live. Origins that come, go or move need a restart. Readers notice nothing but the change itself: no mount, connection
//! or open file is touched. What can fail (the catalog writing down a new template) is done first, so a reload happens
//! whole or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use musicfs_actors::control_server::Served;
use musicfs_protocol::library::Layout;
use musicfs_protocol::pool::{self, Pool};
use musicfs_protocol::reload::{ReloadRefused, ReloadedKey};
use musicfs_protocol::{
    ConfigReloaded, Deadline, EventLog, Happening, Port, ReadyGate, SetLayout, SetPollIntervals, Work,
};
use parking_lot::RwLock;
use serde_json::{Map, Value};

use crate::config::{self, Config, Flags, Loaded, LogSettings, OriginConfig, ReadyRule, Surroundings};
use crate::logging::Log;
use crate::service_manager;
use crate::wiring::served;

/// Keys that change in a running daemon; `*` stands for any one part.
const LIVE: &[&str] = &[
    "template",
    "skip_on_missing",
    "case_insensitive",
    "raw_view",
    "ready",
    "defaults.*",
    "origin.*.priority",
    "origin.*.poll_interval",
    "log.level",
];

/// How long the files may take to be read: they are small, and on a disk that hangs they never come.
const LOAD_LIMIT: Duration = Duration::from_secs(10);

/// How long the catalog may take to write down that tracks move: it may be busy with a batch, or be starting again.
const APPLY_LIMIT: Duration = Duration::from_secs(15);

/// Where a daemon's configuration came from, so that it can be read again.
#[derive(Debug)]
pub struct ReloadSource {
    /// The flags that it was started with.
    pub flags: Flags,
    /// What it was started in.
    pub surroundings: Surroundings,
    /// The log, when it is ours.
    pub log: Option<Arc<Log>>,
}

/// What a reload changes in the daemon.
pub(crate) struct Targets {
    /// The configuration that actors which are started again are made with.
    pub(crate) running: Arc<RwLock<Config>>,
    /// What the control socket shows.
    pub(crate) served: Arc<Served>,
    /// The catalog.
    pub(crate) layout: Port<SetLayout>,
    /// The watcher.
    pub(crate) poll_intervals: Port<SetPollIntervals>,
    /// Where a reload is announced.
    pub(crate) events: EventLog,
    /// The gate in front of the root.
    pub(crate) gate: Arc<ReadyGate>,
    /// Counts what is under way.
    pub(crate) work: Work,
}

/// Reloads, one after the other.
pub(crate) struct Reloader {
    source: Arc<ReloadSource>,
    pool: Arc<dyn Pool>,
    targets: Targets,
    turn: tokio::sync::Mutex<()>,
    /// The catalog was asked for a layout and did not say that it has it: it is told again, whatever is in the file.
    is_layout_in_doubt: AtomicBool,
}

impl Reloader {
    /// `pool` reads the files.
    pub(crate) fn new(source: ReloadSource, pool: Arc<dyn Pool>, targets: Targets) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            pool,
            targets,
            turn: tokio::sync::Mutex::default(),
            is_layout_in_doubt: AtomicBool::default(),
        })
    }

    /// Reads the configuration again and applies what can change.
    pub(crate) async fn reload(&self) -> Result<ConfigReloaded, ReloadRefused> {
        let _turn = self.turn.lock().await;
        tracing::info!("the configuration is read again");
        // Before the start is over, "ready" at the end of the reload would say too much.
        let is_told = self.targets.gate.is_open();
        if is_told {
            service_manager::reloading();
        }
        let result = self.reload_now().await;
        log(&result);
        if is_told {
            service_manager::reloaded();
        }
        result
    }

    async fn reload_now(&self) -> Result<ConfigReloaded, ReloadRefused> {
        let Loaded { config, warnings, .. } = self.load().await?;
        let wanted = config.map_err(|error| ReloadRefused::Invalid { reason: error.to_string() })?;
        let running = self.targets.running.read().clone();
        let plan = plan(&running.document, &wanted.document);
        let next = next(&running, wanted, plan.document);
        self.apply(&running, next).await?;
        self.publish(&plan.keys);
        Ok(ConfigReloaded { keys: plan.keys, warnings: warnings.iter().map(ToString::to_string).collect() })
    }

    fn publish(&self, keys: &[ReloadedKey]) {
        let names = |is_applied| keys.iter().filter(move |key| key.is_applied == is_applied).map(|key| key.key.clone());
        let (applied, needs_restart) = (names(true).collect(), names(false).collect());
        self.targets.events.publish(Happening::ConfigReloaded { applied, needs_restart });
    }

    async fn load(&self) -> Result<Loaded, ReloadRefused> {
        let source = Arc::clone(&self.source);
        let loading = pool::run(&self.pool, move || {
            fail::fail_point!("reload::load");
            config::load(&source.flags, &source.surroundings)
        });
        let not_read = |reason: String| ReloadRefused::NotApplied { reason };
        match tokio::time::timeout(LOAD_LIMIT, loading).await {
            Ok(loaded) => loaded.map_err(|error| not_read(error.to_string())),
            Err(_) => Err(not_read("the configuration files do not answer".to_owned())),
        }
    }

    async fn apply(&self, running: &Config, next: Config) -> Result<(), ReloadRefused> {
        let targets = &self.targets;
        let not_applied = |reason: String| ReloadRefused::NotApplied { reason };
        if let Some(log) = &self.source.log {
            log.set_level(&next.log).map_err(|error| not_applied(error.to_string()))?;
        }
        if layout(running) != layout(&next) || self.is_layout_in_doubt.load(Ordering::Relaxed) {
            self.is_layout_in_doubt.store(true, Ordering::Relaxed);
            let deadline = Deadline::after(Instant::now(), APPLY_LIMIT);
            let change = || SetLayout { layout: layout(&next), work: targets.work.begin(), deadline };
            let changed = targets.layout.request(deadline, change).await;
            let changed = changed
                .map_err(|error| not_applied(error.to_string()))
                .and_then(|changed| changed.map_err(|error| not_applied(error.to_string())));
            if changed.is_err()
                && let Some(log) = &self.source.log
            {
                let _ = log.set_level(&running.log); // it was set a moment ago, so this is a level
            }
            changed?;
            self.is_layout_in_doubt.store(false, Ordering::Relaxed);
        }
        targets.served.replace(next.origins.iter().map(served).collect(), next.document.clone());
        let intervals = next.origins.iter().map(|origin| (origin.id.clone(), origin.poll_interval)).collect();
        if next.ready == ReadyRule::Mounted {
            targets.gate.open();
        }
        *targets.running.write() = next;
        // A watcher that is down just now is made with the new intervals.
        let _ = targets.poll_intervals.send(SetPollIntervals(intervals)).await;
        Ok(())
    }
}

/// How a configuration has the library shown.
pub(crate) fn layout(config: &Config) -> Layout {
    use musicfs_protocol::library::RawView;
    Layout {
        template: config.template.clone(),
        options: config.template_options.clone(),
        case_insensitive: config.case_insensitive,
        raw_view: match config.raw_view {
            config::RawView::Hidden => RawView::Hidden,
            config::RawView::Listed => RawView::Listed,
            config::RawView::Off => RawView::Off,
        },
    }
}

fn log(result: &Result<ConfigReloaded, ReloadRefused>) {
    let keys = match result {
        Ok(ConfigReloaded { keys, .. }) => keys,
        Err(error) => return tracing::error!(%error, "the configuration was not reloaded"),
    };
    for ReloadedKey { key, old, new, is_applied } in keys {
        if *is_applied {
            tracing::info!(key, %old, %new, "configuration changed");
        } else {
            tracing::warn!(key, %old, %new, "configuration changed; restart the daemon to apply this key");
        }
    }
    tracing::info!(num_changed = keys.len(), "configuration reloaded");
}

/// What differs, and how the daemon's own document looks afterwards.
#[derive(Debug, PartialEq)]
struct Plan {
    keys: Vec<ReloadedKey>,
    document: Value,
}

fn plan(running: &Value, wanted: &Value) -> Plan {
    let empty = Map::new();
    let rows = |document: &Value| document["values"].as_object().unwrap_or(&empty).clone();
    let (mut shown, wanted_rows) = (rows(running), rows(wanted));
    let mut names: Vec<String> = shown.keys().chain(wanted_rows.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let mut keys = Vec::new();
    for key in names {
        let value = |rows: &Map<String, Value>| rows.get(&key).map_or(Value::Null, |row| row["value"].clone());
        let (old, new) = (value(&shown), value(&wanted_rows));
        if old == new {
            continue;
        }
        let is_applied = is_live(&key) && is_of_running_origin(&key, &shown, &wanted_rows);
        if is_applied {
            match wanted_rows.get(&key) {
                Some(row) => shown.insert(key.clone(), row.clone()),
                None => shown.remove(&key),
            };
        }
        keys.push(ReloadedKey { key, old, new, is_applied });
    }
    let mut document = running.clone();
    document["values"] = Value::Object(shown);
    Plan { keys, document }
}

fn is_live(key: &str) -> bool {
    let matches = |pattern: &&&str| {
        let (mut parts, mut wanted) = (key.split('.'), pattern.split('.'));
        let same = wanted.by_ref().all(|want| parts.next().is_some_and(|part| want == "*" || want == part));
        same && parts.next().is_none()
    };
    LIVE.iter().any(|pattern| matches(&pattern))
}

/// A key of an origin that comes or goes needs a restart as its origin does.
fn is_of_running_origin(key: &str, running: &Map<String, Value>, wanted: &Map<String, Value>) -> bool {
    let Some((name, _)) = key.strip_prefix("origin.").and_then(|rest| rest.split_once('.')) else { return true };
    let location = format!("origin.{name}.location");
    running.contains_key(&location) && wanted.contains_key(&location)
}

/// The running configuration with the live keys of the wanted one.
fn next(running: &Config, wanted: Config, document: Value) -> Config {
    let origin = |old: &OriginConfig| {
        let new = wanted.origins.iter().find(|new| new.id == old.id).unwrap_or(old);
        OriginConfig { priority: new.priority, poll_interval: new.poll_interval, ..old.clone() }
    };
    let mut origins: Vec<_> = running.origins.iter().map(origin).collect();
    origins.sort_by(|a, b| (a.priority, &a.id).cmp(&(b.priority, &b.id)));
    Config {
        origins,
        document,
        template: wanted.template,
        template_options: wanted.template_options,
        case_insensitive: wanted.case_insensitive,
        raw_view: wanted.raw_view,
        ready: wanted.ready,
        log: LogSettings { format: running.log.format, ..wanted.log },
        ..running.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{self, Place};
    use serde_json::json;

    fn document(values: Value) -> Value {
        let rows: Map<String, Value> = values.as_object().expect("an object").clone();
        let rows = rows.into_iter().map(|(key, value)| (key, json!({ "value": value, "source": "f" })));
        json!({ "files": ["f"], "values": rows.collect::<Map<_, _>>() })
    }

    #[test]
    fn live_keys_are_keys() {
        for pattern in LIVE {
            let path: Vec<&str> = pattern.split('.').map(|part| if part == "*" { "album" } else { part }).collect();
            assert!(matches!(keys::find(&path), Place::Key(_)), "{pattern}");
            assert!(is_live(&path.join(".")));
        }
        for key in ["mountpoint", "templates", "defaults", "origin.nas.location", "log.format", "origin.nas.priority.x"]
        {
            assert!(!is_live(key), "{key}");
        }
    }

    #[test]
    fn changed_keys_are_told_and_only_live_ones_change_the_document() {
        let running = document(json!({
            "umask": "000", "raw_view": "hidden", "defaults.all": "x", "log.level": "info",
            "origin.a.location": "/a", "origin.a.priority": 1, "origin.b.location": "/b", "origin.b.priority": 2,
        }));
        let wanted = document(json!({
            "umask": "022", "raw_view": "listed", "log.level": "info",
            "origin.a.location": "/a2", "origin.a.priority": 3, "origin.c.location": "/c", "origin.c.priority": 4,
        }));
        let plan = plan(&running, &wanted);
        let told = |key: &ReloadedKey| (key.key.clone(), key.old.clone(), key.new.clone(), key.is_applied);
        let row = |key: &str, old: Value, new: Value, is_applied| (key.to_owned(), old, new, is_applied);
        assert_eq!(
            plan.keys.iter().map(told).collect::<Vec<_>>(),
            [
                row("defaults.all", json!("x"), Value::Null, true),
                row("origin.a.location", json!("/a"), json!("/a2"), false),
                row("origin.a.priority", json!(1), json!(3), true),
                row("origin.b.location", json!("/b"), Value::Null, false),
                row("origin.b.priority", json!(2), Value::Null, false),
                row("origin.c.location", Value::Null, json!("/c"), false),
                row("origin.c.priority", Value::Null, json!(4), false),
                row("raw_view", json!("hidden"), json!("listed"), true),
                row("umask", json!("000"), json!("022"), false),
            ]
        );
        let expected = document(json!({
            "umask": "000", "raw_view": "listed", "log.level": "info",
            "origin.a.location": "/a", "origin.a.priority": 3, "origin.b.location": "/b", "origin.b.priority": 2,
        }));
        assert_eq!(plan.document, expected);
        // what needs a restart is told again by the next reload, what was applied is not
        let again = super::plan(&plan.document, &wanted);
        assert!(again.keys.iter().all(|key| !key.is_applied) && again.keys.len() == 6, "{again:?}");
    }
}
