//! Wrong use, absent daemons, exit codes: what is said and with which code.
//!
//! 0 is success and 2 wrong use, as everywhere; the others are read from the README's table, which is thereby tested.

use crate::support::command::run;
use crate::support::music::Track;
use crate::support::sandbox::Sandbox;

fn home() -> Sandbox {
    let home = Sandbox::new();
    home.put("one.flac", &Track::new("Artist", "Album", 1, "One").flac());
    home
}

/// The code that the README's table gives for a case whose description contains `words`.
#[track_caller]
fn documented_code(words: &str) -> i32 {
    let readme = include_str!("../../README.md");
    let row = readme.lines().find(|line| line.starts_with("| `") && line.contains(words));
    let row = row.unwrap_or_else(|| panic!("no exit code for `{words}` in the README"));
    row.split('`').nth(1).unwrap().parse().unwrap()
}

#[test]
fn help_names_every_verb_and_version_names_the_program() {
    let home = Sandbox::new();
    let help = run(&mut home.bare(&["--help"])).ok().out();
    for verb in ["mount", "status", "why", "wait", "origin", "actors", "metrics", "tree", "tags", "config", "stop"] {
        assert!(help.contains(verb), "{verb} in {help}");
        run(&mut home.bare(&[verb, "--help"])).ok();
    }
    let version = run(&mut home.bare(&["--version"])).ok().out();
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
}

#[test]
fn wrong_use_exits_with_its_code_and_names_the_help() {
    let home = Sandbox::new();
    for args in [&["nonsense"][..], &["status", "--nonsense"], &["why"], &["wait", "--for", "lunch"], &["origin"]] {
        let finished = run(&mut home.bare(args));
        assert_eq!(finished.code(), documented_code("Wrong use"), "{args:?}");
        assert!(finished.stdout.is_empty(), "{args:?}: {}", finished.out());
        assert!(!finished.err().is_empty());
    }
}

#[test]
fn misspelt_verb_is_answered_with_the_nearest_one() {
    let home = Sandbox::new();
    let err = run(&mut home.bare(&["statsu"])).refused().err();
    assert!(err.contains("status"), "{err}");
}

#[test]
fn verb_without_a_daemon_says_how_to_start_one() {
    let home = Sandbox::new();
    for verb in [&["status"][..], &["tree"], &["actors"], &["metrics"], &["stop"], &["origin", "list"]] {
        let finished = home.cli(verb);
        assert_eq!(finished.code(), documented_code("No daemon"), "{verb:?}: {}", finished.err());
        assert!(finished.err().contains("musicfs mount"), "{}", finished.err());
    }
}

#[test]
fn path_that_is_not_in_the_library_has_its_code() {
    let home = home();
    let daemon = home.start();
    for verb in ["why", "tags", "tree"] {
        let finished = daemon.cli(&[verb, "No/Such/Thing"]);
        assert_eq!(finished.code(), documented_code("no such"), "{verb}: {}", finished.err());
        assert!(finished.err().contains("No/Such/Thing"), "{}", finished.err());
    }
    let finished = daemon.cli(&["origin", "rescan", "nobody"]);
    assert_eq!(finished.code(), documented_code("no such"), "{}", finished.err());
    daemon.stop();
}

#[test]
fn wait_that_times_out_has_its_code_with_and_without_a_daemon() {
    let home = Sandbox::new();
    let finished = home.cli(&["wait", "--for", "scanned", "--timeout", "1"]);
    assert_eq!(finished.code(), documented_code("time was up"), "{}", finished.err());
}

#[test]
fn wait_waits_for_a_daemon_to_appear() {
    let home = home();
    let mut command = home.command(&["wait", "--for", "scanned", "--timeout", "100"]);
    let waiting = std::thread::spawn(move || run(&mut command));
    let daemon = home.start();
    daemon.step();
    waiting.join().unwrap().ok();
    daemon.stop();
}

#[test]
fn origins_of_later_versions_are_refused_in_words() {
    let home = Sandbox::new();
    let mnt = home.mnt();
    for location in ["sftp://me@nas:2222/music", "s3://bucket/prefix?region=eu-1&path_style=true"] {
        let finished = home.cli(&["mount", mnt.to_str().unwrap(), "--origin", &format!("far={location}")]).refused();
        assert!(finished.err().contains("not") && finished.err().contains("far"), "{}", finished.err());
    }
}

#[test]
fn malformed_origin_is_refused_with_its_form() {
    let home = Sandbox::new();
    let mnt = home.mnt();
    let (bad_name, traversal) =
        (format!("A B={}", home.origin().display()), format!("../x={}", home.origin().display()));
    for origin in ["no-equals-sign", &bad_name, &traversal, "a=", "a=sftp://", "a=s3://", "a=ftp://host/x"] {
        home.cli(&["mount", mnt.to_str().unwrap(), "--origin", origin]).refused();
    }
}

#[test]
fn bad_template_is_refused_with_the_byte_position() {
    let home = home();
    let mut command = home.mount_command();
    let err = run(command.args(["--template", "${artist}/${nonsense}.${ext}"])).refused().err();
    assert!(err.contains("nonsense") && err.contains("10"), "the place of the error is named: {err}");
}

#[test]
fn template_of_the_command_line_decides_the_tree() {
    let home = Sandbox::new();
    let more = vec![("GENRE".to_owned(), "Jazz/Modal".to_owned()), ("MOOD".to_owned(), "calm".to_owned())];
    home.put("x.flac", &Track { more, ..Track::new("Artist", "Album", 3, "Title") }.flac());
    let mut command = home.mount_command();
    command.args(["--template", "$!{genre}/${tag:MOOD}/$$$artist[ - ${composer|album}]/${track:03} ${title}.${ext}"]);
    let daemon = home.start_with(&mut command);
    let want = crate::support::tree::set(["Jazz/Modal/calm/$Artist - Album/003 Title.flac"]);
    assert_eq!(crate::support::tree::files(&home.mnt()), want);
    daemon.stop();
}
