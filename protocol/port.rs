//! `Port<M>`: the only way one actor reaches another.
//!
//! A constructor takes ports, not addresses. The wiring swaps what is behind a port when an actor is started again, so
//! nobody holds a dead address. A request ends with its actor: when the incarnation that has it panics, freezes or is
//! replaced, the asker hears [`PortError::Lost`] at once and need not sit out its deadline. [`Port::request`] is the one
//! place where a lost request is repeated: once, at the incarnation that follows, within the deadline that it had.

use std::pin::pin;
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::time::timeout_at;

use crate::deadline::Deadline;

/// Why a request got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The actor behind the port is not running now; it is being restarted, or it is parked.
    #[error("the actor is not running; `musicfs actors` shows why")]
    Down,
    /// The actor died, or was replaced, while it had the request.
    #[error("the actor was restarted while it had the request")]
    Lost,
    /// The deadline passed and the actor had not answered.
    #[error("the actor did not answer in time; `musicfs actors` shows what it is busy with")]
    Late,
}

/// How one incarnation of an actor stands, as its supervisor says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// It serves.
    #[default]
    Serving,
    /// It is gone or given up, and another will take its place.
    Gone,
    /// It is gone, and nobody takes its place.
    Parked,
}

/// The address of one incarnation of an actor, and how it stands: a thread that is frozen cannot say that itself.
pub struct Incarnation<A: Actor> {
    addr: Addr<A>,
    standing: watch::Receiver<Standing>,
}

impl<A: Actor> Incarnation<A> {
    /// An incarnation that counts for as long as `standing` says so.
    pub fn new(addr: Addr<A>, standing: watch::Receiver<Standing>) -> Self {
        Self { addr, standing }
    }

    /// Its address.
    pub fn addr(&self) -> &Addr<A> {
        &self.addr
    }
}

/// What can be put behind a port: an incarnation under supervision, or the address of an actor that lives for good.
pub trait Serves<M>
where
    M: Message + Send,
    M::Result: Send,
{
    /// Where messages go.
    fn recipient(&self) -> Recipient<M>;
    /// Says when it no longer counts.
    fn standing(&self) -> watch::Receiver<Standing>;
}

impl<A, M> Serves<M> for Addr<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn recipient(&self) -> Recipient<M> {
        self.clone().recipient()
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        watch::channel(Standing::Serving).1
    }
}

impl<A, M> Serves<M> for Incarnation<A>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn recipient(&self) -> Recipient<M> {
        self.addr.clone().recipient()
    }

    fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}

/// Who is behind a port now.
struct Target<M>
where
    M: Message + Send,
    M::Result: Send,
{
    recipient: Recipient<M>,
    standing: watch::Receiver<Standing>,
}

impl<M> Target<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn serves(&self) -> bool {
        self.recipient.connected() && *self.standing.borrow() == Standing::Serving
    }

    /// Ends when the standing is another; never for an actor that nobody supervises.
    async fn other_standing(&mut self) {
        if self.standing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn send(mut self, message: M) -> Result<M::Result, PortError> {
        if !self.serves() {
            return Err(PortError::Down);
        }
        let reply = self.recipient.send(message);
        match select(pin!(reply), pin!(self.other_standing())).await {
            Either::Left((reply, _)) => reply.map_err(|_| PortError::Lost),
            Either::Right(_) => Err(PortError::Lost),
        }
    }
}

impl<M> Clone for Target<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { recipient: self.recipient.clone(), standing: self.standing.clone() }
    }
}

/// A swappable recipient of one type of message. Clones share what is behind them.
pub struct Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    target: Arc<watch::Sender<Option<Target<M>>>>,
}

impl<M> Port<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// A port with nothing behind it yet.
    pub fn unbound() -> Self {
        Self { target: Arc::new(watch::Sender::new(None)) }
    }

    /// A port to a recipient that is already there, and stays.
    pub fn to(recipient: Recipient<M>) -> Self {
        let standing = watch::channel(Standing::Serving).1;
        Self { target: Arc::new(watch::Sender::new(Some(Target { recipient, standing }))) }
    }

    /// Puts an actor behind the port, in place of whatever was there.
    pub fn bind(&self, actor: &impl Serves<M>) {
        let (recipient, standing) = (actor.recipient(), actor.standing());
        self.target.send_replace(Some(Target { recipient, standing }));
    }

    /// Whether an actor is behind the port and its mailbox is open.
    pub fn is_bound(&self) -> bool {
        self.target.borrow().as_ref().is_some_and(Target::serves)
    }

    /// Sends a message once and waits for its reply. The bound is the permit in the message, not the mailbox.
    pub async fn send(&self, message: M) -> Result<M::Result, PortError> {
        let target = self.target.borrow().clone();
        target.ok_or(PortError::Down)?.send(message).await
    }

    /// Sends what `make` makes and waits for its reply, until the deadline. While the actor is being started again it is
    /// waited for; a request that is lost with its actor is made and sent once more. Only for requests that may be
    /// repeated.
    pub async fn request(&self, deadline: Deadline, mut make: impl FnMut() -> M) -> Result<M::Result, PortError> {
        self.request_with(deadline, async || make()).await
    }

    /// The same where making a request takes a wait of its own, as for a permit: one that was lost took its permit along.
    pub async fn request_with(
        &self,
        deadline: Deadline,
        mut make: impl AsyncFnMut() -> M,
    ) -> Result<M::Result, PortError> {
        let until = deadline.instant().into();
        let first = timeout_at(until, self.serving(None)).await.unwrap_or(Err(PortError::Down))?;
        let lost = first.recipient.clone();
        let answer = timeout_at(until, async { first.send(make().await).await }).await;
        match answer.unwrap_or(Err(PortError::Late)) {
            Err(PortError::Down | PortError::Lost) => {}
            answer => return answer,
        }
        let second = timeout_at(until, self.serving(Some(&lost))).await.unwrap_or(Err(PortError::Lost))?;
        let answer = timeout_at(until, async { second.send(make().await).await }).await;
        answer.unwrap_or(Err(PortError::Late))
    }

    /// Waits for an actor that serves and is another than `lost`; an error when none will come.
    async fn serving(&self, lost: Option<&Recipient<M>>) -> Result<Target<M>, PortError> {
        let mut targets = self.target.subscribe();
        loop {
            let target = targets.borrow_and_update().clone();
            let Some(mut target) = target else {
                let _ = targets.changed().await; // the sender is ours: it cannot be gone
                continue;
            };
            // noted as seen: what it says now must not wake the wait below
            let standing = *target.standing.borrow_and_update();
            if standing == Standing::Serving && target.recipient.connected() && Some(&target.recipient) != lost {
                return Ok(target);
            }
            if standing == Standing::Parked {
                return Err(PortError::Down);
            }
            select(pin!(targets.changed()), pin!(target.other_standing())).await;
        }
    }

    /// Hands over a message without waiting. Only for messages whose number is bounded by construction: the one wake of
    /// an [`Inbox`](crate::Inbox) batch, and control messages.
    pub fn wake(&self, message: M) -> Result<(), PortError> {
        let target = self.target.borrow().clone();
        let target = target.filter(|target| target.recipient.connected()).ok_or(PortError::Down)?;
        target.recipient.do_send(message);
        Ok(())
    }
}

impl<M> Clone for Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    fn clone(&self) -> Self {
        Self { target: Arc::clone(&self.target) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::{Context, ResponseFuture};
    use std::time::{Duration, Instant};
    use tokio::sync::{mpsc, oneshot};

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Ask;

    /// Hands every request to the test, which answers it or lets it fall.
    struct Subject(mpsc::UnboundedSender<oneshot::Sender<u32>>);

    impl Actor for Subject {
        type Context = Context<Self>;
    }

    impl Handler<Ask> for Subject {
        type Result = ResponseFuture<u32>;

        fn handle(&mut self, _: Ask, _: &mut Self::Context) -> Self::Result {
            let (reply, answer) = oneshot::channel();
            self.0.send(reply).expect("the test listens");
            Box::pin(async move {
                match answer.await {
                    Ok(answer) => answer,
                    Err(_) => std::future::pending().await, // as on a thread that is frozen
                }
            })
        }
    }

    type Asked = mpsc::UnboundedReceiver<oneshot::Sender<u32>>;

    fn incarnation() -> (Incarnation<Subject>, watch::Sender<Standing>, Asked) {
        let (sender, asked) = mpsc::unbounded_channel();
        let (standing, receiver) = watch::channel(Standing::Serving);
        (Incarnation::new(Subject(sender).start(), receiver), standing, asked)
    }

    fn soon() -> Deadline {
        Deadline::after(Instant::now(), Duration::from_mins(1))
    }

    fn ask(port: &Port<Ask>, deadline: Deadline) -> tokio::task::JoinHandle<Result<u32, PortError>> {
        let port = port.clone();
        actix::spawn(async move { port.request(deadline, || Ask).await })
    }

    #[actix::test]
    async fn request_at_a_frozen_actor_is_sent_once_more_to_the_next_one() {
        let port = Port::unbound();
        let (first, standing, mut asked) = incarnation();
        port.bind(&first);
        let reply = ask(&port, soon());
        let held = asked.recv().await.expect("asked");
        standing.send_replace(Standing::Gone);
        let (second, _standing, mut asked) = incarnation();
        port.bind(&second);
        asked.recv().await.expect("asked again").send(7).expect("waits");
        assert_eq!(reply.await.expect("no panic"), Ok(7));
        assert!(held.send(6).is_ok(), "the frozen one may still answer, to nobody");
    }

    #[actix::test]
    async fn request_that_is_lost_twice_fails_clearly() {
        let port = Port::unbound();
        let (first, standing, mut asked) = incarnation();
        port.bind(&first);
        let reply = ask(&port, soon());
        let _held = asked.recv().await.expect("asked");
        standing.send_replace(Standing::Gone);
        let (second, standing, mut asked) = incarnation();
        port.bind(&second);
        let _held = asked.recv().await.expect("asked again");
        standing.send_replace(Standing::Gone);
        assert_eq!(reply.await.expect("no panic"), Err(PortError::Lost));
        assert_eq!(port.send(Ask).await, Err(PortError::Down));
    }

    #[actix::test]
    async fn request_before_the_first_start_waits_for_it() {
        let port = Port::unbound();
        let reply = ask(&port, soon());
        tokio::task::yield_now().await;
        let (first, _standing, mut asked) = incarnation();
        port.bind(&first);
        asked.recv().await.expect("asked").send(1).expect("waits");
        assert_eq!(reply.await.expect("no panic"), Ok(1));
    }

    #[actix::test]
    async fn nobody_waits_for_a_parked_actor() {
        let port = Port::unbound();
        let (first, standing, mut asked) = incarnation();
        port.bind(&first);
        let reply = ask(&port, soon());
        let _held = asked.recv().await.expect("asked");
        standing.send_replace(Standing::Gone);
        standing.send_replace(Standing::Parked);
        assert_eq!(reply.await.expect("no panic"), Err(PortError::Down));
        assert_eq!(port.request(soon(), || Ask).await, Err(PortError::Down));
    }

    #[actix::test]
    async fn deadline_ends_the_waiting_and_says_for_what() {
        let port = Port::unbound();
        let at_once = || Deadline::after(Instant::now(), Duration::from_millis(1));
        assert_eq!(port.request(at_once(), || Ask).await, Err(PortError::Down));
        let (first, standing, mut asked) = incarnation();
        port.bind(&first);
        assert_eq!(port.request(at_once(), || Ask).await, Err(PortError::Late));
        assert!(asked.recv().await.is_some());
        let reply = ask(&port, Deadline::after(Instant::now(), Duration::from_millis(50)));
        let _held = asked.recv().await.expect("asked");
        standing.send_replace(Standing::Gone);
        assert_eq!(reply.await.expect("no panic"), Err(PortError::Lost), "nobody took its place in time");
    }
}
