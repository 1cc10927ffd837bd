//! The process dies, or the power fails, at any moment: after each start no wrong byte, and what was committed is there.
//!
//! A failpoint before and after each durable step copies the cache folder as it is at that moment, which is what kill -9
//! leaves. Each copy is opened as a store of its own, compared, written to and compared again. For a power cut, what was
//! never synced is damaged in the copy: the tail of the open segment, of its log and of the database's log is cut off at
//! random, and pages of the open segment are zero.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use proptest::prelude::*;

use super::*;

/// Where the folder is copied, with what reaches it: before and after the steps of writing, sealing and evicting.
const POINTS: [&str; 10] = [
    "store::before_bytes",
    "store::after_bytes",
    "store::after_log",
    "store::after_index",
    "store::segment_numbered",
    "store::segment_begun",
    "store::before_seal",
    "store::after_seal_sync",
    "store::after_seal",
    "store::write_log",
];
const EVICTION_POINTS: [&str; 3] = ["store::evict_appended", "store::evict_forgotten", "store::evicted"];

type Images = Arc<Mutex<Vec<tempfile::TempDir>>>;

/// Has a point copy the folder each time it is passed, at most `max` times.
fn copy_at(point: &str, folder: &Path, max: usize) -> Images {
    let images = Images::default();
    let (taken, folder) = (Arc::clone(&images), folder.to_owned());
    fail::cfg_callback(point, move || {
        let mut taken = taken.lock().unwrap();
        if taken.len() < max {
            let image = tempfile::tempdir().unwrap();
            copy_folder(&folder, image.path());
            taken.push(image);
        }
    })
    .unwrap();
    images
}

fn take(images: &Images) -> Vec<tempfile::TempDir> {
    std::mem::take(&mut *images.lock().unwrap())
}

type Known = (Content, Vec<u8>);

/// Opens what a crash left, compares every byte, and goes on with it. Answers how many bytes of each content are held.
fn recover(image: tempfile::TempDir, contents: &[Known]) -> Vec<u64> {
    let shared = open(image.path(), config(BOUND));
    let reader = shared.reader();
    let mut writer = Writer::new(Arc::clone(&shared)).unwrap();
    let counts: Vec<u64> = contents.iter().map(|(content, bytes)| held(reader.as_ref(), content, bytes)).collect();
    // it can be written to, and what is written is held over the next start
    let (content, bytes) = content(999, MIB);
    let pieces = cut(0, &bytes);
    let run: Vec<NewPiece<'_>> = pieces.iter().map(|(piece, bytes)| NewPiece { piece: *piece, bytes }).collect();
    assert_eq!(writer.keep(&content, SegmentClass::Music, &run).unwrap(), Kept::Held);
    for (content, bytes) in contents {
        held(reader.as_ref(), content, bytes);
    }
    drop((shared, reader, writer));
    let shared = open(image.path(), config(BOUND));
    let _writer = Writer::new(Arc::clone(&shared)).unwrap();
    assert_eq!(held(shared.reader().as_ref(), &content, &bytes), MIB);
    counts
}

#[test]
fn death_at_any_step_of_writing_loses_nothing_that_was_committed() {
    for point in POINTS {
        let mut fixture = Fixture::failing();
        let before = fixture.keep_all(1, 3 * MIB);
        let images = copy_at(point, fixture.folder.path(), 6);
        // more than the segment has room for: it is sealed and another one begun
        let during = fixture.keep_all(2, 3 * MIB);
        assert_eq!(fixture.keep(&during.0, 0, &during.1), Kept::Held);
        fixture.writer.seal().unwrap();
        fail::remove(point);
        let images = take(&images);
        assert!(!images.is_empty(), "nothing passes {point}");
        for image in images {
            let counts = recover(image, &[before.clone(), during.clone()]);
            assert_eq!(counts[0], 3 * MIB, "{point}");
        }
    }
}

#[test]
fn death_at_any_step_of_eviction_serves_no_wrong_byte() {
    for point in EVICTION_POINTS {
        let mut fixture = Fixture::failing();
        let mut contents: Vec<Known> = (0..16).map(|number| fixture.keep_all(number, 3 * MIB)).collect();
        let pinned = contents[0].clone();
        assert_eq!(fixture.writer.pin(&pinned.0), Ok(true));
        let images = copy_at(point, fixture.folder.path(), 3);
        contents.extend((16..22).map(|number| fixture.keep_all(number, 3 * MIB)));
        fail::remove(point);
        let images = take(&images);
        assert!(!images.is_empty(), "nothing passes {point}");
        for image in images {
            let counts = recover(image, &contents);
            assert_eq!(counts[0], 3 * MIB, "what is pinned is never away: {point}");
        }
    }
}

#[test]
fn start_looks_at_no_sealed_segment() {
    let mut fixture = Fixture::new();
    for number in 0..10 {
        fixture.keep_all(number, 3 * MIB);
    }
    fixture.writer.seal().unwrap();
    let (content, bytes) = content(0, 3 * MIB);
    // were one of the logs read, it would not verify; were the segment read, it would not either
    let fixture = fixture.reopen(|folder| {
        for log in segment_files(folder, "log") {
            OpenOptions::new().write(true).open(log).unwrap().set_len(0).unwrap();
        }
    });
    assert_eq!(fixture.held(&content, &bytes), 3 * MIB);
}

#[test]
fn number_of_a_segment_is_never_given_twice() {
    let mut fixture = Fixture::new();
    let mut numbers = std::collections::BTreeSet::new();
    for number in 0..5 {
        fixture.keep_all(number, MIB);
        let newest = fixture.segment_files().pop().unwrap();
        assert!(numbers.insert(newest));
        fixture = fixture.reopen(|folder| {
            let newest = segment_files(folder, "seg").pop().unwrap();
            if number % 2 == 0 {
                std::fs::remove_file(newest).unwrap();
            }
        });
    }
}

#[test]
fn index_is_made_anew_from_the_logs() {
    let mut fixture = Fixture::new();
    let one = fixture.keep_all(1, 6 * MIB);
    let (other, bytes) = content(2, 2 * MIB);
    assert_eq!(fixture.keep_as(SegmentClass::Ends, &other, 0, &bytes[..400_000]), Kept::Held);
    // a content that has no bytes of its own
    let (same, _) = content(3, 6 * MIB);
    assert_eq!(fixture.keep(&same, 0, &one.1), Kept::Held);
    for damage in 0..3 {
        fixture = fixture.reopen(|folder| match damage {
            0 => std::fs::remove_dir_all(folder.join("index")).unwrap(),
            1 => std::fs::write(folder.join("index/CURRENT"), b"nonsense").unwrap(),
            _ => std::fs::remove_file(folder.join("index/CURRENT")).unwrap(),
        });
        assert_eq!(fixture.held(&one.0, &one.1), 6 * MIB, "{damage}");
        assert_eq!(fixture.held(&same, &one.1), 6 * MIB, "{damage}");
        assert_eq!(fixture.held(&other, &bytes), 400_000, "{damage}");
        fixture.keep_all(10 + damage, MIB);
    }
}

#[test]
fn forgotten_content_is_not_known_again_from_what_was_moved() {
    assert_stays_forgotten(MIB);
}

#[test]
fn forgotten_content_is_not_known_again_from_a_segment_that_outlives_the_word_about_it() {
    // nearly a whole segment is pinned, so it is left where it is
    assert_stays_forgotten(4 * MIB - 100_000);
}

/// A content is forgotten whose chunks stay, because a pinned one has them too.
fn assert_stays_forgotten(len: u64) {
    let mut fixture = Fixture::new();
    let (wrong, bytes) = content(1, len);
    let (pinned, _) = content(2, len);
    assert_eq!(fixture.writer.pin(&pinned), Ok(true));
    assert_eq!(fixture.keep(&wrong, 0, &bytes), Kept::Held);
    assert_eq!(fixture.keep(&pinned, 0, &bytes), Kept::Held);
    fixture.keep_all(3, 3 * MIB);
    fixture.writer.forget(wrong.key()).unwrap();
    for round in 0..3 {
        for number in 0..30 {
            fixture.keep_all(10 + round * 30 + number, 3 * MIB);
        }
        assert_eq!(fixture.held(&pinned, &bytes), len);
        // what would be made of the logs as they are now
        let image = tempfile::tempdir().unwrap();
        copy_folder(fixture.folder.path(), image.path());
        std::fs::remove_dir_all(image.path().join("index")).unwrap();
        let shared = open(image.path(), config(BOUND));
        let missing = shared.reader().missing(wrong.key(), len, 0..len).unwrap();
        assert_eq!(missing, vec![0..len], "{round}");
    }
}

#[test]
fn writer_that_was_replaced_cannot_change_anything() {
    let mut fixture = Fixture::new();
    let one = fixture.keep_all(1, MIB);
    let mut frozen = std::mem::replace(&mut fixture.writer, Writer::new(Arc::clone(&fixture.shared)).unwrap());
    let two = fixture.keep_all(2, MIB);
    let (three, bytes) = content(3, MIB);
    let pieces = cut(0, &bytes);
    let run: Vec<NewPiece<'_>> = pieces.iter().map(|(piece, bytes)| NewPiece { piece: *piece, bytes }).collect();
    let revoked = Err(musicfs_protocol::StoreError::Revoked);
    assert_eq!(frozen.keep(&three, SegmentClass::Music, &run), revoked);
    assert_eq!(frozen.forget(one.0.key()), Err(musicfs_protocol::StoreError::Revoked));
    assert_eq!(frozen.seal(), Err(musicfs_protocol::StoreError::Revoked));
    for (content, bytes) in [one, two] {
        assert_eq!(fixture.held(&content, &bytes), MIB);
    }
    assert_eq!(fixture.held(&three, &bytes), 0);
}

#[test]
fn writer_that_froze_in_the_middle_of_a_run_leaves_a_hole() {
    let mut fixture = Fixture::failing();
    let one = fixture.keep_all(1, MIB);
    let shared = Arc::clone(&fixture.shared);
    let replacement = Arc::new(Mutex::new(None));
    let begun = Arc::clone(&replacement);
    // another writer takes over while this one stands between its bytes and its log
    fail::cfg_callback("store::after_bytes", move || {
        begun.lock().unwrap().get_or_insert_with(|| Writer::new(Arc::clone(&shared)).unwrap());
    })
    .unwrap();
    let (two, bytes) = content(2, MIB);
    let pieces = cut(0, &bytes);
    let run: Vec<NewPiece<'_>> = pieces.iter().map(|(piece, bytes)| NewPiece { piece: *piece, bytes }).collect();
    let kept = fixture.writer.keep(&two, SegmentClass::Music, &run);
    assert_eq!(kept, Err(musicfs_protocol::StoreError::Revoked));
    fail::remove("store::after_bytes");
    fixture.writer = replacement.lock().unwrap().take().unwrap();
    assert_eq!(fixture.held(&two, &bytes), 0);
    assert_eq!(fixture.held(&one.0, &one.1), MIB);
    assert_eq!(fixture.keep(&two, 0, &bytes), Kept::Held);
    assert_eq!(fixture.held(&two, &bytes), MIB);
}

/// Cuts a file to a part of its length.
fn cut_file(path: &Path, part: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len * part / 100).unwrap();
}

/// The logs of the database.
fn database_logs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("index")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "log")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn power_cut_costs_refetches_and_never_a_wrong_byte(
        bytes_left in 0..=100_u64, log_left in 0..=100_u64, database_left in 0..=100_u64,
        zeros in prop::collection::vec(0..1000_u64, 0..8),
    ) {
        let mut fixture = Fixture::new();
        let sealed = fixture.keep_all(1, 2 * MIB);
        fixture.writer.seal().unwrap();
        let open = fixture.keep_all(2, 2 * MIB);
        fixture.writer.forget(open.0.key()).unwrap();
        let again = fixture.keep_all(3, MIB);
        let image = tempfile::tempdir().unwrap();
        copy_folder(fixture.folder.path(), image.path());
        let newest = segment_files(image.path(), "seg").pop().unwrap();
        cut_file(&newest, bytes_left);
        let file = OpenOptions::new().write(true).open(&newest).unwrap();
        for page in zeros.into_iter().filter(|page| (page + 1) * 4096 < file.metadata().unwrap().len()) {
            file.write_all_at(&[0; 4096], page * 4096).unwrap();
        }
        cut_file(&newest.with_extension("log"), log_left);
        for log in database_logs(image.path()) {
            cut_file(&log, database_left);
        }
        let counts = recover(image, &[sealed, open, again]);
        // the database may have been thrown back to before anything was sealed, and the log of a segment says it all again
        prop_assert!(counts[0] == 2 * MIB || database_left < 100, "{counts:?}");
    }
}
