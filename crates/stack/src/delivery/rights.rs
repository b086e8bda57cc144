//! What deploying an environment takes. One that is no stack: what `landfall iam` prints. One that is: its stack, and of what is in it only
//! what CloudFormation asks for on behalf of the job.

use std::collections::{BTreeMap, BTreeSet};

use landfall_iam::{APPLIES, Level, StateBucket, Where, action};
use landfall_model::app::App;
use landfall_model::aws::AwsTarget;

use super::{Build, Undeliverable};
use crate::expr::Expr;
use crate::made::{Making, made};
use crate::policy::Statement;

/// Of the services that tell it: how their ARNs begin for what an environment's stack makes. The others take `*` at creation.
fn reach(stack: &str, zone: Option<&str>) -> Vec<(&'static str, Vec<String>)> {
    let at = Where::STACK;
    let zone = format!("arn:{}:route53:::hostedzone/{}", at.partition, zone.unwrap_or("*"));
    vec![
        (
            "iam",
            vec![
                at.global("iam", &format!("role/{stack}-*")),
                at.global("iam", &format!("instance-profile/{stack}-*")),
            ],
        ),
        ("logs", vec![at.arn("logs", "log-group:*")]),
        ("route53", vec![zone, format!("arn:{}:route53:::change/*", at.partition)]),
        ("scheduler", vec![at.arn("scheduler", "schedule/default/*")]),
        // Which image is current.
        ("ssm", vec![format!("arn:{}:ssm:{}::parameter/aws/service/ecs/*", at.partition, at.region)]),
    ]
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
        let making = Making {
            templates: &[&template],
            place: Where::STACK,
            reach: reach(&name, stack.zone.as_deref()),
            held: false,
            deletes: false,
            roles: vec![Where::STACK.global("iam", &format!("role/{name}-*"))],
            pass: Vec::new(),
            takers: &["ec2", "ecs-tasks", "scheduler"],
            linked: &["autoscaling", "ecs", "ecs.application-autoscaling", "elasticloadbalancing"],
        };
        statements.extend(made(&making).iter().map(Statement::of));
        Ok(statements)
    }
}
