//! Paths as text: normalising, and which of two lies in the other.
//!
//! Nothing here asks a file system. A mountpoint may be a dead mount of ours, and an origin may be on a disk that hangs:
//! whoever looks at either may wait for ever, before there is a daemon that could say so. So links are not followed, and
//! a path that reaches into another through a link is not found out here.

use std::path::{Component, Path, PathBuf};

/// A path without `.`, `..` and doubled slashes, by text. Above the root there is the root.
pub fn normalise(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// How a path lies to another, both normalised: the word for it, or nothing when they are apart.
pub fn relation(path: &Path, other: &Path) -> Option<&'static str> {
    if path == other {
        Some("at")
    } else if path.starts_with(other) {
        Some("inside")
    } else if other.starts_with(path) {
        Some("around")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_normalised_by_text() {
        for (path, expected) in
            [("/a/./b//c/", "/a/b/c"), ("/a/../b", "/b"), ("/../../a", "/a"), ("/", "/"), ("/a/b/../../..", "/")]
        {
            assert_eq!(normalise(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn nesting_counts_whole_components() {
        let relation = |path: &str, other: &str| relation(Path::new(path), Path::new(other));
        assert_eq!(relation("/a/b", "/a"), Some("inside"));
        assert_eq!(relation("/a", "/a/b"), Some("around"));
        assert_eq!(relation("/a", "/a"), Some("at"));
        assert_eq!(relation("/a", "/ab"), None);
        assert_eq!(relation("/x", "/"), Some("inside"));
    }
}
