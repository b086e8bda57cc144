"""An instance that Auto Scaling replaces of its own: `replace.py`, which says its container instance, and `replace.py TASKS_OF`, which says why
the service's tasks stopped that ran on that.
"""

import json
import sys

import boto3

ecs, scaling = boto3.client("ecs"), boto3.client("autoscaling")
if len(sys.argv) == 1:
    arn = ecs.list_container_instances(cluster="web")["containerInstanceArns"][0]
    own = ecs.describe_container_instances(cluster="web", containerInstances=[arn])["containerInstances"][0]
    scaling.terminate_instance_in_auto_scaling_group(InstanceId=own["ec2InstanceId"], ShouldDecrementDesiredCapacity=False)
    print(arn)
else:
    arns = ecs.list_tasks(cluster="web", desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster="web", tasks=arns)["tasks"]
    own = lambda task: task["containerInstanceArn"] == sys.argv[1] and task["group"] == "service:app"
    print(json.dumps([task.get("stoppedReason", "") for task in tasks if own(task)]))
