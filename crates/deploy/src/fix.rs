//! Why a task stopped, in ECS's words, to what most likely helps. The words are those of DescribeTasks (`stoppedReason`,
//! containers' `reason`, `exitCode`), of service events, and of the last lines that the container wrote: ECS tells a wrong
//! architecture nowhere else.

/// What is known of a failure. Everything may be missing; a service event alone goes into `reason`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stopped<'a> {
    /// `TaskFailedToStart`, `EssentialContainerExited`, `SpotInterruption`, …
    pub stop_code: Option<&'a str>,
    /// Of the task, the deployment or the service event.
    pub reason: Option<&'a str>,
    pub exit_code: Option<i64>,
    pub container_reason: Option<&'a str>,
    /// The last log lines of the container.
    pub tail: &'a [String],
}

/// One rule: all of these texts (lower case) stand in one of the reasons.
struct Rule {
    said: &'static [&'static str],
    fix: &'static str,
}

const fn rule(said: &'static [&'static str], fix: &'static str) -> Rule {
    Rule { said, fix }
}

const ARCHITECTURE: &str = "the image is of another CPU architecture than the task: build it for the task's (docker buildx build \
     --platform linux/amd64), or set `runtimePlatform.cpuArchitecture` of the task definition to the image's";
const RATE: &str =
    "the registry limits pulls: copy the image to ECR or an ECR pull-through cache, or pull with credentials";
const NO_ROUTE: &str = "the task reaches neither the registry nor AWS's API: give its subnets a NAT gateway or VPC endpoints (ecr.api, \
     ecr.dkr, s3, logs, secretsmanager, ssm), or public subnets with a public IP; its security group must let HTTPS out";
const EXECUTION_ROLE: &str = "the execution role lacks the right named above: attach AmazonECSTaskExecutionRolePolicy, and for \
     secrets ssm:GetParameters, secretsmanager:GetSecretValue and kms:Decrypt on exactly those";
const NO_IMAGE: &str =
    "there is no such image: see the name and tag, and whether the build pushed it to this account and region";
const NO_PULL_RIGHT: &str = "the registry refuses the pull: the execution role needs AmazonECSTaskExecutionRolePolicy, another \
     account's repository a policy that allows this account, a private registry `repositoryCredentials`";
const NO_SECRET: &str = "the secret does not exist in this region: see `valueFrom` (the whole ARN, its region and account), or create \
     the secret";
const NO_PARAMETER: &str =
    "the SSM parameter does not exist in this region: see its name (case and leading slash count), or create it";
const NO_KEY: &str = "the secret is no JSON with that key: see the part of `valueFrom` behind the ARN";
const MEMORY: &str =
    "the container ran out of memory: raise `memory` of the container or the task, or make the process need less";
const KILLED: &str = "killed by SIGKILL: either out of memory (raise `memory`), or still running when `stop_timeout` was over (handle \
     SIGTERM)";
const HEALTH_CODE: &str = "the application answers the health check with an error: see the `path` and `matcher` of the health check, \
     and what the application says there without a login or a Host header";
const HEALTH_TIMEOUT: &str = "the health check gets no answer: see that the application listens on 0.0.0.0 and on the port of the \
     `load_balancer`, and that the task's security group lets the load balancer in";
const HEALTH: &str = "the health check fails: see that the application listens on 0.0.0.0 and on the port of the `load_balancer`, the \
     check's `path`, and give it `health_check_grace_period` if it starts slowly";
const CONTAINER_HEALTH: &str = "the container's own health check fails: run its command inside the image (is curl in it?), see the port, \
     and give it a `start_period` if it starts slowly";
const LOG_GROUP: &str = "the log group does not exist: create it in this region, or let the execution role create it \
     (logs:CreateLogGroup and `awslogs-create-group`)";
const TRUST: &str = "ECS cannot assume the role: it must exist, its trust policy must allow sts:AssumeRole to ecs-tasks.amazonaws.com, \
     and whoever deploys needs iam:PassRole on it";
const FARGATE_CAPACITY: &str = "AWS has no capacity for this task now: add subnets in other availability zones, try another size, or \
     FARGATE beside FARGATE_SPOT";
const INSTANCES: &str =
    "the cluster has no instance for this task: start one (or see why it does not register), or use fargate";
const MORE_ROOM: &str = "no instance has room for another task: add instances (or a capacity provider that scales them), ask for less \
     `cpu` and `memory`, or lower `minimum_healthy_percent` so that the old tasks go first";
const HOST_PORT: &str = "the host port is taken on every instance: use host port 0 (bridge), awsvpc, or more instances";
const ATTRIBUTE: &str = "no instance has an attribute that the task asks for: see its constraints, its architecture, its log driver, and \
     the version of the instances' ECS agent";
const AGENT: &str = "the ECS agent of the instances is not connected: see their network, role and disk";
const ENI: &str = "the instances have no network interface left for a task in awsvpc mode: add instances, larger ones, or switch \
     awsvpcTrunking on";
const ADDRESSES: &str = "the subnet has no free addresses: add a larger subnet, or remove what is not used";
const INTERFACE: &str = "no network interface came for the task: try again; if it stays so, see the subnets' free addresses and that \
     the service-linked role AWSServiceRoleForECS is there";
const SUBNET: &str =
    "a subnet or security group does not exist in this account and region: correct `subnets` and `security_groups`";
const VCPU: &str = "the account's quota of Fargate vCPUs is used up: stop tasks, or ask for more in Service Quotas";
const DISK: &str =
    "the disk is full: raise `ephemeralStorage` (Fargate), or remove old images and containers from the instance";
const NO_COMMAND: &str = "the image has no such program: see `command` and `entry_point`, and that the file is in the image and may be \
     executed";
const SPOT: &str = "AWS took the Spot capacity back: nothing is wrong with the task; use FARGATE or on-demand capacity where that \
     must not happen";
const EFS: &str = "a volume cannot be made or mounted: see the file system's id, its mount targets in the task's subnets, and that the \
     security group lets NFS (2049) through";

/// The first that fits counts: what is particular stands before what is general.
const RULES: &[Rule] = &[
    rule(&["exec format error"], ARCHITECTURE),
    rule(&["does not contain descriptor matching platform"], ARCHITECTURE),
    rule(&["no matching manifest for"], ARCHITECTURE),
    rule(&["image operating system", "cannot be used on this platform"], ARCHITECTURE),
    rule(&["outofmemory"], MEMORY),
    rule(&["no space left on device"], DISK),
    rule(&["unable to assume the role"], TRUST),
    rule(&["unable to assume role"], TRUST),
    rule(&["toomanyrequests"], RATE),
    rule(&["pull rate limit"], RATE),
    rule(&["429 too many requests"], RATE),
    // Logging.
    rule(&["log group does not exist"], LOG_GROUP),
    rule(&["cannot find the amazon cloudwatch log group"], LOG_GROUP),
    // Rights before the things themselves: ECR and Secrets Manager say both in one text.
    rule(&["accessdenied"], EXECUTION_ROLE),
    rule(&["not authorized to perform"], EXECUTION_ROLE),
    // Secrets.
    rule(&["did not contain json key"], NO_KEY),
    rule(&["looking for beginning of value"], NO_KEY),
    rule(&["secret", "resourcenotfoundexception"], NO_SECRET),
    rule(&["can't retrieve the secret"], NO_SECRET),
    rule(&["ssm", "invalid parameters"], NO_PARAMETER),
    rule(&["parameternotfound"], NO_PARAMETER),
    // The way there.
    rule(&["check your task network configuration"], NO_ROUTE),
    rule(&["check your network configuration"], NO_ROUTE),
    rule(&["i/o timeout"], NO_ROUTE),
    rule(&["context deadline exceeded"], NO_ROUTE),
    rule(&["request canceled while waiting for connection"], NO_ROUTE),
    rule(&["no such host"], NO_ROUTE),
    // Images.
    rule(&["cannotpull", "not found"], NO_IMAGE),
    rule(&["cannotpull", "manifest unknown"], NO_IMAGE),
    rule(&["cannotpull", "repositorynotfoundexception"], NO_IMAGE),
    rule(&["cannotpull", "403 forbidden"], NO_PULL_RIGHT),
    rule(&["cannotpull", "401 unauthorized"], NO_PULL_RIGHT),
    rule(&["pull access denied"], NO_PULL_RIGHT),
    rule(&["no basic auth credentials"], NO_PULL_RIGHT),
    rule(&["check that the role has the permissions to pull images"], NO_PULL_RIGHT),
    rule(&["cannotpull"], NO_IMAGE),
    // Health.
    rule(&["health checks failed with these codes"], HEALTH_CODE),
    rule(&["unhealthy in", "request timed out"], HEALTH_TIMEOUT),
    rule(&["failed elb health checks"], HEALTH),
    rule(&["unhealthy in", "target-group"], HEALTH),
    rule(&["failed container health checks"], CONTAINER_HEALTH),
    // Capacity and network interfaces.
    rule(&["resource:eni"], ENI),
    rule(&["resource:port"], HOST_PORT),
    rule(&["already using a port required"], HOST_PORT),
    rule(&["port is already allocated"], HOST_PORT),
    rule(&["no container instances were found"], INSTANCES),
    rule(&["resource:"], MORE_ROOM),
    rule(&["has insufficient"], MORE_ROOM),
    rule(&["doesn't have enough"], MORE_ROOM),
    rule(&["missing an attribute"], ATTRIBUTE),
    rule(&["encountered error \"agent\""], AGENT),
    rule(&["capacity is unavailable"], FARGATE_CAPACITY),
    rule(&["limit on the number of vcpus"], VCPU),
    rule(&["insufficientfreeaddressesinsubnet"], ADDRESSES),
    rule(&["not have enough free addresses"], ADDRESSES),
    rule(&["invalidsubnetid"], SUBNET),
    rule(&["subnet", "does not exist"], SUBNET),
    rule(&["security group", "does not exist"], SUBNET),
    rule(&["network interface provisioning"], INTERFACE),
    rule(&["create network interface"], INTERFACE),
    rule(&["no container instance met all of its requirements"], INSTANCES),
    // Starting.
    rule(&["executable file not found"], NO_COMMAND),
    rule(&["cannotstart", "no such file or directory"], NO_COMMAND),
    rule(&["cannotstart", "permission denied"], NO_COMMAND),
    rule(&["failed to invoke efs"], EFS),
    rule(&["cannotcreatevolume"], EFS),
    rule(&["spot", "interrupt"], SPOT),
];

/// Where no reason says anything.
const CODES: &[(i64, &str)] = &[(126, NO_COMMAND), (127, NO_COMMAND), (137, KILLED)];

/// Lines of a log are the application's own words, so that only what a container runtime writes is looked for.
const IN_LOGS: &[Rule] = &[
    rule(&["exec format error"], ARCHITECTURE),
    rule(&["javascript heap out of memory"], MEMORY),
    rule(&["java.lang.outofmemoryerror"], MEMORY),
    rule(&["exec: ", "not found in $path"], NO_COMMAND),
];

/// What most likely helps; `None`: nothing is known but that it failed. Put behind the cause, never instead of it.
pub fn likely_fix(stopped: &Stopped<'_>) -> Option<&'static str> {
    let reasons = [stopped.container_reason, stopped.reason, stopped.stop_code];
    let reasons: Vec<String> = reasons.into_iter().flatten().map(str::to_ascii_lowercase).collect();
    // Rule by rule, not reason by reason: the task's may only hint at what the container's tells exactly.
    let of = |rule: &&Rule| reasons.iter().any(|text| rule.fits(text));
    if let Some(rule) = RULES.iter().find(of) {
        return Some(rule.fix);
    }
    let lines: Vec<String> = stopped.tail.iter().map(|line| line.to_ascii_lowercase()).collect();
    if let Some(rule) = IN_LOGS.iter().find(|rule| lines.iter().any(|line| rule.fits(line))) {
        return Some(rule.fix);
    }
    let code = stopped.exit_code?;
    CODES.iter().find(|(known, _)| *known == code).map(|(_, fix)| *fix)
}

impl Rule {
    fn fits(&self, text: &str) -> bool {
        self.said.iter().all(|said| text.contains(said))
    }
}

#[cfg(test)]
#[path = "fix_tests.rs"]
mod tests;
