//! A catalog in memory and an origin that is a folder, with switches for what goes wrong.
//!
//! They answer what they are told to, can be made to panic, to block or to say that a read would wait,
//! and never look at the mount.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{
    DirectFile, EntryAttr, EntryInfo, Known, LibrarySummary, Lookalike, OriginSummary, Revision, Source, VisitEntry,
};
use musicfs_protocol::{CatalogError, FetchError, ReadCatalog, ReadDirect};
use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::tags::ArtLocation;
use musicfs_pure::version::{Granularity, Timestamp, Version};
use parking_lot::{Condvar, Mutex};

/// An entry of the library.
struct Entry {
    attr: EntryAttr,
    folder: Ino,
    name: Vec<u8>,
    source: Option<Source>,
}

/// The library in memory. Looking up the name `panic` panics.
pub(super) struct FakeCatalog {
    root: PathBuf,
    entries: Mutex<BTreeMap<Ino, Entry>>,
    num_scans: AtomicUsize,
}

fn folder_attr(ino: Ino) -> EntryAttr {
    let mtime = Timestamp::new(1_000_000_000, 1);
    EntryAttr { ino, kind: NodeKind::Folder, size: 0, mtime, mode: 0o555, revision: Revision(0) }
}

fn version_of(file: &std::fs::Metadata) -> Version {
    let mtime = Timestamp::new(file.mtime(), file.mtime_nsec() as u32);
    Version { size: file.size(), mtime, granularity: Granularity::Nanos, ino: Some(file.ino()), etag: None }
}

impl FakeCatalog {
    pub(super) fn new(root: PathBuf) -> Self {
        let catalog = Self { root, entries: Mutex::default(), num_scans: AtomicUsize::new(0) };
        for (ino, name) in [(Ino::ROOT, &b""[..]), (Ino::ORIGINS, b".origins")] {
            let entry = Entry { attr: folder_attr(ino), folder: Ino::ROOT, name: name.to_vec(), source: None };
            catalog.entries.lock().insert(ino, entry);
        }
        catalog
    }

    fn free(entries: &BTreeMap<Ino, Entry>) -> Ino {
        entries.keys().last().map_or(Ino::FIRST_FREE, |last| Ino(last.0 + 1).max(Ino::FIRST_FREE))
    }

    /// How often a listing was looked for so far.
    pub(super) fn num_scans(&self) -> usize {
        self.num_scans.load(Ordering::Relaxed)
    }

    pub(super) fn add_folder(&self, folder: Ino, name: &[u8]) -> Ino {
        let mut entries = self.entries.lock();
        let ino = Self::free(&entries);
        entries.insert(ino, Entry { attr: folder_attr(ino), folder, name: name.to_vec(), source: None });
        ino
    }

    /// Shows a file of the origin.
    pub(super) fn add_file(&self, folder: Ino, name: &[u8], path: &[u8]) -> Ino {
        self.add(folder, name, path, None)
    }

    /// Shows a picture in a file of the origin.
    pub(super) fn add_art(&self, name: &[u8], path: &[u8], art: ArtLocation) -> Ino {
        self.add(Ino::ROOT, name, path, Some(art))
    }

    fn add(&self, folder: Ino, name: &[u8], path: &[u8], art: Option<ArtLocation>) -> Ino {
        let version = self.version(path);
        let mut entries = self.entries.lock();
        let ino = Self::free(&entries);
        let size = art.as_ref().map_or(version.size, |art| art.len);
        let (kind, mtime, revision) = (NodeKind::File, version.mtime, Revision(0));
        let path = OriginPath::parse(path).expect("valid");
        let source = Source { file: FileId(ino.0), origin: super::origin(), path, version, art };
        let attr = EntryAttr { ino, kind, size, mtime, mode: 0o444, revision };
        entries.insert(ino, Entry { attr, folder, name: name.to_vec(), source: Some(source) });
        ino
    }

    fn version(&self, path: &[u8]) -> Version {
        let path = self.root.join(std::ffi::OsStr::from_bytes(path));
        version_of(&std::fs::metadata(path).expect("the file is there"))
    }

    /// Takes in the version that a file has now, as after a change that was noticed.
    pub(super) fn revise(&self, ino: Ino) {
        let path = self.entries.lock()[&ino].source.as_ref().expect("a file").path.clone();
        let version = self.version(path.as_bytes());
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(&ino).expect("there");
        entry.attr.revision.0 += 1;
        entry.attr.size = version.size;
        entry.attr.mtime = version.mtime;
        entry.source.as_mut().expect("a file").version = version;
    }

    /// Takes in an entry's name in its folder.
    pub(super) fn rename(&self, ino: Ino, name: &[u8]) {
        self.entries.lock().get_mut(&ino).expect("there").name = name.to_vec();
    }

    pub(super) fn remove(&self, ino: Ino) {
        self.entries.lock().remove(&ino);
    }
}

impl ReadCatalog for FakeCatalog {
    fn lookup(&self, folder: Ino, name: &[u8]) -> Result<Option<EntryAttr>, CatalogError> {
        assert_ne!(name, b"panic", "asked for a panic");
        let entries = self.entries.lock();
        let found = entries.values().find(|entry| entry.folder == folder && entry.name == name);
        Ok(found.map(|entry| entry.attr.clone()))
    }

    fn attr(&self, ino: Ino) -> Result<Option<EntryAttr>, CatalogError> {
        Ok(self.entries.lock().get(&ino).map(|entry| entry.attr.clone()))
    }

    fn parent(&self, ino: Ino) -> Result<Option<Ino>, CatalogError> {
        Ok(self.entries.lock().get(&ino).map(|entry| entry.folder))
    }

    fn read_dir(&self, folder: Ino, after: Ino, visit: &mut VisitEntry<'_>) -> Result<(), CatalogError> {
        self.num_scans.fetch_add(1, Ordering::Relaxed);
        let entries = self.entries.lock();
        let above = entries.range(Ino(after.0 + 1)..).filter(|(ino, _)| **ino != Ino::ROOT);
        for (_, entry) in above.filter(|(_, entry)| entry.folder == folder) {
            if !visit(&entry.attr, &entry.name) {
                break;
            }
        }
        Ok(())
    }

    fn source(&self, ino: Ino) -> Result<Option<Source>, CatalogError> {
        Ok(self.entries.lock().get(&ino).and_then(|entry| entry.source.clone()))
    }

    fn describe(&self, ino: Ino) -> Result<Option<EntryInfo>, CatalogError> {
        let entries = self.entries.lock();
        Ok(entries.get(&ino).map(|entry| EntryInfo {
            attr: entry.attr.clone(),
            library_path: [b"some/folder/", &entry.name[..]].concat(),
            source: entry.source.clone(),
            tags: None,
            malformed: false,
        }))
    }

    fn known(&self, _: &OriginId, _: &OriginPath) -> Result<Option<Known>, CatalogError> {
        Ok(None)
    }

    fn known_children(
        &self,
        _: &OriginId,
        _: &OriginPath,
        _: &mut dyn FnMut(&[u8], NodeKind) -> bool,
    ) -> Result<(), CatalogError> {
        Ok(())
    }

    fn lookalikes(&self, _: &OriginId, _: &Version) -> Result<Vec<Lookalike>, CatalogError> {
        Ok(Vec::new())
    }

    fn links_to(&self, _: &OriginId, _: &OriginPath) -> Result<Vec<OriginPath>, CatalogError> {
        Ok(Vec::new())
    }

    fn origin_summary(&self, _: &OriginId) -> Result<OriginSummary, CatalogError> {
        Ok(OriginSummary::default())
    }

    fn library_summary(&self) -> Result<LibrarySummary, CatalogError> {
        Ok(LibrarySummary::default())
    }
}

/// What can be wrong with the disk.
#[derive(Default)]
pub(super) struct Disk {
    /// Nothing is in memory: everything goes to the pool.
    pub cold: AtomicBool,
    /// Blocking calls hang.
    pub stuck: Mutex<bool>,
    freed: Condvar,
}

impl Disk {
    pub(super) fn set_stuck(&self, stuck: bool) {
        *self.stuck.lock() = stuck;
        self.freed.notify_all();
    }

    fn wait(&self) {
        self.freed.wait_while(&mut self.stuck.lock(), |stuck| *stuck);
    }

    fn is_cold(&self) -> bool {
        self.cold.load(Ordering::Relaxed)
    }
}

/// A folder as origin.
pub(super) struct FolderReader {
    root: PathBuf,
    pub(super) disk: Arc<Disk>,
    /// What every open answers, if anything.
    pub(super) refuses: Mutex<Option<FetchError>>,
}

struct FolderFile {
    file: File,
    disk: Arc<Disk>,
}

fn failed(error: std::io::Error) -> FetchError {
    match error.kind() {
        std::io::ErrorKind::NotFound => FetchError::NotFound,
        _ => FetchError::Io { reason: error.to_string() },
    }
}

impl FolderReader {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, disk: Arc::default(), refuses: Mutex::default() }
    }

    fn open(&self, path: &OriginPath) -> Result<Arc<dyn DirectFile>, FetchError> {
        if let Some(error) = self.refuses.lock().clone() {
            return Err(error);
        }
        let path = self.root.join(Path::new(std::ffi::OsStr::from_bytes(path.as_bytes())));
        let file = File::open(path).map_err(failed)?;
        Ok(Arc::new(FolderFile { file, disk: Arc::clone(&self.disk) }))
    }
}

impl ReadDirect for FolderReader {
    fn open_now(&self, path: &OriginPath) -> Result<Option<Arc<dyn DirectFile>>, FetchError> {
        if self.disk.is_cold() { Ok(None) } else { self.open(path).map(Some) }
    }

    fn open_blocking(&self, path: &OriginPath) -> Result<Arc<dyn DirectFile>, FetchError> {
        self.disk.wait();
        self.open(path)
    }
}

impl FolderFile {
    fn read_at(&self, mut offset: u64, buffer: &mut [u8]) -> Result<usize, FetchError> {
        let mut done = 0;
        while done < buffer.len() {
            let read = self.file.read_at(&mut buffer[done..], offset).map_err(failed)?;
            if read == 0 {
                break;
            }
            done += read;
            offset += read as u64;
        }
        Ok(done)
    }
}

impl DirectFile for FolderFile {
    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<Option<usize>, FetchError> {
        if self.disk.is_cold() { Ok(None) } else { self.read_at(offset, buffer).map(Some) }
    }

    fn read_blocking(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FetchError> {
        self.disk.wait();
        self.read_at(offset, buffer)
    }

    fn stat(&self) -> Result<Version, FetchError> {
        self.file.metadata().map(|file| version_of(&file)).map_err(failed)
    }

    fn stat_now(&self) -> Option<Result<Version, FetchError>> {
        Some(self.stat())
    }
}
