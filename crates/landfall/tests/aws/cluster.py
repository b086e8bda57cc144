"""Stacks of clusters on an emulator, as boto3 sees them: `cluster.py COMMAND …`, JSON on standard output.

    listed                      every stack, with its resources and its events, the oldest first
    alone NAME TEMPLATE         makes a stack of a version's template where its cluster is not, and waits for its end
    broken NAME                 changes a version's stack to import what nobody exports, and waits for its end
"""

import json
import pathlib
import sys

import boto3

sys.path.insert(0, str(pathlib.Path(__file__).parents[2].parent / "stack" / "tests" / "outside"))
from stack import ended  # noqa: E402

cloudformation = boto3.client("cloudformation")
AMI = {"ParameterKey": "ImageId", "ParameterValue": "ami-0a1b2c3d4e5f60718"}


def one(stack):
    name = stack["StackName"]
    resources = cloudformation.list_stack_resources(StackName=name)["StackResourceSummaries"]
    events = reversed(cloudformation.describe_stack_events(StackName=name)["StackEvents"])
    return {
        "status": stack["StackStatus"],
        "tags": {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])},
        "parameters": {own["ParameterKey"]: own["ParameterValue"] for own in stack.get("Parameters", [])},
        "exports": sorted(own["ExportName"] for own in stack.get("Outputs", []) if "ExportName" in own),
        "resources": {own["LogicalResourceId"]: own["ResourceStatus"] for own in resources if own.get("PhysicalResourceId")},
        "events": [[own["LogicalResourceId"], own["ResourceStatus"], own.get("ResourceStatusReason", "")] for own in events],
    }


def listed():
    groups = boto3.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return {
        "stacks": {stack["StackName"]: one(stack) for stack in cloudformation.describe_stacks()["Stacks"]},
        "groups": sorted([group["MinSize"], group["MaxSize"]] for group in groups),
        "clusters": [arn.rsplit("/", 1)[-1] for arn in boto3.client("ecs").list_clusters()["clusterArns"]],
    }


def alone(name, template):
    with open(template) as file:
        body = file.read()
    cloudformation.create_stack(StackName=name, TemplateBody=body, Parameters=[AMI])
    told = one(ended(cloudformation, name))
    cloudformation.delete_stack(StackName=name)
    return told


def broken(name):
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    body = cloudformation.get_template(StackName=name)["TemplateBody"]
    body = body if isinstance(body, str) else json.dumps(body)
    kept = [{"ParameterKey": own["ParameterKey"], "UsePreviousValue": True} for own in stack["Parameters"]]
    cloudformation.update_stack(StackName=name, TemplateBody=body.replace("ALBBadgeSg", "Gone"), Parameters=kept)
    return one(ended(cloudformation, name))


json.dump(globals()[sys.argv[1]](*sys.argv[2:]), sys.stdout)
