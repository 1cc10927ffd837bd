//! `CatalogReader`: what the library shows, for FUSE threads and everyone else who only looks.
//!
//! Two point reads answer a lookup or a stat, one scan a listing, without a mailbox and without an allocation per entry.
//! The writer may commit between two reads: what was found by the first is then gone at the second, which is no damage,
//! so the question is asked once more and answered from the newer state. Nothing here changes the catalog or waits for
//! anything but the database's cache.

use std::collections::BTreeSet;
use std::sync::Arc;

use musicfs_protocol::fetch::NodeKind;
use musicfs_protocol::library::{
    CatalogError, EntryAttr, EntryInfo, HeadHash, Known, LibrarySummary, Lookalike, MAX_LOOKALIKES, OriginSummary,
    RawView, ReadCatalog, Source, VisitEntry,
};
use musicfs_pure::ids::{FileId, Ino, OriginId, OriginPath};
use musicfs_pure::tags::ArtLocation;
use musicfs_pure::version::Version;

use super::codec::{damaged, decode};
use super::keys;
use super::rows::{ChildRow, CountsRow, EntryRow, FileRow, GuardRow, OriginRow, Role, TagState};
use super::shared::{CatalogShared, NOWHERE, ORIGINS_NAME};
use super::tables::Rows;
use crate::storage::{Family, Storage};

/// A get-only handle to the catalog.
#[derive(Debug)]
pub(super) struct CatalogReader {
    shared: Arc<CatalogShared>,
}

/// What a question came to.
enum Answer<T> {
    /// The answer.
    Is(T),
    /// Rows changed while it was looked for.
    Torn,
}

/// Asks again, once, when the writer came in between. Torn twice is taken for gone: the writer removes faster than this
/// thread looks.
fn ask<T>(mut question: impl FnMut() -> Result<Answer<Option<T>>, CatalogError>) -> Result<Option<T>, CatalogError> {
    for _ in 0..2 {
        if let Answer::Is(answer) = question()? {
            return Ok(answer);
        }
    }
    Ok(None)
}

impl CatalogReader {
    pub(super) fn new(shared: Arc<CatalogShared>) -> Self {
        Self { shared }
    }

    fn rows(&self) -> &Storage {
        &self.shared.storage
    }

    /// Whether this is `.origins` and there is none.
    fn is_off(&self, ino: Ino) -> bool {
        ino == Ino::ORIGINS && self.shared.layout().raw_view == RawView::Off
    }

    fn attr_in(&self, folder: Ino, ino: Ino) -> Result<Answer<Option<EntryAttr>>, CatalogError> {
        let shown = self.rows().shown(folder, ino)?;
        Ok(shown.map_or(Answer::Torn, |shown| Answer::Is(Some(shown.attr(ino, self.shared.generation)))))
    }

    /// The source of an entry that is a file.
    fn source_of(&self, entry: &EntryRow) -> Result<Answer<Option<(Source, FileRow)>>, CatalogError> {
        let Some(file) = entry.role.file() else { return Ok(Answer::Is(None)) };
        let Some(row) = self.rows().file(file)? else { return Ok(Answer::Torn) };
        // A retired origin has no fetcher, and its name may be another origin's by now.
        let Some(origin) = self.shared.origin_of(row.origin) else { return Ok(Answer::Is(None)) };
        let Some(path) = self.rows().file_path(origin.root, &row)? else { return Ok(Answer::Torn) };
        let path = OriginPath::parse(&path).map_err(|_| damaged(Family::Files))?;
        let version = row.version.clone().into();
        let art = match entry.role {
            Role::Art { art, .. } => Some(ArtLocation::from(art)),
            _ => None,
        };
        Ok(Answer::Is(Some((Source { file, origin: origin.id.clone(), path, version, art }, row))))
    }

    fn describe_once(&self, ino: Ino) -> Result<Answer<Option<EntryInfo>>, CatalogError> {
        let Some(entry) = self.rows().entry(ino)? else { return Ok(Answer::Is(None)) };
        let Answer::Is(Some(attr)) = self.attr_in(entry.parent(), ino)? else { return Ok(Answer::Torn) };
        let Some(library_path) = self.library_path(ino)? else { return Ok(Answer::Torn) };
        let Answer::Is(found) = self.source_of(&entry)? else { return Ok(Answer::Torn) };
        let (source, row) = found.unzip();
        let tags = match (&source, &row) {
            (Some(source), Some(row)) if row.tags == TagState::Read => self.rows().tags(source.file, row.art)?,
            _ => None,
        };
        let malformed = row.is_some_and(|row| row.tags == TagState::Malformed);
        Ok(Answer::Is(Some(EntryInfo { attr, library_path, source, tags, malformed })))
    }

    /// The way from the root of the mount.
    fn library_path(&self, ino: Ino) -> Result<Option<Vec<u8>>, CatalogError> {
        // The root and `.origins` both hang from nowhere, the root without a name.
        let path = self.rows().path_below(NOWHERE, ino)?;
        Ok(path.map(|path| path.strip_prefix(b"/").map_or_else(|| path.clone(), <[u8]>::to_vec)))
    }

    /// What is in the raw view at a path.
    fn raw_entry(&self, root: Ino, path: &OriginPath) -> Result<Option<(Ino, Role)>, CatalogError> {
        let mut at = (root, Role::RawFolder { real_path: None });
        for name in path.components() {
            match self.rows().named_entry(at.0, name)? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn known_once(&self, root: Ino, path: &OriginPath) -> Result<Answer<Option<Known>>, CatalogError> {
        let Some((_, role)) = self.raw_entry(root, path)? else { return Ok(Answer::Is(None)) };
        let Some(file) = role.file() else { return Ok(Answer::Is(Some(Known::Folder))) };
        let Some(row) = self.rows().file(file)? else { return Ok(Answer::Torn) };
        let (ctime, mode, tags_known) = (row.ctime.map(Into::into), row.mode, row.tags_known);
        Ok(Answer::Is(Some(Known::File { file, version: row.version.into(), ctime, mode, tags_known })))
    }

    fn lookalike(
        &self,
        root: Ino,
        file: FileId,
        head: Option<HeadHash>,
    ) -> Result<Answer<Option<Lookalike>>, CatalogError> {
        let Some(row) = self.rows().file(file)? else { return Ok(Answer::Is(None)) };
        let Some(path) = self.rows().file_path(root, &row)? else { return Ok(Answer::Torn) };
        let path = OriginPath::parse(&path).map_err(|_| damaged(Family::Files))?;
        Ok(Answer::Is(Some(Lookalike { file, path, live: row.gone.is_none(), head })))
    }
}

impl ReadCatalog for CatalogReader {
    fn lookup(&self, folder: Ino, name: &[u8]) -> Result<Option<EntryAttr>, CatalogError> {
        if folder == Ino::ROOT && name == ORIGINS_NAME {
            return self.attr(Ino::ORIGINS);
        }
        ask(|| match self.rows().ino_of(folder, name)? {
            Some(ino) => self.attr_in(folder, ino),
            None => Ok(Answer::Is(None)),
        })
    }

    fn attr(&self, ino: Ino) -> Result<Option<EntryAttr>, CatalogError> {
        if self.is_off(ino) {
            return Ok(None);
        }
        ask(|| match self.rows().entry(ino)? {
            Some(entry) => self.attr_in(entry.parent(), ino),
            None => Ok(Answer::Is(None)),
        })
    }

    fn parent(&self, ino: Ino) -> Result<Option<Ino>, CatalogError> {
        if self.is_off(ino) {
            return Ok(None);
        }
        let parent = self.rows().entry(ino)?.map(|entry| entry.parent());
        Ok(parent.map(|parent| if parent == NOWHERE { Ino::ROOT } else { parent }))
    }

    fn read_dir(&self, folder: Ino, after: Ino, visit: &mut VisitEntry<'_>) -> Result<(), CatalogError> {
        let may_be_listed = folder == Ino::ROOT && after < Ino::ORIGINS;
        let is_listed = may_be_listed && self.shared.layout().raw_view == RawView::Listed;
        if is_listed
            && let Some(attr) = self.attr(Ino::ORIGINS)?
            && !visit(&attr, ORIGINS_NAME)
        {
            return Ok(());
        }
        if self.is_off(folder) {
            return Ok(());
        }
        let generation = self.shared.generation;
        let mut result = Ok(());
        let from = keys::child(folder, Ino(after.0.saturating_add(1)));
        Rows::scan(self.rows(), Family::Children, &keys::number(folder.0), &from, &mut |key, bytes| {
            let ino = keys::last_number(key).map(Ino).ok_or_else(|| damaged(Family::Children));
            let row = ino.and_then(|ino| Ok((ino, decode::<ChildRow<'_>>(Family::Children, bytes)?)));
            match row {
                Ok((ino, row)) => visit(&row.shown.attr(ino, generation), row.name),
                Err(error) => {
                    result = Err(error);
                    false
                }
            }
        })?;
        result
    }

    fn source(&self, ino: Ino) -> Result<Option<Source>, CatalogError> {
        let found = ask(|| match self.rows().entry(ino)? {
            Some(entry) => self.source_of(&entry),
            None => Ok(Answer::Is(None)),
        })?;
        Ok(found.map(|(source, _)| source))
    }

    fn describe(&self, ino: Ino) -> Result<Option<EntryInfo>, CatalogError> {
        if self.is_off(ino) { Ok(None) } else { ask(|| self.describe_once(ino)) }
    }

    fn known(&self, origin: &OriginId, path: &OriginPath) -> Result<Option<Known>, CatalogError> {
        let root = self.shared.origin(origin)?.root;
        ask(|| self.known_once(root, path))
    }

    fn known_children(
        &self,
        origin: &OriginId,
        folder: &OriginPath,
        visit: &mut dyn FnMut(&[u8], NodeKind) -> bool,
    ) -> Result<(), CatalogError> {
        let root = self.shared.origin(origin)?.root;
        match self.raw_entry(root, folder)? {
            Some((ino, role)) if role.file().is_none() => {
                self.read_dir(ino, Ino(0), &mut |attr, name| visit(name, attr.kind))
            }
            _ => Ok(()),
        }
    }

    fn lookalikes(&self, origin: &OriginId, version: &Version) -> Result<Vec<Lookalike>, CatalogError> {
        let origin = self.shared.origin(origin)?;
        let prefix = keys::lookalikes(origin.number, version);
        let mut rows = Vec::new();
        Rows::scan(self.rows(), Family::Identities, &prefix, &prefix, &mut |key, head| {
            rows.push((keys::last_number(key).map(FileId), head.try_into().ok()));
            rows.len() < MAX_LOOKALIKES
        })?;
        let mut found = Vec::new();
        for (file, head) in rows {
            let file = file.ok_or_else(|| damaged(Family::Identities))?;
            found.extend(ask(|| self.lookalike(origin.root, file, head))?);
        }
        Ok(found)
    }

    fn links_to(&self, origin: &OriginId, real: &OriginPath) -> Result<Vec<OriginPath>, CatalogError> {
        let number = self.shared.origin(origin)?.number;
        let mut found = BTreeSet::new();
        let mut ancestor = Some(real.clone());
        while let Some(folder) = ancestor.filter(|folder| !folder.is_root()) {
            let prefix = keys::links(number, folder.as_bytes());
            for key in self.rows().keys_under(Family::Links, &prefix, &prefix, usize::MAX)? {
                let link = OriginPath::parse(&key[prefix.len()..]).map_err(|_| damaged(Family::Links))?;
                // a path that became too long behind the link cannot be opened there either
                found.extend(real.rebase(&folder, &link));
            }
            ancestor = folder.parent();
        }
        Ok(found.into_iter().collect())
    }

    fn origin_summary(&self, origin: &OriginId) -> Result<OriginSummary, CatalogError> {
        let number = self.shared.origin(origin)?.number;
        let row: Option<OriginRow> = self.rows().row(Family::Meta, &keys::origin_key(number))?;
        let row = row.ok_or_else(|| damaged(Family::Meta))?;
        let prefix = keys::links_of_origin(number);
        let has_links = !self.rows().keys_under(Family::Links, &prefix, &prefix, 1)?.is_empty();
        let guard: GuardRow = self.rows().row(Family::Meta, &keys::guard_key(number))?.unwrap_or_default();
        Ok(OriginSummary {
            files: row.num_files,
            listed_root: row.listed.map(Into::into),
            has_links,
            listed_mounts: guard.mounts()?,
            withheld: guard.withheld()?,
        })
    }

    fn library_summary(&self) -> Result<LibrarySummary, CatalogError> {
        let counts: CountsRow = self.rows().row(Family::Meta, keys::COUNTS)?.unwrap_or_default();
        Ok(LibrarySummary { files: counts.num_files, tracks: counts.num_tracks })
    }
}
