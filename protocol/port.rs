//! `Port<M>`: the only way one actor reaches another.
//!
//! A constructor takes ports, not addresses. The wiring swaps what is behind a port when an actor is started again, so
//! nobody holds a dead address. A port is unbound while its actor is down; a request then waits a moment for the new one
//! and otherwise fails with [`PortError::Down`], which the caller may retry within its own deadline.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use parking_lot::RwLock;

/// Why a request got no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The actor behind the port is not running now; it is being restarted, or it is parked.
    #[error("the actor is not running; `musicfs actors` shows why")]
    Down,
    /// The actor died, or was replaced, while it had the request.
    #[error("the actor was restarted while it had the request")]
    Lost,
}

/// A swappable recipient of one type of message. Clones share what is behind them.
pub struct Port<M>
where
    M: Message + Send,
    M::Result: Send,
{
    target: Arc<RwLock<Option<Recipient<M>>>>,
}

impl<M> Port<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    /// A port with nothing behind it yet.
    pub fn unbound() -> Self {
        Self { target: Arc::new(RwLock::new(None)) }
    }

    /// A port to a recipient that is already there.
    pub fn to(recipient: Recipient<M>) -> Self {
        Self { target: Arc::new(RwLock::new(Some(recipient))) }
    }

    /// Puts an actor behind the port, in place of whatever was there.
    pub fn bind<A>(&self, addr: &Addr<A>)
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        *self.target.write() = Some(addr.clone().recipient());
    }

    /// Takes away whatever is behind the port.
    pub fn unbind(&self) {
        *self.target.write() = None;
    }

    /// Whether an actor is behind the port and its mailbox is open.
    pub fn is_bound(&self) -> bool {
        self.target.read().as_ref().is_some_and(Recipient::connected)
    }

    /// Sends a request and waits for its reply. The bound is the permit in the message, not the mailbox.
    pub async fn send(&self, message: M) -> Result<M::Result, PortError> {
        let target = self.target.read().clone();
        let Some(recipient) = target else { return Err(PortError::Down) };
        match recipient.send(message).await {
            Ok(reply) => Ok(reply),
            Err(actix::MailboxError::Closed) => Err(PortError::Down),
            Err(actix::MailboxError::Timeout) => Err(PortError::Lost),
        }
    }

    /// Hands over a message without waiting. Only for messages whose number is bounded by construction: the one wake of
    /// an [`Inbox`](crate::Inbox) batch, and control messages.
    pub fn wake(&self, message: M) -> Result<(), PortError> {
        let target = self.target.read().clone();
        let recipient = target.filter(Recipient::connected).ok_or(PortError::Down)?;
        recipient.do_send(message);
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
