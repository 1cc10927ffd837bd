//! Operations on the origin, chosen at random and performed on the disk and in the model alike.
//!
//! Paths, artists and titles come from small alphabets, so that names meet. Every file has audio of its own serial
//! number, and every write an mtime of its own, as `touch -d` or a tagger that keeps times would leave it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::model::{Content, File, Origin};
use crate::support::music::Track;
use crate::support::random::Random;
use crate::support::sandbox::Sandbox;

/// Files beyond this number are deleted more often than made: a comparison reads them all.
const USUAL_FILES: usize = 60;

/// Below this folder nothing happens.
const STEADY: &str = "steady/";

/// What can happen at an origin.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(String),
    Retag(String),
    EditInPlace(String),
    Replace(String),
    Rename(String, String),
    RenameFolder(String, String),
    Chmod(String, u32),
    Delete(String),
}

/// The origin on the disk and in the model.
pub(crate) struct World<'a> {
    pub(crate) home: &'a Sandbox,
    pub(crate) random: Random,
    pub(crate) origin: Origin,
    serial: u64,
}

impl<'a> World<'a> {
    pub(crate) fn new(home: &'a Sandbox, random: Random) -> Self {
        Self { home, random, origin: Origin::new(), serial: 0 }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn track(&mut self) -> Track {
        let salt = self.next_serial();
        let random = &mut self.random;
        let mut track = Track {
            artist: (*random.pick(&["Ann", "Ben", "AC/DC", ""])).to_owned(),
            album: (*random.pick(&["First", "Second", ""])).to_owned(),
            title: (*random.pick(&["Red", "Blue", "Grün", ""])).to_owned(),
            date: (*random.pick(&["2020", "1999-12-31", ""])).to_owned(),
            number: (*random.pick(&["1", "2", "11", ""])).to_owned(),
            salt,
            audio_len: 200 + random.below(3000),
            ..Track::default()
        };
        if random.one_in(4) {
            "Various".clone_into(&mut track.albumartist);
        }
        if random.one_in(4) {
            (track.disc, track.disctotal) = ((1 + random.below(2)).to_string(), (1 + random.below(2)).to_string());
        }
        track
    }

    fn content(&mut self, path: &str) -> Content {
        let serial = self.next_serial();
        let bytes = format!("{serial} is not music").into_bytes();
        match path.rsplit_once('.').map(|(_, ext)| ext) {
            Some("jpg") => Content::Sidecar(bytes),
            Some("txt") => Content::Other(bytes),
            _ if self.random.one_in(12) => Content::Garbage(bytes),
            _ => Content::Audio(Box::new(self.track())),
        }
    }

    fn folder(&mut self) -> String {
        let names = ["a", "b", "c"];
        let depth = self.random.below(4);
        (0..depth).map(|_| *self.random.pick(&names)).flat_map(|name| [name, "/"]).collect()
    }

    /// A path where nothing is yet; the names repeat over time.
    fn free_path(&mut self) -> String {
        loop {
            let folder = self.folder();
            let serial = self.next_serial();
            let name = match self.random.below(10) {
                0 => "cover.jpg".to_owned(),
                1 => format!("note{}.txt", serial % 5),
                _ => format!("{}.flac", serial % 500),
            };
            let path = folder + &name;
            if !self.origin.contains_key(&path) {
                return path;
            }
        }
    }

    /// Adds tracks that no operation touches; answers where they are shown, and their bytes.
    pub(crate) fn add_steady(&mut self, count: u32) -> Vec<(PathBuf, Vec<u8>)> {
        let add = |number: u32| {
            let salt = self.next_serial();
            let content = Content::Audio(Box::new(Track::new("Steady", "Album", number, "T").salted(salt)));
            let path = format!("{STEADY}{number}.flac");
            let bytes = self.create_with(&path, content);
            (self.home.shown(&format!("Steady/Album (2020)/{number:02} - T.flac")), bytes)
        };
        (1..=count).map(add).collect()
    }

    fn any_file(&mut self) -> Option<String> {
        let paths: Vec<&String> = self.origin.keys().filter(|path| !path.starts_with(STEADY)).collect();
        (!paths.is_empty()).then(|| (*self.random.pick(&paths)).clone())
    }

    fn any_audio(&mut self) -> Option<String> {
        let is_audio = |file: &File| matches!(file.content, Content::Audio(_));
        let may = |(path, file): &(&String, &File)| is_audio(file) && !path.starts_with(STEADY);
        let paths: Vec<&String> = self.origin.iter().filter(may).map(|(path, _)| path).collect();
        (!paths.is_empty()).then(|| (*self.random.pick(&paths)).clone())
    }

    /// A folder that exists and a place for it that does not.
    fn folder_move(&mut self) -> Option<Op> {
        let file = self.any_file()?;
        let folders: Vec<usize> = file.match_indices('/').map(|(at, _)| at).collect();
        if folders.is_empty() {
            return None;
        }
        let from = file[..*self.random.pick(&folders)].to_owned();
        let serial = self.next_serial();
        let to = format!("{}moved{}", self.folder(), serial % 50);
        let inside_itself = format!("{to}/").starts_with(&format!("{from}/"));
        let taken = self.origin.keys().any(|path| path.starts_with(&format!("{to}/")));
        (!inside_itself && !taken && !self.home.origin().join(&to).exists()).then_some(Op::RenameFolder(from, to))
    }

    /// What happens next.
    pub(crate) fn choose(&mut self) -> Op {
        let chosen = match self.random.below(20) {
            0..=5 => None,
            6..=8 => self.any_audio().map(Op::Retag),
            9 | 10 => self.any_audio().map(Op::EditInPlace),
            11 | 12 => self.any_file().map(Op::Replace),
            13 | 14 => self.any_audio().map(|from| {
                let serial = self.next_serial();
                let to = format!("{}{serial}-again.flac", self.folder());
                Op::Rename(from, to)
            }),
            15 => self.folder_move(),
            16 => self.any_file().map(|path| {
                let mode = *self.random.pick(&[0o644, 0o600, 0o755, 0o640]);
                Op::Chmod(path, mode)
            }),
            17 if self.origin.len() < USUAL_FILES => None,
            _ => self.any_file().map(Op::Delete),
        };
        chosen.unwrap_or_else(|| Op::Create(self.free_path()))
    }

    /// Performs an operation on the disk and in the model.
    pub(crate) fn perform(&mut self, op: &Op) {
        match op {
            Op::Create(path) => self.create(path),
            Op::Retag(path) => {
                let track = self.track();
                self.write(path, Content::Audio(Box::new(track)), false);
            }
            Op::EditInPlace(path) => {
                let Content::Audio(mut track) = self.origin[path].content.clone() else { unreachable!("only audio") };
                track.salt = self.next_serial();
                self.write(path, Content::Audio(track), false);
            }
            Op::Replace(path) => {
                let content = self.content(path);
                self.write(path, content, true);
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::RenameFolder(from, to) => self.rename_folder(from, to),
            Op::Chmod(path, mode) => {
                fs::set_permissions(self.home.origin().join(path), PermissionsExt::from_mode(*mode)).unwrap();
                self.file(path).mode = *mode;
            }
            Op::Delete(path) => {
                fs::remove_file(self.home.origin().join(path)).unwrap();
                self.origin.remove(path);
            }
        }
    }

    fn file(&mut self, path: &str) -> &mut File {
        self.origin.get_mut(path).expect("operations name files that exist")
    }

    fn create(&mut self, path: &str) {
        let content = self.content(path);
        self.create_with(path, content);
    }

    fn create_with(&mut self, path: &str, content: Content) -> Vec<u8> {
        let file = File { content, mtime: (0, 0), mode: 0o644, ino: None, moved: false, changed: false };
        let bytes = file.bytes();
        self.home.put(path, &bytes);
        fs::set_permissions(self.home.origin().join(path), PermissionsExt::from_mode(0o644)).unwrap();
        self.origin.insert(path.to_owned(), file);
        self.learn_mtime(path);
        bytes
    }

    fn write(&mut self, path: &str, content: Content, by_rename: bool) {
        let home = self.home;
        let file = self.file(path);
        file.content = content;
        file.changed = true;
        let bytes = file.bytes();
        if by_rename {
            file.mode = 0o644;
            home.replace(path, &bytes);
            fs::set_permissions(home.origin().join(path), PermissionsExt::from_mode(0o644)).unwrap();
        } else {
            home.put(path, &bytes);
        }
        self.learn_mtime(path);
    }

    fn learn_mtime(&mut self, path: &str) {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(self.home.origin().join(path)).unwrap();
        self.file(path).mtime = (meta.mtime(), meta.mtime_nsec());
    }

    fn rename(&mut self, from: &str, to: &str) {
        let root = self.home.origin();
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        fs::rename(root.join(from), root.join(to)).unwrap();
        let mut file = self.origin.remove(from).unwrap();
        file.moved = true;
        self.origin.insert(to.to_owned(), file);
    }

    fn rename_folder(&mut self, from: &str, to: &str) {
        let root = self.home.origin();
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        fs::rename(root.join(from), root.join(to)).unwrap();
        let prefix = format!("{from}/");
        let inside: Vec<String> = self.origin.keys().filter(|path| path.starts_with(&prefix)).cloned().collect();
        for path in inside {
            let mut file = self.origin.remove(&path).unwrap();
            file.moved = true;
            self.origin.insert(format!("{to}/{}", &path[prefix.len()..]), file);
        }
    }
}
