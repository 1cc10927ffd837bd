//! Names that every filesystem call accepts, and who gets which when several files want the same one.
//!
//! A component is cleaned (`/`, NUL and control characters become `_`), cut to 255 bytes with its extension kept, and
//! never `.` or `..`. In one folder, the files that want the same name form a group: the lowest `FileId` has the name,
//! the others get ` (2)`, ` (3)`… before the extension, skipping every number whose name a folder or another group wants
//! for itself. So a group's names depend on its members and on which names are *wanted*, never on what other groups were
//! *given*: nothing cascades, and a folder built file by file agrees with one built at once.
//!
//! That rests on [`numbered`] being injective. Where the number fits, [`numbered_parts`] inverts it. Where the stem must
//! be cut, a hash of the whole name goes in beside the number, and [`sanitize_component`] breaks that form wherever an
//! origin wrote it, so that nobody can want such a name. Must never let a name through uncleaned, nor depend on the
//! order in which files were met.

use crate::ids::MAX_NAME_BYTES;

/// The longest extension, without its dot. Longer ones are words after a dot, not file types; the bound leaves a cut or
/// numbered name most of its 255 bytes.
pub const MAX_EXTENSION_BYTES: usize = 16;

/// Hex digits of the hash in a cut, numbered name: 128 bits, because an origin that could make two long names collide
/// would make two files share a path.
const NUM_HASH_DIGITS: usize = 32;

/// The first number that is given: the file without one counts as the first.
const FIRST_NUMBER: u32 = 2;

/// Whether bytes are empty or only whitespace. What is not UTF-8 is not blank.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.trim().is_empty())
}

/// The longest prefix of at most `max_bytes` that ends between two characters. Bytes that are no UTF-8 count as
/// characters of their own.
pub(crate) fn cut_at_character(bytes: &[u8], max_bytes: usize) -> &[u8] {
    if bytes.len() <= max_bytes {
        return bytes;
    }
    // A character has at most three continuation bytes, so its first byte is at most three before the cut.
    for back in 0..=max_bytes.min(3) {
        let start = max_bytes - back;
        let first = bytes[start];
        if first & 0b1100_0000 != 0b1000_0000 {
            return &bytes[..if character_len(first) > back { start } else { max_bytes }];
        }
    }
    &bytes[..max_bytes]
}

/// The length of the UTF-8 character that begins with this byte.
fn character_len(first: u8) -> usize {
    match first.leading_ones() {
        ones @ 2..=4 => ones as usize,
        _ => 1,
    }
}

/// What names have in common that differ in upper and lower case only: every character by Unicode's simple case folding,
/// which knows no language (`ß` and `ẞ` are one, `ß` and `ss` are two, `I` and `ı` are two). Bytes that are no UTF-8 stay
/// as they are, and so do composed and decomposed forms: those are other bytes, not another case.
pub fn fold_case(name: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let lower = unicode_case_mapping::case_folded(character).and_then(|code| char::from_u32(code.get()));
            folded.extend_from_slice(lower.unwrap_or(character).encode_utf8(&mut [0; 4]).as_bytes());
        }
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

/// A name's stem and its extension with the dot, which together are the name.
///
/// An extension is 1 to [`MAX_EXTENSION_BYTES`] bytes without whitespace behind the last dot: `01. Intro` has none. A
/// dot-file (`.flac`) is all stem.
pub fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    let dot = name.iter().rposition(|&byte| byte == b'.').unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let is_extension = (2..=MAX_EXTENSION_BYTES + 1).contains(&extension.len())
        && !extension.iter().any(u8::is_ascii_whitespace)
        && stem.iter().any(|&byte| byte != b'.');
    if is_extension { (stem, extension) } else { (name, b"") }
}

/// Any bytes as one component of a path: no `/`, no control character (C0, DEL, and C1 where it is valid UTF-8), not `.`
/// or `..`, at most 255 bytes with the extension kept, and not of the form that [`numbered`] keeps for itself. What has
/// none of these faults stays byte for byte. Empty stays empty: the caller decides what that means.
pub fn sanitize_component(name: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(name.len().min(MAX_NAME_BYTES));
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let character = if character == '/' || character.is_control() { '_' } else { character };
            clean.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        clean.extend_from_slice(chunk.invalid());
    }
    if clean == b"." || clean == b".." {
        clean.fill(b'_');
    }
    let mut clean = cut_component(&clean, MAX_NAME_BYTES);
    if let Some(tilde) = hash_mark(&clean) {
        clean[tilde] = b'_';
    }
    clean
}

/// The name in at most `max_bytes`, cut between two characters of its stem; the extension stays unless it alone fills
/// the space.
pub fn cut_component(name: &[u8], max_bytes: usize) -> Vec<u8> {
    if name.len() <= max_bytes {
        return name.to_vec();
    }
    let (stem, extension) = split_extension(name);
    match max_bytes.checked_sub(extension.len()) {
        None | Some(0) => cut_at_character(name, max_bytes).to_vec(),
        Some(room) => [cut_at_character(stem, room), extension].concat(),
    }
}

/// The name with ` (number)` before its extension, in at most 255 bytes.
///
/// Different (name, number) give different results. Where the stem must be cut to make room, the number is followed by
/// `~` and a BLAKE3 of the whole name, which no uncut result and no sanitised name has.
pub fn numbered(name: &[u8], number: u32) -> Vec<u8> {
    let (stem, extension) = split_extension(name);
    let whole = [stem, format!(" ({number})").as_bytes(), extension].concat();
    if whole.len() <= MAX_NAME_BYTES {
        return whole;
    }
    let hash = blake3::hash(name).to_hex();
    let mark = format!(" ({number}~{})", &hash[..NUM_HASH_DIGITS]);
    // At least 192 bytes are left: a mark has at most 46, an extension with its dot 17.
    let room = MAX_NAME_BYTES - mark.len() - extension.len();
    [cut_at_character(stem, room), mark.as_bytes(), extension].concat()
}

/// The name and number that [`numbered`] made this name of, where it did so without cutting: `A (2).flac` gives
/// (`A.flac`, 2). Nothing for a number below 2 or with leading zeros.
///
/// When a name begins or ceases to be wanted in a folder, the group of that name and the group of this one are all that
/// can change.
pub fn numbered_parts(name: &[u8]) -> Option<(Vec<u8>, u32)> {
    let (stem, extension) = split_extension(name);
    let open = stem.iter().rposition(|&byte| byte == b'(')?;
    let base = stem[..open].strip_suffix(b" ")?;
    let digits = stem[open + 1..].strip_suffix(b")")?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let original = [base, extension].concat();
    // Made again and compared: leading zeros, signs and stems that only look like one with an extension all differ.
    let is_made_so = number >= FIRST_NUMBER && !original.is_empty() && numbered(&original, number) == name;
    is_made_so.then_some((original, number))
}

/// Where the `~` is in a name of the form that [`numbered`] makes when it cuts.
fn hash_mark(name: &[u8]) -> Option<usize> {
    let (stem, _) = split_extension(name);
    let inner = stem.strip_suffix(b")")?;
    let tilde = inner.len().checked_sub(NUM_HASH_DIGITS + 1)?;
    let (head, hash) = inner.split_at(tilde);
    let open = head.iter().rposition(|byte| !byte.is_ascii_digit())?;
    let is_mark = hash[0] == b'~'
        && hash[1..].iter().all(u8::is_ascii_hexdigit)
        && open + 1 < head.len()
        && head[..=open].ends_with(b" (");
    is_mark.then_some(tilde)
}

/// The names of one group: of the `num_members` files of a folder that want `wanted`, in the order of their `FileId`s.
///
/// `native_free` is false when something that goes before files (a folder) has the name itself. `is_taken` says whether
/// a name is wanted by another group or a folder; it is asked in ascending order of the numbers, at most once each.
/// `wanted` must be sanitised. Names are fewer than members only beyond 2^32 of them.
pub fn assign(
    wanted: &[u8],
    num_members: usize,
    is_taken: &mut dyn FnMut(&[u8]) -> bool,
    native_free: bool,
) -> Vec<Vec<u8>> {
    let native = native_free.then(|| wanted.to_vec());
    let others = (FIRST_NUMBER..=u32::MAX).map(|number| numbered(wanted, number)).filter(|name| !is_taken(name));
    native.into_iter().chain(others).take(num_members).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::FileId;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn extension_is_short_and_without_space() {
        let split = |name: &'static str| {
            let (stem, extension) = split_extension(name.as_bytes());
            (str::from_utf8(stem).unwrap(), str::from_utf8(extension).unwrap())
        };
        assert_eq!(split("a.flac"), ("a", ".flac"));
        assert_eq!(split("a.b.flac"), ("a.b", ".flac"));
        assert_eq!(split("a"), ("a", ""));
        assert_eq!(split("a."), ("a.", ""));
        assert_eq!(split(".flac"), (".flac", ""));
        assert_eq!(split("..flac"), ("..flac", ""));
        assert_eq!(split("01. Intro"), ("01. Intro", ""));
        assert_eq!(split("a.1234567890123456"), ("a", ".1234567890123456"));
        assert_eq!(split("a.12345678901234567"), ("a.12345678901234567", ""));
    }

    #[test]
    fn hostile_component_is_cleaned() {
        for (from, to) in [
            (&b"a/b"[..], &b"a_b"[..]),
            (b".", b"_"),
            (b"..", b"__"),
            (b"...", b"..."),
            (b"a\0\x1f\x7f\n", b"a____"),
            (b"a\xc2\x85b", b"a_b"),
            (b"a\x85b", b"a\x85b"),
            (b"\xff\xfe/", b"\xff\xfe_"),
            (b"", b""),
            ("Björk".as_bytes(), "Björk".as_bytes()),
        ] {
            assert_eq!(sanitize_component(from), to, "{}", from.escape_ascii());
        }
    }

    #[test]
    fn names_that_differ_in_case_only_fold_to_one() {
        for (one, other) in [
            ("ac/dc", "AC/DC"),
            ("BJÖRK", "Björk"),
            ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
            ("Ленинград", "ЛЕНИНГРАД"),
            ("STRAẞE", "Straße"),
            ("K", "\u{212a}"),
        ] {
            assert_eq!(fold_case(one.as_bytes()), fold_case(other.as_bytes()), "{one}");
        }
        for (one, other) in [("ß", "ss"), ("I", "ı"), ("é", "e\u{301}"), ("a", "á")] {
            assert_ne!(fold_case(one.as_bytes()), fold_case(other.as_bytes()), "{one}");
        }
        assert_eq!(fold_case(b"A\xc4\xff\xe4"), b"a\xc4\xff\xe4", "bytes that are no text have no case");
        assert_eq!(fold_case(b"A\xffB"), b"a\xffb");
    }

    #[test]
    fn long_component_is_cut_between_characters_with_its_extension_kept() {
        let name = format!("{}.flac", "é".repeat(200));
        let cut = sanitize_component(name.as_bytes());
        assert_eq!(cut, format!("{}.flac", "é".repeat(125)).into_bytes());
        assert_eq!(cut_component("aé.x".as_bytes(), 4), b"a.x");
        assert_eq!(cut_component("aé.x".as_bytes(), 2), b"a");
        assert_eq!(cut_component("a😀".as_bytes(), 4), b"a");
        assert_eq!(cut_component(b"\x80\x80\x80\x80\x80\x80", 5), b"\x80\x80\x80\x80\x80");
        assert_eq!(cut_component(b"\xe9\x80\x80\x80\x80\x80", 4), b"\xe9\x80\x80\x80");
    }

    #[test]
    fn number_goes_before_the_extension_and_comes_off_again() {
        for (name, number, expected) in [
            ("A.flac", 2, "A (2).flac"),
            ("A (2).flac", 2, "A (2) (2).flac"),
            ("A", 10, "A (10)"),
            (".flac", 2, ".flac (2)"),
            ("01. Intro", 3, "01. Intro (3)"),
            ("a.", 2, "a. (2)"),
        ] {
            assert_eq!(numbered(name.as_bytes(), number), expected.as_bytes());
            assert_eq!(numbered_parts(expected.as_bytes()), Some((name.as_bytes().to_vec(), number)));
        }
        for name in ["A (1).flac", "A (02).flac", "A (+2).flac", "A(2).flac", "A ().flac", " (2).flac", "A.flac (2)"] {
            assert_eq!(numbered_parts(name.as_bytes()), None, "{name}");
        }
        assert_eq!(numbered_parts(b" (2)"), None);
        assert_eq!(numbered_parts(b"A (4294967296).flac"), None);
    }

    #[test]
    fn long_names_with_one_beginning_are_numbered_apart() {
        let long = |last: char| format!("{}{last}.flac", "x".repeat(249)).into_bytes();
        let (a, b) = (numbered(&long('a'), 2), numbered(&long('b'), 2));
        assert_ne!(a, b);
        assert_eq!((a.len(), b.len()), (255, 255));
        assert!(a.ends_with(b").flac"));
        assert_eq!(numbered_parts(&a), None);
    }

    #[test]
    fn name_in_the_form_of_a_cut_number_cannot_be_wanted() {
        let cut = numbered(&[b'x'; 255], 7);
        assert!(hash_mark(&cut).is_some());
        let clean = sanitize_component(&cut);
        assert_ne!(clean, cut);
        assert_eq!(hash_mark(&clean), None);
        for name in
            ["a (2).flac", "a~b", "a (~0123456789abcdef0123456789abcdef)", "(2~0123456789abcdef0123456789abcdef)"]
        {
            assert_eq!(sanitize_component(name.as_bytes()), name.as_bytes());
        }
    }

    #[test]
    fn group_skips_numbers_that_are_wanted_elsewhere() {
        let names = assign(b"a.x", 3, &mut |name| name == b"a (2).x", true);
        assert_eq!(names, [b"a.x".to_vec(), b"a (3).x".to_vec(), b"a (4).x".to_vec()]);
        assert_eq!(assign(b"a.x", 1, &mut |_| false, false), [b"a (2).x".to_vec()]);
        assert!(assign(b"a.x", 0, &mut |_| true, true).is_empty());
    }

    /// A folder of the library in the terms of the rule: who wants what, and which names folders have.
    #[derive(Clone, Debug, Default)]
    struct Folder {
        files: BTreeMap<FileId, Vec<u8>>,
        folders: BTreeSet<Vec<u8>>,
    }

    impl Folder {
        fn is_wanted(&self, name: &[u8]) -> bool {
            self.folders.contains(name) || self.files.values().any(|wanted| wanted == name)
        }

        /// The oracle: file by file in the order of ids, each the first name that is nobody else's, given or wanted.
        fn names_by_oracle(&self) -> BTreeMap<FileId, Vec<u8>> {
            let mut names = BTreeMap::<FileId, Vec<u8>>::new();
            for (&id, wanted) in &self.files {
                let candidates = std::iter::once(wanted.clone()).chain((2..).map(|number| numbered(wanted, number)));
                let is_free = |name: &Vec<u8>| {
                    let foreign = name != wanted && self.is_wanted(name);
                    !foreign && !self.folders.contains(name) && !names.values().any(|given| given == name)
                };
                let name = candidates.into_iter().find(is_free).unwrap();
                names.insert(id, name);
            }
            names
        }

        /// Evaluates one group and replaces its names.
        fn evaluate(&self, wanted: &[u8], names: &mut BTreeMap<FileId, Vec<u8>>) {
            let members: Vec<_> = self.files.iter().filter(|(_, name)| *name == wanted).map(|(&id, _)| id).collect();
            let native_free = !self.folders.contains(wanted);
            let given = assign(wanted, members.len(), &mut |name| self.is_wanted(name), native_free);
            names.extend(members.into_iter().zip(given));
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Want(u64, usize),
        Remove(u64),
        AddFolder(usize),
        RemoveFolder(usize),
    }

    /// Names that step on each other's numbers, and long ones that must be cut.
    fn alphabet() -> Vec<Vec<u8>> {
        let long = |len: usize, tail: &str| [&vec![b'x'; len - tail.len()], tail.as_bytes()].concat();
        let mut names: Vec<Vec<u8>> =
            ["a.x", "a (2).x", "a (3).x", "a (2) (2).x", "a", "a (2)", ".x", ".x (2)"].map(Vec::from).to_vec();
        names.extend([long(255, "a.x"), long(255, "b.x"), long(251, ".x"), long(255, " (2).x"), long(252, ".x")]);
        names.push(sanitize_component(&numbered(&long(255, "a.x"), 2)));
        names
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let name = 0..alphabet().len();
        let op = prop_oneof![
            6 => (0..8u64, name.clone()).prop_map(|(id, name)| Op::Want(id, name)),
            2 => (0..8u64).prop_map(Op::Remove),
            1 => name.clone().prop_map(Op::AddFolder),
            1 => name.prop_map(Op::RemoveFolder),
        ];
        vec(op, 1..40)
    }

    /// Makes the change and answers with the names whose wanting it may have changed.
    fn apply(folder: &mut Folder, op: &Op) -> Vec<Vec<u8>> {
        let names = alphabet();
        match *op {
            Op::Want(id, name) => {
                let before = folder.files.insert(FileId(id), names[name].clone());
                before.into_iter().chain([names[name].clone()]).collect()
            }
            Op::Remove(id) => folder.files.remove(&FileId(id)).into_iter().collect(),
            Op::AddFolder(name) => {
                folder.folders.insert(names[name].clone());
                vec![names[name].clone()]
            }
            Op::RemoveFolder(name) => {
                folder.folders.remove(&names[name]);
                vec![names[name].clone()]
            }
        }
    }

    proptest! {
        #[test]
        fn folder_built_step_by_step_equals_the_oracle(ops in ops()) {
            let mut folder = Folder::default();
            let mut names = BTreeMap::new();
            for op in &ops {
                let was_wanted: Vec<_> = alphabet().iter().map(|name| folder.is_wanted(name)).collect();
                let touched = apply(&mut folder, op);
                names.retain(|id, _| folder.files.contains_key(id));
                let flipped: Vec<_> = alphabet().into_iter().zip(was_wanted)
                    .filter(|(name, was)| folder.is_wanted(name) != *was).map(|(name, _)| name).collect();
                for name in &touched {
                    folder.evaluate(name, &mut names);
                }
                for (other, _) in flipped.iter().filter_map(|name| numbered_parts(name)) {
                    folder.evaluate(&other, &mut names);
                }
                prop_assert_eq!(&names, &folder.names_by_oracle());
                let distinct: BTreeSet<_> = names.values().chain(&folder.folders).collect();
                prop_assert_eq!(distinct.len(), names.len() + folder.folders.len());
                for (id, wanted) in &folder.files {
                    let is_first = folder.files.iter().find(|(_, other)| *other == wanted).is_some_and(|(first, _)| first == id);
                    prop_assert_eq!(names[id] == *wanted, is_first && !folder.folders.contains(wanted));
                }
            }
        }

        #[test]
        fn numbered_is_inverted_or_cut(name in component(), number in 2..u32::MAX) {
            let name = sanitize_component(&name);
            prop_assume!(!name.is_empty());
            let made = numbered(&name, number);
            prop_assert!(made.len() <= MAX_NAME_BYTES);
            match numbered_parts(&made) {
                Some(parts) => prop_assert_eq!(parts, (name, number)),
                None => prop_assert!(hash_mark(&made).is_some() && name.len() > MAX_NAME_BYTES - 13),
            }
        }

        #[test]
        fn sanitized_component_is_legal_and_stays(name in component()) {
            let clean = sanitize_component(&name);
            prop_assert!(clean.len() <= MAX_NAME_BYTES);
            prop_assert!(clean != b"." && clean != b"..");
            prop_assert!(!clean.iter().any(|&byte| byte < 0x20 || byte == 0x7f || byte == b'/'));
            prop_assert!(!String::from_utf8_lossy(&clean).contains(char::is_control));
            prop_assert_eq!(clean.is_empty(), name.is_empty());
            prop_assert_eq!(sanitize_component(&clean), clean);
        }

        #[test]
        fn cut_component_keeps_text_text(name in "\\PC{0,40}(\\.[a-z]{1,4})?", max in 0..80usize) {
            let cut = cut_component(name.as_bytes(), max);
            prop_assert!(cut.len() <= max);
            prop_assert!(String::from_utf8(cut).is_ok());
        }
    }

    /// Bytes of every kind, short and longer than a name may be.
    fn component() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'.'), Just(b' '), Just(b'('), Just(b')'), Just(b'2'), Just(b'x'), any::<u8>()];
        let extension = prop_oneof![Just(""), Just(".flac"), Just(" (2).x")];
        let stem = prop_oneof![vec(byte.clone(), 0..8), vec(byte, 230..270)];
        (stem, extension).prop_map(|(stem, extension)| [&stem, extension.as_bytes()].concat())
    }
}
