//! `Call`: one request of the kernel, which is answered exactly once and counted exactly once.
//!
//! fuser answers a dropped reply with `EIO`; so whatever happens to a call (a panic in its handler, a pool that is torn
//! down, a bug), the process behind it goes on. [`guarded`] is the one place where a handler's panic ends: it would
//! otherwise end fuser's event thread, and with the last of those every request would hang for ever. Counting comes
//! before answering, so that whoever has seen an answer finds it in the metrics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuser::Errno;
use musicfs_protocol::metrics::{Counter, OpLabels};
use musicfs_protocol::{ActorStats, Handling, Metrics};

use super::errno::{Failure, Severity};

/// What the kernel asks for; the label `op` of the metrics. Everything that would write is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Lookup,
    Getattr,
    Readdir,
    Readdirplus,
    Opendir,
    Open,
    Read,
    Release,
    Statfs,
    Xattr,
    Write,
    Other,
}

impl Op {
    /// All of them, in the order of the enum.
    const ALL: [(Self, &'static str); 12] = [
        (Self::Lookup, "lookup"),
        (Self::Getattr, "getattr"),
        (Self::Readdir, "readdir"),
        (Self::Readdirplus, "readdirplus"),
        (Self::Opendir, "opendir"),
        (Self::Open, "open"),
        (Self::Read, "read"),
        (Self::Release, "release"),
        (Self::Statfs, "statfs"),
        (Self::Xattr, "xattr"),
        (Self::Write, "write"),
        (Self::Other, "other"),
    ];

    /// The label.
    pub(super) fn label(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The counters that calls move, looked up once: a lookup by label costs a lock and a hash, a read of 4 KiB not much more.
pub(super) struct Accounts {
    ok: [Counter; Op::ALL.len()],
    error: [Counter; Op::ALL.len()],
    read_bytes: Counter,
    panics: Counter,
    stats: Arc<ActorStats>,
}

impl Accounts {
    /// The counters of these metrics.
    pub(super) fn new(metrics: &Metrics, stats: Arc<ActorStats>) -> Self {
        let counters = |ok| Op::ALL.map(|(_, op)| metrics.fuse_requests.get_or_create(&OpLabels::new(op, ok)).clone());
        Self {
            ok: counters(true),
            error: counters(false),
            read_bytes: metrics.fuse_read_bytes.clone(),
            panics: metrics.fuse_panics.clone(),
            stats,
        }
    }

    fn count(&self, op: Op, ok: bool) {
        let counters = if ok { &self.ok } else { &self.error };
        counters[op as usize].inc();
    }
}

/// A reply of fuser's, whatever it carries when all goes well.
pub(super) trait Reply: Send + 'static {
    /// Answers with an error.
    fn error(self, errno: Errno);
}

macro_rules! replies {
    ($($reply:ident),*) => {
        $(impl Reply for fuser::$reply {
            fn error(self, errno: Errno) {
                Self::error(self, errno);
            }
        })*
    };
}

replies!(
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyIoctl,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    ReplyXattr
);

/// A request that is not answered yet. Dropping it answers `EIO`.
pub(super) struct Call<R: Reply> {
    /// What is owed to the kernel, and the account of it; taken together.
    owed: Option<(R, Handling)>,
    op: Op,
    began: Instant,
    accounts: Arc<Accounts>,
}

impl<R: Reply> Call<R> {
    /// A request that has just arrived.
    pub(super) fn new(accounts: &Arc<Accounts>, op: Op, reply: R) -> Self {
        let owed = Some((reply, accounts.stats.begin()));
        Self { owed, op, began: Instant::now(), accounts: Arc::clone(accounts) }
    }

    /// What is asked for.
    pub(super) fn op(&self) -> Op {
        self.op
    }

    /// The counters of the call.
    pub(super) fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    /// Answers.
    pub(super) fn answer(mut self, send: impl FnOnce(R)) {
        if let Some((reply, account)) = self.owed.take() {
            self.accounts.count(self.op, true);
            account.finish(Duration::ZERO, self.began.elapsed());
            send(reply);
        }
    }

    /// Fills a reply that is a list, then answers; or refuses when filling fails.
    pub(super) fn fill_and_answer(mut self, fill: impl FnOnce(&mut R) -> Result<(), Failure>, send: impl FnOnce(R)) {
        match self.owed.as_mut().map(|(reply, _)| fill(reply)) {
            Some(Err(failure)) => self.refuse(&failure),
            _ => self.answer(send),
        }
    }

    /// Answers with an error.
    pub(super) fn refuse(mut self, failure: &Failure) {
        let Some((reply, account)) = self.owed.take() else { return };
        let (errno, severity) = failure.verdict();
        log(self.op, failure, severity);
        if severity != Severity::Debug {
            self.accounts.stats.fail(format!("{}: {failure}", self.op.label()));
        }
        self.accounts.count(self.op, false);
        account.finish(Duration::ZERO, self.began.elapsed());
        reply.error(errno);
    }
}

impl Call<fuser::ReplyData> {
    /// Answers a read.
    pub(super) fn answer_bytes(self, bytes: &[u8]) {
        self.accounts.read_bytes.inc_by(bytes.len() as u64);
        self.answer(|reply| reply.data(bytes));
    }
}

impl<R: Reply> Drop for Call<R> {
    fn drop(&mut self) {
        if let Some((_reply, account)) = self.owed.take() {
            self.accounts.count(self.op, false);
            account.finish(Duration::ZERO, self.began.elapsed());
        }
    }
}

fn log(op: Op, failure: &Failure, severity: Severity) {
    let op = op.label();
    match severity {
        Severity::Debug => tracing::debug!(op, error = %failure, "request refused"),
        Severity::Warn => tracing::warn!(op, error = %failure, "request failed"),
        Severity::Error => tracing::error!(op, error = %failure, "request failed"),
    }
}

/// Runs a handler; a panic in it ends here. The call that it had is answered by being dropped.
pub(super) fn guarded(accounts: &Accounts, op: Op, body: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(body)).is_err() {
        accounts.panics.inc();
        accounts.stats.fail(format!("{}: the handler panicked", op.label()));
        let thread = std::thread::current();
        tracing::error!(
            op = op.label(),
            thread = thread.name().unwrap_or("?"),
            "handler panicked, answered with an error"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stand_in_the_order_of_the_operations() {
        for (index, (op, label)) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, index);
            assert_eq!(op.label(), label);
        }
    }

    #[test]
    fn panic_of_a_handler_is_counted_and_goes_no_further() {
        let metrics = Metrics::default();
        let accounts = Accounts::new(&metrics, Arc::default());
        guarded(&accounts, Op::Read, || panic!("seeded"));
        assert_eq!(metrics.fuse_panics.get(), 1);
    }
}
