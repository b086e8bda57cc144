//! A stateful fake of AWS over HTTP, in AWS's own protocols, for the calls that Landfall makes. Tests and benchmarks only.
//!
//! No emulator has target health that changes, service events, service deployments, the endings of a first deployment,
//! limits, quotas, eventual consistency or idempotency tokens; this one has, on virtual time, and does what a test scripts.
//! It knows nothing of Landfall and uses no AWS SDK: on the calls that it shares with moto and ministack the three must
//! agree, and boto3 must read it without complaint (`tests/`).
//!
//! `world` is the model: pure, time comes in as a parameter. The rest is thin.

mod clock;
mod control;
pub mod faults;
mod http;
pub mod iam;
mod protocol;
pub mod quota;
pub mod s3;
mod state;
pub mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use crate::protocol::{ACCOUNT, REGION};
pub use crate::state::Recorded;
pub use crate::world::error::AwsError;
pub use crate::world::rules::{FunctionRule, ImageRule, InstanceRule, Instances, Limits, Rules, Timing};

use crate::clock::Clock;
use crate::http::{Shared, serve, wall};
use crate::protocol::{Call, Protocol};
use crate::state::State;
use crate::world::{Caller, Millis, World};

/// How a fake begins.
#[derive(Debug, Clone)]
pub struct Fake {
    pub rules: Rules,
    /// Virtual milliseconds per real one; 0: time stands until [`Handle::advance`].
    pub scale: f64,
    /// Port on 127.0.0.1; 0: a free one.
    pub port: u16,
}

impl Default for Fake {
    fn default() -> Self {
        Self { rules: Rules::default(), scale: 1.0, port: 0 }
    }
}

impl Fake {
    /// A fake at the pace of the real clock, with quick timings: its URL, and the handle that scripts it. It ends with the
    /// last handle.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> std::io::Result<(String, Handle)> {
        Self::default().run().await
    }

    /// A fake whose time stands still until it is advanced.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start_frozen() -> std::io::Result<(String, Handle)> {
        Self { scale: 0.0, ..Self::default() }.run().await
    }

    /// # Errors
    /// No port can be bound.
    pub async fn run(self) -> std::io::Result<(String, Handle)> {
        let now = wall();
        let state = State::new(World::new(self.rules.clone(), now), Clock::new(now, self.scale));
        listen(self.port, state, self.rules).await
    }
}

async fn listen(port: u16, state: State, start: Rules) -> std::io::Result<(String, Handle)> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let address = listener.local_addr()?;
    let shared = Arc::new(Shared { state: std::sync::Mutex::new(state), start });
    let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
    let handle = Handle { inner: Arc::new(Inner { address, shared, server }) };
    Ok((handle.url(), handle))
}

struct Inner {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Scripts and inspects a running fake without HTTP. Everything here is also under `/_fake/`.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

impl Handle {
    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    /// Another fake, on a port of its own, whose world goes on from where this one's is now; without its faults, quotas and record of calls.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn fork(&self) -> std::io::Result<(String, Handle)> {
        let state = {
            let state = self.inner.shared.lock();
            State::new(state.world.clone(), state.clock)
        };
        listen(0, state, self.inner.shared.start.clone()).await
    }

    /// A script, as `METHOD /_fake/PATH` takes it.
    ///
    /// # Errors
    /// What the script answers.
    pub fn script(&self, method: &str, path: &str, input: &Value) -> Result<Value, AwsError> {
        self.inner.shared.lock().control(wall(), &self.inner.shared.start, method, path, input)
    }

    /// A call of the default account and region, past faults, quotas and the record of calls: for set-up and assertions.
    ///
    /// # Errors
    /// What AWS would answer.
    pub fn call(&self, service: &str, operation: &str, input: Value) -> Result<Value, AwsError> {
        self.call_as(ACCOUNT, REGION, service, operation, input)
    }

    /// # Errors
    /// What AWS would answer.
    pub fn call_as(
        &self,
        account: &str,
        region: &str,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value, AwsError> {
        let caller = Caller {
            account: account.to_owned(),
            region: region.to_owned(),
            arn: format!("arn:aws:iam::{account}:user/test"),
        };
        let mut state = self.inner.shared.lock();
        let now = state.clock.now(wall());
        if world::is_read(operation) {
            return state.world.call(now, &caller, service, operation, &input);
        }
        let (service, operation) = (service.to_owned(), operation.to_owned());
        state.change(now, world::change::Change::Call { caller, service, operation, input })
    }

    /// Virtual time, Unix milliseconds.
    pub fn now(&self) -> Millis {
        self.inner.shared.lock().clock.now(wall())
    }

    pub fn advance(&self, by: Millis) {
        let mut state = self.inner.shared.lock();
        state.clock.advance(by);
        let now = state.clock.now(wall());
        state.world.advance(now);
    }

    /// From event to event until nothing more is due, at most so far.
    pub fn settle(&self, most: Millis) {
        // A number is always taken.
        let _ = self.script("POST", "clock", &serde_json::json!({"until_idle": most}));
    }

    pub fn set_scale(&self, scale: f64) {
        self.inner.shared.lock().clock.set_scale(wall(), scale);
    }

    pub fn change_rules(&self, change: impl FnOnce(&mut Rules)) {
        let mut state = self.inner.shared.lock();
        let mut rules = state.world.rules().clone();
        change(&mut rules);
        let now = state.clock.now(wall());
        // Setting rules cannot fail.
        let _ = state.change(now, world::change::Change::Rules(Box::new(rules)));
    }

    pub fn image(&self, rule: ImageRule) {
        self.change_rules(|rules| rules.images.push(rule));
    }

    pub fn fault(&self, fault: faults::Fault) {
        self.inner.shared.lock().faults.add(fault);
    }

    pub fn clear_faults(&self) {
        self.inner.shared.lock().faults.rules.clear();
    }

    /// Throttles as AWS documents it.
    pub fn throttle_as_documented(&self) {
        self.inner.shared.lock().quotas.buckets = quota::documented();
    }

    /// An ending; see `world::ecs::forced`.
    ///
    /// # Errors
    /// No such service or event, or no deployment is under way.
    pub fn force(&self, input: &Value) -> Result<Value, AwsError> {
        self.script("POST", "force", input)
    }

    pub fn calls(&self) -> Vec<Recorded> {
        self.inner.shared.lock().calls.clone()
    }

    pub fn clear_calls(&self) {
        self.inner.shared.lock().calls.clear();
    }

    /// Calls over HTTP of this service and operation since the last clearing.
    pub fn count(&self, service: &str, operation: &str) -> usize {
        let state = self.inner.shared.lock();
        state.calls.iter().filter(|call| call.service == service && call.operation == operation).count()
    }

    /// Everything, by `ACCOUNT/REGION`.
    pub fn state(&self) -> Value {
        self.script("GET", "state", &Value::Null).unwrap_or_default()
    }

    /// A request as it comes over the wire, without a socket: status, headers and body of its answer. Faults that are about
    /// the connection have no effect.
    pub fn answer(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, Vec<(&'static str, String)>, Vec<u8>) {
        let mut map = ::http::HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (::http::HeaderName::try_from(*name), ::http::HeaderValue::try_from(*value))
            {
                map.append(name, value);
            }
        }
        let reply = match protocol::parse(method, path, query, &map, body) {
            Err(error) => protocol::write_error(Protocol::Json, &error, "unread"),
            Ok(call) => match self.inner.shared.lock().call(wall(), &call).answer {
                Ok(value) => protocol::write(&call, &value, "without-a-socket"),
                Err(error) => protocol::write_error(call.protocol, &error, "without-a-socket"),
            },
        };
        (reply.status, reply.headers, reply.body)
    }

    /// One call as it comes over the wire, faults and quotas included, without a socket: for benchmarks of the model.
    ///
    /// # Errors
    /// What AWS would answer.
    pub fn wire_call(&self, service: &str, operation: &str, input: Value) -> Result<Value, AwsError> {
        let caller = Caller {
            account: ACCOUNT.to_owned(),
            region: REGION.to_owned(),
            arn: format!("arn:aws:iam::{ACCOUNT}:user/test"),
        };
        let (service, operation) = (service.to_owned(), operation.to_owned());
        let call = Call { protocol: Protocol::Json, service, operation, input, caller };
        self.inner.shared.lock().call(wall(), &call).answer
    }
}
