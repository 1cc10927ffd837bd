//! Where files want to be in the library: what is *wanted*; what is *given* is settled afterwards (`groups`).
//!
//! A track wants one name in one folder, as the template says. A sidecar wants its own name in the folders that have a
//! track out of its source folder (`spreads`), so the table `sources` counts tracks by (source folder, library folder): the
//! first to arrive brings the source folder's sidecars along, the last to leave takes them away. (A row per track instead
//! of a count made the removal of a large folder quadratic: each question "is one left" walked over what had been deleted.)
//! Only wishes are written here, and everything that a wish may change is marked.

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::naming::sanitize_component;
use musicfs_pure::tags::{FileClass, classify};
use musicfs_pure::template::TrackContext;

use super::codec::damaged;
use super::keys::{self, AlbumRole, WantClass};
use super::rows::{FileRow, Place, TagState};
use super::shared::KnownOrigin;
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

/// What is to be arranged.
pub(super) struct Arrangement<'a> {
    pub(super) origin: &'a KnownOrigin,
    pub(super) file: FileId,
    pub(super) path: &'a [u8],
    /// Ask the template; otherwise a track stays where it is.
    pub(super) is_placed_anew: bool,
}

/// A place, and the folders as the template writes them, from the root down.
type Wish = (Place, Vec<Vec<u8>>);

/// Whether a file is a track of the library.
pub(super) fn is_track(row: &FileRow) -> bool {
    matches!(row.tags, TagState::Read | TagState::Malformed)
}

/// Whether a file goes with the tracks of its folder.
pub(super) fn is_sidecar(row: &FileRow) -> bool {
    !is_track(row) && classify(&row.name) == FileClass::Sidecar
}

impl Writer {
    /// Brings the wishes of a live file in line with its row. `old` is the row before, when the file was live then.
    pub(super) fn arrange(
        &mut self,
        arrangement: &Arrangement<'_>,
        old: Option<&FileRow>,
        row: &mut FileRow,
    ) -> Result<(), CatalogError> {
        let before = row.place.clone();
        let (place, folders) = match (is_track(row), arrangement.is_placed_anew) {
            (false, _) => (None, None),
            (true, false) => (before.clone(), None),
            (true, true) => self.wanted_place(arrangement, row)?.unzip(),
        };
        self.place_track(arrangement.file, old, row, place)?;
        let stays = is_track(row) && !arrangement.is_placed_anew;
        if !stays {
            self.move_spelling(arrangement.file, before.as_ref(), row.place.as_ref().zip(folders.as_deref()))?;
        }
        self.arrange_sidecar(arrangement.file, old, Some(row))
    }

    /// Takes back every wish of a file that goes.
    pub(super) fn withdraw(&mut self, file: FileId, row: &mut FileRow) -> Result<(), CatalogError> {
        let old = row.clone();
        self.place_track(file, Some(&old), row, None)?;
        self.move_spelling(file, old.place.as_ref(), None)?;
        self.arrange_sidecar(file, Some(&old), None)
    }

    /// Where the template wants a track, and how it writes the folders; they are made.
    fn wanted_place(&mut self, arrangement: &Arrangement<'_>, row: &FileRow) -> Result<Option<Wish>, CatalogError> {
        let tags = match row.tags {
            TagState::Read => self.rows.tags(arrangement.file, row.art)?,
            _ => None,
        };
        let track = TrackContext {
            tags: tags.as_ref(),
            filename: &row.name,
            path: arrangement.path,
            origin: arrangement.origin.id.as_str(),
        };
        let layout = self.shared.layout();
        let Some(rendered) = layout.template.render(&track, &layout.options) else { return Ok(None) };
        let folder = self.library_folder(&rendered.folders)?;
        Ok(Some((Place { folder: folder.0, wanted: rendered.name }, rendered.folders)))
    }

    /// Moves a track's wish, and what hangs on it: its source folder's sidecars, its embedded cover, the count.
    fn place_track(
        &mut self,
        file: FileId,
        old: Option<&FileRow>,
        row: &mut FileRow,
        place: Option<Place>,
    ) -> Result<(), CatalogError> {
        let before = row.place.take();
        self.move_wish(file, before.as_ref(), row, place.as_ref())?;
        let source = |row: &FileRow, place: &Place| (Ino(row.folder), Ino(place.folder));
        let from = old.zip(before.as_ref()).map(|(row, place)| source(row, place));
        let to = place.as_ref().map(|place| source(row, place));
        if from != to {
            to.map_or(Ok(()), |(raw, library)| self.join_source(raw, library))?;
            from.map_or(Ok(()), |(raw, library)| self.leave_source(raw, library))?;
        }
        let is_renamed = old.is_some_and(|old| old.name != row.name);
        if from != to || is_renamed {
            let name_before = old.filter(|_| from.is_some()).map(|old| (Ino(old.folder), &old.name));
            let name_now = to.map(|(raw, _)| (raw, &row.name));
            for (raw, name) in name_before.into_iter().chain(name_now) {
                self.mark_namesakes(raw, name)?;
            }
        }
        let art_from = from.filter(|_| old.is_some_and(|row| row.art.is_some())).map(|(_, library)| library);
        let art_to = to.filter(|_| row.art.is_some()).map(|(_, library)| library);
        self.move_art(file, art_from, art_to);
        self.pending.tracks_delta += i64::from(place.is_some()) - i64::from(before.is_some());
        row.place = place;
        Ok(())
    }

    fn move_wish(
        &mut self,
        file: FileId,
        before: Option<&Place>,
        row: &mut FileRow,
        place: Option<&Place>,
    ) -> Result<(), CatalogError> {
        if before == place {
            if let Some(place) = place {
                self.pending.mark_shown(Ino(place.folder), &place.wanted, file);
            }
            return Ok(());
        }
        if let Some(Place { folder, wanted }) = before {
            let folder = Ino(*folder);
            self.rows.delete(Family::Wants, &keys::want(folder, wanted, WantClass::Track, file));
            self.unlink(Ino(row.track_ino))?;
            self.pending.maybe_empty.insert(folder);
            self.pending.mark_name(folder, wanted);
        }
        if let Some(Place { folder, wanted }) = place {
            if row.track_ino == 0 {
                row.track_ino = self.ids.ino(&self.shared.storage)?.0;
            }
            let key = keys::want(Ino(*folder), wanted, WantClass::Track, file);
            self.rows.put_number(Family::Wants, &key, row.track_ino);
            self.pending.mark_name(Ino(*folder), wanted);
        }
        Ok(())
    }

    /// A track with embedded art is a candidate for the cover of the folder that it is in.
    fn move_art(&mut self, file: FileId, from: Option<Ino>, to: Option<Ino>) {
        if from != to {
            if let Some(folder) = from {
                self.rows.delete(Family::Albums, &keys::album(folder, AlbumRole::Art, file));
            }
            if let Some(folder) = to {
                self.rows.put_bytes(Family::Albums, &keys::album(folder, AlbumRole::Art, file), Vec::new());
            }
        }
        self.pending.covers.extend(from.into_iter().chain(to));
    }

    /// One track more out of this source folder is in this library folder.
    fn join_source(&mut self, raw: Ino, library: Ino) -> Result<(), CatalogError> {
        let key = keys::source(raw, library);
        let num_tracks = self.rows.number(Family::Sources, &key)?.unwrap_or(0);
        if num_tracks == 0 {
            self.count_in_crowd(raw, 1, 0)?;
        }
        self.rows.put_number(Family::Sources, &key, num_tracks.saturating_add(1));
        Ok(())
    }

    /// One track less out of this source folder is in this library folder.
    fn leave_source(&mut self, raw: Ino, library: Ino) -> Result<(), CatalogError> {
        let key = keys::source(raw, library);
        match self.rows.number(Family::Sources, &key)?.unwrap_or(0) {
            0 => return Err(damaged(Family::Sources)),
            1 => {
                self.count_in_crowd(raw, -1, 0)?;
                self.rows.delete(Family::Sources, &key);
            }
            num_tracks => self.rows.put_number(Family::Sources, &key, num_tracks - 1),
        }
        Ok(())
    }

    /// Has a sidecar spread over the albums of its source folder, or changes what it shows in them.
    fn arrange_sidecar(
        &mut self,
        file: FileId,
        old: Option<&FileRow>,
        new: Option<&FileRow>,
    ) -> Result<(), CatalogError> {
        let is_spread = |row: &&FileRow| is_sidecar(row);
        let (old, new) = (old.filter(is_spread), new.filter(is_spread));
        let same_spot = |old: &FileRow, new: &FileRow| old.folder == new.folder && old.name == new.name;
        if let (Some(old), Some(new)) = (old, new)
            && same_spot(old, new)
        {
            let wanted = sanitize_component(&new.name);
            for library in self.spread_of(Ino(new.folder), file)?.unwrap_or_default() {
                self.pending.mark_shown(library, &wanted, file);
            }
            return Ok(());
        }
        if let Some(row) = old {
            self.remove_sidecar(Ino(row.folder), file, &row.name)?;
        }
        new.map_or(Ok(()), |row| self.add_sidecar(Ino(row.folder), file))
    }
}
