//! What the command line says, compared with files that a reviewer reads: help, errors, manual pages, completions.
//!
//! A change of the table of verbs shows here as a change of text. When it is meant, write the files again with
//! `MUSICFS_WRITE_SNAPSHOTS=1 cargo test --release --test cli snapshots` and look at the difference.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use musicfs::cli::Cli;
use serde_json::Value;

use crate::support::command::run;
use crate::support::sandbox::Sandbox;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a text with a file of the repository, or writes the file.
#[track_caller]
fn compare(file: &Path, text: &str) {
    if std::env::var_os("MUSICFS_WRITE_SNAPSHOTS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        return fs::write(file, text).unwrap();
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    let differs = kept.lines().zip(text.lines()).find(|(kept, now)| kept != now);
    assert!(
        kept == text,
        "{} is not what musicfs says; first difference: {differs:?}.\nIf the change is meant: \
         MUSICFS_WRITE_SNAPSHOTS=1 cargo test --release --test cli snapshots",
        file.display()
    );
}

/// Every verb with the words that lead to it, the program itself first.
fn verbs() -> Vec<Vec<String>> {
    fn below(command: &Command, path: &[String], found: &mut Vec<Vec<String>>) {
        found.push(path.to_vec());
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            below(verb, &[path, &[verb.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    below(&Cli::command(), &[], &mut found);
    found
}

/// What a command line says, and its code. Paths of the sandbox are written as `HOME`.
fn transcript(home: &Sandbox, line: &[&str]) -> String {
    let finished = run(home.bare(line).env_remove("COLUMNS"));
    let mut text = format!("$ musicfs {}\n", line.join(" "));
    for (stream, bytes) in [("", finished.out()), ("", finished.err())] {
        let _ = write!(text, "{stream}{bytes}");
    }
    let _ = writeln!(text, "[exit {}]\n", finished.code());
    text.replace(home.path("").to_str().unwrap().trim_end_matches('/'), "HOME")
}

#[test]
fn help_of_every_verb_is_as_in_its_snapshot() {
    let home = Sandbox::new();
    let mut text = transcript(&home, &["-h"]);
    for verb in verbs() {
        let line: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        text += &transcript(&home, &line);
    }
    compare(&root().join("tests/cli/snapshots/help.txt"), &text);
}

#[test]
fn errors_are_as_in_their_snapshot() {
    let home = Sandbox::new();
    fs::write(
        home.path("wrong.toml"),
        "mount_point = \"x\"\nraw_view = \"maybe\"\n[cache]\nsize = \"2GiB\"\n[origin.Bad]\nlocation = \"/x\"\n",
    )
    .unwrap();
    fs::write(home.path("syntax.toml"), "mountpoint = \n").unwrap();
    let (wrong, syntax) = (home.path("wrong.toml"), home.path("syntax.toml"));
    let (wrong, syntax) = (wrong.to_str().unwrap(), syntax.to_str().unwrap());
    let lines: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["statsu"],
        &["status", "--jsno"],
        &["why"],
        &["wait", "--for", "lunch"],
        &["wait", "--for", "idle", "--timeout", "-1"],
        &["status", "-v", "-q"],
        &["completions", "tcsh"],
        &["man", "nonsense"],
        &["man", "status", "--into", "x"],
        &["status"],
        &["status", "--json"],
        &["nonsense", "--json"],
        &["tags", "x", "--json"],
        &["wait", "--for", "idle", "--timeout", "0"],
        &["mount"],
        &["mount", "/m", "--origin", "a"],
        &["mount", "/m", "--origin", "a=sftp://me:secret@nas/x"],
        &["mount", "/m", "--origin", "a=/m/x"],
        &["config", "check", "--config", wrong],
        &["config", "check", "--config", wrong, "--json"],
        &["config", "check", "--config", syntax],
        &["config", "check", "--config", "/nonexistent/config.toml"],
    ];
    let text: String = lines.iter().map(|line| transcript(&home, line)).collect();
    compare(&root().join("tests/cli/snapshots/errors.txt"), &text);
}

/// The files of a folder with their texts.
fn texts(folder: &Path) -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_name().unwrap().into(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn manual_pages_are_those_of_the_repository_one_for_each_verb() {
    let home = Sandbox::new();
    let folder = home.path("man");
    run(&mut home.bare(&["man", "--into", folder.to_str().unwrap()])).ok();
    let made = texts(&folder);
    let wanted = verbs().into_iter().map(|verb| {
        let words: Vec<String> = std::iter::once("musicfs".to_owned()).chain(verb).collect();
        PathBuf::from(format!("{}.1", words.join("-")))
    });
    assert_eq!(made.keys().cloned().collect::<Vec<_>>(), {
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort();
        wanted
    });
    let kept = root().join("daemon/cli/man");
    for (name, text) in &made {
        compare(&kept.join(name), text);
    }
    let stray: Vec<_> = texts(&kept).into_keys().filter(|name| !made.contains_key(name)).collect();
    assert!(stray.is_empty(), "pages of verbs that are gone: {stray:?}");
}

#[test]
fn manual_page_of_a_verb_is_the_one_that_is_written() {
    let home = Sandbox::new();
    let folder = home.path("man");
    run(&mut home.bare(&["man", "--into", folder.to_str().unwrap()])).ok();
    let pages = texts(&folder);
    assert_eq!(
        run(&mut home.bare(&["man", "origin", "rescan"])).ok().out(),
        pages[Path::new("musicfs-origin-rescan.1")]
    );
    assert_eq!(run(&mut home.bare(&["man"])).ok().out(), pages[Path::new("musicfs.1")]);
}

#[test]
fn failure_with_json_is_one_document_with_its_code() {
    let home = Sandbox::new();
    for line in [&["status", "--json"][..], &["--json", "nonsense"], &["mount", "--json"], &["man", "x", "--json"]] {
        let finished = run(&mut home.bare(line));
        let document: Value = serde_json::from_str(&finished.err()).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!(document["error"]["exit_code"], finished.code(), "{line:?}");
        assert!(document["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{document}");
        assert!(finished.stdout.is_empty(), "{line:?}: {}", finished.out());
    }
}

#[test]
fn completions_of_every_shell_name_every_verb() {
    let home = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&mut home.bare(&["completions", shell])).ok().out();
        for word in verbs().into_iter().flatten() {
            assert!(script.contains(&word), "{word} in the completions of {shell}");
        }
    }
}

#[test]
fn bash_completes_a_verb_by_the_script() {
    let home = Sandbox::new();
    let script = home.path("completions");
    fs::write(&script, run(&mut home.bare(&["completions", "bash"])).ok().stdout).unwrap();
    let complete = "source \"$1\"; COMP_WORDS=(musicfs origin res); COMP_CWORD=2; \
                    _musicfs musicfs res origin; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let finished = crate::support::command::tool("bash", ["-c", complete, "bash", script.to_str().unwrap()]).ok();
    assert_eq!(finished.out(), "rescan\n", "{}", finished.err());
}
