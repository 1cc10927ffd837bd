//! Work that nobody asked for at the moment: purging retired origins, placing tracks by a changed template, forgetting
//! old tombstones. Done in steps of a few hundred rows between other messages, so that a change at an origin never waits
//! for it; each step commits how far it has come, so that a stop at any moment loses nothing.

use std::sync::Arc;

use musicfs_protocol::library::{CatalogError, Layout};
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::version::Timestamp;

use super::codec::{damaged, decode};
use super::departures::Departure;
use super::keys;
use super::places::{Arrangement, is_track};
use super::raw::Removal;
use super::rows::{TemplateRow, TombstoneRow};
use super::shared::{ORIGINS_NAME, compare_template, origin_rows};
use super::tables::Rows;
use super::writer::Writer;
use crate::storage::Family;

/// What one step looks at: some 20 ms of work, so that a message waits no longer than that.
const STEP_LEN: usize = 256;

impl Writer {
    /// Does one step; says whether there is more to do.
    pub fn maintain(&mut self, now: Timestamp) -> Result<bool, CatalogError> {
        self.transact(now, |writer| {
            let has_worked =
                writer.purge_some()? || writer.replace_some_tracks()? || writer.expire_some_tombstones()?;
            fail::fail_point!("catalog::before_maintenance_commit", |_| std::process::abort());
            writer.commit(false)?;
            fail::fail_point!("catalog::after_maintenance_commit", |_| std::process::abort());
            Ok(has_worked)
        })
    }

    /// Shows the library by another layout from now on. Its tracks move in the steps that follow; a stop in between goes
    /// on at the next start, which finds what was committed here.
    pub fn set_layout(&mut self, layout: Layout, now: Timestamp) -> Result<(), CatalogError> {
        let is_shown_otherwise = self.shared.layout().raw_view != layout.raw_view;
        self.transact(now, |writer| {
            compare_template(&mut writer.rows, &layout)?;
            if is_shown_otherwise {
                writer.pending.touched.insert((Ino::ROOT, ORIGINS_NAME.into()));
            }
            writer.commit(true)
        })?;
        self.shared.set_layout(layout);
        Ok(())
    }

    /// Old tombstones are looked for again; a daemon may run for months.
    pub fn restart_expiry(&mut self) {
        self.tombstone_cursor = Some(Vec::new());
    }

    /// Forgets some files of a retired origin.
    fn purge_some(&mut self) -> Result<bool, CatalogError> {
        let Some((number, row)) = origin_rows(&self.rows)?.into_iter().find(|(_, row)| row.retired) else {
            return Ok(false);
        };
        let start = || Removal::new(number, Ino(row.root), Ino(row.root), Departure::Forgotten);
        // taken out, so that a step that fails begins anew
        let mut removal = self.purge.take().filter(|(of, _)| *of == number).map_or_else(start, |(_, removal)| removal);
        self.remove_some(&mut removal, STEP_LEN)?;
        if removal.is_done() && !self.purge_tombstones(number)? {
            // its last files are still to be subtracted from its row
            self.commit(false)?;
            fail::fail_point!("catalog::purged_all_but_the_origin", |_| std::process::abort());
            self.rows.delete(Family::Meta, &keys::origin_key(number));
            self.rows.delete(Family::Meta, &keys::guard_key(number));
        }
        self.purge = Some((number, removal));
        Ok(true)
    }

    /// Forgets some tombstones of a retired origin; says whether there were any.
    fn purge_tombstones(&mut self, origin: u32) -> Result<bool, CatalogError> {
        let prefix = keys::tombstone(origin, b"");
        let tombstones = self.tombstones(&prefix, &prefix)?;
        for (key, tombstone) in &tombstones {
            self.forget_tombstone(key, *tombstone)?;
        }
        Ok(!tombstones.is_empty())
    }

    fn tombstones(&self, prefix: &[u8], from: &[u8]) -> Result<Vec<(Vec<u8>, TombstoneRow)>, CatalogError> {
        let mut found = Vec::new();
        self.rows.scan(Family::Tombstones, prefix, from, &mut |key, row| {
            found.push(decode(Family::Tombstones, row).map(|row| (key.to_vec(), row)));
            found.len() < STEP_LEN
        })?;
        found.into_iter().collect()
    }

    /// Looks at some tombstones and forgets those that are too old.
    fn expire_some_tombstones(&mut self) -> Result<bool, CatalogError> {
        let Some(from) = self.tombstone_cursor.take() else { return Ok(false) };
        let tombstones = self.tombstones(b"", &from)?;
        // the smallest key above the last one looked at
        self.tombstone_cursor = tombstones.last().map(|(key, _)| [&key[..], &[0]].concat());
        for (key, tombstone) in tombstones {
            if tombstone.is_expired(self.now) {
                self.forget_tombstone(&key, tombstone)?;
            }
        }
        Ok(self.tombstone_cursor.is_some())
    }

    /// Places some tracks by the present template.
    fn replace_some_tracks(&mut self) -> Result<bool, CatalogError> {
        let Some(template) = self.rows.row::<TemplateRow>(Family::Meta, keys::TEMPLATE)? else { return Ok(false) };
        let Some(from) = template.replace_from else { return Ok(false) };
        let found = self.rows.keys_under(Family::Files, b"", &keys::number(from), STEP_LEN)?;
        let files = found.iter().map(|key| keys::last_number(key).ok_or_else(|| damaged(Family::Files)));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        for file in &files {
            self.replace_track(FileId(*file))?;
        }
        let replace_from = files.last().map(|file| file.saturating_add(1));
        self.rows.put(Family::Meta, keys::TEMPLATE, &TemplateRow { replace_from, ..template })?;
        Ok(true)
    }

    fn replace_track(&mut self, file: FileId) -> Result<(), CatalogError> {
        let mut row = self.existing_file(file)?;
        let shared = Arc::clone(&self.shared);
        let Some(origin) = shared.origin_of(row.origin).filter(|_| row.gone.is_none() && is_track(&row)) else {
            return Ok(());
        };
        let path = self.path_of_file(origin.root, &row)?;
        let old = row.clone();
        let arrangement = Arrangement { origin, file, path: &path, is_placed_anew: true };
        self.arrange(&arrangement, Some(&old), &mut row)?;
        if row != old {
            self.rows.put(Family::Files, &keys::number(file.0), &row)?;
        }
        Ok(())
    }

    /// Origins whose rows wait to be purged.
    #[cfg(test)]
    pub(super) fn num_retired(&self) -> usize {
        origin_rows(&self.rows).map_or(0, |rows| rows.iter().filter(|(_, row)| row.retired).count())
    }
}
