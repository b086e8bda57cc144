//! One AWS target as a platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_model::aws::AwsTarget;
use landfall_ports::PortResult;
use landfall_ports::load_balancer::LoadBalancer;

use crate::core::Core;
use crate::elb::Elb;
use crate::http;

#[derive(Debug, Clone)]
pub struct AwsOptions {
    /// This installation's id: only what carries it is ever touched.
    pub instance: String,
    pub project: String,
}

/// One account, region and cluster. Cheap to clone.
#[derive(Clone)]
pub struct AwsPlatform {
    pub(crate) core: Arc<Core>,
    elb: Arc<Elb>,
}

impl AwsPlatform {
    /// Reads configuration and credentials' sources; calls nothing of AWS yet.
    pub async fn connect(target: &AwsTarget, options: AwsOptions) -> PortResult<Self> {
        let core = Arc::new(Core::connect(target, options).await?);
        let elb = Arc::new(Elb::new(Arc::clone(&core), http::client()?));
        Ok(Self { core, elb })
    }

    pub fn load_balancer(&self) -> Arc<dyn LoadBalancer> {
        self.elb.clone()
    }

    /// What URLs of listeners name: the target's `address`, else the DNS name of its load balancer, looked up once.
    pub async fn load_balancer_address(&self) -> PortResult<String> {
        self.elb.address().await
    }

    /// The account that the credentials belong to, by GetCallerIdentity; asked once.
    pub async fn account(&self) -> PortResult<String> {
        Ok(self.core.caller.account().await?.to_owned())
    }

    pub fn region(&self) -> &str {
        &self.core.region
    }

    /// Requests sent since the process began, by API family, throttled ones included: of this account and region.
    pub fn calls(&self) -> BTreeMap<&'static str, u64> {
        self.core.caller.counts()
    }
}
