//! One client per service, over one configuration and one connection pool, made when it is first asked for: each reads its endpoints'
//! rules, and most commands talk to one service.

use std::sync::{Arc, LazyLock};

use aws_config::SdkConfig;

pub(crate) type Lazily<T> = LazyLock<T, Box<dyn FnOnce() -> T + Send>>;

pub(crate) struct Clients {
    pub ecs: Lazily<aws_sdk_ecs::Client>,
    pub elb: Lazily<aws_sdk_elasticloadbalancingv2::Client>,
    pub sts: Arc<Lazily<aws_sdk_sts::Client>>,
    pub ecr: Lazily<aws_sdk_ecr::Client>,
    pub secrets: Lazily<aws_sdk_secretsmanager::Client>,
    pub logs: Lazily<aws_sdk_cloudwatchlogs::Client>,
}

fn lazily<T: 'static>(sdk: &SdkConfig, make: fn(&SdkConfig) -> T) -> Lazily<T> {
    let sdk = sdk.clone();
    LazyLock::new(Box::new(move || make(&sdk)))
}

impl Clients {
    pub(crate) fn new(sdk: &SdkConfig) -> Self {
        Self {
            ecs: lazily(sdk, aws_sdk_ecs::Client::new),
            elb: lazily(sdk, aws_sdk_elasticloadbalancingv2::Client::new),
            sts: Arc::new(lazily(sdk, aws_sdk_sts::Client::new)),
            ecr: lazily(sdk, aws_sdk_ecr::Client::new),
            secrets: lazily(sdk, aws_sdk_secretsmanager::Client::new),
            logs: lazily(sdk, aws_sdk_cloudwatchlogs::Client::new),
        }
    }
}
