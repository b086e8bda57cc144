//! One AWS target as a platform.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use landfall_model::aws::AwsTarget;
use landfall_model::task::SecretRef;
use landfall_ports::PortResult;
use landfall_ports::container_instances::ContainerInstances;
use landfall_ports::fleets::Fleets;
use landfall_ports::images::Images;
use landfall_ports::load_balancer::LoadBalancer;
use landfall_ports::machine_images::MachineImages;
use landfall_ports::orchestrator::Orchestrator;
use landfall_ports::registry::CloudRegistry;
use landfall_ports::secrets::SecretStore;
use landfall_ports::stacks::Stacks;
use landfall_ports::steps::HookRunner;
use landfall_ports::topic::{Subscriber, Topic};

use crate::cloudformation::CloudFormation;
use crate::core::Core;
use crate::ecr::Ecr;
use crate::ecs::Ecs;
use crate::elb::Elb;
use crate::fleets::AwsFleets;
use crate::hooks::LambdaHooks;
use crate::images::EcrImages;
use crate::machine_images::Ec2Images;
use crate::secret_store::AwsSecrets;
use crate::signed::Signer;
use crate::sns::SnsTopic;
use crate::{http, secrets};

#[derive(Debug, Clone)]
pub struct AwsOptions {
    /// This installation's id: only what carries it is ever touched.
    pub instance: String,
}

/// One account, region and cluster. Cheap to clone.
#[derive(Clone)]
pub struct AwsPlatform {
    pub(crate) core: Arc<Core>,
    pub(crate) ecs: Ecs,
    elb: Arc<Elb>,
    pub(crate) signer: Arc<Signer>,
}

impl AwsPlatform {
    /// Reads configuration and credentials' sources; calls nothing of AWS yet.
    pub async fn connect(target: &AwsTarget, options: AwsOptions) -> PortResult<Self> {
        Self::of(Core::connect(target, options, None, None).await?)
    }

    /// As `connect`, with these credentials instead of those of the SDK's chain.
    pub async fn connect_as(
        target: &AwsTarget,
        options: AwsOptions,
        credentials: SharedCredentialsProvider,
    ) -> PortResult<Self> {
        Self::of(Core::connect(target, options, Some(credentials), None).await?)
    }

    /// As `connect_as`, over this client instead of the SDK's own: virtual time knows no sockets.
    pub async fn connect_over(
        target: &AwsTarget,
        options: AwsOptions,
        credentials: SharedCredentialsProvider,
        http: SharedHttpClient,
    ) -> PortResult<Self> {
        Self::of(Core::connect(target, options, Some(credentials), Some(http)).await?)
    }

    fn of(core: Core) -> PortResult<Self> {
        let core = Arc::new(core);
        let http = http::http();
        let signer = Arc::new(Signer::new(http.clone()));
        let ecs = Ecs::new(Arc::clone(&core), Arc::clone(&signer));
        let elb = Arc::new(Elb::new(Arc::clone(&core), ecs.clone(), http));
        Ok(Self { core, ecs, elb, signer })
    }

    pub fn load_balancer(&self) -> Arc<dyn LoadBalancer> {
        self.elb.clone()
    }

    /// What URLs of listeners name: the target's `address`, else the DNS name of its load balancer, looked up once.
    pub async fn load_balancer_address(&self) -> PortResult<String> {
        self.elb.address().await
    }

    pub fn orchestrator(&self) -> Arc<dyn Orchestrator> {
        Arc::new(self.ecs.clone())
    }

    /// Images in ECR; those of other registries are looked up by `others`.
    pub fn images(&self, others: Option<Arc<dyn Images>>) -> Arc<dyn Images> {
        Arc::new(EcrImages::new(Arc::clone(&self.core), others))
    }

    /// ECR as a registry to push to, with this target's credentials where it is in this target's region.
    pub fn registry(&self) -> Arc<dyn CloudRegistry> {
        Arc::new(Ecr::of(Arc::clone(&self.core)))
    }

    /// Lambda functions; every other hook is run by `others`. Made once: it holds what runs.
    pub fn hooks(&self, others: Arc<dyn HookRunner>) -> Arc<dyn HookRunner> {
        Arc::new(LambdaHooks::new(Arc::clone(&self.core), Arc::clone(&self.signer), others))
    }

    /// # Errors
    /// `Invalid` for what is not the ARN of an SNS topic.
    pub fn topic(&self, arn: &str) -> PortResult<Arc<dyn Topic>> {
        Ok(Arc::new(SnsTopic::new(Arc::clone(&self.core), Arc::clone(&self.signer), arn)?))
    }

    /// Who gets what is published to a topic.
    pub async fn subscribers(&self, topic: &str) -> PortResult<Vec<Subscriber>> {
        Ok(crate::sns::subscribers(&self.core, &self.signer, topic).await?)
    }

    /// Mail to this address from now on, once its owner has followed the link that AWS mails. Natural.
    pub async fn subscribe(&self, topic: &str, address: &str) -> PortResult<()> {
        crate::sns::subscribe(&self.core, &self.signer, topic, address).await
    }

    /// Where the containers' secrets are kept.
    pub fn secrets(&self) -> Arc<dyn SecretStore> {
        Arc::new(AwsSecrets::new(Arc::clone(&self.core), Arc::clone(&self.signer)))
    }

    /// Those of these alarms of CloudWatch that are in ALARM.
    ///
    /// # Errors
    /// `NotFound`: there is none of a name.
    pub async fn loud_alarms(&self, names: &[String]) -> PortResult<Vec<String>> {
        crate::alarms::loud(&self.core, &self.signer, names).await
    }

    /// The instances of the target's cluster.
    pub fn container_instances(&self) -> Arc<dyn ContainerInstances> {
        Arc::new(self.ecs.clone())
    }

    /// Groups of Auto Scaling and Spot Fleets, and the metrics of the target's cluster.
    pub fn fleets(&self) -> Arc<dyn Fleets> {
        Arc::new(AwsFleets::new(Arc::clone(&self.core), Arc::clone(&self.signer)))
    }

    /// The account's machine images, and the instances they are made of.
    pub fn machine_images(&self) -> Arc<dyn MachineImages> {
        Arc::new(Ec2Images::new(Arc::clone(&self.core), Arc::clone(&self.signer)))
    }

    /// Stacks of CloudFormation.
    pub fn stacks(&self) -> Arc<dyn Stacks> {
        Arc::new(self.cloudformation())
    }

    pub(crate) fn cloudformation(&self) -> CloudFormation {
        CloudFormation::new(Arc::clone(&self.core), Arc::clone(&self.signer), self.ecs.clone())
    }

    /// The value of a secret in SSM or Secrets Manager, for Landfall's own use.
    pub async fn secret(&self, reference: &SecretRef) -> PortResult<String> {
        secrets::resolve(&self.core, &self.signer, reference).await
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
