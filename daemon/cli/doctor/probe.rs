//! Looking at places that may hang, from a child process.
//!
//! Whoever asks a dead mount or a dead disk may wait for ever, and a process with such a thread cannot even be killed. So
//! no place is touched by this process: it starts itself once per place with the hidden flag `--probe`, all of them at
//! once, and a child that does not answer in time is killed and left behind. The child prints the facts as one line of
//! JSON, short enough for the pipe to hold whole, and judges nothing.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use musicfs_actors::fuse_front::helper::{self, Ending, Running};
use musicfs_pure::escape::escape;
use rustix::fs::{Access, StatVfs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How long a place may take to answer. A disk that has to spin up takes some seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long an origin is walked: tens of thousands of files from a disk, and what was seen until then is enough to find
/// what is wrong with many.
const WALK_LIMIT: Duration = Duration::from_secs(5);

/// A file from further in the future than this is not explained by two clocks that are a little apart.
const FUTURE_TOLERANCE: Duration = Duration::from_mins(1);

/// Characters of an example path; the whole answer must stay below what is kept of a child's output.
const MAX_EXAMPLE_CHARS: usize = 400;

/// `f_type` of file systems that inotify cannot tell everything about (Linux `magic.h`): NFS, SMB, CIFS, SMB2, FUSE, 9P.
const SHARED_TYPES: [u32; 6] = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997];

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// [`FolderFacts`] of a path, or of the nearest folder above it that exists.
    Folder,
    /// [`OriginFacts`] of a root.
    Origin,
    /// Whether a mount answers: [`MountFacts`].
    Mount,
    /// Where a path leads when its links are followed: [`LinkFacts`].
    Links,
}

const QUESTIONS: [(Question, &str); 4] = [
    (Question::Folder, "folder"),
    (Question::Origin, "origin"),
    (Question::Mount, "mount"),
    (Question::Links, "links"),
];

/// A folder, or what stands in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FolderFacts {
    /// It is there; otherwise the facts are those of the nearest folder above it.
    pub(super) exists: bool,
    pub(super) is_folder: bool,
    pub(super) is_empty: bool,
    /// Permission bits with set-id and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    /// This user may list and enter it.
    pub(super) can_read: bool,
    /// This user may make files in it.
    pub(super) can_write: bool,
    pub(super) free_bytes: u64,
    /// Nothing where the file system does not count them.
    pub(super) free_inodes: Option<u64>,
    /// The latest mtime in it, in seconds since the epoch.
    pub(super) newest_secs: i64,
    /// Why it could not be looked at.
    pub(super) error: Option<String>,
}

/// What is seen of an origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OriginFacts {
    /// Why its root could not be listed.
    pub(super) error: Option<String>,
    /// There is nothing at the root.
    pub(super) is_missing: bool,
    pub(super) num_folders: u64,
    pub(super) num_files: u64,
    /// Files and folders that this user may not read.
    pub(super) num_unreadable: u64,
    pub(super) unreadable: Option<String>,
    /// Files that were changed in the future.
    pub(super) num_future: u64,
    pub(super) future: Option<String>,
    /// How far the furthest of them is ahead.
    pub(super) future_secs: u64,
    /// Others may write to it unseen, so it is not watched alone.
    pub(super) is_shared: bool,
    /// Everything was seen.
    pub(super) is_complete: bool,
}

/// How a mount answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MountFacts {
    /// Its daemon or server is gone.
    pub(super) is_dead: bool,
    pub(super) error: Option<String>,
}

/// Where a path leads, percent-escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LinkFacts {
    pub(super) path: String,
}

/// A question that a child is answering.
pub(super) struct Asked(io::Result<Running>);

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    /// The facts.
    Facts(T),
    /// Nothing in time.
    Hangs,
    /// The child could not be asked.
    Failed(String),
}

/// Starts a child that answers; `program` is musicfs.
pub(super) fn ask(program: &Path, question: Question, place: &Path) -> Asked {
    let word = QUESTIONS.iter().find(|(known, _)| *known == question).map_or("", |(_, word)| word);
    let mut command = Command::new(program);
    command.args(["doctor", "--probe", word]).arg(place);
    Asked(helper::start(command, Stdio::null(), ANSWER_LIMIT))
}

impl Asked {
    /// Waits for the answer.
    pub(super) fn answer<T: DeserializeOwned>(self) -> Answer<T> {
        match self.0.and_then(Running::finish) {
            Ok(Ending::Exited { success: true, text }) => match serde_json::from_str(&text) {
                Ok(facts) => Answer::Facts(facts),
                Err(error) => Answer::Failed(error.to_string()),
            },
            Ok(Ending::Exited { text, .. }) => Answer::Failed(text),
            Ok(Ending::TimedOut) => Answer::Hangs,
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

/// The child's side: the facts about a place, as JSON. Nothing for words that are no question.
pub(super) fn respond(words: &[OsString]) -> Option<serde_json::Value> {
    let [word, place] = words else { return None };
    let (question, _) = QUESTIONS.iter().find(|(_, known)| OsStr::new(known) == word)?;
    let place = Path::new(place);
    let facts = match question {
        Question::Folder => serde_json::to_value(folder(place)),
        Question::Origin => serde_json::to_value(origin(place, SystemTime::now())),
        Question::Mount => serde_json::to_value(mount(place)),
        Question::Links => serde_json::to_value(links(place)),
    };
    facts.ok()
}

pub(super) fn folder(path: &Path) -> FolderFacts {
    let found = path.ancestors().find_map(|place| match fs::metadata(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        result => Some((place, result)),
    });
    let (place, metadata) = match found {
        Some((place, Ok(metadata))) => (place, metadata),
        Some((place, Err(error))) => {
            return FolderFacts { exists: place == path, error: Some(error.to_string()), ..FolderFacts::default() };
        }
        None => return FolderFacts { error: Some("there is no such path".to_owned()), ..FolderFacts::default() },
    };
    let may = |access| rustix::fs::access(place, access).is_ok();
    let space: Option<StatVfs> = rustix::fs::statvfs(place).ok();
    FolderFacts {
        exists: place == path,
        is_folder: metadata.is_dir(),
        is_empty: fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none()),
        mode: metadata.permissions().mode() & 0o7777,
        uid: metadata.uid(),
        can_read: may(Access::READ_OK | Access::EXEC_OK),
        can_write: may(Access::WRITE_OK | Access::EXEC_OK),
        free_bytes: space.as_ref().map_or(u64::MAX, |space| space.f_bavail.saturating_mul(space.f_frsize)),
        free_inodes: space.filter(|space| space.f_files > 0).map(|space| space.f_favail),
        newest_secs: newest(place),
        error: None,
    }
}

fn newest(folder: &Path) -> i64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.mtime()).max().unwrap_or_default()
}

pub(super) fn origin(root: &Path, now: SystemTime) -> OriginFacts {
    let is_shared = rustix::fs::statfs(root).is_ok_and(|stat| SHARED_TYPES.contains(&(stat.f_type as u32)));
    let mut facts = OriginFacts { is_shared, ..OriginFacts::default() };
    if let Err(error) = fs::read_dir(root) {
        facts.is_missing = error.kind() == io::ErrorKind::NotFound;
        facts.error = Some(error.to_string());
        return facts;
    }
    let started = Instant::now();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if started.elapsed() > WALK_LIMIT {
            return facts;
        }
        facts.num_folders += 1;
        let Ok(entries) = fs::read_dir(&folder) else {
            facts.unreadable(&folder, root);
            continue;
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                facts.file(&entry.path(), root, &metadata, now);
            }
        }
    }
    facts.is_complete = true;
    facts
}

impl OriginFacts {
    fn file(&mut self, path: &Path, root: &Path, metadata: &Metadata, now: SystemTime) {
        self.num_files += 1;
        if rustix::fs::access(path, Access::READ_OK).is_err() {
            self.unreadable(path, root);
        }
        let ahead = metadata.modified().ok().and_then(|mtime| mtime.duration_since(now).ok()).unwrap_or_default();
        if ahead > FUTURE_TOLERANCE {
            self.num_future += 1;
            self.future_secs = self.future_secs.max(ahead.as_secs());
            self.future.get_or_insert_with(|| example(path, root));
        }
    }

    fn unreadable(&mut self, path: &Path, root: &Path) {
        self.num_unreadable += 1;
        self.unreadable.get_or_insert_with(|| example(path, root));
    }
}

fn example(path: &Path, root: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    escape(below.as_os_str().as_encoded_bytes()).chars().take(MAX_EXAMPLE_CHARS).collect()
}

fn mount(place: &Path) -> MountFacts {
    match rustix::fs::statfs(place) {
        Ok(_) => MountFacts::default(),
        Err(error) => {
            let is_dead = matches!(error, rustix::io::Errno::NOTCONN | rustix::io::Errno::STALE);
            MountFacts { is_dead, error: Some(error.to_string()) }
        }
    }
}

/// As `realpath -m`: parts that do not exist stay as they are.
fn links(place: &Path) -> LinkFacts {
    let resolved = place.ancestors().find_map(|above| {
        // components, because joining nothing would end the path in a slash
        let below = place.strip_prefix(above).ok()?.components();
        Some(fs::canonicalize(above).ok()?.components().chain(below).collect::<PathBuf>())
    });
    let path = resolved.as_deref().unwrap_or(place);
    LinkFacts { path: escape(path.as_os_str().as_encoded_bytes()).into_owned() }
}

/// Seconds since the epoch.
pub(super) fn unix_secs(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_is_not_there_is_answered_by_the_one_above() {
        let dir = tempfile::tempdir().expect("a folder");
        let facts = folder(&dir.path().join("a/b"));
        assert!(!facts.exists && facts.is_folder && facts.can_write && facts.free_bytes > 0, "{facts:?}");
        let facts = folder(dir.path());
        assert!(facts.exists && facts.is_empty && facts.can_read, "{facts:?}");
        let metadata = fs::metadata(dir.path()).expect("is there");
        assert_eq!((facts.mode, facts.uid), (metadata.mode() & 0o7777, rustix::process::geteuid().as_raw()));
    }

    #[test]
    fn origin_is_counted_and_its_future_seen() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(dir.path().join("a/b")).expect("makes it");
        fs::write(dir.path().join("a/now"), "x").expect("writes");
        fs::write(dir.path().join("a/b/later\n"), "x").expect("writes");
        let now = SystemTime::now();
        let later = filetime::FileTime::from_system_time(now + Duration::from_hours(2));
        filetime::set_file_mtime(dir.path().join("a/b/later\n"), later).expect("sets it");
        let facts = origin(dir.path(), now);
        assert_eq!((facts.num_folders, facts.num_files, facts.num_future, facts.is_complete), (3, 2, 1, true));
        assert_eq!((facts.future.as_deref(), facts.future_secs / 60), (Some("a/b/later%0A"), 120));
        assert!(!facts.is_shared && facts.num_unreadable == 0, "{facts:?}");
        let facts = origin(&dir.path().join("gone"), now);
        assert!(facts.is_missing && facts.error.is_some(), "{facts:?}");
    }

    #[test]
    fn child_that_says_nothing_sensible_is_a_failure_and_not_an_answer() {
        let answer = ask(Path::new("/bin/echo"), Question::Mount, Path::new("/")).answer::<MountFacts>();
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
        let answer = ask(Path::new("/nonexistent/musicfs"), Question::Mount, Path::new("/")).answer::<MountFacts>();
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    }

    #[test]
    fn links_are_followed_as_far_as_there_is_something() {
        let dir = tempfile::tempdir().expect("a folder");
        let real = dir.path().canonicalize().expect("is there");
        std::os::unix::fs::symlink(&real, real.join("link")).expect("links");
        for (path, target) in [("link/none/x", real.join("none/x")), ("link", real.clone()), ("link/", real.clone())] {
            assert_eq!(links(&real.join(path)).path, target.to_str().expect("text"), "{path}");
        }
    }

    #[test]
    fn words_that_are_no_question_are_refused() {
        assert!(respond(&["nonsense".into(), "/".into()]).is_none());
        assert!(respond(&["folder".into()]).is_none());
        assert!(respond(&["folder".into(), "/".into()]).is_some());
    }
}
