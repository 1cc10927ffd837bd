//! From a path as a caller sees it to a path in the library, by text alone.
//!
//! No file system is asked: the mount is the daemon's own, and a thread of the daemon that looks at it can wait for
//! itself for ever. So links are not followed, and `..` goes up in the text. A path that leads below the mountpoint is taken
//! from there, whether it is absolute or relative to a working folder anywhere; every other begins at the library's root.

use musicfs_protocol::wire::{RpcError, code};
use musicfs_pure::escape::unescape;
use musicfs_pure::ids::MAX_ORIGIN_PATH_BYTES;

/// The components of a library path.
pub(super) type Components = Vec<Vec<u8>>;

/// Resolves an escaped path and working folder.
pub(super) fn resolve(mountpoint: &[u8], path: &str, cwd: Option<&str>) -> Result<Components, RpcError> {
    let path = unescape(path.as_bytes());
    let cwd = cwd.map(|cwd| unescape(cwd.as_bytes()));
    if path.len() > MAX_ORIGIN_PATH_BYTES || cwd.as_ref().is_some_and(|cwd| cwd.len() > MAX_ORIGIN_PATH_BYTES) {
        return Err(RpcError::new(code::INVALID_PARAMS, "the path is longer than a path can be"));
    }
    library_components(mountpoint, &path, cwd.as_deref())
        .ok_or_else(|| RpcError::new(code::NOT_FOUND, "the path leads out of the library"))
}

fn library_components(mountpoint: &[u8], path: &[u8], cwd: Option<&[u8]>) -> Option<Components> {
    let mountpoint = walk(Vec::new(), mountpoint)?;
    let below = |place: &[Vec<u8>]| place.strip_prefix(&*mountpoint).map(<[_]>::to_vec);
    if path.starts_with(b"/") {
        let place = walk(Vec::new(), path)?;
        return Some(below(&place).unwrap_or(place));
    }
    let cwd = cwd.and_then(|cwd| walk(Vec::new(), cwd)).unwrap_or_default();
    let as_the_shell_sees_it = walk(cwd.clone(), path).as_deref().and_then(below);
    if cwd.starts_with(&mountpoint) {
        // Here `..` may not leave the mount: what is outside is no library path.
        return as_the_shell_sees_it;
    }
    as_the_shell_sees_it.filter(|_| !path.is_empty()).or_else(|| walk(Vec::new(), path))
}

/// Goes a path from a place; nothing when it goes above the top.
fn walk(mut place: Components, path: &[u8]) -> Option<Components> {
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                place.pop()?;
            }
            name => place.push(name.to_vec()),
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(path: &str, cwd: Option<&str>) -> Option<String> {
        let components = resolve(b"/home/u/Music", path, cwd).ok()?;
        Some(components.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join("/"))
    }

    #[test]
    fn absolute_path_below_the_mountpoint_is_taken_from_there() {
        assert_eq!(resolved("/home/u/Music/A/b.flac", None).as_deref(), Some("A/b.flac"));
        assert_eq!(resolved("/home/u/./Music//A/../C", None).as_deref(), Some("C"));
        assert_eq!(resolved("/home/u/Music", None).as_deref(), Some(""));
        assert_eq!(resolved("/home/u/Music/", None).as_deref(), Some(""));
    }

    #[test]
    fn path_elsewhere_begins_at_the_root_of_the_library() {
        assert_eq!(resolved("A/b", Some("/tmp")).as_deref(), Some("A/b"));
        assert_eq!(resolved("/A/b", Some("/home/u/Music/X")).as_deref(), Some("A/b"));
        assert_eq!(resolved("/home/u/Musicals/x", None).as_deref(), Some("home/u/Musicals/x"));
        assert_eq!(resolved("", None).as_deref(), Some(""));
    }

    #[test]
    fn relative_path_in_a_folder_of_the_mount_is_joined_to_it() {
        assert_eq!(resolved("b", Some("/home/u/Music/A")).as_deref(), Some("A/b"));
        assert_eq!(resolved("../C", Some("/home/u/Music/A")).as_deref(), Some("C"));
        assert_eq!(resolved(".", Some("/home/u/Music/")).as_deref(), Some(""));
    }

    #[test]
    fn relative_path_from_outside_into_the_mount_is_taken_from_there() {
        assert_eq!(resolved("Music/A/b", Some("/home/u")).as_deref(), Some("A/b"));
        assert_eq!(resolved("../u/Music", Some("/home/v")).as_deref(), Some(""));
        assert_eq!(resolved("Music/A", Some("/elsewhere")).as_deref(), Some("Music/A"));
    }

    #[test]
    fn path_out_of_the_library_is_refused() {
        assert_eq!(resolved("../../x", Some("/home/u/Music/A")), None);
        assert_eq!(resolved("../x", None), None);
        assert_eq!(resolved(&"x/".repeat(5000), None), None);
    }

    #[test]
    fn escaped_bytes_are_bytes() {
        assert_eq!(resolve(b"/m", "/m/%FF%2e", None).expect("resolves"), [b"\xff.".to_vec()]);
    }
}
