//! From a method's name to its handler.
//!
//! The types of request and reply come from the table of methods (`musicfs_protocol::wire::method`); a test holds this
//! `match` against that table. Handlers are synchronous reads of published tables, except the three that wait. What is about
//! the connection itself (`events.…`) is handled there, before this.

use std::sync::Arc;

use musicfs_protocol::wire::{Empty, Method, RpcError, code, method};
use serde_json::value::{RawValue, to_raw_value};

use super::{ControlServices, daemon_calls, library_calls, wait};

/// What is answered to a call.
pub(super) type Outcome = Result<Box<RawValue>, RpcError>;

/// Handles one call.
pub(super) async fn dispatch(name: &str, params: Option<&RawValue>, services: &Arc<ControlServices>) -> Outcome {
    match name {
        method::Hello::NAME => answer::<method::Hello>(params, |hello| Ok(daemon_calls::hello(services, &hello))),
        method::Status::NAME => answer::<method::Status>(params, |_| daemon_calls::status(services)),
        method::Actors::NAME => answer::<method::Actors>(params, |_| Ok(daemon_calls::actors(services))),
        method::Metrics::NAME => answer::<method::Metrics>(params, |_| daemon_calls::metrics(services)),
        method::Config::NAME => answer::<method::Config>(params, |_| Ok(daemon_calls::config(services))),
        method::OriginList::NAME => answer::<method::OriginList>(params, |_| daemon_calls::origin_list(services)),
        method::OriginRescan::NAME => {
            answer::<method::OriginRescan>(params, |request| daemon_calls::rescan(services, &request))
        }
        method::Tree::NAME => answer::<method::Tree>(params, |request| library_calls::tree(services, &request)),
        method::TagsOf::NAME => answer::<method::TagsOf>(params, |request| library_calls::tags(services, &request)),
        method::Why::NAME => answer::<method::Why>(params, |request| library_calls::why(services, &request)),
        method::Stop::NAME => {
            read::<Empty>(params)?;
            write(&daemon_calls::stop(services).await?)
        }
        method::Reload::NAME => {
            read::<Empty>(params)?;
            write(&daemon_calls::reload(services).await?)
        }
        method::Wait::NAME => {
            let request = read(params)?;
            write(&wait::wait(services, request).await)
        }
        _ => Err(RpcError::new(code::METHOD_NOT_FOUND, "there is no such method; `musicfs --help` lists the verbs")),
    }
}

fn answer<M: Method>(
    params: Option<&RawValue>,
    handle: impl FnOnce(M::Request) -> Result<M::Reply, RpcError>,
) -> Outcome {
    write(&handle(read(params)?)?)
}

/// Reads parameters; those that are left out are an empty object.
pub(super) fn read<T: serde::de::DeserializeOwned>(params: Option<&RawValue>) -> Result<T, RpcError> {
    let text = params.map_or("{}", RawValue::get);
    if text.starts_with('[') {
        return Err(RpcError::new(code::INVALID_PARAMS, "parameters are taken by name; send an object"));
    }
    serde_json::from_str(text).map_err(|error| RpcError::new(code::INVALID_PARAMS, error.to_string()))
}

pub(super) fn write<T: serde::Serialize>(reply: &T) -> Outcome {
    to_raw_value(reply).map_err(|error| RpcError::new(code::INTERNAL_ERROR, error.to_string()))
}
