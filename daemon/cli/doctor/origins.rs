//! Origins: whether each is there and can be read, whether its files are from the future, and whether it can be watched.
//!
//! All origins are asked at once, each by a child of its own, so that one dead server costs its limit once and takes no
//! other with it. Counts are of what was seen within the time.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use musicfs_pure::escape::unescape;

use super::probe::{Answer, OriginFacts, Question};
use super::world::{World, quoted};
use super::{Finding, Subject, limits};

pub(super) fn examine(world: &World, subject: &Subject) -> Vec<Finding> {
    let asked: Vec<_> =
        subject.origins.iter().map(|(name, root)| (name, root, world.ask(Question::Origin, root))).collect();
    let answered: Vec<_> = asked.into_iter().map(|(name, root, asked)| (name, root, asked.answer())).collect();
    let mut findings: Vec<_> =
        answered.iter().flat_map(|(name, root, answer)| origin(world, name, root, answer)).collect();
    let watched = answered.iter().filter_map(|(_, _, answer)| match answer {
        Answer::Facts(facts) if facts.error.is_none() && !facts.is_shared => Some(facts.num_folders),
        _ => None,
    });
    findings.extend(limits::inotify(world, watched.sum(), answered.len() as u64));
    findings
}

fn origin(world: &World, name: &str, root: &Path, answer: &Answer<OriginFacts>) -> Vec<Finding> {
    let shown = quoted(root.as_os_str());
    let facts = match answer {
        Answer::Facts(facts) => facts,
        Answer::Hangs => return vec![hanging(world, name, root)],
        Answer::Failed(reason) => {
            let what = format!("origin {name} at {shown} could not be examined: {reason}");
            return vec![Finding::note("origin", what, "nothing is known of it", format!("ls {shown}"))];
        }
    };
    match &facts.error {
        Some(error) => vec![unreachable(world, name, root, facts, error)],
        None => [unreadable(world, name, &shown, facts), future(name, &shown, facts)].into_iter().flatten().collect(),
    }
}

fn hanging(world: &World, name: &str, root: &Path) -> Finding {
    let shown = quoted(root.as_os_str());
    let what = format!("origin {name} at {shown} does not answer");
    let why = "its files cannot be read; the library goes on showing them";
    let mend = match mount_of(world, root) {
        Some(mount) => {
            let mount = quoted(mount.as_os_str());
            format!("{0}umount -f -l {mount} && {0}mount {mount}", world.sudo())
        }
        None => format!("findmnt -T {shown}"),
    };
    Finding::problem("origin", what, why, mend)
}

fn unreachable(world: &World, name: &str, root: &Path, facts: &OriginFacts, error: &str) -> Finding {
    let shown = quoted(root.as_os_str());
    let what = format!("origin {name} cannot be listed at {shown}: {error}");
    let why = "its files cannot be read; the library goes on showing what is known of them";
    let mend = match mount_of(world, root) {
        Some(mount) if facts.is_missing => format!("{}mount {}", world.sudo(), quoted(mount.as_os_str())),
        _ if facts.is_missing => format!("mkdir -p {shown}  # or correct origin.{name}.location"),
        _ => format!("{}chmod a+rx {shown}", world.sudo()),
    };
    Finding::problem("origin", what, why, mend)
}

/// The mountpoint in `/etc/fstab` that a path lies below.
fn mount_of(world: &World, root: &Path) -> Option<PathBuf> {
    let fstab = std::fs::read_to_string(&world.fstab).unwrap_or_default();
    let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    // fstab writes blanks as \040, as the table of mounts does
    let places = lines
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(|place| PathBuf::from(OsString::from_vec(unescape(place.replace("\\040", "%20").as_bytes()))));
    let deepest = places.filter(|place| root.starts_with(place) && place.parent().is_some());
    deepest.max_by_key(|place| place.components().count())
}

fn unreadable(world: &World, name: &str, shown: &str, facts: &OriginFacts) -> Option<Finding> {
    let example = facts.unreadable.as_deref()?;
    let what = format!(
        "{} files or folders of origin {name} cannot be read by this user; the first is {example}",
        facts.num_unreadable
    );
    let why = "they are missing from the library, or shown and cannot be played";
    Some(Finding::problem("origin", what, why, format!("{}chmod -R a+rX {shown}", world.sudo())))
}

fn future(name: &str, shown: &str, facts: &OriginFacts) -> Option<Finding> {
    let example = facts.future.as_deref()?;
    let ahead = humantime::format_duration(Duration::from_secs(facts.future_secs));
    let what = format!(
        "{} files of origin {name} were changed in the future, up to {ahead} from now; the first is {example}",
        facts.num_future
    );
    let why = "an edit that does not move such a time goes unnoticed; when there are many, the clock of whoever wrote them, \
               or this one, is wrong";
    Some(Finding::problem("clock", what, why, format!("find {shown} -newermt '1 minute' -exec touch {{}} +")))
}
