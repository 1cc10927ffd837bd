//! The bodies of what is text: templates, names from a listing, configurations, locations, lines on the control socket.
//!
//! Each asserts what the constructors promise for any bytes (no path leaves its root, no text reaches a terminal with a
//! control character in it, what is accepted can be written and read back) and hashes which way the input went. None may
//! look at anything outside the folder of its own thread.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use musicfs::config::location::Location;
use musicfs::config::{Flags, OriginConfig, Surroundings, load, show};
use musicfs_protocol::wire::{
    self, HelloRequest, PathRequest, RescanRequest, RpcError, StatusReply, TagsReply, TreeReply, TreeRequest,
    WaitRequest, WhyReply,
};
use musicfs_pure::escape::{escape, unescape};
use musicfs_pure::ids::{OriginId, OriginPath};
use musicfs_pure::naming::{fold_case, numbered, numbered_parts, sanitize_component, split_extension};
use musicfs_pure::tags::{TrackTags, classify};
use musicfs_pure::template::{Rendered, Template, TemplateOptions, TrackContext};

#[rustfmt::skip] // many short words
pub(super) const TEMPLATE_WORDS: &[&[u8]] = &[
    b"${", b"$!{", b"}", b"[", b"]", b"$[", b"$]", b"$$", b"|", b":02", b":099", b":0", b"/", b"..", b".", b"\0",
    b"$artist", b"$Title", b"artist", b"albumartist", b"track", b"disc", b"filename", b"ext", b"path", b"origin",
    b"tag:", b"tag:KEY", b".origins", b"\xff", b"\xc3\xa9", b"\xe2\x80\xae", b"\n",
];

#[rustfmt::skip] // many short words
pub(super) const LISTING_WORDS: &[&[u8]] = &[
    b"/", b"//", b"..", b".", b"../", b"/.", b"\0", b"\n", b"\x1b[2J", b"%2F", b"%", b"%00", b" (2)", b" (02)",
    b".flac", b" (2).flac", b"~0123456789abcdef0123456789abcdef)", b"\xff", b"\xc3", b"\xc3\xa9", b"\xe1\xba\x9e",
    b"\xc4\xb0", b"\xe2\x80\xae", b".origins", b"cover.jpg", b"AC", b"ac",
];

#[rustfmt::skip] // many short words
pub(super) const CONFIG_WORDS: &[&[u8]] = &[
    b"mountpoint = \"/m\"\n", b"template = \"", b"skip_on_missing = true\n", b"case_insensitive = true\n",
    b"raw_view = \"off\"\n", b"umask = \"022\"\n", b"[origin.a]\n", b"[origin.", b"location = \"/srv/a\"\n",
    b"location = \"sftp://u@h:1/p\"\n", b"location = \"s3://b/p\"\n", b"priority = ", b"poll_interval = \"1s\"\n",
    b"[cache]\n", b"size = \"10GiB\"\n", b"[log]\n", b"level = \"debug\"\n", b"[defaults]\n", b"all = \"\"\n", b"= ",
    b"\"", b"'''", b"\"\"\"", b"[[", b"]]", b"{", b"}", b"inf", b"1e400", b"-9223372036854775808",
    b"18446744073709551616", b"0x", b"1979-05-27T07:32:00Z", b"\\u0000", b"\\uD800", b"\xff", b"\r",
];

#[rustfmt::skip] // many short words
pub(super) const LOCATION_WORDS: &[&[u8]] = &[
    b"sftp://", b"s3://", b"://", b"user@", b"user:pass@", b"@", b":22", b":65536", b":", b"[::1]", b"[", b"]", b"/",
    b"//", b"..", b"?endpoint=", b"?region=", b"&path_style=true", b"&", b"=", b"https://e.example:9000", b"%00",
    b"%2f", b"%", b"~/", b"\xff", b"\0",
];

#[rustfmt::skip] // many short words
pub(super) const WIRE_WORDS: &[&[u8]] = &[
    b"{\"jsonrpc\":\"2.0\"", b",\"id\":1", b",\"id\":null", b",\"method\":\"hello\"", b"\"library.tree\"",
    b"\"daemon.wait\"", b",\"params\":{", b"\"path\":\"", b"\"cwd\":\"/\"", b"\"for\":\"idle\"", b"\"timeout_ms\":",
    b"}", b"]", b"[", b"{", b"\"", b"\\u0000", b"\\ud800", b"\\", b"%FF", b"1e999", b"-0", b"18446744073709551616",
    b"null", b"true", b"\xff", b"\n", b"\"result\":", b"\"error\":", b"\"code\":", b"\"message\":",
];

/// Asserts that a path can be one of the library's.
#[track_caller]
pub(super) fn assert_path(rendered: &Rendered) {
    let Rendered { folders, name } = rendered;
    for component in folders.iter().chain([name]) {
        assert!((1..=255).contains(&component.len()), "{} bytes", component.len());
        assert!(
            !component.iter().any(|&byte| byte == b'/' || byte < 0x20 || byte == 0x7f),
            "{}",
            component.escape_ascii()
        );
        assert!(component != b"." && component != b"..");
        assert_eq!(sanitize_component(component), *component, "a clean name stays as it is");
    }
    assert!(folders.first().unwrap_or(name) != b".origins");
    let num_bytes: usize = folders.iter().map(|folder| folder.len() + 1).sum();
    assert!(folders.len() <= 64 && num_bytes <= 3072, "{} folders of {num_bytes} bytes", folders.len());
}

/// A template, and behind its first NUL the text of every tag.
pub(super) fn template(data: &[u8]) -> u64 {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (source, text) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let mut hasher = DefaultHasher::new();
    let template = match Template::parse(source) {
        Ok(template) => template,
        Err(error) => {
            assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
            discriminant(&error).hash(&mut hasher);
            return hasher.finish();
        }
    };
    assert_eq!(Template::parse(template.source()).as_ref(), Ok(&template));
    let text = String::from_utf8_lossy(text).into_owned();
    let values = || text.split('\u{1}').map(str::to_owned).collect::<Vec<_>>();
    let tags = TrackTags {
        title: values(),
        artist: values(),
        album: values(),
        genre: values(),
        track: Some(text.clone()),
        year: Some(text.clone()),
        raw: vec![("KEY".to_owned(), text.clone())],
        ..TrackTags::default()
    };
    let filename = if text.is_empty() { b"file.flac" } else { text.as_bytes() };
    for tags in [None, Some(&tags)] {
        let track = TrackContext { tags, filename, path: filename, origin: "a" };
        for skip_on_missing in [false, true] {
            let default_all = Some(data.to_vec()).filter(|_| text.len().is_multiple_of(2));
            let options = TemplateOptions { default_all, skip_on_missing, ..TemplateOptions::default() };
            let rendered = template.render(&track, &options);
            assert!(rendered.is_some() || skip_on_missing);
            rendered.iter().for_each(assert_path);
            rendered.map(|path| (path.folders.len().min(9), path.name.len().ilog2())).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// What an origin calls its files.
pub(super) fn listing(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = escape(data);
    assert!(!text.chars().any(char::is_control));
    assert_eq!(unescape(text.as_bytes()), data);
    OriginId::parse(&text).is_ok().hash(&mut hasher);
    match OriginPath::parse(data) {
        Ok(path) => {
            (0, path.components().count().min(9)).hash(&mut hasher);
            assert_below(&path);
        }
        Err(error) => discriminant(&error).hash(&mut hasher),
    }
    let folder = OriginPath::parse(b"a/b").expect("a path");
    match folder.join(data) {
        Ok(path) => {
            assert_below(&path);
            assert_eq!(path.parent(), Some(folder));
        }
        Err(error) => discriminant(&error).hash(&mut hasher),
    }
    assert_name(data).hash(&mut hasher);
    hasher.finish()
}

fn assert_below(path: &OriginPath) {
    let mut joined = OriginPath::root();
    for name in path.components() {
        assert!(!name.is_empty() && name != b"." && name != b".." && name.len() <= 255 && !name.contains(&0));
        joined = joined.join(name).expect("a component");
    }
    assert_eq!(joined, *path);
    assert!(path.is_within(&OriginPath::root()) && path.as_bytes().len() <= 4096);
    let other = OriginPath::parse(b"x").expect("a path");
    if let Some(parent) = path.parent() {
        assert!(path.is_within(&parent));
        let moved = path.rebase(&parent, &other).expect("it is within");
        assert_eq!((moved.parent(), moved.file_name()), (Some(other), path.file_name()));
    }
}

/// Any bytes as a name: what it becomes, and what can be told of it.
fn assert_name(data: &[u8]) -> (bool, bool, bool) {
    let clean = sanitize_component(data);
    assert!(clean.len() <= 255 && !clean.contains(&b'/') && !clean.contains(&0) && clean != b"." && clean != b"..");
    assert_eq!(sanitize_component(&clean), clean);
    let (stem, extension) = split_extension(&clean);
    assert_eq!([stem, extension].concat(), clean);
    let folded = fold_case(&clean);
    assert_eq!(fold_case(&folded), folded);
    let parts = numbered_parts(&clean);
    if let Some((name, number)) = &parts {
        assert_eq!(numbered(name, *number), clean);
    }
    if !clean.is_empty() {
        let (second, third) = (numbered(&clean, 2), numbered(&clean, 3));
        assert!(second != third && second != clean && second.len() <= 255 && third.len() <= 255);
        assert!(numbered_parts(&second).is_none_or(|parts| parts == (clean.clone(), 2)));
    }
    let class = classify(&clean);
    assert_eq!(class, classify(&clean.to_ascii_uppercase()), "{}", clean.escape_ascii());
    (clean == data, parts.is_some(), folded == clean)
}

thread_local! {
    /// A home that goes with its thread.
    static HOME: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().expect("a folder"));
}

/// A configuration file.
pub(super) fn config(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let loaded = HOME.with_borrow(|home| load_file(home.path(), data));
    let text = show::toml(&loaded.document);
    match &loaded.config {
        Ok(config) => {
            // what is shown is a configuration, and the same one
            let again = HOME.with_borrow(|home| load_file(home.path(), text.as_bytes()));
            let again = again.config.unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(again.template, config.template);
            assert_eq!((again.case_insensitive, again.access), (config.case_insensitive, config.access));
            // a folder's name that is not printable text is shown escaped, which a configuration does not read back
            let shown = |origin: &OriginConfig| {
                let root = PathBuf::from(escape(origin.root.as_os_str().as_bytes()).into_owned());
                OriginConfig { root, ..origin.clone() }
            };
            assert_eq!(again.origins, config.origins.iter().map(shown).collect::<Vec<_>>());
            (config.origins.len().min(4), config.case_insensitive, config.raw_view as u8).hash(&mut hasher);
        }
        Err(error) => {
            for problem in &error.problems {
                assert!(!problem.to_string().contains('\0'));
                (discriminant(&problem.fault), problem.key.is_some()).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

fn load_file(home: &std::path::Path, data: &[u8]) -> musicfs::config::Loaded {
    let file = home.join("config.toml");
    std::fs::write(&file, data).expect("written");
    let flags = Flags { config_file: Some(file), data_dir: Some(home.join("data").into()), ..Flags::default() };
    let surroundings = Surroundings {
        variables: [("HOME".into(), home.into())].into(),
        working_folder: Some(home.to_owned()),
        uid: 1000,
        gid: 1000,
        system_file: home.join("none"),
        runtime_folders: home.join("none"),
    };
    load(&flags, &surroundings)
}

/// Where an origin is said to be.
pub(super) fn location(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    match Location::parse(OsStr::from_bytes(data)) {
        Ok(location) => discriminant(&location).hash(&mut hasher),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control) && text.len() < 1000, "{text:?}");
            text.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// A line on the control socket, in either direction.
pub(super) fn wire(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (id, error) = match wire::parse_call(data) {
        Ok(call) => {
            let params = call.params.as_deref().map_or("{}", |params| params.get());
            is_read::<HelloRequest>(params).hash(&mut hasher);
            is_read::<wire::Empty>(params).hash(&mut hasher);
            is_read::<WaitRequest>(params).hash(&mut hasher);
            is_read::<TreeRequest>(params).hash(&mut hasher);
            is_read::<PathRequest>(params).hash(&mut hasher);
            is_read::<RescanRequest>(params).hash(&mut hasher);
            (call.id, RpcError::new(wire::code::METHOD_NOT_FOUND, call.method))
        }
        Err(refusal) => (refusal.id, refusal.error),
    };
    error.code.hash(&mut hasher);
    id.is_some().hash(&mut hasher);
    let line = wire::answer_line(id.as_deref(), &Err(error));
    assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(line.len() - 1), "an answer is one line");
    // as text: the id is the peer's, and may be a number that no type holds
    serde_json::from_slice::<&serde_json::value::RawValue>(&line).expect("an answer is JSON");
    match wire::parse_answer(data).map(wire::Answer::into_outcome) {
        Ok(Ok(result)) => {
            is_read::<StatusReply>(result.get()).hash(&mut hasher);
            is_read::<TreeReply>(result.get()).hash(&mut hasher);
            is_read::<TagsReply>(result.get()).hash(&mut hasher);
            is_read::<WhyReply>(result.get()).hash(&mut hasher);
        }
        Ok(Err(error)) => (error.code == wire::code::BUSY).hash(&mut hasher),
        Err(_) => 0.hash(&mut hasher),
    }
    hasher.finish()
}

fn is_read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> bool {
    serde_json::from_str::<T>(text).is_ok()
}
