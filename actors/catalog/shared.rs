//! `CatalogShared`: the open catalog, from which the actor and the readers are made.
//!
//! Made once per run and lent out; an actor that is started again gets the same one. Opening compares the configuration
//! with what the catalog was left with and writes down what that means: an origin that is gone, or has another location,
//! is *retired* (it leaves `.origins` at once, its rows wait to be purged), a new one gets its number and the root of its
//! raw view, a changed template starts the placing of tracks anew. The work itself is the actor's, in small steps, so
//! that opening costs the same whatever the size of the library.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use musicfs_protocol::Happening;
use musicfs_protocol::library::{CatalogError, Layout, ReadCatalog};
use musicfs_pure::ids::{Ino, OriginId};
use musicfs_pure::version::Timestamp;
use parking_lot::{Mutex, RwLock};

use super::codec::{damaged, decode};
use super::id_blocks::Ids;
use super::keys;
use super::overlay::Overlay;
use super::pending::TouchedName;
use super::reader::CatalogReader;
use super::rows::{ChildRow, EntryRow, OriginRow, Role, Shown, TemplateRow};
use super::spreads::Crowding;
use super::tables::Rows;
use crate::storage::{Family, Storage};

/// The name of the folder that holds each origin as it is.
pub(super) const ORIGINS_NAME: &[u8] = b".origins";

/// The folder that the fixed folders are in: none.
pub(super) const NOWHERE: Ino = Ino(0);

/// A configured origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogOrigin {
    /// Its name.
    pub origin: OriginId,
    /// Of its location: another fingerprint under the same name is another origin.
    pub fingerprint: String,
}

/// What the catalog is opened with.
#[derive(Clone, Debug)]
pub struct CatalogConfig {
    /// Every configured origin.
    pub origins: Vec<CatalogOrigin>,
    /// How the library is arranged and shown.
    pub layout: Layout,
    /// Which source folders are too full to share their sidecars.
    pub crowding: Crowding,
}

/// An origin as rows name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownOrigin {
    pub(super) id: OriginId,
    pub(super) number: u32,
    /// The folder of its raw view.
    pub(super) root: Ino,
}

/// The open catalog.
#[derive(Debug)]
pub struct CatalogShared {
    /// Writers made so far; the last one is the one that may commit.
    pub(super) youngest_writer: Mutex<u64>,
    /// Names whose entries changed in what is, or is about to be, committed, and that are not announced. They outlive the
    /// writer, so that one that dies between the two leaves nothing stale in the kernel.
    pub(super) unannounced: Mutex<Vec<TouchedName>>,
    /// What happened to files in what has been committed, and is not published; it outlives the writer as well.
    pub(super) unpublished: Mutex<Vec<Happening>>,
    pub(super) storage: Arc<Storage>,
    layout: RwLock<Arc<Layout>>,
    pub(super) crowding: Crowding,
    /// How often the catalog has been opened; revisions are counted within one generation.
    pub(super) generation: u64,
    origins: BTreeMap<OriginId, KnownOrigin>,
}

impl CatalogShared {
    /// Opens the catalog: O(number of origins), one synced write.
    pub fn open(storage: Arc<Storage>, config: CatalogConfig) -> Result<Arc<Self>, CatalogError> {
        let CatalogConfig { origins, layout, crowding } = config;
        let mut opening = Opening { rows: Overlay::new(Arc::clone(&storage)), ids: Ids::new(), now: wall_clock() };
        let generation = opening.next_generation()?;
        opening.make_fixed_folders()?;
        let origins = opening.settle_origins(&origins)?;
        compare_template(&mut opening.rows, &layout)?;
        fail::fail_point!("catalog::before_open_commit", |_| std::process::abort());
        opening.rows.commit(true)?;
        fail::fail_point!("catalog::after_open_commit", |_| std::process::abort());
        let layout = RwLock::new(Arc::new(layout));
        Ok(Arc::new(Self {
            youngest_writer: Mutex::new(0),
            unannounced: Mutex::default(),
            unpublished: Mutex::default(),
            storage,
            layout,
            crowding,
            generation,
            origins,
        }))
    }

    /// A get-only handle.
    pub fn reader(self: &Arc<Self>) -> Arc<dyn ReadCatalog> {
        Arc::new(CatalogReader::new(Arc::clone(self)))
    }

    /// How the library is shown now.
    pub(super) fn layout(&self) -> Arc<Layout> {
        Arc::clone(&self.layout.read())
    }

    /// Only the writer calls this, when it has written down that tracks are to be placed anew.
    pub(super) fn set_layout(&self, layout: Layout) {
        *self.layout.write() = Arc::new(layout);
    }

    pub(super) fn origin(&self, origin: &OriginId) -> Result<&KnownOrigin, CatalogError> {
        self.origins.get(origin).ok_or_else(|| CatalogError::UnknownOrigin { origin: origin.clone() })
    }

    /// The configured origin of this number; nothing for one that is retired.
    pub(super) fn origin_of(&self, number: u32) -> Option<&KnownOrigin> {
        self.origins.values().find(|origin| origin.number == number)
    }
}

/// The time of day, for mtimes of folders and ages of tombstones.
pub(super) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::new(since.as_secs() as i64, since.subsec_nanos())
}

/// Tells templates apart. Were the text of the options to change with the program, tracks would be placed once more,
/// which moves none.
fn template_fingerprint(layout: &Layout) -> [u8; 32] {
    let Layout { template, options, case_insensitive, .. } = layout;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(template.source().len() as u64).to_be_bytes());
    hasher.update(template.source());
    hasher.update(format!("{options:?}").as_bytes());
    if *case_insensitive {
        hasher.update(b"case_insensitive");
    }
    hasher.finalize().into()
}

/// Has every track placed anew when the last ones were placed by another template.
pub(super) fn compare_template(rows: &mut Overlay, layout: &Layout) -> Result<(), CatalogError> {
    let fingerprint = template_fingerprint(layout);
    let row: Option<TemplateRow> = rows.row(Family::Meta, keys::TEMPLATE)?;
    if row.is_none_or(|row| row.fingerprint != fingerprint) {
        rows.put(Family::Meta, keys::TEMPLATE, &TemplateRow { fingerprint, replace_from: Some(0) })?;
    }
    Ok(())
}

/// The batch that opening writes.
struct Opening {
    rows: Overlay,
    ids: Ids,
    now: Timestamp,
}

impl Opening {
    fn next_generation(&mut self) -> Result<u64, CatalogError> {
        let generation = self.rows.number(Family::Meta, keys::GENERATION)?.unwrap_or(0).saturating_add(1);
        self.rows.put_number(Family::Meta, keys::GENERATION, generation);
        Ok(generation)
    }

    fn make_fixed_folders(&mut self) -> Result<(), CatalogError> {
        for (ino, name) in [(Ino::ROOT, &b""[..]), (Ino::ORIGINS, ORIGINS_NAME)] {
            if self.rows.entry(ino)?.is_none() {
                let entry = EntryRow { parent: NOWHERE.0, role: Role::Folder };
                self.rows.put(Family::Entries, &keys::number(ino.0), &entry)?;
                self.show_folder(NOWHERE, ino, name)?;
            }
        }
        Ok(())
    }

    fn show_folder(&mut self, parent: Ino, ino: Ino, name: &[u8]) -> Result<(), CatalogError> {
        let row = ChildRow { shown: Shown::folder(self.now), name };
        self.rows.put(Family::Children, &keys::child(parent, ino), &row)
    }

    /// Retires what is not configured any more and makes what is new.
    fn settle_origins(
        &mut self,
        configured: &[CatalogOrigin],
    ) -> Result<BTreeMap<OriginId, KnownOrigin>, CatalogError> {
        let mut known = BTreeMap::new();
        let mut changed = false;
        for (number, row) in self.origin_rows()? {
            let same = |origin: &&CatalogOrigin| {
                origin.origin.as_str() == row.name && origin.fingerprint == row.fingerprint && !row.retired
            };
            if let Some(origin) = configured.iter().find(same) {
                let id = origin.origin.clone();
                known.insert(id.clone(), KnownOrigin { id, number, root: Ino(row.root) });
            } else if !row.retired {
                self.retire(number, row)?;
                changed = true;
            }
        }
        for origin in configured {
            if !known.contains_key(&origin.origin) {
                known.insert(origin.origin.clone(), self.make_origin(origin)?);
                changed = true;
            }
        }
        if changed {
            self.show_folder(NOWHERE, Ino::ORIGINS, ORIGINS_NAME)?;
        }
        Ok(known)
    }

    fn origin_rows(&self) -> Result<Vec<(u32, OriginRow)>, CatalogError> {
        origin_rows(&self.rows)
    }

    /// Its raw view leaves `.origins` now; everything below it is purged by the actor.
    fn retire(&mut self, number: u32, mut row: OriginRow) -> Result<(), CatalogError> {
        let root = Ino(row.root);
        self.rows.delete(Family::Names, &keys::name(Ino::ORIGINS, row.name.as_bytes()));
        self.rows.delete(Family::Children, &keys::child(Ino::ORIGINS, root));
        self.rows.delete(Family::Entries, &keys::number(root.0));
        row.retired = true;
        self.rows.put(Family::Meta, &keys::origin_key(number), &row)
    }

    fn make_origin(&mut self, origin: &CatalogOrigin) -> Result<KnownOrigin, CatalogError> {
        let number = self.rows.number(Family::Meta, keys::NEXT_ORIGIN)?.unwrap_or(1);
        self.rows.put_number(Family::Meta, keys::NEXT_ORIGIN, number.saturating_add(1));
        let number = u32::try_from(number).map_err(|_| damaged(Family::Meta))?;
        let root = self.ids.ino(&Arc::clone(self.rows.storage()))?;
        let name = origin.origin.as_str();
        let row = OriginRow {
            name: name.to_owned(),
            uuid: uuid::Uuid::new_v4().into_bytes(),
            fingerprint: origin.fingerprint.clone(),
            root: root.0,
            listed: None,
            num_files: 0,
            retired: false,
        };
        self.rows.put(Family::Meta, &keys::origin_key(number), &row)?;
        let entry = EntryRow { parent: Ino::ORIGINS.0, role: Role::RawFolder { real_path: None } };
        self.rows.put(Family::Entries, &keys::number(root.0), &entry)?;
        self.rows.put_number(Family::Names, &keys::name(Ino::ORIGINS, name.as_bytes()), root.0);
        self.show_folder(Ino::ORIGINS, root, name.as_bytes())?;
        Ok(KnownOrigin { id: origin.origin.clone(), number, root })
    }
}

/// Every origin that has rows, with its number.
pub(super) fn origin_rows(rows: &impl Rows) -> Result<Vec<(u32, OriginRow)>, CatalogError> {
    let mut found = Vec::new();
    rows.scan(Family::Meta, keys::ORIGIN_PREFIX, keys::ORIGIN_PREFIX, &mut |key, row| {
        let number = keys::origin_of_key(key).ok_or_else(|| damaged(Family::Meta));
        found.push(number.and_then(|number| Ok((number, decode(Family::Meta, row)?))));
        true
    })?;
    found.into_iter().collect()
}
