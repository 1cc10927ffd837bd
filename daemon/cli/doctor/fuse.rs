//! What mounting needs: the device, the setuid helper, the permission to let others in.
//!
//! An ordinary user mounts through `fusermount3`, which opens `/dev/fuse` with the user's own rights and then mounts with
//! root's. Root needs neither helper nor permission, so for root only the device is looked at.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::world::{World, quoted};
use super::{Finding, Subject};

const SETUID: u32 = 0o4000;

pub(super) fn examine(world: &World, subject: &Subject) -> Vec<Finding> {
    let allow_other = subject.allow_other.then(|| allow_other(world)).flatten();
    [device(world), helper(world), allow_other].into_iter().flatten().collect()
}

fn device(world: &World) -> Option<Finding> {
    const WHY: &str = "every mount goes through it";
    let device = &world.fuse_device;
    let shown = quoted(device.as_os_str());
    let metadata = match fs::metadata(device) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mend = format!("{}modprobe fuse", world.sudo());
            return Some(Finding::problem("fuse_device", format!("{shown} does not exist"), WHY, mend));
        }
        Err(error) => {
            let mend = format!("ls -l {shown}");
            return Some(Finding::problem("fuse_device", format!("{shown} cannot be looked at: {error}"), WHY, mend));
        }
    };
    let is_open = world.is_root() || world.granted(metadata.mode(), metadata.uid(), metadata.gid()) & 0o6 == 0o6;
    (!is_open).then(|| {
        let what = format!("{shown} is closed to this user (mode {:03o})", metadata.mode() & 0o777);
        Finding::problem("fuse_device", what, WHY, format!("{}chmod 666 {shown}", world.sudo()))
    })
}

fn helper(world: &World) -> Option<Finding> {
    const WHY: &str = "an ordinary user can mount and unmount only through it";
    if world.is_root() {
        return None;
    }
    let Some((file, metadata)) = world.find_program("fusermount3") else {
        let what = "fusermount3 is not installed, or not in PATH";
        return Some(Finding::problem("fusermount", what, WHY, world.install("fuse3")));
    };
    let shown = quoted(file.as_os_str());
    if metadata.uid() != 0 || metadata.mode() & SETUID == 0 {
        let mend = format!("{0}chown root:root {shown} && {0}chmod 4755 {shown}", world.sudo());
        return Some(Finding::problem("fusermount", format!("{shown} is not setuid root"), WHY, mend));
    }
    let status = fs::read_to_string(world.proc.join("self/status")).unwrap_or_default();
    let is_held_back = status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"]));
    is_held_back.then(|| {
        let what = "this process may gain no privileges (NoNewPrivs), so setuid programs have no effect";
        Finding::problem(
            "fusermount",
            what,
            WHY,
            "systemctl --user edit musicfs  # remove NoNewPrivileges= and what implies it",
        )
    })
}

fn allow_other(world: &World) -> Option<Finding> {
    if world.is_root() {
        return None;
    }
    let conf = quoted(world.fuse_conf.as_os_str());
    let why = "allow_other is set, and fusermount3 refuses it to ordinary users without this line: the mount fails";
    let mend = format!("echo user_allow_other | {}tee -a {conf}", world.sudo());
    match fs::read_to_string(&world.fuse_conf) {
        Ok(text) if text.lines().any(|line| line.trim() == "user_allow_other") => None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mend = format!("{}grep user_allow_other {conf}", world.sudo());
            let what = format!("{conf} is not readable to this user, so user_allow_other could not be looked for");
            Some(Finding::note("allow_other", what, why, mend))
        }
        _ => Some(Finding::problem("allow_other", format!("user_allow_other is not set in {conf}"), why, mend)),
    }
}
