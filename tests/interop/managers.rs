//! Programs that manage libraries: mutagen's view of the tags, and beets importing from the mount.
//!
//! mutagen is the reader that most Python programs have; what it says of a file in the mount must be what it says of the
//! file at the origin.

use std::fs;
use std::process::Command;

use crate::library::library;
use crate::support::command::run;
use crate::support::encode::six_format_names;
use crate::support::{require, skip};

/// A python that can import mutagen: the distribution's own has it when `make deps` has run.
fn python_with_mutagen() -> Option<&'static str> {
    ["/usr/bin/python3", "python3"].into_iter().find(|python| {
        let found = Command::new(python).args(["-c", "import mutagen"]).output();
        found.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn mutagen_reads_the_same_tags_as_from_the_origin() {
    require!("ffmpeg");
    let Some(python) = python_with_mutagen() else {
        return skip(module_path!(), "python3 has no mutagen; `make deps` installs python3-mutagen");
    };
    let home = library();
    let daemon = home.start();
    let script = "import mutagen, sys\nf = mutagen.File(sys.argv[1], easy=True)\n\
                  print(sorted((k, [str(v) for v in f[k]]) for k in f.keys()), f.info.length)\n";
    for (name, shown) in six_format_names() {
        let read = |path| run(Command::new(python).args(["-c", script]).arg(path)).ok().out();
        let through_mount = read(home.shown(&shown));
        assert_eq!(through_mount, read(home.origin().join("encoded").join(&name)), "{name}");
        assert!(name.ends_with("wav") || through_mount.contains("Artist"), "{name}: {through_mount}");
        daemon.step();
    }
    daemon.stop();
}

#[test]
fn beets_imports_from_the_mount_once() {
    require!("beet", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let folder = home.path("beets");
    fs::create_dir(&folder).unwrap();
    let config = format!(
        "directory: {}\nlibrary: {}\nimport:\n  copy: no\n  write: no\n  incremental: yes\nplugins: []\n",
        home.mnt().display(),
        folder.join("library.db").display(),
    );
    fs::write(folder.join("config.yaml"), config).unwrap();
    let beet = |args: &[&str]| {
        let mut command = Command::new("beet");
        command.env("BEETSDIR", &folder).env("HOME", &folder).env("LC_ALL", "C.UTF-8").args(args);
        run(&mut command).ok()
    };
    let mnt = home.mnt();
    let import = ["import", "-A", "-q", mnt.to_str().unwrap()];
    beet(&import);
    let first = beet(&["ls", "-f", "$path"]).out();
    assert!(first.lines().count() >= 6, "{first}");
    daemon.step();
    beet(&import);
    assert_eq!(beet(&["ls", "-f", "$path"]).out(), first);
    daemon.stop();
}
