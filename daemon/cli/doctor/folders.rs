//! The daemon's own folders: owner, permissions, room; and the clock, which their files tell about.
//!
//! The state folder holds the catalog and must last; the cache folder may go at any time; the socket's folder decides who
//! may talk to the daemon. Each is looked at by a child: a home may be on a server.

use std::path::Path;

use super::probe::{Answer, FolderFacts, Question, unix_secs};
use super::world::{World, quoted};
use super::{Finding, Subject};

/// Below this the catalog may fail to write: its log and its tables in memory are 16 MiB each, and a table is written anew
/// beside the old ones.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// Below this a handful of new tables and segments may not find an inode.
const MIN_FREE_INODES: u64 = 256;

/// Files may be this much ahead of a clock that was set right in between.
const CLOCK_TOLERANCE_SECS: i64 = 60;

const STICKY: u32 = 0o1000;

/// Which folder it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    State,
    Cache,
    Socket,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Cache => "cache",
            Self::Socket => "socket",
        }
    }

    /// How another place is chosen.
    fn elsewhere(self) -> &'static str {
        match self {
            Self::State | Self::Cache => "--data-dir DIR",
            Self::Socket => "--socket PATH",
        }
    }
}

pub(super) fn examine(world: &World, subject: &Subject) -> Vec<Finding> {
    let socket = subject.socket.as_deref().and_then(Path::parent);
    let places = [
        (Role::State, subject.state_dir.as_deref()),
        (Role::Cache, subject.cache_dir.as_deref()),
        (Role::Socket, socket),
    ];
    let asked = places.into_iter().filter_map(|(role, place)| Some((role, place?)));
    let asked: Vec<_> = asked.map(|(role, place)| (role, place, world.ask(Question::Folder, place))).collect();
    asked.into_iter().flat_map(|(role, place, asked)| folder(world, role, place, &asked.answer())).collect()
}

fn folder(world: &World, role: Role, place: &Path, answer: &Answer<FolderFacts>) -> Vec<Finding> {
    let shown = quoted(place.as_os_str());
    let name = role.name();
    let unusable = |what: String, mend: String| {
        let why = format!("the daemon does not start without it; another one is chosen with {}", role.elsewhere());
        vec![Finding::problem("folders", what, why, mend)]
    };
    let facts = match answer {
        Answer::Facts(facts) => facts,
        Answer::Hangs => {
            return unusable(format!("the {name} folder {shown} does not answer"), format!("findmnt -T {shown}"));
        }
        Answer::Failed(_) => return Vec::new(),
    };
    if let Some(error) = &facts.error {
        return unusable(
            format!("the {name} folder {shown} cannot be looked at: {error}"),
            format!("namei -l {shown}"),
        );
    }
    if !facts.is_folder {
        return unusable(format!("the {name} folder {shown} is no folder"), format!("mv {shown} {shown}.old"));
    }
    let permissions =
        if facts.exists { permissions(world, role, &shown, facts) } else { creation(world, role, &shown, facts) };
    let room = if role == Role::Socket { None } else { room(role, &shown, facts) };
    let clock = if role == Role::State && facts.exists { clock(world, &shown, facts) } else { None };
    permissions.into_iter().chain(room).chain(clock).collect()
}

/// A folder that the daemon has to make.
fn creation(world: &World, role: Role, shown: &str, facts: &FolderFacts) -> Option<Finding> {
    let mend = format!("{}install -d -m 700 -o {} {shown}", world.sudo(), world.user);
    let what = format!("the {} folder {shown} cannot be made", role.name());
    let why = "the daemon makes it at its start, but may not write to the folder above";
    (!facts.can_write).then(|| Finding::problem("folders", what, why, mend))
}

fn permissions(world: &World, role: Role, shown: &str, facts: &FolderFacts) -> Option<Finding> {
    let name = role.name();
    let is_shared_place = role == Role::Socket && facts.mode & STICKY != 0;
    if facts.uid != world.uid && !is_shared_place {
        let what = format!("the {name} folder {shown} belongs to user {}, not to this one", facts.uid);
        let why = "whoever owns it decides what is in it, and the daemon may be unable to write";
        let mend = format!("{}chown -R {} {shown}", world.sudo(), world.user);
        return Some(Finding::problem("folders", what, why, mend));
    }
    if !facts.can_read || !facts.can_write || facts.mode & 0o700 != 0o700 && !is_shared_place {
        let what = format!("the {name} folder {shown} cannot be written to by this user (mode {:03o})", facts.mode);
        return Some(Finding::problem("folders", what, "the daemon does not start", format!("chmod u+rwx {shown}")));
    }
    if facts.mode & 0o022 != 0 && !is_shared_place {
        let what = format!("other users may write to the {name} folder {shown} (mode {:03o})", facts.mode);
        let why = "they could replace what the daemon relies on";
        return Some(Finding::problem("folders", what, why, format!("chmod go-w {shown}")));
    }
    None
}

fn room(role: Role, shown: &str, facts: &FolderFacts) -> Option<Finding> {
    let name = role.name();
    let is_short = facts.free_bytes < MIN_FREE_BYTES;
    let is_out_of_inodes = facts.free_inodes.is_some_and(|free| free < MIN_FREE_INODES);
    let what = if is_short {
        format!("the disk of the {name} folder {shown} is full: {} are free", bytesize::ByteSize(facts.free_bytes))
    } else if is_out_of_inodes {
        format!("the disk of the {name} folder {shown} can hold no more files: its inodes are used up")
    } else {
        return None;
    };
    let why = match role {
        Role::State => "the catalog cannot be written, so changes are lost or the daemon ends",
        Role::Cache | Role::Socket => "nothing more can be kept for when an origin is away",
    };
    // what fills that disk; which of it can go is a person's decision
    let count = if is_short { "du -xh" } else { "du -x --inodes" };
    let mend = format!(
        "{count} \"$(findmnt -no TARGET -T {shown})\" 2>/dev/null | sort -rh | head -n 20  # then remove what can go"
    );
    Some(Finding::problem("disk", what, why, mend))
}

fn clock(world: &World, shown: &str, facts: &FolderFacts) -> Option<Finding> {
    let ahead = facts.newest_secs.saturating_sub(unix_secs(world.now));
    (ahead > CLOCK_TOLERANCE_SECS).then(|| {
        let shown_ahead = humantime::format_duration(std::time::Duration::from_secs(ahead as u64));
        let what = format!("the clock of this machine is behind: files in {shown} were written {shown_ahead} from now");
        let why = "times decide about what has changed, what is old, and what players take for new";
        Finding::problem("clock", what, why, format!("{}timedatectl set-ntp true", world.sudo()))
    })
}
