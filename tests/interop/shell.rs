//! find, du, df, cp, cmp, rsync, ffmpeg with a seek, metaflac, and a program that maps a file.
//!
//! Right is what the same program says of a plain copy, or of the file at the origin; the mount only has to agree.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::library::{NUM_TRACKS, library};
use crate::support::command::{run, tool};
use crate::support::require;
use crate::support::tree::{files, walk};

#[test]
fn find_and_du_see_what_a_copy_has() {
    require!("find", "du", "cp", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let copy = home.path("copy");
    tool("cp", [Path::new("-r"), &home.mnt(), &copy]).ok();
    let lines = |root: &Path, args: &[&str]| {
        let out = run(Command::new("find").args([".", "-type", "f"]).args(args).current_dir(root)).ok().out();
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (by_find, by_du) = (["-printf", "%s %P\\n"], ["-exec", "du", "-b", "{}", "+"]);
    assert_eq!(lines(&home.mnt(), &by_find), lines(&copy, &by_find));
    assert_eq!(lines(&home.mnt(), &by_du), lines(&copy, &by_du));
    tool("du", [Path::new("-s"), &home.mnt()]).ok();
    daemon.stop();
}

#[test]
fn df_answers_with_a_size() {
    require!("df");
    let home = library_without_encoder();
    let daemon = home.start();
    let out = run(Command::new("df").args(["--output=size,avail,target"]).arg(home.mnt())).ok().out();
    let fields: Vec<&str> = out.lines().nth(1).unwrap().split_whitespace().collect();
    assert!(fields[0].parse::<u64>().unwrap() > 0, "{out}");
    assert_eq!(fields[2], home.mnt().to_str().unwrap());
    daemon.stop();
}

fn library_without_encoder() -> crate::support::sandbox::Sandbox {
    let home = crate::support::sandbox::Sandbox::new();
    home.put("1.flac", &crate::support::music::Track::new("A", "B", 1, "T").flac());
    home
}

#[test]
fn rsync_by_checksum_finds_no_difference_to_a_copy() {
    require!("rsync", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let copy = home.path("copy");
    let from = format!("{}/", home.mnt().display());
    run(Command::new("rsync").args(["-a", &from]).arg(&copy)).ok();
    assert_eq!(files(&copy), files(&home.mnt()));
    let again = run(Command::new("rsync").args(["-nrc", "--delete", "--out-format=%n", &from]).arg(&copy)).ok().out();
    assert_eq!(again, "");
    let by_time = run(Command::new("rsync").args(["-nrt", "--delete", "--out-format=%n", &from]).arg(&copy)).ok().out();
    assert_eq!(by_time, "");
    daemon.stop();
}

#[test]
fn copy_of_the_mount_has_the_bytes_of_the_origin() {
    require!("cp", "ffmpeg");
    let home = library();
    let daemon = home.start();
    tool("cp", ["-a".as_ref(), home.mnt().as_os_str(), home.path("copy").as_os_str()]).ok();
    let contents = |root: &Path| {
        let mut all: Vec<u64> = walk(root).into_values().filter(|node| !node.is_dir).map(|node| node.content).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(contents(&home.path("copy")), contents(&home.origin()));
    daemon.stop();
}

#[test]
fn player_that_seeks_decodes_the_same_audio_as_from_the_origin() {
    require!("ffmpeg");
    let home = library();
    let daemon = home.start();
    let decode = |file: &Path, from: &str| {
        let mut command = Command::new("ffmpeg");
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-ss", from, "-i"]).arg(file);
        run(command.args(["-t", "0.5", "-map", "0:a", "-f", "md5", "-"])).ok().out()
    };
    for (name, shown) in crate::support::encode::six_format_names() {
        for from in ["0", "0.7", "1.3"] {
            let plain = home.origin().join("encoded").join(&name);
            assert_eq!(decode(&home.shown(&shown), from), decode(&plain, from), "{name} from {from} s");
        }
        daemon.step();
    }
    daemon.stop();
}

#[test]
fn metaflac_reads_the_tags_through_the_mount() {
    require!("metaflac", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let file = home.shown("Artist/Album (2020)/01 - Title flac.flac");
    let through_mount = tool("metaflac", [Path::new("--list"), &file]).ok().out();
    let plain = tool("metaflac", [Path::new("--list"), &home.origin().join("encoded/1.flac")]).ok().out();
    assert_eq!(through_mount, plain);
    assert!(through_mount.contains("ARTIST=Artist"), "{through_mount}");
    daemon.stop();
}

#[test]
fn program_that_maps_a_file_sees_its_bytes() {
    require!("python3", "ffmpeg");
    let home = library();
    let daemon = home.start();
    let script = "import mmap, sys\nwith open(sys.argv[1], 'rb') as f:\n  m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n  sys.stdout.buffer.write(m[:])\n";
    let file = home.shown("Artist/Album (2020)/01 - Title flac.flac");
    let mapped = run(Command::new("python3").args(["-c", script]).arg(&file)).ok().stdout;
    assert!(mapped == fs::read(home.origin().join("encoded/1.flac")).unwrap());
    daemon.stop();
}

#[test]
fn fio_verifies_random_reads_by_many_jobs() {
    require!("fio");
    let home = library_without_encoder();
    let track =
        crate::support::music::Track { audio_len: 4 << 20, ..crate::support::music::Track::new("A", "B", 2, "Long") };
    home.put("2.flac", &track.flac());
    let daemon = home.start();
    let mut command = Command::new("fio");
    command.arg(format!("--filename={}", home.shown("A/B (2020)/02 - Long.flac").display()).replace(':', "\\:"));
    command.args(["--name=read", "--readonly", "--rw=randread", "--bs=4k-64k", "--numjobs=4", "--io_size=8m"]);
    command.args(["--group_reporting", "--output-format=json", "--thread"]).current_dir(home.path("home"));
    let out = run(&mut command).ok().out();
    let json: serde_json::Value = serde_json::from_str(&out[out.find('{').unwrap()..]).unwrap();
    assert_eq!(json["jobs"][0]["error"], 0);
    assert!(json["jobs"][0]["read"]["io_bytes"].as_u64().unwrap() >= 8 << 20);
    daemon.stop();
}

#[test]
fn number_of_tracks_is_what_was_put_in() {
    require!("ffmpeg");
    let home = library();
    let daemon = home.start();
    let tracks = files(&home.mnt()).into_iter().filter(|name| !name.ends_with("cover.jpg")).count();
    assert_eq!(tracks, NUM_TRACKS);
    daemon.stop();
}
