//! From raw tags to the fields of a track, as requirement V3 says.
//!
//! Which keys mean a field is one table per field, in the order in which they are preferred: Vorbis and APE keys, ID3
//! frames, MP4 atoms, RIFF and AIFF identifiers. They do not collide, so one table serves every format. Each field takes all
//! values of the first key that is present in the best tag that has any. Raw entries stay as they are in the file.

use super::TrackTags;
use super::found::Found;
use super::id3_genre::resolve_genre;

const TITLE: &[&str] = &["TITLE", "TIT2", "TT2", "©NAM", "INAM", "NAME"];
const ARTIST: &[&str] = &["ARTIST", "TPE1", "TP1", "©ART", "IART", "AUTH"];
const ALBUM_ARTIST: &[&str] = &["ALBUMARTIST", "ALBUM ARTIST", "ALBUM_ARTIST", "TPE2", "TP2", "AART"];
const ALBUM: &[&str] = &["ALBUM", "TALB", "TAL", "©ALB", "IPRD"];
const TRACK: &[&str] = &["TRACKNUMBER", "TRACK", "TRCK", "TRK", "TRKN", "IPRT", "ITRK"];
const TRACK_TOTAL: &[&str] = &["TRACKTOTAL", "TOTALTRACKS", "TRACKCOUNT"];
const DISC: &[&str] = &["DISCNUMBER", "DISC", "TPOS", "TPA", "DISK"];
const DISC_TOTAL: &[&str] = &["DISCTOTAL", "TOTALDISCS", "DISCCOUNT"];
const YEAR: &[&str] = &["YEAR"];
const DATE: &[&str] = &["DATE", "TDRC", "TYER", "TYE", "©DAY", "ICRD"];
const ORIGINAL_DATE: &[&str] = &["ORIGINALDATE", "TDOR", "TORY", "TOR", "ORIGINALYEAR"];
const ID3_GENRE: &[&str] = &["TCON", "TCO"];
const GENRE: &[&str] = &["GENRE", "TCON", "TCO", "©GEN", "GNRE", "IGNR"];
const COMPOSER: &[&str] = &["COMPOSER", "TCOM", "TCM", "©WRT", "IMUS"];
const COMMENT: &[&str] = &["COMMENT", "COMM", "COM", "©CMT", "ICMT", "ANNO", "DESCRIPTION"];
const COMPILATION: &[&str] = &["COMPILATION", "TCMP", "TCP", "CPIL"];

/// The album artist of a compilation that names none.
const VARIOUS_ARTISTS: &str = "Various Artists";

/// Whether title, artist and album are there, so that a poorer tag is not worth a request.
pub(super) fn has_main_fields(found: &Found) -> bool {
    [TITLE, ARTIST, ALBUM].iter().all(|keys| !found.values(keys).is_empty())
}

/// The fields of a track.
pub(super) fn normalise(found: &Found) -> TrackTags {
    let (track, tracktotal) = number_and_total(found, TRACK, TRACK_TOTAL);
    let (disc, disctotal) = number_and_total(found, DISC, DISC_TOTAL);
    TrackTags {
        format: found.format,
        title: owned(found, TITLE),
        artist: owned(found, ARTIST),
        albumartist: album_artist(found),
        album: owned(found, ALBUM),
        track,
        tracktotal,
        disc: disc.filter(|disc| says_something(disc, disctotal.as_deref())),
        disctotal,
        year: year(found),
        date: [DATE, YEAR].iter().find_map(|keys| first(found, keys)).map(str::to_owned),
        genre: genre(found),
        composer: owned(found, COMPOSER),
        comment: owned(found, COMMENT),
        raw: found.entries().cloned().collect(),
        art: found.art().cloned(),
    }
}

fn owned(found: &Found, keys: &[&str]) -> Vec<String> {
    found.values(keys).into_iter().map(str::to_owned).collect()
}

fn first<'a>(found: &'a Found, keys: &[&str]) -> Option<&'a str> {
    found.values(keys).first().copied()
}

fn album_artist(found: &Found) -> Vec<String> {
    let named = owned(found, ALBUM_ARTIST);
    let is_compilation = || {
        let flag = first(found, COMPILATION).unwrap_or_default().trim();
        flag == "1" || flag.eq_ignore_ascii_case("true") || flag.eq_ignore_ascii_case("yes")
    };
    if named.is_empty() && is_compilation() { vec![VARIOUS_ARTISTS.to_owned()] } else { named }
}

fn genre(found: &Found) -> Vec<String> {
    let values = found.values(GENRE);
    if values != found.values(ID3_GENRE) {
        return values.into_iter().map(str::to_owned).collect();
    }
    let mut genres: Vec<String> = Vec::new();
    for name in values.into_iter().flat_map(resolve_genre) {
        if !genres.contains(&name) {
            genres.push(name);
        }
    }
    genres
}

/// A number and how many there are; `N/M` says both, a tag of its own for the total wins.
fn number_and_total(found: &Found, keys: &[&str], total_keys: &[&str]) -> (Option<String>, Option<String>) {
    let (number, inline_total) = match first(found, keys).and_then(split_number_and_total) {
        Some((number, total)) => (Some(number), Some(total)),
        None => (first(found, keys), None),
    };
    let total = first(found, total_keys).and_then(number_as_shown).or_else(|| inline_total.and_then(number_as_shown));
    (number.and_then(number_as_shown), total)
}

/// `N/M` where either side may be missing; a slash between other things is text.
fn split_number_and_total(text: &str) -> Option<(&str, &str)> {
    let (number, total) = text.split_once('/')?;
    let is_number = |text: &str| text.trim().bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(total)).then_some((number, total))
}

/// Leading digits without zeros in front; nothing for 0 and for blanks; text without leading digits as it is.
fn number_as_shown(text: &str) -> Option<String> {
    let text = text.trim();
    let num_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = if num_digits == 0 { text } else { text[..num_digits].trim_start_matches('0') };
    (!number.is_empty()).then(|| number.to_owned())
}

/// Whether a disc number tells a disc from another: not where there is one disc only.
fn says_something(disc: &str, total: Option<&str>) -> bool {
    match total {
        Some(total) => total != "1",
        None => disc != "1",
    }
}

/// The first run of four digits of the date tags, most deliberate first.
fn year(found: &Found) -> Option<String> {
    let groups = [YEAR, DATE, ORIGINAL_DATE];
    groups.iter().flat_map(|keys| keys.iter()).find_map(|key| first(found, &[key]).and_then(four_digits))
}

/// The first four digits in a row; of `20040512`, `2004`.
fn four_digits(text: &str) -> Option<String> {
    let is_digits = |run: &&[u8]| run.iter().all(u8::is_ascii_digit);
    let run = text.as_bytes().windows(4).find(is_digits)?;
    Some(run.iter().map(|&byte| char::from(byte)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::found::Rank;
    use super::*;

    fn tags(entries: &[(&str, &str)]) -> TrackTags {
        let mut found = Found::new(100);
        found.begin_layer(Rank::Main);
        for (key, value) in entries {
            found.push(Rank::Main, key, value);
        }
        normalise(&found)
    }

    #[test]
    fn track_is_normalised() {
        for (value, track, total) in [
            ("7", Some("7"), None),
            ("07", Some("7"), None),
            (" 3 ", Some("3"), None),
            ("3/12", Some("3"), Some("12")),
            ("03/012", Some("3"), Some("12")),
            ("3/0", Some("3"), None),
            ("3/", Some("3"), None),
            ("/12", None, Some("12")),
            ("0", None, None),
            ("000", None, None),
            ("0/0", None, None),
            ("A1", Some("A1"), None),
            ("12b", Some("12"), None),
            ("A/B", Some("A/B"), None),
            ("99999999999999999999999", Some("99999999999999999999999"), None),
            ("   ", None, None),
        ] {
            let tags = tags(&[("TRACKNUMBER", value)]);
            assert_eq!((tags.track.as_deref(), tags.tracktotal.as_deref()), (track, total), "{value}");
        }
    }

    #[test]
    fn total_of_its_own_wins_over_the_one_behind_a_slash() {
        let tags = tags(&[("TRACKNUMBER", "3/12"), ("TOTALTRACKS", "013")]);
        assert_eq!((tags.track.as_deref(), tags.tracktotal.as_deref()), (Some("3"), Some("13")));
    }

    #[test]
    fn disc_of_a_single_disc_album_is_missing() {
        for (entries, disc, total) in [
            (&[("DISCNUMBER", "1")][..], None, None),
            (&[("DISCNUMBER", "01")], None, None),
            (&[("DISCNUMBER", "1/1")], None, Some("1")),
            (&[("DISCNUMBER", "1/2")], Some("1"), Some("2")),
            (&[("DISCNUMBER", "2")], Some("2"), None),
            (&[("DISCNUMBER", "2"), ("DISCTOTAL", "1")], None, Some("1")),
            (&[("TPOS", "1"), ("TOTALDISCS", "3")], Some("1"), Some("3")),
            (&[("DISK", "A")], Some("A"), None),
            (&[("DISCNUMBER", "0/2")], None, Some("2")),
        ] {
            let tags = tags(entries);
            assert_eq!((tags.disc.as_deref(), tags.disctotal.as_deref()), (disc, total), "{entries:?}");
        }
    }

    #[test]
    fn year_is_the_first_run_of_four_digits_of_the_preferred_tag() {
        for (entries, year) in [
            (&[("DATE", "2004-05-12")][..], Some("2004")),
            (&[("DATE", "12 May 2004")], Some("2004")),
            (&[("DATE", "20040512")], Some("2004")),
            (&[("DATE", "04")], None),
            (&[("ORIGINALDATE", "1999"), ("DATE", "2004"), ("YEAR", "2001")], Some("2001")),
            (&[("ORIGINALDATE", "1999"), ("DATE", "2004")], Some("2004")),
            (&[("ORIGINALDATE", "1999")], Some("1999")),
            (&[("YEAR", "'04"), ("DATE", "2004")], Some("2004")),
            (&[("DATE", "unknown"), ("TYER", "1987")], Some("1987")),
            (&[("©day", "2010-01-01T08:00:00Z")], Some("2010")),
            (&[("ICRD", "1970")], Some("1970")),
        ] {
            assert_eq!(tags(entries).year.as_deref(), year, "{entries:?}");
        }
    }

    #[test]
    fn album_artist_is_the_tag_else_various_artists_for_a_compilation() {
        for (entries, artist) in [
            (&[("ALBUMARTIST", "A"), ("COMPILATION", "1")][..], Some("A")),
            (&[("COMPILATION", "1")], Some("Various Artists")),
            (&[("TCMP", "1")], Some("Various Artists")),
            (&[("CPIL", "1")], Some("Various Artists")),
            (&[("COMPILATION", "0")], None),
            (&[("album artist", "B")], Some("B")),
            (&[("TPE2", "C")], Some("C")),
            (&[("ALBUMARTIST", "  "), ("COMPILATION", "1")], Some("Various Artists")),
        ] {
            assert_eq!(tags(entries).albumartist.first().map(String::as_str), artist, "{entries:?}");
        }
    }

    #[test]
    fn several_values_are_kept_in_order() {
        let tags = tags(&[("ARTIST", "a"), ("artist", "b"), ("GENRE", "x"), ("GENRE", "y")]);
        assert_eq!(tags.artist, ["a", "b"]);
        assert_eq!(tags.genre, ["x", "y"]);
    }

    #[test]
    fn genre_numbers_are_resolved_for_id3_only() {
        assert_eq!(tags(&[("TCON", "(17)")]).genre, ["Rock"]);
        assert_eq!(tags(&[("TCON", "17"), ("TCON", "Rock")]).genre, ["Rock"]);
        assert_eq!(tags(&[("GENRE", "17")]).genre, ["17"]);
    }

    #[test]
    fn date_stays_as_written() {
        assert_eq!(tags(&[("DATE", "2004-05")]).date.as_deref(), Some("2004-05"));
        assert_eq!(tags(&[("YEAR", "2004")]).date.as_deref(), Some("2004"));
    }

    #[test]
    fn raw_keys_are_in_upper_case() {
        let tags = tags(&[("CatalogNumber", "X"), ("©nam", "t")]);
        assert_eq!(tags.raw, [("CATALOGNUMBER".into(), "X".into()), ("©NAM".into(), "t".to_owned())]);
        assert_eq!(tags.title, ["t"]);
    }
}
