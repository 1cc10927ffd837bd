//! The rules of the code, held by reading the sources as text.
//!
//! What a reviewer would otherwise have to remember: which crate may be named where, who may import whom, how long a file
//! and a function may be, that the message table and the README's picture are true. Text is enough for all of it and needs
//! no parser: the sources are formatted, so a function ends at a brace with its own indentation. Each rule lists every
//! place that breaks it. Code under `#[cfg(test)]` is held to the rules about size only.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file before its tests, with them, and of a function.
const MAX_PRODUCTION_LINES: usize = 500;
const MAX_LINES: usize = 700;
const MAX_FUNCTION_LINES: usize = 70;

/// One source file.
struct Source {
    /// Relative to the repository, with slashes.
    path: String,
    text: String,
    /// Nothing in it is production code.
    is_test: bool,
}

impl Source {
    /// The part before the tests that stand in the file itself; nothing of a test file.
    fn production(&self) -> &str {
        if self.is_test {
            return "";
        }
        let mut markers = self.text.match_indices("\n#[cfg(test)]\n");
        let inline = markers.find(|(at, marker)| gated_module(&self.text[at + marker.len()..]).ends_with('{'));
        &self.text[..inline.map_or(self.text.len(), |(at, _)| at)]
    }

    /// Lines of production code without comments, each with its number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.production().lines().enumerate().map(|(index, line)| (index + 1, line));
        let without = lines.map(|(number, line)| (number, line.split(" // ").next().unwrap()));
        without.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(&format!("{folder}/"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, wanted, found);
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

/// Every Rust source, sorted by path.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in ["protocol", "actors", "daemon", "tests", "benches"] {
        collect(&root().join(folder), &|path| path.extension().is_some_and(|ext| ext == "rs"), &mut paths);
    }
    paths.sort();
    let read = |path: &PathBuf| (path.clone(), fs::read_to_string(path).unwrap());
    let texts: Vec<(PathBuf, String)> = paths.iter().map(read).collect();
    let test_modules: Vec<PathBuf> = texts.iter().flat_map(|(path, text)| test_modules_of(path, text)).collect();
    texts.into_iter().map(|(path, text)| source(&path, text, &test_modules)).collect()
}

fn source(path: &Path, text: String, test_modules: &[PathBuf]) -> Source {
    let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let below_test = test_modules.iter().any(|module| path.starts_with(module) || path == module.with_extension("rs"));
    Source { is_test: name.starts_with("tests/") || below_test, path: name, text }
}

/// The line that an attribute stands before, when it opens or names a module, without `mod`.
fn gated_module(after: &str) -> &str {
    let line = after.lines().find(|line| !line.starts_with("#[")).unwrap_or_default();
    let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub(super) ")).unwrap_or(line);
    line.strip_prefix("mod ").unwrap_or_default()
}

/// The modules in files of their own that a file declares for tests only, as paths without extension.
fn test_modules_of(path: &Path, text: &str) -> Vec<PathBuf> {
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let parent = path.parent().unwrap();
    let folder = if ["mod", "lib", "main"].contains(&stem) { parent.to_owned() } else { parent.join(stem) };
    let module = |after: &str| {
        let elsewhere = after.strip_prefix("#[path = \"").and_then(|rest| rest.split(".rs\"]").next());
        let name = gated_module(after).strip_suffix(';')?;
        Some(elsewhere.map_or_else(|| folder.join(name), |file| parent.join(file)))
    };
    text.split("#[cfg(test)]\n").skip(1).filter_map(module).collect()
}

#[track_caller]
fn assert_none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Asserts that no production line of the chosen files contains any of the words.
#[track_caller]
fn assert_absent(rule: &str, chosen: impl Fn(&Source) -> bool, words: &[&str]) {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| chosen(source)) {
        for (number, line) in source.code() {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert_none(rule, broken);
}

#[test]
fn source_file_opens_with_what_it_is_responsible_for() {
    let opening = |source: &Source| source.text.lines().take_while(|line| line.starts_with("//!")).count();
    let broken =
        sources().iter().filter(|source| !(3..=30).contains(&opening(source))).map(|s| s.path.clone()).collect();
    assert_none("a file opens with 3 to 30 lines of `//!`", broken);
}

#[test]
fn source_file_stays_within_its_size() {
    let mut broken = Vec::new();
    for source in sources() {
        let (production, all) = (source.production().lines().count(), source.text.lines().count());
        if production > MAX_PRODUCTION_LINES || all > MAX_LINES {
            broken.push(format!("{}: {production} lines before its tests, {all} in all", source.path));
        }
    }
    assert_none("a file is split by noun before it grows beyond its size", broken);
}

/// Functions of a text that are longer than allowed, with their line and length.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words = code.split_whitespace().take_while(|word| !word.contains('('));
        let is_function = words.clone().any(|word| word == "fn") || code.starts_with("fn ");
        if !is_function || code.starts_with("//") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - code.len()]);
        let len = lines[start..].iter().position(|line| *line == end || line.ends_with("; }")).map_or(1, |len| len + 1);
        let ends_at_once = lines[start].ends_with(';') || lines[start].ends_with('}');
        if !ends_at_once && len > MAX_FUNCTION_LINES {
            long.push((start + 1, len));
        }
    }
    long
}

#[test]
fn function_stays_within_its_size() {
    let mut broken = Vec::new();
    for source in sources() {
        let found = long_functions(&source.text).into_iter();
        broken.extend(found.map(|(line, len)| format!("{}:{line}: {len} lines", source.path)));
    }
    assert_none("a function has at most 70 lines", broken);
}

#[test]
fn library_is_named_where_it_belongs_only() {
    for (library, home) in [
        ("fuser", "actors/fuse_front"),
        ("notify", "actors/watcher"),
        ("rocksdb", "actors/storage"),
        ("lofty", "actors/pure/tags"),
        ("fastcdc", "actors/pure/chunking"),
        ("figment", "daemon/config"),
        ("prometheus_client", "protocol"),
        ("procfs", "actors/control_server"),
        ("indicatif", "daemon/cli"),
        ("clap_mangen", "daemon/cli"),
        ("tracing_journald", "daemon/logging"),
        ("sd_notify", "daemon/service_manager"),
    ] {
        let words = [format!("{library}::"), format!("use {library};"), format!("extern crate {library}")];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // The baselines of a read through the mount and of keeping a stream are made of the library and nothing else.
        let baselines = [("fuser", "benches/mount/null_fuse.rs"), ("fastcdc", "benches/store.rs")];
        let is_baseline = |source: &Source| baselines.contains(&(library, source.path.as_str()));
        let elsewhere =
            |source: &Source| !source.is_in(home) && source.path != format!("{home}.rs") && !is_baseline(source);
        let is_named = |line: &str| words.iter().any(|word| starts_a_path(line, word));
        let mut broken = Vec::new();
        for source in sources().iter().filter(|source| elsewhere(source)) {
            let lines = source.code().filter(|(_, line)| is_named(line));
            broken.extend(lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())));
        }
        assert_none(&format!("{library} is named in {home} only"), broken);
    }
}

/// Whether `word` stands in the line as the beginning of a path and not as a part of a longer name.
fn starts_a_path(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
}

/// The module of `actors/` that a file belongs to.
fn actor_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("actors/")?;
    let first = rest.split('/').next()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!["pure", "lib"].contains(&name)).then_some(name)
}

#[test]
fn actor_imports_no_other_actor() {
    let sources = sources();
    let actors: BTreeSet<&str> = sources.iter().filter_map(|source| actor_of(&source.path)).collect();
    assert!(actors.len() >= 8, "{actors:?}");
    let mut broken = Vec::new();
    for source in &sources {
        let Some(own) = actor_of(&source.path) else { continue };
        for (number, line) in source.code() {
            for other in actors.iter().filter(|other| **other != own) {
                // Storage is no actor but a value that is lent to the catalog and the store.
                let lent = *other == "storage" && ["catalog", "store"].contains(&own);
                if !lent && starts_a_path(line, &format!("crate::{other}")) {
                    broken.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    assert_none("actors know each other through messages only", broken);
}

#[test]
fn imports_go_one_way() {
    for (folder, above) in [
        ("actors/pure", &["musicfs_protocol", "musicfs_actors", "musicfs::"][..]),
        ("protocol", &["musicfs_actors", "musicfs::"]),
        ("actors", &["musicfs::"]),
    ] {
        assert_absent(&format!("{folder} imports nothing above it"), |source| source.is_in(folder), above);
    }
}

#[test]
fn pure_code_has_no_actors_clock_threads_or_input() {
    let banned = [
        "actix",
        "tokio",
        "tracing",
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
        "SystemTime::now",
        "Instant::now",
        "println!",
        "std::io::std",
    ];
    assert_absent("pure code decides and does nothing", |source| source.is_in("actors/pure"), &banned);
}

#[test]
fn production_code_does_not_unwrap() {
    let chosen = |source: &Source| source.is_in("actors") || source.is_in("protocol") || source.is_in("daemon");
    assert_absent(
        "a panic is for a broken invariant",
        chosen,
        &[".unwrap()", ".expect(\"", ".expect(&", "todo!(", "unimplemented!("],
    );
}

#[test]
fn event_is_sent_through_an_inbox_or_a_port() {
    // `do_send` passes a full mailbox and drops the answer. A new use needs its reason here.
    let allowed = [
        ("protocol/port.rs", "wakes the owner of an inbox, which drains it at the next wake too"),
        (
            "daemon/supervision/spec.rs",
            "the end of an actor: one message in an actor's life, from a drop that cannot wait",
        ),
    ];
    let chosen = |source: &Source| !allowed.iter().any(|(path, _)| *path == source.path);
    assert_absent("no `do_send` outside the list", chosen, &["do_send"]);
}

#[test]
fn kernel_pages_are_never_invalidated() {
    let word = ["inval", "inode"].join("_");
    let attributes_of_a_folder = format!("self.{word}(INodeNo(folder.0), -1, 0)");
    let is_other = |line: &&str| line.contains(&word) && line.trim() != attributes_of_a_folder;
    let broken = sources()
        .iter()
        .filter_map(|source| source.text.lines().find(is_other).map(|line| format!("{}: {line}", source.path)))
        .collect();
    assert_none("a fresh node id replaces it, which cannot deadlock with a reader", broken);
}

#[test]
fn nothing_is_left_for_later_or_left_out() {
    let words =
        [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["#[ign", "ore"].concat(), ["thread::", "sleep("].concat()];
    let mut broken = Vec::new();
    for source in sources() {
        for (index, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                broken.push(format!("{}:{}: {}", source.path, index + 1, line.trim()));
            }
        }
    }
    assert_none("no promises, no tests that do not run, no sleeps", broken);
}

#[test]
fn nothing_names_a_place_of_one_machine() {
    let wanted = |path: &Path| {
        let ext = path.extension().and_then(|ext| ext.to_str()).unwrap_or_default();
        ["rs", "toml", "md", "service"].contains(&ext)
    };
    let mut paths = Vec::new();
    for folder in ["protocol", "actors", "daemon", "tests", "benches", ".ci", ".config", "systemd"] {
        if root().join(folder).is_dir() {
            collect(&root().join(folder), &|path| wanted(path) || path.ends_with("run"), &mut paths);
        }
    }
    paths.extend(["Makefile", "README.md", "CHANGELOG.md", "Cargo.toml"].map(|name| root().join(name)));
    // Where this project was ever built: a home folder, and the folders beside a clone.
    let words =
        [["/ro", "ot/."].concat(), ["/wo", "rk/wt"].concat(), ["/wo", "rk/main"].concat(), ["/wo", "rk/sh"].concat()];
    let names = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        words.iter().any(|word| text.contains(word.as_str()))
    };
    assert_none(
        "no machine's own path",
        paths.iter().filter(|path| names(path)).map(|p| p.display().to_string()).collect(),
    );
}

#[test]
fn top_level_is_the_layout() {
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "CHANGELOG.md",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "Makefile",
        "actors",
        "benches",
        "clippy.toml",
        "config.example.toml",
        "daemon",
        "deny.toml",
        "protocol",
        "rustfmt.toml",
        "systemd",
        "tests",
        "run",
        "target",
        ".ci",
        ".config",
        ".git",
        ".gitignore",
    ];
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_none("the top level is decided", entries.filter(|name| !known.contains(&name.as_str())).collect());
}

/// The rows of the message table: name, senders, receiver, reply.
fn message_table() -> Vec<(String, Vec<String>, String, String)> {
    let text = fs::read_to_string(root().join("protocol/lib.rs")).unwrap();
    let clean = |cell: &str| cell.replace(['`', '[', ']'], "").trim().to_owned();
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("//! | [")) {
        let cells: Vec<String> = line.split('|').skip(1).map(clean).collect();
        let (from, to) = cells[1].split_once('→').expect("sender → receiver");
        let senders = from.split(',').map(|name| name.trim().to_owned()).collect();
        rows.push((cells[0].clone(), senders, to.trim().to_owned(), cells[2].clone()));
    }
    rows
}

/// The structs in protocol that are messages: those that derive `Message`, with the first line of their doc.
fn message_structs() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for source in sources().iter().filter(|source| source.is_in("protocol")) {
        let mut doc = String::new();
        let mut derives = false;
        for line in source.production().lines() {
            if let Some(text) = line.strip_prefix("/// ") {
                if doc.is_empty() {
                    text.clone_into(&mut doc);
                }
            } else if line.starts_with("#[derive(") {
                derives |= line.split(['(', ',', ')', ' ']).any(|word| word == "Message");
            } else if let Some(rest) = line.strip_prefix("pub struct ") {
                if derives {
                    let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                    found.insert(name.to_owned(), std::mem::take(&mut doc));
                }
                (derives, doc) = (false, String::new());
            } else if !line.starts_with("#[") && !line.starts_with("///") {
                (derives, doc) = (false, String::new());
            }
        }
    }
    found
}

#[test]
fn message_table_names_every_message_and_no_other() {
    // Carries nothing: it wakes the owner of an inbox, whose events are in the table.
    let unlisted = ["InboxReady"];
    let (structs, table) = (message_structs(), message_table());
    assert!(structs.len() > 5 && table.len() > 8, "{structs:?}");
    let listed: BTreeSet<&str> = table.iter().map(|row| row.0.as_str()).collect();
    let missing = structs.keys().filter(|name| !listed.contains(name.as_str()) && !unlisted.contains(&name.as_str()));
    assert_none("every message is in the table of protocol/lib.rs", missing.cloned().collect());
    let all: String = sources().iter().filter(|source| source.is_in("protocol")).map(|s| s.text.clone()).collect();
    let unknown = listed.iter().filter(|name| !all.contains(&format!("pub struct {name}")));
    assert_none("every row of the table is a struct", unknown.map(|name| (*name).to_owned()).collect());
    let undirected = structs.iter().filter(|(name, doc)| listed.contains(name.as_str()) && !doc.contains('→'));
    assert_none("a message's doc begins with sender → receiver", undirected.map(|(name, _)| name.clone()).collect());
}

#[test]
fn requests_form_no_cycle() {
    // These two may ask anyone and are asked by nobody who waits for them.
    let left_out = ["control_server", "supervisor"];
    let mut asks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (_, senders, receiver, reply) in message_table() {
        for sender in senders.into_iter().filter(|sender| reply != "event" && !left_out.contains(&sender.as_str())) {
            asks.entry(sender).or_default().insert(receiver.clone());
        }
    }
    assert!(!asks.is_empty());
    for start in asks.keys() {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<&String> = asks[start].iter().collect();
        while let Some(next) = pending.pop() {
            assert_ne!(next, start, "a request comes back to {start}: {asks:?}");
            if reached.insert(next) {
                pending.extend(asks.get(next).into_iter().flatten());
            }
        }
    }
}

/// Names in boxes that are drawn with whole lines.
fn drawn_boxes() -> BTreeSet<String> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("## The picture").nth(1).unwrap().split("\n## ").next().unwrap();
    let picture = section.split("```").nth(1).unwrap();
    let is_name = |text: &&str| text.len() > 2 && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let cells =
        picture.lines().filter(|line| line.contains(['│', '├', '┤'])).flat_map(|line| line.split(['│', '├', '┤']));
    cells.map(str::trim).filter(is_name).map(str::to_owned).collect()
}

fn is_in_the_daemon(actor: &str) -> bool {
    let word = format!("musicfs_actors::{actor}");
    sources().iter().filter(|source| source.is_in("daemon")).any(|source| source.production().contains(&word))
}

#[test]
fn picture_in_the_readme_is_the_folder_of_the_actors() {
    let entries = fs::read_dir(root().join("actors")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap().trim_end_matches(".rs").to_owned());
    let mut built: BTreeSet<String> =
        names.filter(|name| !["pure", "lib", "Cargo.toml"].contains(&name.as_str())).collect();
    // An actor that lives in another's folder, because it shares the session with the kernel.
    assert!(
        root().join("actors/fuse_front/invalidator.rs").exists()
            || root().join("actors/fuse_front/invalidator").exists()
    );
    built.insert("invalidator".to_owned());
    // What the daemon does not start yet is drawn dashed, although its parts are there.
    built.retain(|name| name == "invalidator" || is_in_the_daemon(name));
    assert_eq!(drawn_boxes(), built);
}

#[test]
fn metric_has_an_actors_name_and_says_what_it_is() {
    let text = fs::read_to_string(root().join("protocol/metrics.rs")).unwrap();
    let names: Vec<&str> = text.split("register(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(names.len() > 8, "{names:?}");
    let actors = [
        "fuse",
        "fetcher",
        "watcher",
        "debouncer",
        "delta",
        "catalog",
        "control",
        "invalidator",
        "health",
        "storage",
        "supervisor",
        "actor",
        "daemon",
        "events",
    ];
    let mut broken = Vec::new();
    for name in names {
        let (actor, rest) = name.split_once('_').unwrap_or((name, ""));
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !actors.contains(&actor) || rest.is_empty() || !plain {
            broken.push(format!("{name}: is not musicfs_<actor>_<thing>_<unit>"));
        }
    }
    assert_none("metrics", broken);
}

#[test]
fn metric_labels_come_from_the_fixed_set() {
    let text = fs::read_to_string(root().join("protocol/metrics.rs")).unwrap();
    let allowed = ["actor", "origin", "op", "outcome", "purpose", "cause", "lane"];
    let mut broken = Vec::new();
    for part in text.split("EncodeLabelSet)]\n").skip(1) {
        let body = part.split('{').nth(1).unwrap().split('}').next().unwrap();
        let fields =
            body.lines().filter_map(|line| line.split(':').next()).map(|name| name.trim().trim_start_matches("pub "));
        let fields = fields.filter(|name| !name.is_empty() && !name.starts_with("//"));
        broken.extend(fields.filter(|name| !allowed.contains(name)).map(str::to_owned));
    }
    assert_none("a label is never a path or anything else without bound", broken);
}

#[test]
fn long_functions_are_found() {
    let body = "    let x = 1;\n".repeat(MAX_FUNCTION_LINES);
    let long = format!(
        "impl X {{\n    pub async fn long(\n        a: u32,\n    ) {{\n{body}    }}\n\n    fn short() {{}}\n}}\n"
    );
    assert_eq!(long_functions(&long).len(), 1);
    assert_eq!(long_functions("fn a() {\n}\nfn b();\nfn c() {}\n"), []);
}
