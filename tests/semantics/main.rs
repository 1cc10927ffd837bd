//! The README's promises, sentence by sentence.
//!
//! Every bullet of "What you can rely on" is quoted by a test here: the quotation is looked up in the README, so that
//! neither can change alone, and a bullet that no test quotes fails `every_promise_is_quoted`. The tests are short on
//! purpose; the other targets take the same subjects further.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed expectation is the result of a test

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod changes;
mod filesystem;
mod library;

/// The README's bullets between two headings, each as one line.
fn promises() -> Vec<String> {
    let readme = include_str!("../../README.md");
    let from = readme.find("## What you can rely on").unwrap();
    let section = &readme[from..from + readme[from..].find("\n## ").unwrap()];
    let bullets = section.split("\n* ").skip(1).map(|bullet| bullet.split("\n\n").next().unwrap_or_default());
    bullets.map(|bullet| bullet.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Asserts that the README says this, as one of its promises.
#[track_caller]
fn promised(sentence: &str) {
    assert!(promises().iter().any(|promise| promise == sentence), "the README does not promise: {sentence}");
}

#[test]
fn every_promise_is_quoted() {
    let sources = [
        include_str!("absence.rs"),
        include_str!("changes.rs"),
        include_str!("filesystem.rs"),
        include_str!("library.rs"),
    ];
    let promises = promises();
    assert!(promises.len() > 15, "{promises:?}");
    for promise in promises {
        let literal = format!("{}\"", promise.replace('"', "\\\""));
        let quoted = sources.iter().any(|source| source.contains(&literal));
        assert!(quoted, "no test quotes: {promise}");
    }
}
