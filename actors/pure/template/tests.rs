//! Templates as users write them, every mistake with its position, and laws for any template and any tags.
//!
//! The tables are the grammar's specification. The properties render valid templates made from the grammar with tags of
//! any bytes, and check what a filesystem insists on.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::tags::TrackTags;

fn tagged() -> TrackTags {
    let text = |value: &str| Some(value.to_owned());
    let list = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    TrackTags {
        title: list(&["Jóga"]),
        artist: list(&["Björk", "Guest"]),
        albumartist: list(&[" ", "Björk"]),
        album: list(&["Homogenic"]),
        track: text("2"),
        tracktotal: text("10"),
        year: text("1997"),
        date: text("1997-09-22"),
        genre: list(&["Art Pop", " Electronic "]),
        composer: list(&["AC/DC"]),
        comment: list(&["  "]),
        raw: vec![
            ("LABEL".to_owned(), "One Little".to_owned()),
            ("label".to_owned(), "Indian".to_owned()),
            ("TXXX:MOOD".to_owned(), "7".to_owned()),
            ("STRASSE".to_owned(), "x".to_owned()),
        ],
        ..TrackTags::default()
    }
}

fn show(rendered: Rendered) -> String {
    let components: Vec<_> = rendered.folders.into_iter().chain([rendered.name]).collect();
    components.join(&b'/').escape_ascii().to_string().replace(r"\xc3\xb6", "ö").replace(r"\xc3\xb3", "ó")
}

fn render_with(template: &str, tags: Option<&TrackTags>, options: &TemplateOptions) -> Option<String> {
    let template = Template::parse(template.as_bytes()).expect(template);
    let track = TrackContext { tags, filename: b"02 joga.FLAC", path: b"in/../b/02 joga.FLAC", origin: "nas" };
    template.render(&track, options).map(show)
}

fn render(template: &str) -> String {
    render_with(template, Some(&tagged()), &TemplateOptions::default()).expect(template)
}

#[test]
fn template_of_each_form_renders() {
    for (template, expected) in [
        // fields
        ("$title", "Jóga"),
        ("$TITLE-$Artist", "Jóga-Björk"),
        ("${title}x", "Jógax"),
        ("$year.$ext", "1997.flac"),
        ("$genre", "Art Pop; Electronic"),
        ("$albumartist", "Björk"),
        ("$origin $tracktotal $date", "nas 10 1997-09-22"),
        ("$filename", "02 joga"),
        // alternatives and padding
        ("${comment|composer|title}", "AC_DC"),
        ("${track:02} ${disc|track:03} ${title:09}", "02 002 Jóga"),
        ("${tracktotal:01}", "10"),
        // raw tags
        ("${tag:Label}", "One Little; Indian"),
        ("${TAG:txxx:mood:02}", "07"),
        ("${tag:straße}", "x"),
        ("${tag:none|tag:STRASSE|title}", "x"),
        // brackets
        ("a[ ($year)]b", "a (1997)b"),
        ("a[ ($disc)]b", "ab"),
        ("[$disc$track]", "2"),
        ("[$disc[-$track]]x", "x"),
        ("[$track[-$disc]]x", "2x"),
        ("[text]x[]", "x"),
        ("[[$track]]x", "x"),
        ("[$disc/]$title", "Jóga"),
        ("[$track/]$title", "2/Jóga"),
        // defaults
        ("${disc}x", "x"),
        ("$comment/$title", "Jóga"),
        // slashes
        ("/a//$disc/$title/", "a/Jóga/02 joga.FLAC"),
        ("$composer/$title", "AC_DC/Jóga"),
        ("$!{composer}/$title", "AC/DC/Jóga"),
        ("$path", "in_.._b_02 joga.FLAC"),
        ("$!{path}", "in/__/b/02 joga.FLAC"),
        ("./../...", "_/__/..."),
        // literals
        ("$$ $[$] {x} !", "$ [] {x} !"),
        ("a$[[$track]$]", "a[2]"),
        // nothing left
        ("", "02 joga.FLAC"),
        ("$disc/ /", "02 joga.FLAC"),
        ("x/ ", "x/02 joga.FLAC"),
        ("a/\n/$title", "a/Jóga"),
        (&format!("a/{}b/$title", " ".repeat(300)), "a/Jóga"),
        // reserved
        (".origins/$title", "_origins/Jóga"),
        ("$disc/.origins", "_origins"),
        ("a/.origins", "a/.origins"),
    ] {
        assert_eq!(render(template), expected, "{template}");
    }
}

#[test]
fn template_with_a_mistake_is_refused_at_its_position() {
    use TemplateError as E;
    let unknown = |position, name: &str, nearest| E::UnknownField { position, name: name.to_owned(), nearest };
    for (template, expected) in [
        ("a$", E::StrayDollar { position: 1 }),
        ("$-", E::StrayDollar { position: 0 }),
        ("$!title", E::StrayDollar { position: 0 }),
        ("$é", E::StrayDollar { position: 0 }),
        ("$$$", E::StrayDollar { position: 2 }),
        ("a${title", E::UnclosedBrace { position: 2 }),
        ("$!{title", E::UnclosedBrace { position: 2 }),
        ("a[$title", E::UnclosedBracket { position: 1 }),
        ("[a[b]", E::UnclosedBracket { position: 0 }),
        ("[[a", E::UnclosedBracket { position: 1 }),
        ("a]", E::UnopenedBracket { position: 1 }),
        ("[a]]", E::UnopenedBracket { position: 3 }),
        ("${}", E::EmptyAlternative { position: 2 }),
        ("${|title}", E::EmptyAlternative { position: 2 }),
        ("${title|}", E::EmptyAlternative { position: 8 }),
        ("${title||album}", E::EmptyAlternative { position: 8 }),
        ("${:02}", E::EmptyAlternative { position: 2 }),
        ("x$artst", unknown(2, "artst", Some(Field::Artist))),
        ("${title|Titel}", unknown(8, "Titel", Some(Field::Title))),
        ("$title_x", unknown(1, "title_x", Some(Field::Title))),
        ("$tracknumber", unknown(1, "tracknumber", Some(Field::Track))),
        ("${ title}", unknown(2, " title", Some(Field::Title))),
        ("$zzz", unknown(1, "zzz", None)),
        ("$tag", E::MissingTagKey { position: 1 }),
        ("${title|tag}", E::MissingTagKey { position: 8 }),
        ("${tag:}", E::MissingTagKey { position: 2 }),
        ("${track:2}", E::BadFormat { position: 7 }),
        ("${track:}", E::BadFormat { position: 7 }),
        ("${track:00}", E::BadFormat { position: 7 }),
        ("${track:0}", E::BadFormat { position: 7 }),
        ("${track:0123}", E::BadFormat { position: 7 }),
        ("${track:0x}", E::BadFormat { position: 7 }),
        ("${track:02|disc}", E::BadFormat { position: 7 }),
        ("${disc|track:x}", E::BadFormat { position: 12 }),
    ] {
        let error = Template::parse(template.as_bytes()).expect_err(template);
        assert_eq!(error, expected, "{template}");
        let shown = error.to_string();
        assert!(shown.contains(&format!("at byte {}", error.position())), "{shown}");
    }
    assert_eq!(Template::parse(b"${tag:\xff}"), Err(E::TagKeyNotText { position: 6 }));
}

#[test]
fn template_at_its_limits_is_accepted_and_beyond_them_refused() {
    assert!(Template::parse(&[b'a'; MAX_TEMPLATE_BYTES]).is_ok());
    let error = Template::parse(&[b'a'; MAX_TEMPLATE_BYTES + 1]).expect_err("too long");
    assert_eq!((&error, error.position()), (&TemplateError::TooLong, MAX_TEMPLATE_BYTES));
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(Template::parse(&nested(MAX_NESTING)).is_ok());
    let error = TemplateError::TooDeep { position: MAX_NESTING };
    assert_eq!(Template::parse(&nested(MAX_NESTING + 1)), Err(error));
}

#[test]
fn error_names_the_nearest_field_or_all() {
    let shown = |template: &str| Template::parse(template.as_bytes()).expect_err(template).to_string();
    assert_eq!(shown("$artst"), "unknown field `artst` at byte 1; did you mean `artist`?");
    assert!(shown("$zzz").ends_with("origin, path, or `${tag:KEY}`"), "{}", shown("$zzz"));
    assert!(shown("${\x1b[31m}").contains("`%1B[31m`"));
    assert!(shown(&format!("${}", "z".repeat(4000))).len() < 300);
}

#[test]
fn default_template_arranges_albums() {
    let render = |change: &dyn Fn(&mut TrackTags)| {
        let mut tags = tagged();
        change(&mut tags);
        render_with(DEFAULT_TEMPLATE, Some(&tags), &TemplateOptions::default()).unwrap()
    };
    let text = |value: &str| Some(value.to_owned());
    assert_eq!(render(&|_| {}), "Björk/Homogenic (1997)/02 - Jóga.flac");
    assert_eq!(render(&|tags| tags.year = None), "Björk/Homogenic/02 - Jóga.flac");
    assert_eq!(render(&|tags| tags.track = None), "Björk/Homogenic (1997)/Jóga.flac");
    assert_eq!(render(&|tags| tags.track = text("A1")), "Björk/Homogenic (1997)/A1 - Jóga.flac");
    assert_eq!(render(&|tags| tags.disc = text("1")), "Björk/Homogenic (1997)/1-02 - Jóga.flac");
    assert_eq!(render(&|tags| tags.title.clear()), "Björk/Homogenic (1997)/02 - 02 joga.flac");
    assert_eq!(render(&|tags| tags.albumartist.clear()), "Björk/Homogenic (1997)/02 - Jóga.flac");
    assert_eq!(render(&|tags| *tags = TrackTags::default()), "Unknown Artist/Unknown Album/02 joga.flac");
    assert_eq!(Template::default().source(), DEFAULT_TEMPLATE.as_bytes());
}

#[test]
fn malformed_file_keeps_its_name() {
    for (filename, expected) in [
        (&b"x.mp3"[..], &b"x.mp3"[..]),
        (b"song", b"song"),
        (b"song.", b"song."),
        (b".flac", b".flac"),
        (b" .flac", b" .flac"),
        (b" a. b", b" a. b"),
        (b"\xff\xfe.wav", b"\xff\xfe.wav"),
    ] {
        let track = TrackContext { tags: None, filename, path: filename, origin: "nas" };
        let rendered = Template::default().render(&track, &TemplateOptions::default()).unwrap();
        assert_eq!(rendered.folders, [b"Unknown Artist".to_vec(), b"Unknown Album".to_vec()]);
        assert_eq!(rendered.name, expected, "{}", filename.escape_ascii());
    }
}

#[test]
fn default_that_is_configured_goes_first_and_the_global_one_last() {
    let defaults = [(Field::Artist, b"Nobody".to_vec()), (Field::Track, b"0".to_vec()), (Field::Title, Vec::new())];
    let options =
        TemplateOptions { defaults: defaults.into(), default_all: Some(b"a/b".to_vec()), skip_on_missing: false };
    let render = |template| render_with(template, None, &options).unwrap();
    assert_eq!(render("${albumartist|artist}"), "Nobody");
    assert_eq!(render("$albumartist"), "Unknown Artist");
    assert_eq!(render("${track:02}"), "00");
    assert_eq!(render("x$title"), "x");
    assert_eq!(render("$genre-${tag:KEY}"), "a_b-a_b");
    assert_eq!(render("$!{genre}"), "a/b");
    assert_eq!(render("x[$genre]"), "x");
}

#[test]
fn track_without_a_field_is_skipped_when_asked() {
    let options = TemplateOptions { skip_on_missing: true, ..TemplateOptions::default() };
    let render = |template| render_with(template, Some(&tagged()), &options);
    assert_eq!(render("$title"), Some("Jóga".to_owned()));
    assert_eq!(render("${disc|title}[$disc]"), Some("Jóga".to_owned()));
    assert_eq!(render("$title$disc"), None);
    assert_eq!(render("${comment}"), None);
    assert_eq!(render_with("$artist", None, &options), None);
}

#[test]
fn extension_that_is_missing_takes_its_dot_along() {
    let render = |template: &str| {
        let track = TrackContext { tags: None, filename: b"song", path: b"song", origin: "nas" };
        show(Template::parse(template.as_bytes()).unwrap().render(&track, &TemplateOptions::default()).unwrap())
    };
    assert_eq!(render("$filename.$ext"), "song");
    assert_eq!(render("$filename.${ext}x"), "songx");
    assert_eq!(render("$filename..$ext"), "song.");
    assert_eq!(render("$filename.${disc}"), "song.");
}

#[test]
fn used_fields_are_known() {
    let template = Template::parse(b"$title[[${disc|path}]]").unwrap();
    let used: Vec<_> = Field::ALL.into_iter().filter(|&field| template.uses(field)).collect();
    assert_eq!(used, [Field::Title, Field::Disc, Field::Path]);
}

#[test]
fn field_names_are_distinct_and_parse() {
    for field in Field::ALL {
        assert_eq!(Field::parse(field.name().to_uppercase().as_bytes()), Some(field));
        assert_eq!(Field::nearest(field.name()), Some(field));
    }
    assert_eq!(Field::parse(b"tag"), None);
}

#[test]
fn path_of_too_many_folders_loses_the_last_ones() {
    let render = |title: String| {
        let tags = TrackTags { title: vec![title], ..TrackTags::default() };
        let track = TrackContext { tags: Some(&tags), filename: b"x", path: b"x", origin: "nas" };
        Template::parse(b"$!{title}/n").unwrap().render(&track, &TemplateOptions::default()).unwrap()
    };
    let many = render("a/".repeat(1000));
    assert_eq!((many.folders.len(), many.name), (MAX_FOLDERS, b"n".to_vec()));
    let wide = render(format!("{}/", "w".repeat(300)).repeat(100));
    assert_eq!((wide.folders.len(), wide.folders[0].len()), (MAX_FOLDERS_BYTES / 256, 255));
}

#[test]
fn value_of_many_megabytes_is_cut_early() {
    let tags = TrackTags { title: vec!["é".repeat(1 << 20); 4], ..TrackTags::default() };
    let track = TrackContext { tags: Some(&tags), filename: b"x.flac", path: b"x.flac", origin: "nas" };
    let template = Template::parse(&b"$title".repeat(600)).unwrap();
    assert_eq!(template.render(&track, &TemplateOptions::default()).unwrap().name.len(), 254);
}

/// A valid template, from the grammar.
fn template() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        (0..Field::ALL.len()).prop_map(|index| Field::ALL[index].name().to_owned()),
        "(tag|TAG):[a-zA-Z:. é]{1,4}",
    ];
    let braced = (any::<bool>(), vec(name, 1..4), prop_oneof![Just(""), Just(":02"), Just(":099")]).prop_map(
        |(slashes, names, format)| {
            let sigil = if slashes { "$!" } else { "$" };
            format!("{sigil}{{{}{format}}}", names.join("|")).into_bytes()
        },
    );
    let plain = |byte: &u8| !b"$[]".contains(byte);
    let text = prop_oneof![
        vec(any::<u8>().prop_filter("text", plain), 0..4),
        Just(b"/".to_vec()),
        Just(b".".to_vec()),
        Just(b"$$$[$]".to_vec()),
        Just(b".origins".to_vec()),
    ];
    let leaf = prop_oneof![2 => text, 3 => braced];
    let nodes = leaf.prop_recursive(4, 24, 5, |inner| {
        vec(inner, 0..5).prop_map(|nodes| [b"[", &nodes.concat()[..], b"]"].concat())
    });
    vec(nodes, 0..8).prop_map(|nodes| nodes.concat())
}

/// Tag values that try to get out: slashes, dots, control characters, whitespace, and lengths about the limit.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[./ a\u{0}\u{85}\n]{0,6}",
        2 => any::<String>(),
        1 => "[é/.]{120,140}",
        1 => Just(".origins".to_owned()),
        1 => "[0-9]{1,3}",
    ]
}

fn tags() -> impl Strategy<Value = TrackTags> {
    let list = || vec(value(), 0..3);
    let one = || proptest::option::of(value());
    let lists = (list(), list(), list(), list(), list(), list());
    let ones = (one(), one(), one(), one(), one());
    let raw = vec(("[A-Z:. É]{1,4}", value()), 0..4);
    (lists, ones, raw).prop_map(|(lists, ones, raw)| {
        let (title, artist, albumartist, album, genre, comment) = lists;
        let (track, disc, disctotal, year, date) = ones;
        let tags = TrackTags { title, artist, albumartist, album, genre, comment, ..TrackTags::default() };
        TrackTags { track, disc, disctotal, year, date, raw, ..tags }
    })
}

fn check_component(component: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(!component.trim_ascii().is_empty() && component.len() <= 255);
    prop_assert!(component != b"." && component != b"..");
    prop_assert!(!component.iter().any(|&byte| byte < 0x20 || byte == 0x7f || byte == b'/'));
    prop_assert!(!String::from_utf8_lossy(component).contains(char::is_control));
    Ok(())
}

proptest! {
    #[test]
    fn rendered_path_is_always_legal(
        template in template(),
        tags in proptest::option::of(tags()),
        filename in vec(any::<u8>(), 0..300),
        skip_on_missing in any::<bool>(),
        default_all in proptest::option::of(vec(any::<u8>(), 0..8)),
    ) {
        let parsed = Template::parse(&template);
        prop_assert!(parsed.is_ok(), "{:?} {}", parsed, template.escape_ascii());
        let template = parsed.unwrap();
        prop_assert_eq!(&Template::parse(template.source()).unwrap(), &template);
        let path = [b"../a//", &filename[..]].concat();
        let track = TrackContext { tags: tags.as_ref(), filename: &filename, path: &path, origin: "nas" };
        let options = TemplateOptions { default_all, skip_on_missing, ..TemplateOptions::default() };
        let rendered = template.render(&track, &options);
        prop_assert!(rendered.is_some() || skip_on_missing);
        let Some(Rendered { folders, name }) = rendered else { return Ok(()) };
        prop_assert!(folders.len() <= MAX_FOLDERS);
        prop_assert!(folders.iter().map(|folder| folder.len() + 1).sum::<usize>() <= MAX_FOLDERS_BYTES);
        prop_assert!(folders.first().unwrap_or(&name) != b".origins");
        folders.iter().chain([&name]).try_for_each(|component| check_component(component))?;
    }

    #[test]
    fn parse_of_any_bytes_ends_with_a_position_inside(source in vec(any::<u8>(), 0..64)) {
        if let Err(error) = Template::parse(&source) {
            prop_assert!(error.position() <= source.len());
        }
    }

    #[test]
    fn parse_of_template_like_text_ends_with_a_position_inside(source in "[$\\[\\]{}|:!0-2a-e tagil]{0,40}") {
        if let Err(error) = Template::parse(source.as_bytes()) {
            prop_assert!(error.position() <= source.len());
        }
    }
}
