//! What deploying an environment takes. One that is no stack: what `landfall iam` prints. One that is: its stack, and of what is in it only
//! what CloudFormation asks for on behalf of the job (`aws:CalledVia`): the job itself may touch none of it.

use std::collections::{BTreeMap, BTreeSet};

use landfall_iam::{APPLIES, Level, StateBucket, action};
use landfall_model::app::App;
use landfall_model::aws::AwsTarget;

use super::{Build, Undeliverable};
use crate::expr::Expr;
use crate::policy::Statement;
use crate::resources::Properties;

/// What CloudFormation calls for resources of a type: to make, change, read and delete them.
fn calls(properties: &Properties) -> &'static [&'static str] {
    match properties {
        Properties::Vpc(_) => &[
            "ec2:CreateVpc",
            "ec2:DeleteVpc",
            "ec2:DescribeVpcAttribute",
            "ec2:DescribeVpcs",
            "ec2:ModifyVpcAttribute",
        ],
        Properties::Subnet(_) => {
            &["ec2:CreateSubnet", "ec2:DeleteSubnet", "ec2:DescribeSubnets", "ec2:ModifySubnetAttribute"]
        }
        Properties::InternetGateway(_) | Properties::GatewayAttachment(_) => &[
            "ec2:AttachInternetGateway",
            "ec2:CreateInternetGateway",
            "ec2:DeleteInternetGateway",
            "ec2:DescribeInternetGateways",
            "ec2:DetachInternetGateway",
        ],
        Properties::RouteTable(_) | Properties::RouteTableAssociation(_) => &[
            "ec2:AssociateRouteTable",
            "ec2:CreateRouteTable",
            "ec2:DeleteRouteTable",
            "ec2:DescribeRouteTables",
            "ec2:DisassociateRouteTable",
            "ec2:ReplaceRouteTableAssociation",
        ],
        Properties::Route(_) => &["ec2:CreateRoute", "ec2:DeleteRoute", "ec2:ReplaceRoute"],
        Properties::Address(_) => {
            &["ec2:AllocateAddress", "ec2:DescribeAddresses", "ec2:DisassociateAddress", "ec2:ReleaseAddress"]
        }
        Properties::NatGateway(_) => &["ec2:CreateNatGateway", "ec2:DeleteNatGateway", "ec2:DescribeNatGateways"],
        Properties::SecurityGroup(_) => &[
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateSecurityGroup",
            "ec2:DeleteSecurityGroup",
            "ec2:DescribeSecurityGroups",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
        ],
        Properties::LaunchTemplate(_) => &[
            "ec2:CreateLaunchTemplate",
            "ec2:CreateLaunchTemplateVersion",
            "ec2:DeleteLaunchTemplate",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeLaunchTemplates",
            "ec2:RunInstances",
            "ssm:GetParameters",
        ],
        Properties::InstanceGroup(_) => &[
            "autoscaling:CreateAutoScalingGroup",
            "autoscaling:CreateOrUpdateTags",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:SetInstanceProtection",
            "autoscaling:UpdateAutoScalingGroup",
        ],
        Properties::SpotFleet(_) => &[
            "ec2:CancelSpotFleetRequests",
            "ec2:DescribeSpotFleetInstances",
            "ec2:DescribeSpotFleetRequests",
            "ec2:ModifySpotFleetRequest",
            "ec2:RequestSpotFleet",
            "iam:PassRole",
        ],
        Properties::Cluster(_) => {
            &["ecs:CreateCluster", "ecs:DeleteCluster", "ecs:DescribeClusters", "ecs:TagResource", "ecs:UpdateCluster"]
        }
        Properties::CapacityProvider(_) | Properties::CapacityProviders(_) => &[
            "ecs:CreateCapacityProvider",
            "ecs:DeleteCapacityProvider",
            "ecs:DescribeCapacityProviders",
            "ecs:PutClusterCapacityProviders",
        ],
        Properties::TaskDefinition(_) => &[
            "ecs:DeregisterTaskDefinition",
            "ecs:DescribeTaskDefinition",
            "ecs:RegisterTaskDefinition",
            "ecs:TagResource",
        ],
        Properties::Service(_) => {
            &["ecs:CreateService", "ecs:DeleteService", "ecs:DescribeServices", "ecs:TagResource", "ecs:UpdateService"]
        }
        Properties::LoadBalancer(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateLoadBalancer",
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:DescribeLoadBalancerAttributes",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeTags",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ],
        Properties::Listener(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateListener",
            "elasticloadbalancing:DeleteListener",
            "elasticloadbalancing:DescribeListeners",
            "elasticloadbalancing:ModifyListener",
        ],
        Properties::ListenerRule(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateRule",
            "elasticloadbalancing:DeleteRule",
            "elasticloadbalancing:DescribeRules",
            "elasticloadbalancing:ModifyRule",
        ],
        Properties::TargetGroup(_) => &[
            "elasticloadbalancing:AddTags",
            "elasticloadbalancing:CreateTargetGroup",
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:ModifyTargetGroup",
            "elasticloadbalancing:ModifyTargetGroupAttributes",
        ],
        Properties::Role(_) => &[
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:GetRole",
            "iam:GetRolePolicy",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:PutRolePolicy",
            "iam:TagRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRole",
        ],
        Properties::InstanceProfile(_) => &[
            "iam:AddRoleToInstanceProfile",
            "iam:CreateInstanceProfile",
            "iam:DeleteInstanceProfile",
            "iam:GetInstanceProfile",
            "iam:RemoveRoleFromInstanceProfile",
        ],
        Properties::LogGroup(_) => &[
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DescribeLogGroups",
            "logs:ListTagsForResource",
            "logs:PutRetentionPolicy",
            "logs:TagResource",
            "logs:UntagResource",
        ],
        Properties::ScalableTarget(_) | Properties::ScalingPolicy(_) => &[
            "application-autoscaling:DeleteScalingPolicy",
            "application-autoscaling:DeleteScheduledAction",
            "application-autoscaling:DeregisterScalableTarget",
            "application-autoscaling:DescribeScalableTargets",
            "application-autoscaling:DescribeScalingPolicies",
            "application-autoscaling:DescribeScheduledActions",
            "application-autoscaling:PutScalingPolicy",
            "application-autoscaling:PutScheduledAction",
            "application-autoscaling:RegisterScalableTarget",
        ],
        Properties::Schedule(_) => &[
            "scheduler:CreateSchedule",
            "scheduler:DeleteSchedule",
            "scheduler:GetSchedule",
            "scheduler:UpdateSchedule",
        ],
        Properties::Certificate(_) => &[
            "acm:AddTagsToCertificate",
            "acm:DeleteCertificate",
            "acm:DescribeCertificate",
            "acm:RequestCertificate",
            // Its validation.
            "route53:ChangeResourceRecordSets",
            "route53:GetChange",
        ],
        Properties::RecordSet(_) => &[
            "route53:ChangeResourceRecordSets",
            "route53:GetChange",
            "route53:GetHostedZone",
            "route53:ListResourceRecordSets",
        ],
        Properties::FileSystem(_) | Properties::MountTarget(_) => &[
            "elasticfilesystem:CreateFileSystem",
            "elasticfilesystem:CreateMountTarget",
            "elasticfilesystem:DeleteMountTarget",
            "elasticfilesystem:DescribeBackupPolicy",
            "elasticfilesystem:DescribeFileSystems",
            "elasticfilesystem:DescribeMountTargets",
            "elasticfilesystem:PutBackupPolicy",
            "elasticfilesystem:TagResource",
        ],
        // These are of pipelines, which no environment has.
        Properties::Pipeline(_)
        | Properties::Project(_)
        | Properties::Bucket(_)
        | Properties::BucketPolicy(_)
        | Properties::Topic(_)
        | Properties::Subscription(_) => &[],
    }
}

/// Of the services that tell it: how their ARNs begin for what this stack makes. The others take `*` at creation, and are held to the region.
fn reach(service: &str, stack: &str, zone: Option<&str>) -> (&'static str, Vec<Expr>) {
    let arn = |text: String| Expr::sub(format!("arn:${{AWS::Partition}}:{text}"));
    match service {
        "iam" => {
            let own = |kind: &str| arn(format!("iam::${{AWS::AccountId}}:{kind}/{stack}-*"));
            ("MakeRoles", vec![own("role"), own("instance-profile")])
        }
        "logs" => ("MakeLogGroups", vec![arn("logs:${AWS::Region}:${AWS::AccountId}:log-group:*".to_owned())]),
        "route53" => {
            let zone = arn(format!("route53:::hostedzone/{}", zone.unwrap_or("*")));
            ("MakeRecords", vec![zone, arn("route53:::change/*".to_owned())])
        }
        "scheduler" => {
            ("MakeSchedules", vec![arn("scheduler:${AWS::Region}:${AWS::AccountId}:schedule/default/*".to_owned())])
        }
        // Which image is current.
        "ssm" => ("FindMachineImage", vec![arn("ssm:${AWS::Region}::parameter/aws/service/ecs/*".to_owned())]),
        "ec2" => ("MakeNetwork", vec!["*".into()]),
        "ecs" => ("MakeServices", vec!["*".into()]),
        "elasticloadbalancing" => ("MakeLoadBalancer", vec!["*".into()]),
        "application-autoscaling" => ("MakeScaling", vec!["*".into()]),
        "autoscaling" => ("MakeInstances", vec!["*".into()]),
        "acm" => ("MakeCertificate", vec!["*".into()]),
        _ => ("MakeFileSystems", vec!["*".into()]),
    }
}

impl Build<'_> {
    pub(super) fn stack_name(&self, environment: &str) -> String {
        landfall_model::stack::stack_name(&self.ask.app.project, environment)
    }

    /// `tasks`: one-off tasks are run too.
    fn least(&self, environment: &str, checks: bool, tasks: bool) -> Result<Vec<Statement>, Undeliverable> {
        let wrong = |why: String| Undeliverable::Rights(environment.to_owned(), why);
        let place =
            self.ask.app.environments.get(environment).ok_or_else(|| wrong("no such environment".to_owned()))?;
        let target = place.on.as_ref().and_then(|on| self.ask.app.aws.get(on));
        let target = target.ok_or_else(|| Undeliverable::Here(environment.to_owned()))?;
        // Credentials of a job only take the role, which has the rights.
        if let Some(role) = &target.role {
            let mut statements = vec![Statement::allow("TakeRole", &["sts:AssumeRole"], [Expr::text(&role.arn)])];
            statements.extend(self.state());
            return Ok(statements);
        }
        // Image tags are written by a job of their own.
        let app = App { pipelines: BTreeMap::new(), ..self.ask.app.clone() };
        let least = landfall_iam::least(&self.asked(&app, Some(environment), checks))
            .map_err(|unfit| wrong(unfit.to_string()))?;
        let stack = place.stack.is_some();
        let mut statements = Vec::new();
        for own in &least.policy.statement {
            let mut own = own.clone();
            let runs = tasks && matches!(own.sid.as_str(), "RunTasks" | "TagTasks" | "StopTasks");
            if (stack || checks) && !runs {
                // Who changes the services of a stack is CloudFormation, and who asks changes nothing.
                let reads = |name: &String| {
                    let level = action(name).map(|row| row.level);
                    matches!(level, Some(Level::List | Level::Read)) || name.starts_with("s3:")
                };
                let passes = |name: &String| name == "iam:PassRole" && !checks;
                own.action.retain(|name| (reads(name) && !name.starts_with("cloudformation:")) || passes(name));
            }
            if !own.action.is_empty() {
                statements.push(Statement::of(&own));
            }
        }
        if self.ask.state.is_none() {
            statements.extend(self.state());
        }
        Ok(statements)
    }

    fn asked<'b>(&'b self, app: &'b App, environment: Option<&'b str>, checks: bool) -> landfall_iam::Ask<'b> {
        landfall_iam::Ask {
            app,
            environment,
            account: self.ask.account,
            region: self.ask.region,
            pass_roles: &[],
            checks,
            secrets: false,
            state: self.ask.state.clone(),
        }
    }

    /// What ECR is asked for, as the program asks: with the role of the place in the registry's account, else with the job's own rights.
    /// `taken`: a role that the job may take anyhow.
    pub(super) fn in_registries(&self, policy: &landfall_iam::Policy, taken: Option<&str>) -> Vec<Statement> {
        let mut roles = BTreeSet::new();
        let mut own = policy.statement.clone();
        for statement in &mut own {
            statement.resource.retain(|arn| {
                let account = arn.split(':').nth(4);
                let place = account.and_then(|account| AwsTarget::of_account(self.ask.app.aws.values(), account));
                let role = place.and_then(|place| place.role.as_ref());
                roles.extend(role.map(|role| role.arn.as_str()));
                role.is_none()
            });
        }
        own.retain(|statement| !statement.resource.is_empty());
        // Only the login is left.
        if own.iter().all(|statement| statement.resource == ["*"]) {
            own.clear();
        }
        let mut statements: Vec<Statement> = own.iter().map(Statement::of).collect();
        roles.retain(|role| Some(*role) != taken);
        if !roles.is_empty() {
            statements.push(Statement::allow(
                "TakeRolesOfRegistries",
                &["sts:AssumeRole"],
                roles.into_iter().map(Expr::text),
            ));
        }
        statements
    }

    /// Of the stack's own bucket, or of the one that was given.
    fn state(&self) -> Vec<Statement> {
        let (bucket, prefix) = match &self.ask.state {
            Some(StateBucket { bucket, prefix }) => (format!("arn:${{AWS::Partition}}:s3:::{bucket}"), prefix.clone()),
            None => ("${StateBucket.Arn}".to_owned(), "landfall".to_owned()),
        };
        let below = if prefix.is_empty() { "*".to_owned() } else { format!("{prefix}/*") };
        vec![
            Statement::allow("ListState", &["s3:ListBucket"], [Expr::sub(&bucket)]).when(
                "StringLike",
                "s3:prefix",
                Expr::text(&below),
            ),
            Statement::allow(
                "KeepState",
                &["s3:DeleteObject", "s3:GetObject", "s3:PutObject"],
                [Expr::sub(format!("{bucket}/{below}"))],
            ),
        ]
    }

    /// To look at an environment and leave it as it is.
    pub(super) fn reading(&self, environment: &str) -> Result<Vec<Statement>, Undeliverable> {
        self.least(environment, true, false)
    }

    pub(super) fn deploying(&mut self, environment: &str, tasks: bool) -> Result<Vec<Statement>, Undeliverable> {
        let mut statements = self.least(environment, false, tasks)?;
        let app = self.ask.app;
        let place = app.environments.get(environment);
        let role = place.and_then(|place| app.aws.get(place.on.as_ref()?)?.role.as_ref()).map(|role| role.arn.as_str());
        if let Ok(releases) = landfall_iam::releases(&self.asked(app, Some(environment), false)) {
            statements.extend(self.in_registries(&releases.policy, role));
        }
        let Some(stack) = place.and_then(|place| place.stack.as_ref()) else { return Ok(statements) };
        if role.is_some() {
            return Ok(statements);
        }
        let wrong = |unfit: crate::Unfit| Undeliverable::Rights(environment.to_owned(), unfit.to_string());
        let template = crate::template(app, environment, None).map_err(wrong)?;
        let name = self.stack_name(environment);
        let own = format!("arn:${{AWS::Partition}}:cloudformation:${{AWS::Region}}:${{AWS::AccountId}}:stack/{name}/*");
        statements.push(Statement::allow("ChangeStack", APPLIES, [Expr::sub(own)]));
        let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (_, resource) in &template.resources {
            for call in calls(&resource.properties) {
                services.entry(call.split(':').next().unwrap_or_default()).or_default().push(call);
            }
        }
        if let Some(calls) = services.get_mut("ec2") {
            calls.extend(["ec2:CreateTags", "ec2:DeleteTags", "ec2:DescribeAvailabilityZones"]);
        }
        for (service, mut calls) in services {
            calls.sort_unstable();
            calls.dedup();
            let (sid, resources) = reach(service, &name, stack.zone.as_deref());
            let everywhere = resources == [Expr::from("*")];
            let mut statement = Statement::allow(sid, &calls, resources).when(
                "ForAnyValue:StringEquals",
                "aws:CalledVia",
                "cloudformation.amazonaws.com".into(),
            );
            if everywhere {
                statement = statement.when("StringEquals", "aws:RequestedRegion", Expr::Pseudo("AWS::Region"));
            }
            statements.push(statement);
        }
        let roles = Expr::sub(format!("arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{name}-*"));
        let mut managed: Vec<Expr> = Vec::new();
        for (_, resource) in &template.resources {
            let Properties::Role(role) = &resource.properties else { continue };
            managed.extend(
                role.managed_policy_arns.iter().filter(|arn| !managed.contains(arn)).cloned().collect::<Vec<_>>(),
            );
        }
        if !managed.is_empty() {
            let attach = ["iam:AttachRolePolicy", "iam:DetachRolePolicy"];
            statements.push(
                Statement::allow("AttachPolicies", &attach, [roles.clone()])
                    .when("ForAnyValue:StringEquals", "aws:CalledVia", "cloudformation.amazonaws.com".into())
                    .when_any("ArnEquals", "iam:PolicyARN", managed),
            );
        }
        let takers = ["ec2", "ecs-tasks", "scheduler"].map(|who| Expr::text(format!("{who}.amazonaws.com")));
        statements.push(Statement::allow("GiveRoles", &["iam:PassRole"], [roles]).when_any(
            "StringEquals",
            "iam:PassedToService",
            takers.to_vec(),
        ));
        let linked = ["autoscaling", "ecs", "ecs.application-autoscaling", "elasticloadbalancing"];
        let linked = linked.map(|who| Expr::text(format!("{who}.amazonaws.com")));
        // An account's first: made once by whoever comes first.
        let service_roles = Expr::sub("arn:${AWS::Partition}:iam::${AWS::AccountId}:role/aws-service-role/*");
        statements.push(
            Statement::allow("MakeServiceLinkedRoles", &["iam:CreateServiceLinkedRole"], [service_roles]).when_any(
                "StringEquals",
                "iam:AWSServiceName",
                linked.to_vec(),
            ),
        );
        Ok(statements)
    }
}
