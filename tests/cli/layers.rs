//! The layers of the configuration: file, variable, flag, each over the one before.
//!
//! The value that counts is read from `config show --json`, and once from a daemon that runs with it.

use std::process::Command;

use serde_json::Value;

use crate::support::command::run;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

fn shown(command: &mut Command) -> Value {
    serde_json::from_str(&run(command).ok().out()).unwrap()
}

/// The value of a key, wherever the document has it: as it is, or beside its source.
fn value(document: &Value, key: &str) -> String {
    fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
        match value {
            Value::Object(map) => map.get(key).or_else(|| map.values().find_map(|inner| find(inner, key))),
            Value::Array(items) => items.iter().find_map(|inner| {
                let named = ["key", "name"].iter().any(|field| inner[*field] == key);
                if named { Some(inner) } else { find(inner, key) }
            }),
            _ => None,
        }
    }
    find(document, key).map(Value::to_string).unwrap_or_default()
}

fn user_file(home: &Sandbox, text: &str) {
    let folder = home.path("home/.config/musicfs");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), text).unwrap();
}

#[test]
fn user_file_is_found_by_home_and_by_the_xdg_folder() {
    let home = Sandbox::new();
    user_file(&home, "raw_view = \"off\"\n");
    assert!(value(&shown(&mut home.bare(&["config", "show", "--json"])), "raw_view").contains("off"));
    let elsewhere = home.path("xdg");
    std::fs::create_dir_all(elsewhere.join("musicfs")).unwrap();
    std::fs::write(elsewhere.join("musicfs/config.toml"), "raw_view = \"listed\"\n").unwrap();
    let mut command = home.bare(&["config", "show", "--json"]);
    assert!(value(&shown(command.env("XDG_CONFIG_HOME", &elsewhere)), "raw_view").contains("listed"));
}

#[test]
fn variable_comes_over_the_file_and_flag_over_the_variable() {
    let home = Sandbox::new();
    user_file(&home, "template = \"from-file/${title}.${ext}\"\n[log]\nlevel = \"warn\"\n");
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let show = || home.bare(&["config", "show", "--json"]);
    assert!(value(&shown(&mut show()), "level").contains("warn"));
    assert!(value(&shown(show().env("MUSICFS_LOG__LEVEL", "debug")), "level").contains("debug"));
    let mut command = home.mount_command();
    command.env("MUSICFS_TEMPLATE", "from-variable/${title}.${ext}");
    let daemon = home.start_with(&mut command);
    assert!(home.shown("from-variable/One.flac").exists());
    daemon.stop();
    let mut command = home.mount_command();
    command.env("MUSICFS_TEMPLATE", "from-variable/${title}.${ext}").args(["--template", "from-flag/${title}.${ext}"]);
    let daemon = home.start_with(&mut command);
    daemon.idle();
    assert!(home.shown("from-flag/One.flac").exists());
    daemon.stop();
}

#[test]
fn file_of_the_flag_replaces_the_users_file() {
    let home = Sandbox::new();
    user_file(&home, "raw_view = \"off\"\n[log]\nlevel = \"warn\"\n");
    home.configure("raw_view = \"listed\"\n");
    let mut command = home.command(&["config", "show", "--json"]);
    let document = shown(&mut command);
    assert!(value(&document, "raw_view").contains("listed"));
    assert!(!value(&document, "level").contains("warn"), "{document}");
}

#[test]
fn unknown_variable_is_a_warning_only() {
    let home = Sandbox::new();
    let mut command = home.bare(&["config", "check"]);
    let finished = run(command.env("MUSICFS_NO_SUCH_KEY", "1")).ok();
    assert!(finished.err().contains("MUSICFS_NO_SUCH_KEY"), "{}", finished.err());
}

#[test]
fn data_goes_to_the_xdg_folders_unless_told_otherwise() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let (mnt, origin) = (home.mnt(), format!("a={}", home.origin().display()));
    let mut command = home.bare(&["mount", mnt.to_str().unwrap(), "--origin", &origin]);
    // The socket's default place is the runtime folder; the harness asks at the sandbox's own.
    command.arg("--socket").arg(home.socket());
    let daemon = home.start_with(&mut command);
    assert!(home.path("home/.local/state/musicfs").is_dir());
    assert!(!home.path("data").exists());
    daemon.stop();
}

#[test]
fn default_socket_is_in_the_runtime_folder() {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    let (mnt, origin) = (home.mnt(), format!("a={}", home.origin().display()));
    let mut command = home.bare(&["mount", mnt.to_str().unwrap(), "--origin", &origin]);
    let daemon = crate::support::daemon::Daemon::spawn(&home, &mut command);
    run(&mut home.bare(&["wait", "--for", "scanned", "--timeout", "60"])).ok();
    assert!(home.path("run/musicfs/control.sock").exists());
    run(&mut home.bare(&["stop"])).ok();
    daemon.ended_in_order();
}
