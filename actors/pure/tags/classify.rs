//! What a file is for the library, by its name alone.
//!
//! A listing has a million names and no content, so this decides which files are scanned, which are shown beside their
//! album, and which are only in the raw view. Comparison ignores ASCII case; names are bytes.

/// What a file is for the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileClass {
    /// Audio whose tags are read.
    Audio,
    /// Shown beside the album whose folder it is in.
    Sidecar,
    /// Only in the raw view.
    Other,
}

/// Extensions of audio whose tags are read. `mp4` is left out: it is nearly always video.
const AUDIO: [&str; 14] =
    ["flac", "mp3", "ogg", "oga", "opus", "m4a", "m4b", "wav", "aiff", "aif", "aifc", "wv", "ape", "mpc"];

/// Extensions of files that belong to an album whatever their name.
const COMPANIONS: [&str; 4] = ["cue", "lrc", "log", "pdf"];

/// Extensions of pictures that players look for as covers.
const PICTURES: [&str; 7] = ["jpg", "jpeg", "png", "gif", "webp", "bmp", "avif"];

/// Names of covers, without the extension.
const COVERS: [&str; 2] = ["cover", "folder"];

/// Whether `name` equals one of the words, ignoring ASCII case.
fn is_one_of(name: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| name.eq_ignore_ascii_case(word.as_bytes()))
}

/// Name and extension; a leading dot makes a hidden file, not an extension.
pub(super) fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(dot) if dot > 0 => (&name[..dot], &name[dot + 1..]),
        _ => (name, b""),
    }
}

/// What a file is, by its name (without its folder).
pub fn classify(name: &[u8]) -> FileClass {
    let (stem, extension) = split_extension(name);
    if is_one_of(extension, &AUDIO) && !is_apple_double(stem) {
        FileClass::Audio
    } else if is_cover_sidecar(name) || (is_one_of(extension, &COMPANIONS) && !is_apple_double(stem)) {
        FileClass::Sidecar
    } else {
        FileClass::Other
    }
}

/// `._name`: what macOS leaves on foreign filesystems beside every file, with the file's extension and no audio.
fn is_apple_double(stem: &[u8]) -> bool {
    stem.starts_with(b"._")
}

/// Whether a name is a cover picture: `cover.*` or `folder.*`.
pub fn is_cover_sidecar(name: &[u8]) -> bool {
    let (stem, extension) = split_extension(name);
    is_one_of(stem, &COVERS) && is_one_of(extension, &PICTURES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_classified_ignoring_case() {
        for (name, class) in [
            (&b"01.FLAC"[..], FileClass::Audio),
            (b"a.b.M4b", FileClass::Audio),
            (b"\xff.opus", FileClass::Audio),
            (b"1.aiff", FileClass::Audio),
            (b"1.AIF", FileClass::Audio),
            (b"1.aifc", FileClass::Audio),
            (b"1.wv", FileClass::Audio),
            (b"1.Ape", FileClass::Audio),
            (b"1.mpc", FileClass::Audio),
            (b"1.wvc", FileClass::Other),
            (b"Cover.JPG", FileClass::Sidecar),
            (b"folder.png", FileClass::Sidecar),
            (b"album.cue", FileClass::Sidecar),
            (b"Rip.LOG", FileClass::Sidecar),
            (b"booklet.pdf", FileClass::Sidecar),
            (b"01.lrc", FileClass::Sidecar),
            (b"back.jpg", FileClass::Other),
            (b"cover.txt", FileClass::Other),
            (b"list.m3u", FileClass::Other),
            (b".flac", FileClass::Other),
            (b"._01.flac", FileClass::Other),
            (b"flac", FileClass::Other),
            (b"", FileClass::Other),
        ] {
            assert_eq!(classify(name), class, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn only_pictures_are_covers() {
        assert!(is_cover_sidecar(b"COVER.jpeg"));
        assert!(!is_cover_sidecar(b"cover.cue"));
        assert!(!is_cover_sidecar(b"discover.jpg"));
    }
}
