//! What keeps an origin's files from being taken for removed, across restarts.
//!
//! Two things that only the past can tell: which folders had a filesystem mounted on them when the origin was last listed
//! to its end, and under which paths the absence of files was not believed. Both are said by the delta detector, kept in
//! one row per origin and decided on by nobody here.

use musicfs_protocol::fetch::MountedFolder;
use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::OriginPath;

use super::codec::damaged;
use super::keys;
use super::rows::{DiskMount, GuardRow};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

impl Writer {
    /// Remembers what is mounted below an origin's root.
    pub(super) fn guard_mounts(&mut self, origin: u32, mounts: &[MountedFolder]) -> Result<(), CatalogError> {
        let mounts = mounts.iter().map(DiskMount::from).collect();
        self.update_guard(origin, |guard| guard.mounts = Some(mounts))
    }

    /// Remembers where removals are held back.
    pub(super) fn withhold(&mut self, origin: u32, paths: &[OriginPath]) -> Result<(), CatalogError> {
        let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        self.update_guard(origin, |guard| guard.withheld = paths)
    }

    fn update_guard(&mut self, origin: u32, change: impl FnOnce(&mut GuardRow)) -> Result<(), CatalogError> {
        let key = keys::guard_key(origin);
        let before: GuardRow = self.rows.row(Family::Meta, &key)?.unwrap_or_default();
        let mut guard = before.clone();
        change(&mut guard);
        if guard == before { Ok(()) } else { self.rows.put(Family::Meta, &key, &guard) }
    }
}

impl From<&MountedFolder> for DiskMount {
    fn from(mount: &MountedFolder) -> Self {
        Self { path: mount.path.as_bytes().to_vec(), root: mount.root.into() }
    }
}

impl GuardRow {
    /// The mounts, as far as any listing has looked for them.
    pub(super) fn mounts(&self) -> Result<Option<Vec<MountedFolder>>, CatalogError> {
        let mounted = |mount: &DiskMount| Ok(MountedFolder { path: parse(&mount.path)?, root: mount.root.into() });
        self.mounts.as_ref().map(|mounts| mounts.iter().map(mounted).collect()).transpose()
    }

    /// The paths under which absence is not believed.
    pub(super) fn withheld(&self) -> Result<Vec<OriginPath>, CatalogError> {
        self.withheld.iter().map(|path| parse(path)).collect()
    }
}

fn parse(path: &[u8]) -> Result<OriginPath, CatalogError> {
    OriginPath::parse(path).map_err(|_| damaged(Family::Meta))
}
