//! `config show`, `config check`, `config path`, and what a wrong configuration is told.
//!
//! An error names the file, the key and the nearest valid one; a key whose feature is not built yet is refused and not
//! ignored. Nothing here needs a daemon.

use serde_json::Value;

use crate::support::sandbox::Sandbox;

/// A sandbox with a configuration that is right, and `more` behind it.
fn configured(more: &str) -> Sandbox {
    let home = Sandbox::new();
    let (mnt, origin) = (home.mnt(), home.origin());
    home.configure(&format!(
        "mountpoint = \"{}\"\n{more}\n[origin.nas]\nlocation = \"{}\"\n",
        mnt.display(),
        origin.display()
    ));
    home
}

#[test]
fn right_configuration_passes_the_check() {
    configured("raw_view = \"listed\"\nready = \"mounted\"\n").cli(&["config", "check"]).ok();
}

#[test]
fn show_prints_the_values_that_count() {
    let home = configured("raw_view = \"listed\"");
    let words = home.cli(&["config", "show"]).ok().out();
    assert!(words.contains("raw_view") && words.contains("listed") && words.contains("nas"), "{words}");
    let json: Value = serde_json::from_str(&home.cli(&["config", "show", "--json"]).ok().out()).unwrap();
    assert!(json.to_string().contains("listed"), "{json}");
}

#[test]
fn folders_of_data_dir_have_it_as_their_source() {
    let home = configured("state_dir = \"/elsewhere\"");
    let json: Value = serde_json::from_str(&home.cli(&["config", "show", "--json"]).ok().out()).unwrap();
    for (key, below) in [("state_dir", "data/state"), ("cache.dir", "data/cache")] {
        let row = &json["values"][key];
        assert_eq!((&row["value"], &row["source"]), (&home.path(below).to_str().unwrap().into(), &"--data-dir".into()));
    }
    let file = home.path("config.toml");
    let mut bare = home.bare(&["config", "show", "--json", "--config", file.to_str().unwrap()]);
    let json: Value = serde_json::from_str(&crate::support::command::run(&mut bare).ok().out()).unwrap();
    assert_eq!(json["values"]["state_dir"]["value"], "/elsewhere");
    assert_eq!(json["values"]["cache.dir"]["source"], "default");
}

#[test]
fn path_names_the_files_that_are_read() {
    let home = configured("");
    let words = home.cli(&["config", "path"]).ok().out();
    assert!(words.contains("config.toml"), "{words}");
}

#[test]
fn unknown_key_is_refused_with_file_key_and_nearest_valid_one() {
    for (text, key, nearest) in [
        ("mount_piont = \"x\"", "mount_piont", "mountpoint"),
        ("raw_veiw = \"off\"", "raw_veiw", "raw_view"),
        ("[cache]\nsise = \"1GiB\"", "sise", "size"),
        ("[orgin.x]\nlocation = \"/x\"", "orgin", "origin"),
    ] {
        let home = configured(text);
        let finished = home.cli(&["config", "check"]).refused();
        for word in [key, nearest, "config.toml"] {
            assert!(finished.err().contains(word), "`{word}` in: {}", finished.err());
        }
    }
}

#[test]
fn value_of_the_wrong_kind_is_refused_with_what_was_expected() {
    for (text, words) in [
        ("raw_view = \"sometimes\"", ["raw_view", "hidden"]),
        ("allow_other = \"yes\"", ["allow_other", "true"]),
        ("umask = \"9\"", ["umask", "octal"]),
        ("template = \"${artist\"", ["template", "{"]),
    ] {
        let finished = configured(text).cli(&["config", "check"]).refused();
        for word in words {
            assert!(finished.err().contains(word), "`{word}` in: {}", finished.err());
        }
    }
}

#[test]
fn key_whose_feature_is_not_built_is_refused_as_not_supported_yet() {
    for text in ["[cache]\nsize = \"2GiB\"", "[read]\nbudget = \"1GiB\"", "[cache]\nverify = \"always\""] {
        let finished = configured(text).cli(&["config", "check"]).refused();
        assert!(finished.err().contains("not supported yet"), "{text}: {}", finished.err());
    }
}

#[test]
fn text_that_is_no_toml_is_refused_with_file_and_line() {
    let home = configured("");
    home.configure("mountpoint = \n= =\n");
    let err = home.cli(&["config", "check"]).refused().err();
    assert!(err.contains("config.toml") && err.contains("line"), "{err}");
}

#[test]
fn file_that_is_asked_for_and_missing_is_an_error() {
    let home = Sandbox::new();
    let missing = home.path("missing.toml");
    let finished = home.cli(&["config", "check", "--config", missing.to_str().unwrap()]).refused();
    assert!(finished.err().contains("missing.toml"), "{}", finished.err());
}

#[test]
fn mountpoint_inside_an_origin_fails_the_check() {
    let home = Sandbox::new();
    let origin = home.origin();
    home.configure(&format!(
        "mountpoint = \"{}\"\n[origin.nas]\nlocation = \"{}\"\n",
        origin.join("x").display(),
        origin.display()
    ));
    assert!(home.cli(&["config", "check"]).refused().err().contains("inside"));
}

#[test]
fn password_in_a_location_is_refused_and_not_repeated() {
    let home = Sandbox::new();
    home.configure("[origin.nas]\nlocation = \"sftp://me:hunter2@nas/music\"\n");
    let finished = home.cli(&["config", "check"]).refused();
    assert!(!finished.err().contains("hunter2") && !finished.out().contains("hunter2"), "{}", finished.err());
}
