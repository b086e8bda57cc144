//! ECS's own documents: the keys that only a describe has. Nobody can ask for them.

/// Of `describe-task-definition`.
pub const TASK_DEFINITION_TOLD: [&str; 9] = [
    "compatibilities",
    "deleteRequestedAt",
    "deregisteredAt",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "revision",
    "status",
    "taskDefinitionArn",
];

/// Of `describe-services`; also `clusterArn` and `roleArn`, which a request has under other names.
pub const SERVICE_TOLD: [&str; 13] = [
    "createdAt",
    "createdBy",
    "currentServiceDeployment",
    "currentServiceRevisions",
    "deployments",
    "events",
    "pendingCount",
    "platformFamily",
    "resourceManagementType",
    "runningCount",
    "serviceArn",
    "status",
    "taskSets",
];
