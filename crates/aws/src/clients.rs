//! One client per service, over one configuration and one connection pool.

use aws_config::SdkConfig;

pub(crate) struct Clients {
    pub ecs: aws_sdk_ecs::Client,
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    pub sts: aws_sdk_sts::Client,
    pub ecr: aws_sdk_ecr::Client,
    pub secrets: aws_sdk_secretsmanager::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
}

impl Clients {
    pub(crate) fn new(sdk: &SdkConfig) -> Self {
        Self {
            ecs: aws_sdk_ecs::Client::new(sdk),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(sdk),
            sts: aws_sdk_sts::Client::new(sdk),
            ecr: aws_sdk_ecr::Client::new(sdk),
            secrets: aws_sdk_secretsmanager::Client::new(sdk),
            logs: aws_sdk_cloudwatchlogs::Client::new(sdk),
        }
    }
}
