"""A service of one container on instances, made or changed, some time after the last change: `service.py CLUSTER DESIRED MEMORY [LAUNCH_TYPE]`. A
launch type of `none` leaves it to the cluster. `service.py CLUSTER gone` deletes it.

It ends when no more tasks run than are desired, and no group is in its cooldown.
"""

import sys
import time

import boto3

if sys.argv[2] == "gone":
    boto3.client("ecs").delete_service(cluster=sys.argv[1], service="app", force=True)
    sys.exit()
cluster, desired, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
where = dict(launchType=sys.argv[4] if sys.argv[4:] else "EC2")
ecs = boto3.client("ecs")
if not ecs.describe_services(cluster=cluster, services=["app"])["services"]:
    container = dict(name="app", image="app", cpu=128, memory=memory, essential=True)
    ecs.register_task_definition(family="app", containerDefinitions=[container])
    ecs.create_service(cluster=cluster, serviceName="app", taskDefinition="app", desiredCount=desired, **({} if where["launchType"] == "none" else where))
ecs.update_service(cluster=cluster, service="app", desiredCount=desired)
while ecs.describe_services(cluster=cluster, services=["app"])["services"][0]["runningCount"] > desired:
    time.sleep(0.1)
scaling = boto3.client("autoscaling")
over = dict(ResourceType="auto-scaling-group", Key="landfall:next-permitted", Value="0", PropagateAtLaunch=False)
names = [group["AutoScalingGroupName"] for group in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]]
scaling.create_or_update_tags(Tags=[dict(over, ResourceId=name) for name in names])
