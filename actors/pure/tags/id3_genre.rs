//! Genres as ID3 writes them: numbers, numbers in brackets, and text.
//!
//! ID3v1 has a byte; ID3v2.2 and 2.3 refer to it as `(17)`, may refine it as in `(4)Eurodisco`, and write a bracket of
//! their own as `((`; 2.4 writes `17`. `RX` and `CR` stand for remix and cover. The names are lofty's table.

use lofty::id3::v1::GENRES;

/// The name of a genre's number.
pub(super) fn genre_name(number: usize) -> Option<&'static str> {
    GENRES.get(number).copied()
}

fn resolve_word(word: &str) -> Option<&'static str> {
    match word {
        "RX" => Some("Remix"),
        "CR" => Some("Cover"),
        _ if word.bytes().all(|byte| byte.is_ascii_digit()) => word.parse().ok().and_then(genre_name),
        _ => None,
    }
}

/// The genres that one value of an ID3v2 genre frame names.
pub(super) fn resolve_genre(value: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut rest = value.trim();
    while let Some((word, tail)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        let Some(name) = resolve_word(word) else { break };
        names.push(name.to_owned());
        rest = tail;
    }
    let text = if rest.starts_with("((") { &rest[1..] } else { rest };
    let text = resolve_word(text).map_or_else(|| text.to_owned(), str::to_owned);
    if !text.is_empty() && !names.contains(&text) {
        names.push(text);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genre_references_become_names() {
        for (value, names) in [
            ("17", &["Rock"][..]),
            ("(17)", &["Rock"]),
            ("(51)(39)", &["Techno-Industrial", "Noise"]),
            ("(4)Eurodisco", &["Disco", "Eurodisco"]),
            ("(17)Rock", &["Rock"]),
            ("((Foo)", &["(Foo)"]),
            ("(RX)", &["Remix"]),
            ("Jazz", &["Jazz"]),
            ("(9999)", &["(9999)"]),
            ("80s", &["80s"]),
            ("255", &["255"]),
            ("(Foo", &["(Foo"]),
            ("()", &["()"]),
        ] {
            assert_eq!(resolve_genre(value), names, "{value}");
        }
    }

    #[test]
    fn genre_of_nothing_is_nothing() {
        assert!(resolve_genre("").is_empty());
    }
}
