//! A folder's listing that is read in steps, as programs do that stop in between: `opendir`, some entries, a while, more.
//!
//! It is made of the plain system calls: `getdents` fills a buffer, `lseek` to an entry's cookie is what `telldir` and
//! `seekdir` are. The C library's own streams read ahead, which would hide where the listing stands.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fs::{RawDir, SeekFrom, seek};

/// What a listing does between its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Reads on.
    Straight,
    /// Reads on, and asks for the attributes of each entry.
    Stat,
    /// Seeks to where it is before it reads on.
    Seek,
    /// Opens the folder anew and seeks to where it was.
    Reopen,
}

/// Every style there is.
pub(crate) const STYLES: [Style; 4] = [Style::Straight, Style::Stat, Style::Seek, Style::Reopen];

/// A listing under way.
pub(crate) struct Listing {
    folder: PathBuf,
    dir: File,
    style: Style,
    buffer: Vec<MaybeUninit<u8>>,
    /// The cookie of the last entry.
    at: u64,
    /// The names so far, in order, without `.` and `..`.
    pub(crate) names: Vec<String>,
    pub(crate) has_ended: bool,
}

impl Listing {
    /// Opens a folder; `buffer_len` decides how many entries one call of the system brings.
    pub(crate) fn open(folder: &Path, style: Style, buffer_len: usize) -> io::Result<Self> {
        let dir = File::open(folder)?;
        let buffer = vec![MaybeUninit::uninit(); buffer_len];
        Ok(Self { folder: folder.to_owned(), dir, style, buffer, at: 0, names: Vec::new(), has_ended: false })
    }

    /// Reads at least `count` more entries, or to the end.
    pub(crate) fn step(&mut self, count: usize) -> io::Result<()> {
        match self.style {
            Style::Straight | Style::Stat => {}
            Style::Seek => drop(seek(&self.dir, SeekFrom::Start(self.at))?),
            Style::Reopen => {
                self.dir = File::open(&self.folder)?;
                seek(&self.dir, SeekFrom::Start(self.at))?;
            }
        }
        let mut found = Vec::new();
        let mut entries = RawDir::new(&self.dir, &mut self.buffer);
        while !self.has_ended && (found.len() < count || !entries.is_buffer_empty()) {
            match entries.next() {
                Some(entry) => {
                    let entry = entry?;
                    self.at = entry.next_entry_cookie();
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
                None => self.has_ended = true,
            }
        }
        found.retain(|name| name != "." && name != "..");
        if self.style == Style::Stat {
            for name in &found {
                match std::fs::symlink_metadata(self.folder.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        self.names.append(&mut found);
        Ok(())
    }

    /// The rest.
    pub(crate) fn finish(mut self) -> io::Result<Vec<String>> {
        while !self.has_ended {
            self.step(usize::MAX)?;
        }
        Ok(self.names)
    }
}

/// Goes back to the first entry and to the one in the middle: what follows must be what followed before.
pub(crate) fn assert_seeks(folder: &Path) -> io::Result<()> {
    let dir = File::open(folder)?;
    let mut buffer = vec![MaybeUninit::uninit(); 4096];
    let mut read = |from: u64| -> io::Result<Vec<(String, u64)>> {
        seek(&dir, SeekFrom::Start(from))?;
        let mut entries = RawDir::new(&dir, &mut buffer);
        let mut found = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.next_entry_cookie()));
        }
        Ok(found)
    };
    let whole = read(0)?;
    for at in [0, whole.len() / 2, whole.len() - 1] {
        assert_eq!(read(whole[at].1)?[..], whole[at + 1..], "behind entry {at} of {}", whole.len());
    }
    assert_eq!(read(0)?, whole, "rewound");
    Ok(())
}
