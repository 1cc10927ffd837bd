//! Reading numbers out of `musicfs metrics`, and holding the text against the format.
//!
//! A series is found by its name and the labels that matter; all that match are added up, so that a test need not know
//! every label that a series carries. The check is of what the OpenMetrics specification asks of the samples that we
//! have: families whole and described, counters and infos by their suffixes, labels quoted, no timestamps, no exemplars.

use std::collections::{BTreeMap, BTreeSet};

/// The sum of the series called `name` whose labels include all of `labels` (`("purpose", "tags")`).
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let matches = |line: &&str| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|(key, value)| line.contains(&format!("{key}=\"{value}\"")))
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    text.lines().filter(matches).map(value).sum::<f64>() as u64
}

/// Every family of the text with its kind.
#[track_caller]
pub(crate) fn families(text: &str) -> BTreeMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| line.split_once(' ').expect("a name and a kind"))
        .map(|(n, k)| (n.to_owned(), k.to_owned()))
        .collect()
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The labels behind a name, up to the space before the value: `{a="b",c="d"}` or nothing.
fn split_labels(rest: &str) -> Option<(&str, &str)> {
    if !rest.starts_with('{') {
        return Some(("", rest.strip_prefix(' ')?));
    }
    let end = rest.rfind("} ")?;
    let labels = &rest[1..end];
    let mut left = labels;
    while !left.is_empty() {
        let (name, quoted) = left.split_once("=\"")?;
        let mut escaped = false;
        let close = quoted.find(|c| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        })?;
        let next = &quoted[close + 1..];
        left = if next.is_empty() { next } else { next.strip_prefix(',').filter(|next| !next.is_empty())? };
        is_name(name).then_some(())?;
    }
    Some((labels, &rest[end + 2..]))
}

/// Asserts that a text is OpenMetrics.
#[track_caller]
pub(crate) fn assert_openmetrics(text: &str) {
    assert!(text.ends_with("\n# EOF\n"), "the end is marked");
    let body = text.strip_suffix("# EOF\n").expect("just seen");
    let (mut family, mut seen, mut samples) = (None, BTreeSet::new(), BTreeSet::new());
    for line in body.lines() {
        if let Some(described) = line.strip_prefix("# ") {
            let mut words = described.splitn(3, ' ');
            let (what, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
            assert!(["HELP", "TYPE", "UNIT"].contains(&what), "{line}");
            assert!(is_name(name) && !rest.is_empty(), "{line}");
            if family.as_ref().is_none_or(|(current, _)| current != name) {
                assert!(seen.insert(name.to_owned()), "a family stands together: {line}");
                family = Some((name.to_owned(), "unknown"));
            }
            if what == "TYPE" {
                let kinds = ["counter", "gauge", "info"];
                let kind = kinds.into_iter().find(|kind| *kind == rest);
                family = Some((name.to_owned(), kind.unwrap_or_else(|| panic!("no kind of ours: {line}"))));
            }
            continue;
        }
        let (name, kind) = family.as_ref().unwrap_or_else(|| panic!("a sample without a family: {line}"));
        let suffix = match *kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let rest = line.strip_prefix(&format!("{name}{suffix}")).unwrap_or_else(|| panic!("not of {name}: {line}"));
        let (labels, value) = split_labels(rest).unwrap_or_else(|| panic!("malformed: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number, or more than one: {line}"));
        assert!(value.is_finite() && (*kind == "gauge" || value >= 0.0), "{line}");
        assert!(samples.insert(format!("{name}{{{labels}}}")), "twice: {line}");
    }
    assert!(!samples.is_empty());
}
