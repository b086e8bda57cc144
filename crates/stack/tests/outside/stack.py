"""Makes a stack of a template on an emulator, and tells what is there: `stack.py TEMPLATE STRIP NAME PARAMETER=VALUE…`.

STRIP lists types that the emulator lacks, one a line, with why. Their resources are left out; what refers to them gets a text instead.
"""

import ast
import json
import re
import sys
import time

import boto3


def stripped(template, lacking):
    gone = {name for name, one in template["Resources"].items() if one["Type"] in lacking}

    def without(value):
        if isinstance(value, dict):
            target = value.get("Ref") or (value.get("Fn::GetAtt") or [None])[0]
            if len(value) == 1 and target in gone:
                return f"stripped-{target}"
            return {key: without(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [without(inner) for inner in value]
        return value

    resources = {}
    for name, one in template["Resources"].items():
        if name in gone:
            continue
        one = without(one)
        after = [other for other in one.get("DependsOn", []) if other not in gone]
        one.pop("DependsOn", None)
        resources[name] = one | ({"DependsOn": after} if after else {})
    outputs = {name: without(one) for name, one in template["Outputs"].items()}
    return template | {"Resources": resources, "Outputs": outputs}, sorted(gone)


def surroundings(text):
    """What a manifest says that there is: a hosted zone, a certificate."""
    for zone in sorted(set(re.findall(r'"(Z[0-9A-Z]{16,})"', text))):
        made = boto3.client("route53").create_hosted_zone(Name="example.com.", CallerReference=zone)["HostedZone"]["Id"]
        text = text.replace(zone, made.rsplit("/", 1)[-1])
    if "stripped-Certificate" in text:
        made = boto3.client("acm").request_certificate(DomainName="shop.example.com")["CertificateArn"]
        text = text.replace("stripped-Certificate", made)
    return text


def ended(cloudformation, name):
    for _ in range(600):
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        if not stack["StackStatus"].endswith("IN_PROGRESS"):
            return stack
        time.sleep(0.1)
    raise SystemExit(f"{name} does not end")


def there(stack, resources, template):
    ecs, elb, ec2 = boto3.client("ecs"), boto3.client("elbv2"), boto3.client("ec2")
    logs, iam = boto3.client("logs"), boto3.client("iam")
    ids = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in resources if "LogicalResourceId" in one}

    def of(kind):
        return {name: ids[name] for name, one in template["Resources"].items() if one["Type"] == kind}

    told = {"made": sorted(ids)}
    told["outputs"] = {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
    # Another one each time.
    told["outputs"].pop("LoadBalancerDnsName", None)
    groups = {arn: name for name, arn in of("AWS::ElasticLoadBalancingV2::TargetGroup").items()}
    security = {own: name for name, own in of("AWS::EC2::SecurityGroup").items()}
    subnets = {own: name for name, own in of("AWS::EC2::Subnet").items()}
    cluster = template["Resources"].get("Cluster", {}).get("Properties", {}).get("ClusterName")
    told["services"] = {}
    for name in of("AWS::ECS::Service"):
        own = template["Resources"][name]["Properties"]["ServiceName"]
        service = ecs.describe_services(cluster=cluster, services=[own])["services"][0]
        definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        awsvpc = service.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        breaker = service.get("deploymentConfiguration", {}).get("deploymentCircuitBreaker", {})
        told["services"][own] = {
            "count": service["desiredCount"],
            "breaker": [breaker.get("enable"), breaker.get("rollback")],
            "load_balancers": [
                [groups.get(one["targetGroupArn"]), one["containerName"], one["containerPort"]] for one in service["loadBalancers"]
            ],
            "subnets": sorted(subnets.get(one, one) for one in awsvpc.get("subnets", [])),
            "security_groups": sorted(security.get(one, one) for one in awsvpc.get("securityGroups", [])),
            "public_ip": awsvpc.get("assignPublicIp"),
            "family": definition["family"],
            "size": [definition.get("cpu"), definition.get("memory")],
            "execution_role": bool(definition.get("executionRoleArn")),
            "containers": {
                one["name"]: {
                    "image": one["image"],
                    "ports": [port["containerPort"] for port in one.get("portMappings", [])],
                    "variables": sorted(pair["name"] for pair in one.get("environment", [])),
                    "secrets": len(one.get("secrets", [])),
                    "log_group": one["logConfiguration"]["options"]["awslogs-group"],
                    "after": len(one.get("dependsOn", [])),
                }
                for one in definition["containerDefinitions"]
            },
        }
    told["target_groups"] = {}
    for arn, name in groups.items():
        group = elb.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
        attributes = elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
        told["target_groups"][name] = {
            "port": group["Port"],
            "type": group["TargetType"],
            "path": group["HealthCheckPath"],
            "interval": group["HealthCheckIntervalSeconds"],
            "delay": next((one["Value"] for one in attributes if one["Key"] == "deregistration_delay.timeout_seconds"), None),
        }
    told["listeners"] = {}
    for arn in of("AWS::ElasticLoadBalancingV2::LoadBalancer").values():
        for listener in elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            rules = []
            for rule in elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]:
                conditions = {}
                for one in rule["Conditions"]:
                    config = one.get("HostHeaderConfig") or one.get("PathPatternConfig") or {}
                    conditions[one["Field"]] = config.get("Values") or one.get("Values")
                action = rule["Actions"][0]
                leads = groups.get(action.get("TargetGroupArn")) or action.get("RedirectConfig", {}).get("Protocol") or action["Type"]
                rules.append([rule["Priority"], conditions, leads])
            told["listeners"][str(listener["Port"])] = [listener["Protocol"], rules]
    told["subnets"] = {
        name: ec2.describe_subnets(SubnetIds=[own])["Subnets"][0]["CidrBlock"] for own, name in sorted(subnets.items())
    }
    told["ingress"] = {}
    for own, name in security.items():
        group = ec2.describe_security_groups(GroupIds=[own])["SecurityGroups"][0]
        told["ingress"][name] = sorted(
            f"{one['FromPort']} {who}"
            for one in group["IpPermissions"]
            for who in [range["CidrIp"] for range in one.get("IpRanges", [])]
            + [security.get(pair["GroupId"], pair["GroupId"]) for pair in one.get("UserIdGroupPairs", [])]
        )
    told["logs"] = {
        one["logGroupName"]: one.get("retentionInDays")
        for one in logs.describe_log_groups(logGroupNamePrefix="/ecs/")["logGroups"]
    }
    told["roles"] = {}
    for name, own in of("AWS::IAM::Role").items():
        document = iam.get_role_policy(RoleName=own, PolicyName="rights")["PolicyDocument"]
        document = ast.literal_eval(document) if isinstance(document, str) else document
        told["roles"][name] = sorted(one["Sid"] for one in document["Statement"])
    return told


def main():
    path, strip, name, *parameters = sys.argv[1:]
    lines = [line.split("#")[0].strip() for line in open(strip)]
    with open(path) as file:
        template, gone = stripped(json.load(file), {line for line in lines if line})
    template = json.loads(surroundings(json.dumps(template)))
    cloudformation = boto3.client("cloudformation")
    given = [dict(zip(("ParameterKey", "ParameterValue"), one.split("=", 1))) for one in parameters]
    cloudformation.create_stack(
        StackName=name, TemplateBody=json.dumps(template), Parameters=given, Capabilities=["CAPABILITY_IAM"]
    )
    stack = ended(cloudformation, name)
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    if stack["StackStatus"] != "CREATE_COMPLETE":
        reasons = [f"{one['LogicalResourceId']}: {one['ResourceStatusReason']}" for one in events if one.get("ResourceStatusReason")]
        raise SystemExit("\n".join([stack["StackStatus"], *reasons]))
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    told = there(stack, resources, template)
    told["stripped"] = gone
    # What says that it is made and is not: an emulator that does not know a type may pass it over.
    told["passed_over"] = sorted(set(template["Resources"]) - set(told["made"]))
    json.dump(told, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
