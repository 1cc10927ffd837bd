//! The configuration as a whole: which layer wins, what is refused and how it is said.
//!
//! Each test has a made-up home with real files in it; nothing of the machine or of the process is read. Texts are
//! compared whole where a user depends on them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::keys::{KEYS, Support};
use super::layers::collect;
use super::*;

/// A made-up home with files in it.
struct Place {
    folder: tempfile::TempDir,
    surroundings: Surroundings,
    flags: Flags,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let surroundings = Surroundings {
            variables: [
                ("HOME".into(), root.join("home").into()),
                ("XDG_RUNTIME_DIR".into(), OsString::from("/run/user/1000")),
            ]
            .into(),
            working_folder: Some(PathBuf::from("/work/here")),
            uid: 1000,
            gid: 1000,
            system_file: root.join("etc/config.toml"),
            runtime_folders: root.join("run/user"),
        };
        Self { folder, surroundings, flags: Flags::default() }
    }

    /// A place in which a minimal configuration is complete.
    fn complete() -> Self {
        let mut place = Self::new();
        place.flags.mountpoint = Some("/mnt/library".into());
        place.flags.origins.push("music=/srv/music".into());
        place
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("has one")).expect("makes it");
        std::fs::write(&path, text).expect("writes");
        path
    }

    fn system(self, text: &str) -> Self {
        self.write("etc/config.toml", text);
        self
    }

    fn user(self, text: &str) -> Self {
        self.write("home/.config/musicfs/config.toml", text);
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.surroundings.variables.insert(name.into(), value.into());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.flags, &self.surroundings)
    }

    fn config(&self) -> Config {
        self.load().config.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The problems as a user sees them, one a line, with the place's own folder left out.
    fn problems(&self) -> String {
        let error = self.load().config.expect_err("problems");
        let lines: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&*self.folder.path().to_string_lossy(), "")
    }
}

fn source(loaded: &Loaded, key: &str) -> String {
    loaded.document["values"][key]["source"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn each_layer_wins_over_those_below_it() {
    let place = Place::complete();
    assert_eq!(place.config().log.level, "info");
    assert_eq!(source(&place.load(), "log.level"), "default");
    let place = place.system("log.level = \"error\"\nraw_view = \"off\"\numask = \"022\"");
    assert_eq!(place.config().log.level, "error");
    assert!(source(&place.load(), "log.level").ends_with("/etc/config.toml"));
    let place = place.user("raw_view = \"listed\"\n[log]\nlevel = \"warn\"");
    assert_eq!(place.config().log.level, "warn");
    let place = place.variable("MUSICFS_LOG__LEVEL", "debug");
    assert_eq!(place.config().log.level, "debug");
    assert_eq!(source(&place.load(), "log.level"), "MUSICFS_LOG__LEVEL");
    let mut place = place;
    place.flags.log_level = Some(("trace", "-v"));
    let config = place.config();
    assert_eq!((config.log.level.as_str(), config.log.level_is_flag), ("trace", true));
    assert_eq!(source(&place.load(), "log.level"), "-v");
    // what the stronger layers do not mention stays
    assert_eq!((config.raw_view, config.access.umask), (RawView::Listed, 0o022));
}

#[test]
fn config_flag_replaces_both_files() {
    let mut place = Place::complete().system("umask = \"022\"").user("ready = \"mounted\"");
    place.flags.config_file = Some(place.write("other.toml", "raw_view = \"off\""));
    let config = place.config();
    assert_eq!((config.access.umask, config.ready, config.raw_view), (0, ReadyRule::Listed, RawView::Off));
    place.flags.config_file = Some(place.folder.path().join("none.toml"));
    assert!(place.problems().starts_with("/none.toml: cannot be read: "), "{}", place.problems());
}

#[test]
fn variables_are_typed_by_their_key() {
    let place = Place::new()
        .variable("MUSICFS_MOUNTPOINT", "/mnt/library")
        .variable("MUSICFS_ORIGIN__NAS__LOCATION", "/mnt/nas")
        .variable("MUSICFS_ORIGIN__NAS__PRIORITY", "7")
        .variable("MUSICFS_UMASK", "022")
        .variable("MUSICFS_ALLOW_OTHER", "true")
        .variable("MUSICFS_CACHE__DIR", "")
        .variable("MUSICFS_LOG", "debug,fuser=off");
    let config = place.config();
    assert_eq!((config.access.umask, config.access.allow_other), (0o022, true));
    assert_eq!((config.origins[0].priority, config.origins[0].root.as_path()), (7, Path::new("/mnt/nas")));
    assert!(place.load().warnings.is_empty());
    let wrong = place.variable("MUSICFS_ALLOW_OTHER", "maybe");
    assert_eq!(wrong.problems(), "MUSICFS_ALLOW_OTHER: `allow_other`: expected true or false");
}

#[test]
fn unknown_variable_is_a_warning_with_the_nearest_one() {
    let loaded = Place::complete().variable("MUSICFS_LOG__LEVL", "debug").load();
    assert!(loaded.config.is_ok());
    assert_eq!(
        loaded.warnings[0].to_string(),
        "MUSICFS_LOG__LEVL: unknown variable, ignored; the nearest valid one is MUSICFS_LOG__LEVEL"
    );
}

#[test]
fn unknown_keys_are_refused_with_file_key_and_nearest_key() {
    let place = Place::complete()
        .system("ready = \"listed\"")
        .user("mountpiont = \"/x\"\n[cache]\nsiez = \"1GiB\"\n[x.y]\nz = 1\n");
    assert_eq!(
        place.problems(),
        "/home/.config/musicfs/config.toml: `cache.siez`: unknown key; the nearest valid key is `cache.size`\n\
         /home/.config/musicfs/config.toml: `mountpiont`: unknown key; the nearest valid key is `mountpoint`\n\
         /home/.config/musicfs/config.toml: `x`: unknown key; the nearest valid key is `log`"
            .replace("`log`", &format!("`{}`", keys::nearest(&["x"])))
    );
}

#[test]
fn keys_of_later_features_are_refused_unless_they_ask_for_nothing() {
    let fine = Place::complete().user(
        "[cache]\nsize = \"10240MiB\"\nreserve = \"1GiB\"\n[read]\ndeadline = \"18s\"\n\
         [origin.nas]\nlocation = \"/mnt/nas\"\ncache = false\ninclude = [\"**\"]\nexclude = []\nuse_agent = true\n",
    );
    assert_eq!(fine.config().origins.len(), 2);
    let place = Place::complete().user(
        "[cache]\nsize = \"1GiB\"\nverify = \"always\"\n[metrics]\nlisten = \"x\"\n\
         [origin.nas]\nlocation = \"/mnt/nas\"\ncache = true\nexclude = [\"*.tmp\"]\n",
    );
    let problems = place.problems().replace("/home/.config/musicfs/config.toml: ", "");
    assert_eq!(
        problems,
        "`cache.size`: not supported yet; leave it out or write \"10GiB\"\n\
         `cache.verify`: not supported yet; leave it out or write \"first\"\n\
         `metrics.listen`: not supported yet; leave it out\n\
         `origin.nas.cache`: not supported yet; leave it out or write \"auto\" or false\n\
         `origin.nas.exclude`: not supported yet; leave it out or write []"
    );
}

#[test]
fn values_of_the_wrong_kind_are_refused_and_not_repeated() {
    let place = Place::complete().user(
        "uid = \"hunter2\"\nallow_other = \"hunter2\"\nlog = \"hunter2\"\n[origin.nas]\nlocation = 3\npriority = -1\n\
         [origin.BAD]\nlocation = \"/x\"\n",
    );
    let problems = place.problems();
    assert!(!problems.contains("hunter2"), "{problems}");
    for part in [
        "`uid`: expected a whole number",
        "`allow_other`: expected true or false",
        "`log`: this is a table; write `[log]`",
        "`origin.nas.location`: expected a location",
        "`origin.nas.priority`: expected a whole number",
        "`origin.BAD`: `BAD` is no origin name",
    ] {
        assert!(problems.contains(part), "{part} in {problems}");
    }
    assert_eq!(problems.lines().count(), 6, "{problems}");
}

#[test]
fn file_that_is_no_toml_is_refused_with_its_line() {
    let place = Place::complete().user("ready = \"listed\"\nlocation = hunter2\n");
    let problems = place.problems();
    assert!(problems.starts_with("/home/.config/musicfs/config.toml: line 2: "), "{problems}");
    assert!(!problems.contains("hunter2"), "{problems}");
}

#[test]
fn missing_parts_are_named_with_what_to_do() {
    let problems = Place::new().problems();
    assert!(problems.contains("no origin is configured; add `[origin.NAME]`"), "{problems}");
    assert!(problems.contains("no mountpoint is configured; add `mountpoint`"), "{problems}");
    let place = Place::complete().user("[origin.nas]\npriority = 1");
    assert_eq!(
        place.problems(),
        "/home/.config/musicfs/config.toml: `origin.nas`: this origin has no `location`; add one"
    );
}

#[test]
fn origin_flag_replaces_the_origin_of_its_name_as_a_whole() {
    let mut place = Place::complete()
        .user("[origin.nas]\nlocation = \"sftp://nas/x\"\npriority = 3\nidentity_file = \"/x\"\n[origin.b]\nlocation = \"/b\"\npriority = 5");
    place.flags.origins.push("nas=/mnt/nas".into());
    let config = place.config();
    let origins: Vec<_> = config.origins.iter().map(|origin| (origin.id.as_str(), origin.priority)).collect();
    assert_eq!(origins, [("b", 5), ("music", 100), ("nas", 100)]);
    for flag in ["nas", "NAS=sftp://u:hunter2@h/x", "=/x"] {
        place.flags.origins = vec![flag.into()];
        let problems = place.problems();
        assert!(problems.contains("--origin: expected NAME=LOCATION") && !problems.contains("hunter2"), "{problems}");
    }
}

#[test]
fn locations_that_are_not_served_are_refused_clearly() {
    let mut place = Place::complete();
    for (location, expected) in [
        ("sftp://me@nas/music", "sftp:// origins are not served yet"),
        ("s3://music/flac?region=eu", "s3:// origins are not served yet"),
        ("sftp://me:hunter2@nas/music", "must not hold a password"),
        ("http://me:hunter2@nas/", "`http://` is no kind of origin"),
    ] {
        place.flags.origins = vec![format!("nas={location}").into()];
        let problems = place.problems();
        assert!(problems.starts_with("--origin: `origin.nas.location`: ") && problems.contains(expected), "{problems}");
        assert!(!format!("{problems}{}", place.load().document).contains("hunter2"), "{problems}");
    }
}

#[test]
fn paths_are_resolved_by_text() {
    let mut place =
        Place::new().user("mountpoint = \"~/Music/../library\"\n[origin.a]\nlocation = \"/srv//music/./x/\"");
    let home = place.folder.path().join("home");
    let config = place.config();
    assert_eq!((config.mountpoint, config.origins[0].root.clone()), (home.join("library"), "/srv/music/x".into()));
    assert_eq!(config.state_dir, home.join(".local/state/musicfs"));
    assert_eq!(config.cache_dir, home.join(".cache/musicfs"));
    assert_eq!(config.socket_path, Path::new("/run/user/1000/musicfs/control.sock"));
    place.flags.mountpoint = Some("sub/../m".into());
    place.flags.origins = vec!["a=~/a".into()];
    assert_eq!(place.config().mountpoint, Path::new("/work/here/m"));
    assert_eq!(place.config().origins[0].root, home.join("a"));
    let place = Place::complete().user("state_dir = \"state\"\n[cache]\ndir = \"~other/x\"");
    let problems = place.problems();
    assert!(problems.contains("`state_dir`: the path is relative"), "{problems}");
    assert!(problems.contains("`cache.dir`: `~user` is not understood"), "{problems}");
}

#[test]
fn folders_follow_data_dir_then_keys_then_xdg() {
    let mut place = Place::complete()
        .user("state_dir = \"/s\"\n[cache]\ndir = \"/c\"")
        .variable("XDG_STATE_HOME", "/xs")
        .variable("XDG_CACHE_HOME", "relative is ignored");
    let folders = |place: &Place| {
        let config = place.config();
        (config.state_dir, config.cache_dir)
    };
    assert_eq!(folders(&place), ("/s".into(), "/c".into()));
    place.flags.data_dir = Some("/d".into());
    assert_eq!(folders(&place), ("/d/state".into(), "/d/cache".into()));
    place.flags.data_dir = None;
    let place = place.user("");
    let cache = place.folder.path().join("home/.cache/musicfs");
    assert_eq!(folders(&place), ("/xs/musicfs".into(), cache));
}

#[test]
fn socket_follows_the_runtime_folder_then_data_dir() {
    let mut place = Place::complete();
    place.surroundings.variables.remove(std::ffi::OsStr::new("XDG_RUNTIME_DIR"));
    assert!(place.problems().starts_with("there is no folder for the control socket"), "{}", place.problems());
    place.flags.data_dir = Some("/d".into());
    assert_eq!(place.config().socket_path, Path::new("/d/control.sock"));
    let by_uid = place.surroundings.runtime_folders.join("1000");
    std::fs::create_dir_all(&by_uid).expect("makes it");
    assert_eq!(place.config().socket_path, by_uid.join("musicfs/control.sock"));
    place.flags.socket = Some("s.sock".into());
    assert_eq!(place.config().socket_path, Path::new("/work/here/s.sock"));
    place.flags.socket = Some(format!("/{}", "x".repeat(107)).into());
    assert!(place.problems().contains("has 108 bytes and may have 107"), "{}", place.problems());
}

#[test]
fn nested_places_are_refused_by_text() {
    let problems = |mountpoint: &str, origin: &str, data_dir: Option<&str>| {
        let mut place = Place::new();
        place.flags.mountpoint = Some(mountpoint.into());
        place.flags.origins = vec![format!("a={origin}").into()];
        place.flags.data_dir = Some(data_dir.unwrap_or("/data").into());
        place.load().config.err().map_or(String::new(), |error| error.to_string())
    };
    assert_eq!(problems("/m", "/music", None), "");
    assert_eq!(problems("/music-library", "/music", None), "");
    assert!(problems("/music/library", "/music", None).contains("`mountpoint`: lies inside origin a /music"));
    assert!(problems("/music/x/../library", "/music", None).contains("`mountpoint`: lies inside origin a"));
    assert!(problems("/music", "/music/files", None).contains("`mountpoint`: lies around origin a /music/files"));
    assert!(problems("/music", "/music/", None).contains("`mountpoint`: lies at origin a"));
    assert!(problems("/m", "/music", Some("/music/.data")).contains("`state_dir`: lies inside origin a"));
    assert!(problems("/m", "/music", Some("/music/.data")).contains("`cache.dir`: lies inside origin a"));
    assert!(problems("/m", "/music", Some("/m/data")).contains("`state_dir`: lies inside the mountpoint /m"));
    assert_eq!(problems("/run/library", "/run/music", Some("/run")), "");
    let mut place = Place::complete();
    place.flags.socket = Some("/srv/music/s".into());
    assert!(place.problems().contains("`control socket`: lies inside origin music"), "{}", place.problems());
}

#[test]
fn origins_in_each_other_are_allowed() {
    let mut place = Place::complete();
    place.flags.origins.push("part=/srv/music/part".into());
    assert_eq!(place.config().origins.len(), 2);
}

#[test]
fn template_and_its_defaults_are_checked() {
    let place = Place::complete().user("template = \"$artist/$titel\"\n[defaults]\nartist = \"Nobody\"\nall = \"?\"");
    assert!(place.problems().contains("`template`: unknown field `titel` at byte 9"), "{}", place.problems());
    let mut place = place;
    place.flags.template = Some("$artist/$title".into());
    let config = place.config();
    assert_eq!(config.template.source(), b"$artist/$title");
    assert_eq!(config.template_options.default_all.as_deref(), Some(&b"?"[..]));
    assert_eq!(config.template_options.defaults.len(), 1);
}

#[test]
fn flag_that_is_not_utf8_is_a_path_like_any_other() {
    use std::os::unix::ffi::OsStringExt;
    let mut place = Place::complete();
    place.flags.mountpoint = Some(OsString::from_vec(b"/mnt/\xff".to_vec()));
    let config = place.config();
    assert_eq!(config.mountpoint.as_os_str().as_encoded_bytes(), b"/mnt/\xff");
    assert_eq!(config.document["values"]["mountpoint"]["value"], "/mnt/%FF");
}

#[test]
fn example_file_is_complete_and_equals_the_defaults() {
    let text = include_str!("../../config.example.toml");
    let place = Place::new().user(text);
    let config = place.config();
    assert_eq!(config.origins[0].id.as_str(), "music");
    let layers = collect(&place.flags, &place.surroundings);
    for (name, entry) in &layers.entries {
        if let Some(default) = entry.key.default {
            assert_eq!(entry.key.kind.read_text(default).as_ref(), Ok(&entry.setting), "{name}");
        }
    }
    for key in KEYS {
        let leaf = key.name.rsplit('.').next().unwrap_or_default();
        let has = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{leaf} = ")));
        assert!(has, "{} is not in the example", key.name);
        let is_later = matches!(key.support, Support::Only(_));
        assert!(!is_later || text.contains("(later)"));
    }
}

#[test]
fn shown_configuration_can_be_read_back() {
    let place =
        Place::complete().user("umask = \"027\"\ntemplate = \"a \\\" \\u007f $title\"\n[log]\nformat = \"json\"");
    let shown = show::toml(&place.load().document);
    assert!(shown.contains("umask = \"027\"  # "), "{shown}");
    let mut again = Place::new();
    again.flags.config_file = Some(again.write("shown.toml", &shown));
    let (first, second) = (place.config(), again.config());
    assert_eq!(first.template, second.template);
    assert_eq!((first.access, first.log.format), (second.access, second.log.format));
    assert_eq!((first.mountpoint, first.origins), (second.mountpoint, second.origins));
}

#[test]
fn created_folder_is_private_and_an_existing_one_is_taken_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let folder = place.folder.path().join("a/b");
    make_private_folder(&folder).expect("makes it");
    let mode = |path: &Path| std::fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&place.folder.path().join("a"))), (0o700, 0o700));
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("sets");
    make_private_folder(&folder).expect("is there");
    assert_eq!(mode(&folder), 0o755);
}
