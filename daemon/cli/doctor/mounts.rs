//! The mountpoint: whether it can be mounted on, what is mounted there, and dead mounts that somebody left behind.
//!
//! What is mounted where comes from the kernel's table; whether a mount answers, and what a folder is like, from a child.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use musicfs_actors::fuse_front::mount_table::{MountEntry, MountTable};
use musicfs_pure::escape::unescape;

use super::probe::{Answer, Asked, FolderFacts, LinkFacts, MountFacts, Question};
use super::running::Running;
use super::world::{World, quoted};
use super::{Finding, Level, Subject};
use crate::config::paths::relation;

/// Mounts of musicfs that are asked besides the own one.
const MAX_OTHERS: usize = 16;

pub(super) fn examine(world: &World, subject: &Subject, running: Option<&Running>) -> Vec<Finding> {
    let table = std::fs::read(&world.mountinfo).map(|text| MountTable::parse(&text)).unwrap_or_default();
    let Some(configured) = &subject.mountpoint else { return others(world, &table, None) };
    let roots: Vec<_> = subject.origins.iter().map(|(_, root)| world.ask(Question::Links, root)).collect();
    let mountpoint = resolved(world.ask(Question::Links, configured).answer(), configured);
    let mut findings = match table.top_at(&mountpoint) {
        Some(entry) => mounted(world, entry, running),
        None => running.map(|_| hidden(world, &mountpoint)).into_iter().collect(),
    };
    if running.is_none() && findings.is_empty() {
        findings.extend(place(world, &mountpoint, world.ask(Question::Folder, &mountpoint).answer()));
    }
    for ((name, root), asked) in subject.origins.iter().zip(roots) {
        let root = resolved(asked.answer(), root);
        findings.extend(relation(&mountpoint, &root).map(|relation| nested(world, relation, name, &root)));
    }
    findings.extend(others(world, &table, Some(&mountpoint)));
    findings
}

fn resolved(answer: Answer<LinkFacts>, path: &Path) -> PathBuf {
    match answer {
        Answer::Facts(LinkFacts { path }) => PathBuf::from(std::ffi::OsString::from_vec(unescape(path.as_bytes()))),
        Answer::Hangs | Answer::Failed(_) => path.to_owned(),
    }
}

/// The command that takes a mount away.
fn unmount(world: &World, entry: &MountEntry) -> String {
    let place = quoted(entry.mountpoint.as_os_str());
    let is_own_fuse = entry.fs_type.starts_with("fuse") && entry.user_id() == Some(world.uid) && !world.is_root();
    if is_own_fuse { format!("fusermount3 -uz {place}") } else { format!("{}umount -l {place}", world.sudo()) }
}

/// What a mount that does not work is; nothing for one that does.
fn broken(world: &World, entry: &MountEntry, answer: Answer<MountFacts>) -> Option<Finding> {
    let place = quoted(entry.mountpoint.as_os_str());
    let whose = if entry.is_ours() { "of a musicfs daemon".to_owned() } else { format!("of type {}", entry.fs_type) };
    let why = "everything that touches it fails or waits for ever, and nothing can be mounted there";
    let what = match answer {
        Answer::Facts(MountFacts { error: None, .. }) | Answer::Failed(_) => return None,
        Answer::Facts(MountFacts { is_dead: true, .. }) => format!("a dead mount {whose} is at {place}"),
        Answer::Facts(MountFacts { error: Some(error), .. }) => format!("the mount {whose} at {place} fails: {error}"),
        Answer::Hangs => format!("the mount {whose} at {place} does not answer"),
    };
    Some(Finding::problem("mount", what, why, unmount(world, entry)))
}

fn mounted(world: &World, entry: &MountEntry, running: Option<&Running>) -> Vec<Finding> {
    let asked = world.ask(Question::Mount, &entry.mountpoint);
    if let Some(finding) = broken(world, entry, asked.answer()) {
        return vec![finding];
    }
    if running.is_some() || !entry.is_ours() {
        return Vec::new();
    }
    let what =
        format!("a daemon serves {} and does not answer on this control socket", quoted(entry.mountpoint.as_os_str()));
    let why = "another one cannot mount there; this one can be asked at its own socket";
    vec![Finding::note("mount", what, why, "musicfs --socket PATH status  # or --data-dir DIR, as it was started")]
}

fn hidden(world: &World, mountpoint: &Path) -> Finding {
    let what =
        format!("the daemon runs, but nothing is mounted at {} as seen from here", quoted(mountpoint.as_os_str()));
    let why =
        "it was started in another mount namespace (a container, a unit with PrivateTmp=), so only that one sees it";
    Finding::problem("mount", what, why, restart(world))
}

/// The commands that start a daemon afresh.
pub(super) fn restart(world: &World) -> String {
    format!("{0} stop; {0} mount  # as a service: systemctl --user restart musicfs", world.musicfs)
}

fn place(world: &World, mountpoint: &Path, answer: Answer<FolderFacts>) -> Option<Finding> {
    let shown = quoted(mountpoint.as_os_str());
    let finding = |what: String, why: &str, mend: String| Some(Finding::problem("mountpoint", what, why, mend));
    let facts = match answer {
        Answer::Facts(facts) => facts,
        Answer::Hangs => {
            let why = "the daemon would wait for it as well";
            return finding(format!("the mountpoint {shown} does not answer"), why, format!("findmnt -T {shown}"));
        }
        Answer::Failed(_) => return None,
    };
    if let Some(error) = facts.error {
        let why = "the daemon cannot mount there";
        return finding(
            format!("the mountpoint {shown} cannot be looked at: {error}"),
            why,
            format!("namei -l {shown}"),
        );
    }
    if !facts.exists {
        let mend = format!("{}install -d -o {} {shown}", world.sudo(), world.user);
        let why = "the daemon makes it, but may not write to the folder above";
        return (!facts.can_write)
            .then(|| finding(format!("the mountpoint {shown} cannot be made"), why, mend))
            .flatten();
    }
    if !facts.is_folder {
        let mend = format!("mv {shown} {shown}.old");
        return finding(format!("the mountpoint {shown} is no folder"), "only a folder can be mounted on", mend);
    }
    if !facts.is_empty {
        let mend = format!("mv {shown} {shown}.old && mkdir {shown}");
        let why = "a mount would hide the files in it, so the daemon refuses";
        return finding(format!("the mountpoint {shown} is not empty"), why, mend);
    }
    if !world.is_root() && !facts.can_write {
        let mend = format!("{}chown {} {shown}", world.sudo(), world.user);
        let why = "fusermount3 mounts only where the user may write";
        return finding(format!("the mountpoint {shown} does not belong to this user"), why, mend);
    }
    None
}

fn nested(world: &World, relation: &str, origin: &str, root: &Path) -> Finding {
    let root = quoted(root.as_os_str());
    let what = format!("through its links the mountpoint lies {relation} origin {origin} ({root})");
    let why = "the daemon would wait for itself, so it does not start";
    Finding::problem("mountpoint", what, why, format!("{} mount ~/Library  # or another folder outside", world.musicfs))
}

/// Mounts of musicfs elsewhere that are dead. They hinder no daemon here, and one may be going away this moment.
fn others(world: &World, table: &MountTable, own: Option<&Path>) -> Vec<Finding> {
    let is_mine = |entry: &&MountEntry| world.is_root() || entry.user_id() == Some(world.uid);
    let elsewhere = table.iter().filter(|entry| entry.is_ours() && Some(entry.mountpoint.as_path()) != own);
    let ask = |entry: &MountEntry| world.ask(Question::Mount, &entry.mountpoint);
    let asked: Vec<(&MountEntry, Asked)> =
        elsewhere.filter(is_mine).take(MAX_OTHERS).map(|entry| (entry, ask(entry))).collect();
    let findings = asked.into_iter().filter_map(|(entry, asked)| broken(world, entry, asked.answer()));
    findings.map(|finding| Finding { level: Level::Note, ..finding }).collect()
}
