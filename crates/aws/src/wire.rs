//! What the SDK puts on the wire and takes off it, as it is: the one mapping there is, seen from outside.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use landfall_ports::{PortError, PortResult};
use serde_json::Value;

/// Keeps a body. As an interceptor of an operation it is either of the two below; clones share what they keep.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Option<Vec<u8>>>>);

impl Kept {
    fn put(&self, body: Option<&[u8]>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = body.map(<[u8]>::to_vec);
    }

    fn json(&self, what: &str) -> PortResult<Value> {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let body = body.ok_or_else(|| PortError::Bug(format!("{what}: no body to read")))?;
        serde_json::from_slice(&body).map_err(|error| PortError::Unavailable(format!("{what}: not JSON: {error}")))
    }
}

/// Keeps the request and stops it: nothing is signed or sent, and the operation fails.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unsent(Kept);

impl Unsent {
    /// # Errors
    /// `Bug` where the operation did not come as far as its body.
    pub(crate) fn json(&self, what: &str) -> PortResult<Value> {
        self.0.json(what)
    }

    /// Whether an operation failed because it was stopped.
    pub(crate) fn is(error: &(dyn StdError + 'static)) -> bool {
        let mut at = Some(error);
        while let Some(error) = at {
            if error.is::<Stop>() {
                return true;
            }
            at = error.source();
        }
        false
    }
}

#[derive(Debug)]
struct Stop;

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("kept instead of sent")
    }
}

impl StdError for Stop {}

#[dyn_dispatch_hint]
impl Intercept for Unsent {
    fn name(&self) -> &'static str {
        "Unsent"
    }

    fn read_after_serialization(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.put(context.request().body().bytes());
        Err(Stop.into())
    }
}

/// Keeps the last answer, with fields that the SDK does not know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answered(Kept);

impl Answered {
    /// # Errors
    /// `Unavailable` for what is no JSON; `Bug` where there was no answer.
    pub(crate) fn json(&self, what: &str) -> PortResult<Value> {
        self.0.json(what)
    }
}

#[dyn_dispatch_hint]
impl Intercept for Answered {
    fn name(&self) -> &'static str {
        "Answered"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.put(context.response().body().bytes());
        Ok(())
    }
}
