//! `Limits`: how much of inotify the system grants to a user.
//!
//! Read to tell a person which number to raise, and to notice that it was raised. Where the files cannot be read, nothing
//! is known and nothing is wrong. Nothing here, or anywhere else, changes them.

use std::fs;

/// The sysctls of inotify; nothing where one cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// `fs.inotify.max_user_watches`.
    pub(super) max_watches: Option<u64>,
    /// `fs.inotify.max_user_instances`.
    pub(super) max_instances: Option<u64>,
}

impl Limits {
    /// The limits now.
    pub(super) fn read() -> Self {
        fail::fail_point!("watcher::limits", |watches| {
            Self { max_watches: watches.and_then(|text| text.parse().ok()), max_instances: None }
        });
        let read = |name| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok();
        Self { max_watches: read("max_user_watches"), max_instances: read("max_user_instances") }
    }
}

/// A limit in words.
pub(super) fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "not known".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_this_system_are_read() {
        let limits = Limits::read();
        assert!(limits.max_watches.is_some_and(|limit| limit > 0));
        assert!(limits.max_instances.is_some_and(|limit| limit > 0));
        assert_eq!(shown(None), "not known");
    }
}
