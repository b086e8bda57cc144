"""A service of one container on instances, made or changed: `service.py CLUSTER DESIRED MEMORY`."""

import sys

import boto3

cluster, desired, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
ecs = boto3.client("ecs")
if not ecs.describe_services(cluster=cluster, services=["app"])["services"]:
    container = dict(name="app", image="app", cpu=128, memory=memory, essential=True)
    ecs.register_task_definition(family="app", containerDefinitions=[container])
    ecs.create_service(cluster=cluster, serviceName="app", taskDefinition="app", desiredCount=desired, launchType="EC2")
ecs.update_service(cluster=cluster, service="app", desiredCount=desired)
