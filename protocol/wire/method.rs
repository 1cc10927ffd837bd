//! The table of methods: one unit type per method, with its name, its request and its reply.
//!
//! Client and server take the types from here, so that a call and its handler cannot disagree. Names are dotted, group
//! first; `hello` alone has no group, because it comes before anything is known of the other side.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    ActorsReply, ConfigReply, Empty, HelloReply, HelloRequest, MetricsReply, OriginListReply, PathRequest, ReloadReply,
    RescanRequest, StatusReply, StopReply, SubscribeRequest, TagsReply, TreeReply, TreeRequest, WaitReply, WaitRequest,
    WhyReply,
};

/// A method of the control socket.
pub trait Method {
    /// Its name in `method`.
    const NAME: &'static str;
    /// What `params` holds.
    type Request: Serialize + DeserializeOwned;
    /// What `result` holds.
    type Reply: Serialize + DeserializeOwned;
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident = $name:literal, $request:ident => $reply:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub struct $method;

            impl Method for $method {
                const NAME: &'static str = $name;
                type Request = $request;
                type Reply = $reply;
            }
        )*

        /// Every name, in the order of the table.
        pub const NAMES: &[&str] = &[$($name),*];
    };
}

methods! {
    /// Who are you, and which protocol do you speak.
    Hello = "hello", HelloRequest => HelloReply;
    /// The daemon as a whole.
    Status = "daemon.status", Empty => StatusReply;
    /// End in order. The reply comes before the end.
    Stop = "daemon.stop", Empty => StopReply;
    /// Every actor's numbers.
    Actors = "daemon.actors", Empty => ActorsReply;
    /// Every metric as OpenMetrics text.
    Metrics = "daemon.metrics", Empty => MetricsReply;
    /// Answer when something has come true, or when the time is up.
    Wait = "daemon.wait", WaitRequest => WaitReply;
    /// One page of a subtree of the library.
    Tree = "library.tree", TreeRequest => TreeReply;
    /// The tags of one track.
    TagsOf = "library.tags", PathRequest => TagsReply;
    /// Where an entry comes from and what went wrong with it last.
    Why = "library.why", PathRequest => WhyReply;
    /// Every origin.
    OriginList = "origin.list", Empty => OriginListReply;
    /// Compare an origin with what is known of it.
    OriginRescan = "origin.rescan", RescanRequest => Empty;
    /// Send events as notices on this connection from now on.
    Subscribe = "events.subscribe", SubscribeRequest => Empty;
    /// Send no more events.
    Unsubscribe = "events.unsubscribe", Empty => Empty;
    /// The configuration that the daemon runs with.
    Config = "config.show", Empty => ConfigReply;
    /// Read the configuration again and apply what can change in a running daemon.
    Reload = "config.reload", Empty => ReloadReply;
}
