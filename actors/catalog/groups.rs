//! Who gets which name: settles the groups of files that want the same name in one folder of the library.
//!
//! Tracks go before sidecars, folders before both. Of the tracks, the lowest file id gets the name itself, the others are
//! numbered; of the sidecars only the lowest is shown, and only where no track or folder has its name. A group's names
//! depend on its members and on what other groups and folders *want*, so settling one group never upsets another. First
//! every misnamed entry of all marked groups is taken out, then all are put in: two files may have swapped names.

use std::collections::{BTreeSet, HashSet};

use musicfs_protocol::library::CatalogError;
use musicfs_pure::ids::{FileId, Ino};
use musicfs_pure::naming;

use super::codec::{damaged, decode_u64};
use super::keys::{self, WantClass};
use super::rows::{Role, Shown};
use super::tables::Rows;
use super::tag_rows::MADE_COVER_NAMES;
use super::writer::Writer;
use crate::storage::Family;

/// A file that wants a name, and its entry; an entry of 0 is none.
#[derive(Clone, Copy, Debug)]
struct Member {
    file: FileId,
    ino: Ino,
}

/// All that want one name in one folder, by file id.
#[derive(Debug, Default)]
struct Group {
    tracks: Vec<Member>,
    sidecars: Vec<Member>,
}

/// An entry that has been given a name.
struct Given {
    ino: Ino,
    folder: Ino,
    name: Vec<u8>,
    role: Role,
    file: FileId,
}

impl Writer {
    /// Gives the names of all these groups.
    pub(super) fn settle_groups(&mut self, groups: &BTreeSet<(Ino, Vec<u8>)>) -> Result<(), CatalogError> {
        let mut given = Vec::new();
        for (folder, wanted) in groups {
            let group = self.group(*folder, wanted)?;
            let is_folder = self.is_library_folder(*folder, wanted)?;
            let names = self.names_of(*folder, wanted, &group, is_folder, groups)?;
            self.plan_tracks(*folder, &group, names, &mut given)?;
            let is_free = group.tracks.is_empty() && !is_folder;
            self.plan_sidecars(*folder, wanted, &group, is_free, &mut given)?;
            if MADE_COVER_NAMES.contains(&wanted.as_slice()) {
                self.pending.covers.insert(*folder);
            }
        }
        given.into_iter().try_for_each(|given| self.give(&given))
    }

    fn group(&self, folder: Ino, wanted: &[u8]) -> Result<Group, CatalogError> {
        let prefix = keys::group(folder, wanted);
        let mut group = Group::default();
        let mut result = Ok(());
        self.rows.scan(Family::Wants, &prefix, &prefix, &mut |key, value| {
            result = (|| {
                let file = keys::last_number(key).map(FileId).ok_or_else(|| damaged(Family::Wants))?;
                let member = Member { file, ino: Ino(decode_u64(Family::Wants, value)?) };
                let is_track = key.get(prefix.len()) == Some(&(WantClass::Track as u8));
                if is_track {
                    group.tracks.push(member);
                } else {
                    group.sidecars.push(member);
                }
                Ok(())
            })();
            result.is_ok()
        })?;
        result.map(|()| group)
    }

    fn is_library_folder(&self, folder: Ino, name: &[u8]) -> Result<bool, CatalogError> {
        Ok(matches!(self.rows.named_entry(folder, name)?, Some((_, Role::Folder))))
    }

    /// The names of a group's tracks.
    fn names_of(
        &self,
        folder: Ino,
        wanted: &[u8],
        group: &Group,
        is_folder: bool,
        marked: &BTreeSet<(Ino, Vec<u8>)>,
    ) -> Result<Vec<Vec<u8>>, CatalogError> {
        let own: HashSet<Ino> = group.tracks.iter().map(|member| member.ino).collect();
        let mut result = Ok(());
        let mut is_taken = |name: &[u8]| {
            let is_unsettled = marked.contains(&(folder, name.to_vec()));
            let answer =
                if is_unsettled { self.is_wanted(folder, name) } else { self.is_shown_by_another(folder, name, &own) };
            answer.unwrap_or_else(|error| {
                // any answer ends the search; nothing of it is written
                result = Err(error);
                false
            })
        };
        let names = naming::assign(wanted, group.tracks.len(), &mut is_taken, !is_folder);
        result.map(|()| names)
    }

    /// Whether a group or a folder wants a name, where what is shown may not be settled yet.
    fn is_wanted(&self, folder: Ino, name: &[u8]) -> Result<bool, CatalogError> {
        Ok(self.rows.any_under(Family::Wants, &keys::group(folder, name))? || self.is_library_folder(folder, name)?)
    }

    /// The same where all is settled: every group and every folder shows something under the name that it wants, so one
    /// row answers.
    fn is_shown_by_another(&self, folder: Ino, name: &[u8], own: &HashSet<Ino>) -> Result<bool, CatalogError> {
        Ok(self.rows.ino_of(folder, name)?.is_some_and(|ino| !own.contains(&ino)))
    }

    fn plan_tracks(
        &mut self,
        folder: Ino,
        group: &Group,
        names: Vec<Vec<u8>>,
        given: &mut Vec<Given>,
    ) -> Result<(), CatalogError> {
        for (member, name) in group.tracks.iter().zip(names) {
            let at = self.linked_at(member.ino)?;
            let is_right = at.as_ref().is_some_and(|(at, called)| *at == folder && *called == name);
            if !is_right {
                self.unlink(member.ino)?;
            }
            if !is_right || self.pending.dirty_files.contains(&member.file) {
                let role = Role::Track { file: member.file.0 };
                given.push(Given { ino: member.ino, folder, name, role, file: member.file });
            }
        }
        Ok(())
    }

    fn plan_sidecars(
        &mut self,
        folder: Ino,
        wanted: &[u8],
        group: &Group,
        is_free: bool,
        given: &mut Vec<Given>,
    ) -> Result<(), CatalogError> {
        for (place, member) in group.sidecars.iter().enumerate() {
            let mut ino = member.ino;
            let is_shown = is_free && place == 0;
            if is_shown != (ino != Ino(0)) {
                if is_shown {
                    ino = self.ids.ino(&self.shared.storage)?;
                } else {
                    self.unlink(std::mem::replace(&mut ino, Ino(0)))?;
                }
                let key = keys::want(folder, wanted, WantClass::Sidecar, member.file);
                self.rows.put_number(Family::Wants, &key, ino.0);
                // whether a cover is shown decides whether one is made
                self.pending.covers.insert(folder);
            }
            let needs_link = is_shown && self.rows.entry(ino)?.is_none();
            if needs_link || (is_shown && self.pending.dirty_files.contains(&member.file)) {
                let role = Role::Sidecar { file: member.file.0 };
                given.push(Given { ino, folder, name: wanted.to_vec(), role, file: member.file });
            }
        }
        Ok(())
    }

    fn give(&mut self, given: &Given) -> Result<(), CatalogError> {
        let Given { ino, folder, name, role, file } = given;
        if matches!(self.rows.named_entry(*folder, name)?, Some((_, Role::Art { .. }))) {
            self.remove_made_cover(*folder)?;
        }
        let shown = Shown::file(&self.existing_file(*file)?);
        self.show(*ino, *folder, name, role, shown)
    }
}
