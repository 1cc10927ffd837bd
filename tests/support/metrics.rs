//! Reading numbers out of `musicfs metrics`.
//!
//! A series is found by its name and the labels that matter; all that match are added up, so that a test need not know
//! every label that a series carries.

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
