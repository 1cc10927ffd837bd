//! Failpoints of a running daemon, set from a test.
//!
//! The daemon is another process, so a file carries what each point does and the daemon acknowledges what it has applied:
//! when [`Failpoints::set`] returns, the point counts. Setting a point again starts its counts anew, also when the text is
//! the same. A point that is paused is let go by [`Failpoints::clear`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::eventually;
use super::sandbox::Sandbox;

/// The failpoints of the daemons that are started with [`Failpoints::arm`].
#[derive(Debug)]
pub(crate) struct Failpoints {
    file: PathBuf,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    number: u64,
    points: BTreeMap<String, (u64, String)>,
}

impl Failpoints {
    /// No point set yet.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let file = sandbox.path("failpoints");
        let failpoints = Self { file, state: RefCell::default() };
        failpoints.write();
        failpoints
    }

    /// Has the daemon that this command starts follow these points.
    pub(crate) fn arm<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("MUSICFS_FAILPOINTS", &self.file)
    }

    /// Sets a point before the daemon is started: it counts from the first moment.
    pub(crate) fn preset(&self, name: &str, actions: &str) {
        let number = self.state.borrow().number + 1;
        self.state.borrow_mut().points.insert(name.to_owned(), (number, actions.to_owned()));
        self.write();
    }

    /// Sets a point in the running daemon; it counts when this returns.
    #[track_caller]
    pub(crate) fn set(&self, name: &str, actions: &str) {
        self.preset(name, actions);
        self.await_applied();
    }

    /// Takes a point back.
    #[track_caller]
    pub(crate) fn clear(&self, name: &str) {
        self.state.borrow_mut().points.remove(name);
        self.write();
        self.await_applied();
    }

    fn write(&self) {
        let mut state = self.state.borrow_mut();
        state.number += 1;
        let lines = state.points.iter().map(|(name, (number, actions))| format!("{number} {name}={actions}\n"));
        let text = format!("{}\n{}", state.number, lines.collect::<String>());
        let staged = self.file.with_extension("next");
        std::fs::write(&staged, text).expect("file of failpoints");
        std::fs::rename(staged, &self.file).expect("file of failpoints");
    }

    #[track_caller]
    fn await_applied(&self) {
        let applied = self.file.with_extension("applied"); // the name has no extension of its own
        let number = self.state.borrow().number.to_string();
        eventually("the daemon applies its failpoints", || {
            std::fs::read_to_string(&applied).is_ok_and(|text| text == number)
        });
    }
}
