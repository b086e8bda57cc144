"""The AWS side of a test, seen with boto3 and never with Landfall's own code: `setup` makes what Landfall expects to find
(cluster, network, load balancer, a base task definition), `list` prints what is left of what Landfall makes."""

import json
import sys

import boto3
from botocore.exceptions import ClientError

ECS, ELB, EC2 = (boto3.client(name) for name in ("ecs", "elbv2", "ec2"))
CLUSTER = "previews"


def setup(image):
    vpc = EC2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        EC2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]["SubnetId"]
        for n, zone in enumerate("ab")
    ]
    group = EC2.create_security_group(GroupName="previews", Description="previews", VpcId=vpc)["GroupId"]
    ECS.create_cluster(clusterName=CLUSTER)
    balancer = ELB.create_load_balancer(Name="previews", Subnets=subnets, SecurityGroups=[group])["LoadBalancers"][0]
    definition = ECS.register_task_definition(
        family="my-project-base",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[
            {
                "name": "app",
                "image": image,
                "command": ["demo-app", "web"],
                "essential": True,
                "environment": [{"name": "DEMO_LISTEN", "value": "0.0.0.0:8080"}, {"name": "KEPT", "value": "from the base"}],
                "portMappings": [{"containerPort": 8080}],
            }
        ],
    )["taskDefinition"]
    return {
        "vpc": vpc,
        "subnets": subnets,
        "security_group": group,
        "load_balancer": balancer["LoadBalancerArn"],
        "dns": balancer["DNSName"],
        "base": definition["taskDefinitionArn"],
    }


def pages(client, operation, key, **kwargs):
    if client.can_paginate(operation):
        return [item for page in client.get_paginator(operation).paginate(**kwargs) for item in page[key]]
    return getattr(client, operation)(**kwargs)[key]


def listing():
    left = []
    services = pages(ECS, "list_services", "serviceArns", cluster=CLUSTER)
    for start in range(0, len(services), 10):
        for service in ECS.describe_services(cluster=CLUSTER, services=services[start : start + 10])["services"]:
            if service["status"] != "INACTIVE":
                left.append(f"service {service['serviceName']} {service['desiredCount']}")
    for task in pages(ECS, "list_tasks", "taskArns", cluster=CLUSTER):
        left.append(f"task {task.rsplit('/', 1)[1]}")
    for definition in pages(ECS, "list_task_definitions", "taskDefinitionArns", status="ACTIVE"):
        name = definition.rsplit("/", 1)[1]
        if not name.startswith("my-project-base:"):
            left.append(f"task definition {name}")
    for group in pages(ELB, "describe_target_groups", "TargetGroups"):
        left.append(f"target group {group['TargetGroupName']}")
    for balancer in pages(ELB, "describe_load_balancers", "LoadBalancers"):
        for listener in pages(ELB, "describe_listeners", "Listeners", LoadBalancerArn=balancer["LoadBalancerArn"]):
            left.append(f"listener {listener['Port']}")
            for rule in pages(ELB, "describe_rules", "Rules", ListenerArn=listener["ListenerArn"]):
                if not rule["IsDefault"]:
                    hosts = [v for c in rule["Conditions"] for v in c.get("HostHeaderConfig", c).get("Values", [])]
                    left.append(f"rule {' '.join(hosts)}")
    return sorted(left)


def service(name):
    try:
        found = ECS.describe_services(cluster=CLUSTER, services=[name], include=["TAGS"])["services"]
    except ClientError as error:
        return {"error": str(error)}
    if not found:
        return {}
    found = found[0]
    definition = ECS.describe_task_definition(taskDefinition=found["taskDefinition"])["taskDefinition"]
    return {"service": found, "definition": definition}


def main():
    command, *arguments = sys.argv[1:]
    answer = {"setup": setup, "list": listing, "service": service}[command](*arguments)
    json.dump(answer, sys.stdout, default=str)


main()
