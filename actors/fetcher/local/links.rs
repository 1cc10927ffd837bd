//! Links: which of them are followed, and where a path really is.
//!
//! A link to a file inside the root reads as that file. A link to a folder inside the root is entered, once: not when a
//! linked folder was entered before on the same path, and not when it leads to a folder that the link itself lies in. So
//! no path goes round in a circle and every link repeats a subtree at most once. Links that lead out, that lead nowhere,
//! and second or circular ones are not servable; listing, stat and read all ask here and agree.
//!
//! The kernel never follows a link for us (`RESOLVE_NO_SYMLINKS`): the text of each one is walked here, component by
//! component, every step an `openat2` from the root. That treats relative and absolute links and chains of both alike and
//! yields the real path on the way; the kernel alone would refuse every absolute link, and reading the real path back from
//! `/proc/self/fd` depends on /proc and is ambiguous for names that end in " (deleted)".

use musicfs_protocol::fetch::{FetchError, Stat};
use musicfs_pure::ids::OriginPath;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::attributes::{self, FsType};
use super::root::{Pinned, Root};

/// The most links that one link may lead through: the kernel's own limit (`path_resolution(7)`).
const MAX_LINKS: u32 = 40;

/// What a path leads to: never a link.
pub(super) struct Resolved {
    /// The file or folder, held in place.
    pub(super) node: Pinned,
    /// Where it really is below the root.
    pub(super) real: OriginPath,
}

impl Resolved {
    /// Its stat as seen at `path`; nothing for what is neither file nor folder.
    pub(super) fn stat(&self, root: &Root<'_>, path: &OriginPath) -> Result<Stat, FetchError> {
        let fs = FsType::of(&self.node.fd).map_err(|errno| root.explain(path, errno))?;
        let real_path = (self.real != *path).then(|| self.real.clone());
        attributes::stat(&self.node.attributes, fs, real_path).ok_or(FetchError::NotServable)
    }
}

/// Finds what a path of a listing leads to.
pub(super) fn resolve(root: &Root<'_>, path: &OriginPath) -> Result<Resolved, FetchError> {
    match root.pin(path) {
        Ok(node) if !node.file_type().is_symlink() => Ok(Resolved { node, real: path.clone() }),
        Ok(_) | Err(Errno::LOOP) => resolve_linked(root, path),
        Err(errno) => Err(root.explain(path, errno)),
    }
}

/// The same for a path with a link in it.
fn resolve_linked(root: &Root<'_>, path: &OriginPath) -> Result<Resolved, FetchError> {
    let mut at = Resolved {
        node: root.pin(&OriginPath::root()).map_err(|errno| root.explain(&OriginPath::root(), errno))?,
        real: OriginPath::root(),
    };
    let mut crossed = false;
    for name in path.components() {
        let (next, was_link) = resolve_child(root, &at.real, crossed, name)?;
        crossed |= was_link && next.node.file_type().is_dir();
        at = next;
    }
    Ok(at)
}

/// Finds what a name in the folder `real` leads to, and whether it is a link. `crossed` says that a linked folder was
/// entered on the way here.
pub(super) fn resolve_child(
    root: &Root<'_>,
    real: &OriginPath,
    crossed: bool,
    name: &[u8],
) -> Result<(Resolved, bool), FetchError> {
    let place = real.join(name).map_err(|_| FetchError::NotServable)?;
    let node = root.pin(&place).map_err(|errno| root.explain(&place, errno))?;
    if !node.file_type().is_symlink() {
        return Ok((Resolved { node, real: place }, false));
    }
    let target = follow(root, real, &place, &node)?;
    match target.node.file_type() {
        FileType::RegularFile => Ok((target, true)),
        FileType::Directory if !crossed && !real.is_within(&target.real) => Ok((target, true)),
        _ => Err(FetchError::NotServable),
    }
}

/// Walks the text of the link `link` at `place` in `folder` to what it leads to in the end.
fn follow(root: &Root<'_>, folder: &OriginPath, place: &OriginPath, link: &Pinned) -> Result<Resolved, FetchError> {
    let mut at = folder.clone();
    let mut node = None;
    let mut num_links = 1;
    let mut todo = Vec::new();
    push_link(root, place, link, &mut todo, &mut at)?;
    while let Some(name) = todo.pop() {
        if name == b".." {
            // above the root is outside, wherever the text goes from there
            at = at.parent().ok_or(FetchError::NotServable)?;
            node = None;
            continue;
        }
        let next = at.join(&name).map_err(|_| FetchError::NotServable)?;
        let found = root.pin(&next).map_err(|errno| root.explain(&next, errno))?;
        if found.file_type().is_symlink() {
            num_links += 1;
            if num_links > MAX_LINKS {
                return Err(FetchError::NotServable);
            }
            push_link(root, &next, &found, &mut todo, &mut at)?;
        } else {
            at = next;
            node = Some(found);
        }
    }
    let node = match node {
        Some(node) => node,
        None => root.pin(&at).map_err(|errno| root.explain(&at, errno))?,
    };
    Ok(Resolved { node, real: at })
}

/// Puts the components of a link's text on the stack of what is to be walked, the first on top. An absolute link starts
/// again at the root. The stack is bounded: a text has at most 4,095 bytes, and there are at most [`MAX_LINKS`].
fn push_link(
    root: &Root<'_>,
    place: &OriginPath,
    link: &Pinned,
    todo: &mut Vec<Vec<u8>>,
    at: &mut OriginPath,
) -> Result<(), FetchError> {
    let text = rustix::fs::readlinkat(&link.fd, c"", Vec::new()).map_err(|errno| root.explain(place, errno))?;
    let mut text = text.as_bytes();
    if text.starts_with(b"/") {
        text = root.strip(text).ok_or(FetchError::NotServable)?;
        *at = OriginPath::root();
    }
    let names = text.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    todo.extend(names.rev().map(<[u8]>::to_vec));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use musicfs_protocol::fetch::NodeKind;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> OriginPath {
        OriginPath::parse(text.as_bytes()).unwrap()
    }

    /// root/{a/song, b/deep/song, outside → ..}, beside root a file `secret`
    fn library() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::write(root.join("a/song"), b"song").unwrap();
        fs::write(root.join("b/deep/song"), b"deep song").unwrap();
        fs::write(folder.path().join("secret"), b"secret").unwrap();
        (folder, root)
    }

    fn real(root: &std::path::Path, text: &str) -> Result<String, FetchError> {
        let root = Root::open(root)?;
        resolve(&root, &path(text)).map(|found| found.real.to_string())
    }

    #[test]
    fn links_inside_the_root_resolve_to_the_real_path() {
        let (_folder, root) = library();
        symlink("../a/song", root.join("b/relative")).unwrap();
        symlink(root.join("a/song"), root.join("b/absolute")).unwrap();
        symlink("absolute", root.join("b/chain")).unwrap();
        symlink("./deep/../../a//song", root.join("b/winding")).unwrap();
        symlink("../b", root.join("a/folder")).unwrap();
        symlink("folder/deep/song", root.join("a/through")).unwrap();
        for (link, target) in [
            ("b/relative", "a/song"),
            ("b/absolute", "a/song"),
            ("b/chain", "a/song"),
            ("b/winding", "a/song"),
            ("a/folder", "b"),
            ("a/folder/deep/song", "b/deep/song"),
            ("a/folder/absolute", "a/song"),
            ("a/through", "b/deep/song"),
            ("a/song", "a/song"),
        ] {
            assert_eq!(real(&root, link).as_deref(), Ok(target), "{link}");
        }
    }

    #[test]
    fn absolute_link_by_either_name_of_the_root_is_inside() {
        let (folder, root) = library();
        let other = folder.path().join("other");
        symlink(&root, &other).unwrap();
        symlink(other.join("a/song"), root.join("configured")).unwrap();
        symlink(root.join("a/song"), root.join("canonical")).unwrap();
        assert_eq!(real(&other, "configured").as_deref(), Ok("a/song"));
        assert_eq!(real(&other, "canonical").as_deref(), Ok("a/song"));
        assert_eq!(real(&root, "configured"), Err(FetchError::NotServable));
    }

    #[test]
    fn links_out_of_the_root_are_not_servable() {
        let (folder, root) = library();
        symlink("../../secret", root.join("a/out")).unwrap();
        symlink(folder.path().join("secret"), root.join("absolute")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("../root/a/song", root.join("out_and_in")).unwrap();
        symlink(format!("{}/../secret", root.display()), root.join("prefix")).unwrap();
        symlink(format!("{}x", root.display()), root.join("sibling")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        for link in ["a/out", "absolute", "up", "up/secret", "out_and_in", "prefix", "sibling", "magic"] {
            assert_eq!(real(&root, link), Err(FetchError::NotServable), "{link}");
        }
    }

    #[test]
    fn circles_and_broken_links_lead_nowhere() {
        let (_folder, root) = library();
        symlink("self", root.join("self")).unwrap();
        symlink("pong", root.join("ping")).unwrap();
        symlink("ping", root.join("pong")).unwrap();
        symlink(".", root.join("a/here")).unwrap();
        symlink("../..", root.join("b/deep/top")).unwrap();
        symlink("missing", root.join("broken")).unwrap();
        symlink("a/song/x", root.join("not_a_folder")).unwrap();
        for link in ["self", "ping", "a/here", "a/here/song", "b/deep/top", "b/deep/top/a"] {
            assert_eq!(real(&root, link), Err(FetchError::NotServable), "{link}");
        }
        assert_eq!(real(&root, "broken"), Err(FetchError::NotFound));
        assert_eq!(real(&root, "not_a_folder"), Err(FetchError::NotFound));
    }

    #[test]
    fn second_linked_folder_on_a_path_is_not_entered() {
        let (_folder, root) = library();
        symlink("../b", root.join("a/to_b")).unwrap();
        symlink("../a", root.join("b/to_a")).unwrap();
        symlink("../a/song", root.join("b/file")).unwrap();
        assert_eq!(real(&root, "a/to_b").as_deref(), Ok("b"));
        assert_eq!(real(&root, "b/to_a/song").as_deref(), Ok("a/song"));
        assert_eq!(real(&root, "a/to_b/file").as_deref(), Ok("a/song"));
        assert_eq!(real(&root, "a/to_b/to_a"), Err(FetchError::NotServable));
        assert_eq!(real(&root, "a/to_b/to_a/song"), Err(FetchError::NotServable));
    }

    #[test]
    fn stat_of_a_linked_file_is_that_of_its_target() {
        let (_folder, root) = library();
        symlink("../b/deep/song", root.join("a/link")).unwrap();
        let root = Root::open(&root).unwrap();
        let stat = resolve(&root, &path("a/link")).unwrap().stat(&root, &path("a/link")).unwrap();
        assert_eq!((stat.kind, stat.version.size), (NodeKind::File, 9));
        assert_eq!(stat.real_path, Some(path("b/deep/song")));
        let plain = resolve(&root, &path("b/deep/song")).unwrap().stat(&root, &path("b/deep/song")).unwrap();
        assert_eq!((plain.version, plain.real_path), (stat.version, None));
    }
}
