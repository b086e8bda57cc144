use super::*;

fn of(text: &str) -> Option<&'static str> {
    likely_fix(&Stopped { reason: Some(text), ..Stopped::default() })
}

/// ECS's own texts, shortened only where an id or digest goes on.
#[test]
fn every_cause_has_its_fix() {
    let table: &[(&str, &str)] = &[
        (
            "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref \
             111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:v2: 111122223333.dkr.ecr.eu-west-1.amazonaws.com/web:v2: not found",
            NO_IMAGE,
        ),
        (
            "CannotPullContainerError: Error response from daemon: manifest for nginx:nope not found: manifest unknown: \
             manifest unknown",
            NO_IMAGE,
        ),
        (
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref docker.io/a/b:1: \
             pulling from host registry-1.docker.io failed with status code [manifests 1]: 403 Forbidden",
            NO_PULL_RIGHT,
        ),
        (
            "CannotPullContainerError: Error response from daemon: pull access denied for a/b, repository does not exist or may \
             require 'docker login': denied: requested access to the resource is denied",
            NO_PULL_RIGHT,
        ),
        (
            "CannotPullContainerError: The task can't pull the image. Check that the role has the permissions to pull images \
             from the registry. AccessDenied",
            EXECUTION_ROLE,
        ),
        (
            "CannotPullContainerError: ref pull has been retried 1 time(s): failed to copy: httpReadSeeker: failed open: \
             unexpected status code https://registry-1.docker.io/v2/library/nginx/manifests/sha256:1: 429 Too Many Requests - \
             Server message: toomanyrequests: You have reached your pull rate limit.",
            RATE,
        ),
        (
            "CannotPullContainerError: pull image manifest has been retried 7 time(s): image Manifest does not contain \
             descriptor matching platform 'linux/amd64'",
            ARCHITECTURE,
        ),
        (
            "CannotPullContainerError: Error response from daemon: no matching manifest for linux/arm64/v8 in the manifest list \
             entries",
            ARCHITECTURE,
        ),
        (
            "CannotPullContainerError: ref pull has been retried 5 time(s): failed to copy: httpReadSeeker: failed open: failed \
             to do request: Get https://prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com/x: dial tcp \
             52.218.1.1:443: i/o timeout",
            NO_ROUTE,
        ),
        (
            "CannotPullContainerError: Error response from daemon: Get https://111122223333.dkr.ecr.us-east-1.amazonaws.com/v2/: \
             net/http: request canceled while waiting for connection",
            NO_ROUTE,
        ),
        ("CannotPullContainerError: write /var/lib/docker/tmp/GetImageBlob111111111: no space left on device", DISK),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret \
             arn:aws:secretsmanager:eu-west-1:111122223333:secret:db from secrets manager: ResourceNotFoundException: Secrets \
             Manager can't find the specified secret.",
            NO_SECRET,
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve secret from asm: service call has been retried 1 time(s): retrieved secret from Secrets Manager did not \
             contain json key password",
            NO_KEY,
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve secrets from ssm: service call has been retried 1 time(s): invalid parameters: /prod/db",
            NO_PARAMETER,
        ),
        ("Fetching secret data from SSM Parameter Store in eu-west-1: invalid parameters: /prod/db", NO_PARAMETER),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve secrets from ssm: service call has been retried 1 time(s): AccessDeniedException: User: \
             arn:aws:sts::111122223333:assumed-role/exec/1 is not authorized to perform: ssm:GetParameters on resource: \
             arn:aws:ssm:eu-west-1:111122223333:parameter/prod/db",
            EXECUTION_ROLE,
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve ecr registry auth: service call has been retried 3 time(s): RequestError: send request failed caused by: \
             Post \"https://api.ecr.us-east-2.amazonaws.com/\": dial tcp 3.17.141.1:443: i/o timeout. Please check your task \
             network configuration.",
            NO_ROUTE,
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to \
             retrieve secret from asm: service call has been retried 5 time(s): failed to fetch secret arn:x from secrets \
             manager: RequestCanceled: request context canceled caused by: context deadline exceeded. Please check your task \
             network configuration.",
            NO_ROUTE,
        ),
        (
            "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to \
             create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1",
            LOG_GROUP,
        ),
        (
            "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: failed to create \
             Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.",
            LOG_GROUP,
        ),
        (
            "ECS was unable to assume the role 'arn:aws:iam::111122223333:role/task' that was provided for this task. Please \
             verify that the role being passed has the proper trust relationship and permissions and that your IAM user has \
             permissions to pass this role.",
            TRUST,
        ),
        ("OutOfMemoryError: Container killed due to memory usage", MEMORY),
        (
            "Task failed ELB health checks in (target-group \
             arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/1)",
            HEALTH,
        ),
        (
            "(service web) (port 80) is unhealthy in (target-group arn:aws:elasticloadbalancing:x) due to (reason Health checks \
             failed with these codes: [404])",
            HEALTH_CODE,
        ),
        (
            "service web (instance i-016b0a460d9974567) (port 1047) is unhealthy in target-group web due to (reason Request timed \
             out)",
            HEALTH_TIMEOUT,
        ),
        ("Task failed container health checks", CONTAINER_HEALTH),
        ("RESOURCE:MEMORY", MORE_ROOM),
        ("RESOURCE:CPU", MORE_ROOM),
        ("RESOURCE:ENI", ENI),
        ("RESOURCE:PORTS", HOST_PORT),
        (
            "(service web) was unable to place a task because no container instance met all of its requirements. Reason: No \
             Container Instances were found in your cluster.",
            INSTANCES,
        ),
        (
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest \
             matching (container-instance 1) has insufficient memory available.",
            MORE_ROOM,
        ),
        (
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest \
             matching (container-instance 1) is already using a port required by your task.",
            HOST_PORT,
        ),
        (
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest \
             matching (container-instance 1) is missing an attribute required by your task.",
            ATTRIBUTE,
        ),
        (
            "(service web) was unable to place a task because no container instance met all of its requirements. The closest \
             matching (container-instance 1) encountered error \"AGENT\".",
            AGENT,
        ),
        (
            "(service web) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in \
             a different availability zone.",
            FARGATE_CAPACITY,
        ),
        ("You've reached the limit on the number of vCPUs you can run concurrently", VCPU),
        ("Timeout waiting for network interface provisioning to complete.", INTERFACE),
        (
            "Unexpected EC2 error while attempting to Create Network Interface with public IP assignment enabled in subnet \
             'subnet-1': InsufficientFreeAddressesInSubnet",
            ADDRESSES,
        ),
        (
            "Unexpected EC2 error while attempting to Create Network Interface in subnet 'subnet-1': InvalidSubnetID.NotFound",
            SUBNET,
        ),
        (
            "CannotStartContainerError: Error response from daemon: failed to create shim task: OCI runtime create failed: runc \
             create failed: unable to start container process: exec: \"serve\": executable file not found in $PATH: unknown",
            NO_COMMAND,
        ),
        (
            "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to resolve \
             \"fs-1.efs.eu-west-1.amazonaws.com\"",
            EFS,
        ),
    ];
    for (said, fix) in table {
        assert_eq!(of(said), Some(*fix), "{said}");
    }
}

#[test]
fn the_container_s_reason_its_exit_code_and_its_log_count_too() {
    let exited = Stopped {
        stop_code: Some("EssentialContainerExited"),
        reason: Some("Essential container in task exited"),
        exit_code: Some(1),
        ..Stopped::default()
    };
    assert_eq!(likely_fix(&exited), None);
    let memory = Stopped {
        container_reason: Some("OutOfMemoryError: Container killed due to memory usage"),
        exit_code: Some(137),
        ..exited
    };
    assert_eq!(likely_fix(&memory), Some(MEMORY));
    assert_eq!(likely_fix(&Stopped { exit_code: Some(137), ..exited }), Some(KILLED));
    assert_eq!(likely_fix(&Stopped { exit_code: Some(127), ..exited }), Some(NO_COMMAND));
    for line in [
        "exec /docker-entrypoint.sh: exec format error",
        "standard_init_linux.go:228: exec user process caused: exec format error",
    ] {
        let tail = [line.to_owned()];
        assert_eq!(likely_fix(&Stopped { tail: &tail, ..exited }), Some(ARCHITECTURE));
    }
    assert_eq!(likely_fix(&Stopped { stop_code: Some("SpotInterruption"), ..Stopped::default() }), Some(SPOT));
}

/// What is no fault gets no advice, and an application's own words are not taken for ECS's.
#[test]
fn what_is_no_known_fault_gets_no_fix() {
    for said in [
        "Scaling activity initiated by (deployment ecs-svc/123)",
        "Essential container in task exited",
        "(service web) has reached a steady state.",
        "",
    ] {
        assert_eq!(of(said), None, "{said}");
    }
    let tail = ["user not found: AccessDenied, retry: 429 too many requests".to_owned()];
    assert_eq!(likely_fix(&Stopped { exit_code: Some(1), tail: &tail, ..Stopped::default() }), None);
}
