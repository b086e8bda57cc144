"""The fake as boto3 sees it.

    agreement.py shared URL      prints facts about the calls that moto and ministack serve too, as JSON
    agreement.py own URL         asserts the rest, against the fake only

A fact is what a call answered, without ids and times, or the code of its error. The test beside this file compares the facts
of the three, so that the fake is never the only witness of AWS's behaviour.
"""

import json
import sys
import time
import urllib.request
import xml.etree.ElementTree

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

ACCOUNT = "123456789012"
REGION = "us-east-1"


def clients(url):
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30)

    def client(name):
        return boto3.client(
            name, endpoint_url=url, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="fake", config=config
        )

    names = "ecs elbv2 sts ssm secretsmanager sns logs ecr lambda resourcegroupstaggingapi iam cloudwatch"
    return {name: client(name) for name in names.split()}


def code(call, **arguments):
    """The code of the error that the call must answer with."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "no error"


def pick(mapping, *keys):
    return {key: mapping.get(key) for key in keys}


def tags(entries):
    lower = [{key.lower(): value for key, value in entry.items()} for entry in entries]
    return sorted((entry["key"], entry["value"]) for entry in lower)


KINDS = {
    "string": str, "integer": int, "long": int, "boolean": bool, "float": (int, float), "double": (int, float),
    "timestamp": (int, float), "list": list, "map": dict, "structure": dict,
}


def conforms(value, shape, path):
    """Every name and every type of an answer is in the service's model: boto3 itself would drop what is not, in silence."""
    kind = KINDS.get(shape.type_name)
    assert kind is None or isinstance(value, kind), f"{path}: {value!r} is no {shape.type_name}"
    if shape.type_name == "structure":
        for key, entry in value.items():
            assert key in shape.members, f"{path}: {shape.name} has no {key}"
            conforms(entry, shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list":
        for place, entry in enumerate(value):
            conforms(entry, shape.member, f"{path}[{place}]")
    elif shape.type_name == "map":
        for key, entry in value.items():
            conforms(entry, shape.value, f"{path}.{key}")
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{path}: {value} is not one of {shape.enum}"


def element(node, shape):
    """An XML answer as the values that its shape says."""
    name = lambda child: child.tag.rsplit("}", 1)[-1]
    text = node.text or ""
    if shape.type_name == "structure":
        known = {name(child): child for child in node}
        for key in known:
            assert key in shape.members, f"{shape.name} has no {key}"
        return {key: element(child, shape.members[key]) for key, child in known.items()}
    if shape.type_name == "list":
        assert all(name(child) == "member" for child in node), shape.name
        return [element(child, shape.member) for child in node]
    if shape.type_name == "map":
        return {child[0].text: element(child[1], shape.value) for child in node}
    if shape.type_name in ("integer", "long"):
        return int(text)
    if shape.type_name == "boolean":
        assert text in ("true", "false"), f"{shape.name}: {text}"
        return text == "true"
    if shape.type_name == "timestamp":
        assert text.endswith("Z") and "T" in text, f"{shape.name}: {text}"
        return 0
    return text


def strict(client):
    def check(operation_model, response_dict, **_):
        shape = operation_model.output_shape
        if shape is None or response_dict["status_code"] >= 300 or operation_model.name == "Invoke":
            return
        protocol, body = operation_model.service_model.resolved_protocol, response_dict["body"]
        if protocol == "query":
            root = xml.etree.ElementTree.fromstring(body)
            result = root[0] if shape.serialization.get("resultWrapper") else root
            conforms(element(result, shape), shape, operation_model.name)
        elif protocol == "json":
            conforms(json.loads(body), shape, operation_model.name)

    client.meta.events.register("before-parse", check)
    return client


class Facts:
    def __init__(self):
        self.all = {}

    def note(self, name, read):
        try:
            self.all[name] = read()
        except ClientError as error:
            self.all[name] = "error: " + error.response["Error"]["Code"]
        except Exception as error:  # An emulator that answers with no AWS error at all: the test says what it was.
            self.all[name] = f"broken: {type(error).__name__}: {error}"


CONTAINER = {
    "name": "web",
    "image": "web:1",
    "memory": 64,
    "portMappings": [{"containerPort": 80}],
    "environment": [{"name": "A", "value": "1"}],
}
DEFINITION = {
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
    "containerDefinitions": [CONTAINER],
}


def network(url):
    """A subnet and a security group that the emulator knows; the fake has no EC2 and takes any."""
    try:
        ec2 = boto3.client("ec2", endpoint_url=url, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="fake",
                           config=Config(retries={"total_max_attempts": 1}))
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        zones = ["a", "b"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=REGION + zone)["Subnet"]["SubnetId"]
            for n, zone in enumerate(zones)
        ]
        return vpc, subnets, ec2.create_security_group(GroupName="agree", Description="x", VpcId=vpc)["GroupId"]
    except ClientError:
        return "vpc-0fake000000000000", ["subnet-1", "subnet-2"], "sg-1"


def shared_ecs(aws, facts, subnets, firewall, group):
    ecs = aws["ecs"]
    note = facts.note
    missing = "nothing-here"
    note("ecs cluster", lambda: pick(ecs.create_cluster(clusterName="agree", tags=[{"key": "k", "value": "v"}])["cluster"],
                                     "clusterName", "clusterArn", "status", "runningTasksCount", "activeServicesCount"))
    note("ecs cluster again", lambda: ecs.create_cluster(clusterName="agree")["cluster"]["clusterArn"])
    note("ecs cluster missing", lambda: ecs.describe_clusters(clusters=[missing])["failures"][0]["reason"])
    note("ecs clusters", lambda: "cluster/agree" in str(ecs.list_clusters()["clusterArns"]))
    note("ecs definition", lambda: pick(ecs.register_task_definition(family="agree", **DEFINITION)["taskDefinition"],
                                        "taskDefinitionArn", "family", "revision", "status", "networkMode", "cpu", "memory"))
    note("ecs definition two", lambda: ecs.register_task_definition(
        family="agree", tags=[{"key": "k", "value": "v"}], **DEFINITION)["taskDefinition"]["revision"])
    note("ecs definition newest", lambda: ecs.describe_task_definition(taskDefinition="agree")["taskDefinition"]["revision"])
    note("ecs definition tags", lambda: tags(ecs.describe_task_definition(taskDefinition="agree:2", include=["TAGS"])["tags"]))
    note("ecs definition container", lambda: pick(
        ecs.describe_task_definition(taskDefinition="agree:1")["taskDefinition"]["containerDefinitions"][0],
        "name", "image", "memory", "essential", "environment"))
    note("ecs definition missing", lambda: code(ecs.describe_task_definition, taskDefinition=missing))
    note("ecs definition without containers", lambda: code(ecs.register_task_definition, family="x", containerDefinitions=[]))
    note("ecs definitions newest first", lambda: [arn.rsplit("/")[-1] for arn in ecs.list_task_definitions(
        familyPrefix="agree", sort="DESC")["taskDefinitionArns"]])
    note("ecs families", lambda: ecs.list_task_definition_families(familyPrefix="agree", status="ACTIVE")["families"])
    note("ecs deregister", lambda: ecs.deregister_task_definition(taskDefinition="agree:1")["taskDefinition"]["status"])
    note("ecs deregistered is described", lambda: ecs.describe_task_definition(taskDefinition="agree:1")["taskDefinition"]["status"])
    note("ecs deregistered is not listed", lambda: [arn.rsplit("/")[-1] for arn in ecs.list_task_definitions(
        familyPrefix="agree")["taskDefinitionArns"]])

    awsvpc = {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": [firewall], "assignPublicIp": "DISABLED"}}
    service = {
        "cluster": "agree", "serviceName": "web", "taskDefinition": "agree", "desiredCount": 0, "launchType": "FARGATE",
        "networkConfiguration": awsvpc, "tags": [{"key": "owner", "value": "me"}],
        "loadBalancers": [{"targetGroupArn": group, "containerName": "web", "containerPort": 80}],
        "deploymentConfiguration": {"maximumPercent": 150, "minimumHealthyPercent": 50},
    }
    seen = ("serviceArn", "serviceName", "clusterArn", "status", "desiredCount", "taskDefinition", "launchType",
            "schedulingStrategy")
    note("ecs service", lambda: pick(ecs.create_service(**service)["service"], *seen))
    note("ecs service twice", lambda: code(ecs.create_service, **dict(service, desiredCount=1)))

    def described():
        return ecs.describe_services(cluster="agree", services=["web"], include=["TAGS"])["services"][0]

    note("ecs service described", lambda: pick(described(), *seen))
    note("ecs service band", lambda: pick(described()["deploymentConfiguration"], "maximumPercent", "minimumHealthyPercent"))
    note("ecs service balancer", lambda: pick(described()["loadBalancers"][0], "containerName", "containerPort"))
    note("ecs service tags", lambda: tags(described()["tags"]))
    note("ecs service primary", lambda: [entry["status"] for entry in described()["deployments"]])
    note("ecs service deployment id", lambda: described()["deployments"][0]["id"].startswith("ecs-svc/"))
    note("ecs service missing", lambda: pick(ecs.describe_services(cluster="agree", services=[missing])["failures"][0], "arn", "reason"))
    note("ecs service in no cluster", lambda: code(ecs.describe_services, cluster=missing, services=["web"]))
    note("ecs service unknown definition", lambda: code(
        ecs.create_service, **dict(service, serviceName="other", taskDefinition=missing)))
    note("ecs update missing", lambda: code(ecs.update_service, cluster="agree", service=missing, desiredCount=1))
    note("ecs delete missing", lambda: code(ecs.delete_service, cluster="agree", service=missing))
    note("ecs update", lambda: ecs.update_service(cluster="agree", service="web", desiredCount=1)["service"]["desiredCount"])
    note("ecs services", lambda: [arn.rsplit("/")[-1] for arn in ecs.list_services(cluster="agree")["serviceArns"]])
    note("ecs delete scaled", lambda: code(ecs.delete_service, cluster="agree", service="web"))

    run = dict(cluster="agree", taskDefinition="agree", launchType="FARGATE", networkConfiguration=awsvpc, startedBy="me",
               overrides={"containerOverrides": [{"name": "web", "command": ["x"]}]})
    kept = {}

    def ran():
        answer = ecs.run_task(**run)
        kept.update(answer["tasks"][0])
        return dict(pick(kept, "group", "startedBy", "launchType", "taskDefinitionArn", "clusterArn", "desiredStatus"),
                    failures=answer["failures"], command=kept["overrides"]["containerOverrides"][0].get("command"))

    note("ecs run", ran)
    note("ecs run arn", lambda: kept["taskArn"].startswith(f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/agree/"))
    note("ecs task listed", lambda: kept["taskArn"] in ecs.list_tasks(cluster="agree", startedBy="me")["taskArns"])
    note("ecs task missing", lambda: ecs.describe_tasks(cluster="agree", tasks=["0" * 32])["failures"][0]["reason"])
    note("ecs task stopped", lambda: pick(ecs.stop_task(cluster="agree", task=kept["taskArn"], reason="enough")["task"],
                                          "desiredStatus", "stoppedReason"))
    note("ecs run unknown definition", lambda: code(ecs.run_task, **dict(run, taskDefinition=missing)))
    note("ecs tag", lambda: (ecs.tag_resource(resourceArn=described()["serviceArn"], tags=[{"key": "b", "value": "2"}]),
                             tags(ecs.list_tags_for_resource(resourceArn=described()["serviceArn"])["tags"]))[1])
    note("ecs untag", lambda: (ecs.untag_resource(resourceArn=described()["serviceArn"], tagKeys=["b"]),
                               tags(ecs.list_tags_for_resource(resourceArn=described()["serviceArn"])["tags"]))[1])
    note("ecs scaled to none", lambda: ecs.update_service(cluster="agree", service="web", desiredCount=0)["service"]["desiredCount"])
    note("ecs delete", lambda: ecs.delete_service(cluster="agree", service="web")["service"]["status"])
    note("ecs deleted is not listed", lambda: ecs.list_services(cluster="agree")["serviceArns"])


def shared_deploy(aws, facts, subnets, firewall):
    """What the verbs of deployments call: a change of an existing service, one with nothing to change, a forced one, the way back."""
    ecs, note = aws["ecs"], facts.note
    awsvpc = {"awsvpcConfiguration": {"subnets": subnets[:1], "securityGroups": [firewall], "assignPublicIp": "DISABLED"}}
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}, "maximumPercent": 200, "minimumHealthyPercent": 100}

    def register(image):
        container = dict(CONTAINER, image=image)
        made = ecs.register_task_definition(family="shop", tags=[{"key": "landfall", "value": "shop@prod"}],
                                            **dict(DEFINITION, containerDefinitions=[container]))
        return made["taskDefinition"]["taskDefinitionArn"]

    def described():
        return ecs.describe_services(cluster="agree", services=["shop"], include=["TAGS"])["services"][0]

    def primary():
        return next(entry for entry in described()["deployments"] if entry["status"] == "PRIMARY")

    def runs():
        return described()["taskDefinition"].rsplit("/")[-1], primary()["taskDefinition"].rsplit("/")[-1]

    def update(**more):
        before = primary()["id"]
        ecs.update_service(cluster="agree", service="shop", **more)
        return primary()["id"] != before

    one, two = register("shop:1"), register("shop:2")
    note("deploy definitions", lambda: [arn.rsplit("/")[-1] for arn in (one, two)])
    note("deploy definition image", lambda: ecs.describe_task_definition(taskDefinition="shop:2")
         ["taskDefinition"]["containerDefinitions"][0]["image"])
    note("deploy definition tags", lambda: tags(ecs.describe_task_definition(taskDefinition=two, include=["TAGS"])["tags"]))
    # Nobody's tags yet, as of a service that is taken over.
    note("deploy create", lambda: pick(ecs.create_service(
        cluster="agree", serviceName="shop", taskDefinition=one, desiredCount=0, launchType="FARGATE", networkConfiguration=awsvpc,
        deploymentConfiguration=breaker, propagateTags="SERVICE", enableECSManagedTags=True)["service"], "desiredCount", "status"))
    note("deploy propagates tags", lambda: pick(described(), "propagateTags", "enableECSManagedTags"))
    note("deploy breaker", lambda: described()["deploymentConfiguration"]["deploymentCircuitBreaker"])
    note("deploy adopt", lambda: (ecs.tag_resource(resourceArn=described()["serviceArn"], tags=[
        {"key": "landfall", "value": "shop@prod"}]), tags(described()["tags"]))[1])
    note("deploy no tasks", lambda: ecs.list_tasks(cluster="agree", serviceName="shop")["taskArns"])
    note("deploy update", lambda: update(taskDefinition=two, deploymentConfiguration=dict(breaker, maximumPercent=150)))
    note("deploy updated", runs)
    note("deploy updated band", lambda: pick(described()["deploymentConfiguration"], "maximumPercent", "minimumHealthyPercent"))
    note("deploy update keeps the tags", lambda: tags(described()["tags"]))
    note("deploy same", lambda: update(taskDefinition=two))
    note("deploy forced", lambda: update(taskDefinition=two, forceNewDeployment=True))
    note("deploy unknown definition", lambda: code(ecs.update_service, cluster="agree", service="shop", taskDefinition="none:7"))
    note("deploy scale", lambda: (update(desiredCount=2), described()["desiredCount"]))
    note("deploy keeps the count", lambda: (update(taskDefinition=one), described()["desiredCount"])[1])
    note("deploy rolled back", runs)
    note("deploy nothing deregistered", lambda: [arn.rsplit("/")[-1] for arn in ecs.list_task_definitions(
        familyPrefix="shop", status="ACTIVE")["taskDefinitionArns"]])


def shared_elb(aws, facts, vpc, subnets):
    elb = aws["elbv2"]
    note = facts.note
    kept = {}

    def balancer():
        kept["lb"] = elb.create_load_balancer(Name="agree", Subnets=subnets, Tags=[{"Key": "k", "Value": "v"}])["LoadBalancers"][0]
        return pick(kept["lb"], "LoadBalancerName", "Scheme", "Type", "IpAddressType")

    def group(name, **more):
        made = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip", **more)
        kept[name] = made["TargetGroups"][0]["TargetGroupArn"]
        return made["TargetGroups"][0]

    check = ("HealthCheckProtocol", "HealthCheckPort", "HealthCheckPath", "HealthCheckIntervalSeconds",
             "HealthCheckTimeoutSeconds", "HealthyThresholdCount", "UnhealthyThresholdCount", "Matcher")
    note("elb balancer", balancer)
    note("elb balancer arn", lambda: kept["lb"]["LoadBalancerArn"].rsplit("/", 1)[0])
    note("elb balancer by name", lambda: pick(elb.describe_load_balancers(Names=["agree"])["LoadBalancers"][0], "LoadBalancerName", "Type"))
    note("elb balancer missing", lambda: code(elb.describe_load_balancers, Names=["nothing-here"]))
    note("elb group", lambda: pick(group("agree"), "TargetGroupName", "Protocol", "Port", "TargetType", *check))
    note("elb group checks", lambda: pick(group("agree-two", HealthCheckPath="/up", HealthCheckIntervalSeconds=10,
                                                HealthyThresholdCount=2, Matcher={"HttpCode": "200-299"}), *check))
    note("elb group duplicate", lambda: code(elb.create_target_group, Name="agree", Protocol="HTTP", Port=81, VpcId=vpc))
    note("elb group name too long", lambda: code(elb.create_target_group, Name="x" * 33, Protocol="HTTP", Port=81, VpcId=vpc))
    note("elb group unused", lambda: elb.describe_target_groups(Names=["agree"])["TargetGroups"][0]["LoadBalancerArns"])
    note("elb group missing by name", lambda: code(elb.describe_target_groups, Names=["nothing-here"]))
    note("elb group missing by arn", lambda: code(elb.describe_target_groups, TargetGroupArns=[kept["agree"][:-4] + "0000"]))
    note("elb group modified", lambda: elb.modify_target_group(TargetGroupArn=kept["agree"], HealthCheckPath="/ping")
         ["TargetGroups"][0]["HealthCheckPath"])

    def attributes():
        elb.modify_target_group_attributes(TargetGroupArn=kept["agree"], Attributes=[
            {"Key": "deregistration_delay.timeout_seconds", "Value": "7"}])
        rows = elb.describe_target_group_attributes(TargetGroupArn=kept["agree"])["Attributes"]
        return {row["Key"]: row["Value"] for row in rows if row["Key"] in ("deregistration_delay.timeout_seconds", "stickiness.enabled")}

    note("elb group attributes", attributes)
    note("elb group no targets", lambda: elb.describe_target_health(TargetGroupArn=kept["agree"])["TargetHealthDescriptions"])

    def listener():
        made = elb.create_listener(LoadBalancerArn=kept["lb"]["LoadBalancerArn"], Port=8080, Protocol="HTTP",
                                   DefaultActions=[{"Type": "forward", "TargetGroupArn": kept["agree"]}])["Listeners"][0]
        kept["listener"] = made["ListenerArn"]
        return dict(pick(made, "Port", "Protocol"), action=pick(made["DefaultActions"][0], "Type", "TargetGroupArn")["Type"])

    note("elb listener", listener)
    note("elb listeners", lambda: [row["Port"] for row in elb.describe_listeners(
        LoadBalancerArn=kept["lb"]["LoadBalancerArn"])["Listeners"]])
    note("elb listener port taken", lambda: code(
        elb.create_listener, LoadBalancerArn=kept["lb"]["LoadBalancerArn"], Port=8080, Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": kept["agree-two"]}]))
    note("elb listener missing", lambda: code(elb.describe_listeners, ListenerArns=[kept["listener"][:-4] + "0000"]))
    note("elb group used", lambda: elb.describe_target_groups(Names=["agree"])["TargetGroups"][0]["LoadBalancerArns"] == [
        kept["lb"]["LoadBalancerArn"]])

    def rule(priority, **more):
        made = elb.create_rule(ListenerArn=kept["listener"], Priority=priority, Conditions=[
            {"Field": "host-header", "Values": [f"h{priority}.example.com"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": kept["agree-two"]}], **more)["Rules"][0]
        kept["rule"] = made["RuleArn"]
        return {"priority": made["Priority"], "default": made["IsDefault"], "field": made["Conditions"][0]["Field"],
                "values": made["Conditions"][0].get("Values"), "action": made["Actions"][0]["Type"]}

    note("elb rule", lambda: rule(20))
    note("elb rule priority taken", lambda: code(rule, priority=20))
    note("elb rules", lambda: [row["Priority"] for row in elb.describe_rules(ListenerArn=kept["listener"])["Rules"]])
    note("elb rule moved", lambda: elb.set_rule_priorities(RulePriorities=[{"RuleArn": kept["rule"], "Priority": 30}])["Rules"][0]["Priority"])
    note("elb rule changed", lambda: elb.modify_rule(RuleArn=kept["rule"], Conditions=[
        {"Field": "host-header", "Values": ["other.example.com"]}])["Rules"][0]["Conditions"][0].get("Values"))
    note("elb group in use", lambda: code(elb.delete_target_group, TargetGroupArn=kept["agree-two"]))
    note("elb rule missing", lambda: code(elb.describe_rules, RuleArns=[kept["rule"][:-4] + "0000"]))
    note("elb tags", lambda: tags(elb.describe_tags(ResourceArns=[kept["lb"]["LoadBalancerArn"]])["TagDescriptions"][0]["Tags"]))

    def retagged():
        elb.add_tags(ResourceArns=[kept["agree"]], Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
        elb.remove_tags(ResourceArns=[kept["agree"]], TagKeys=["a"])
        return tags(elb.describe_tags(ResourceArns=[kept["agree"]])["TagDescriptions"][0]["Tags"])

    note("elb tags changed", retagged)
    note("elb rule deleted", lambda: (elb.delete_rule(RuleArn=kept["rule"]),
                                      len(elb.describe_rules(ListenerArn=kept["listener"])["Rules"]))[1])
    note("elb group deleted", lambda: (elb.delete_target_group(TargetGroupArn=kept["agree-two"]),
                                       code(elb.describe_target_groups, TargetGroupArns=[kept["agree-two"]]))[1])
    return kept


def shared_small(aws, facts):
    note = facts.note
    sts, ssm, secrets, sns, logs, ecr = (aws[name] for name in "sts ssm secretsmanager sns logs ecr".split())
    note("sts account", lambda: sts.get_caller_identity()["Account"])
    note("sts role", lambda: sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/deploy", RoleSessionName="ci")
         ["AssumedRoleUser"]["Arn"])
    note("ssm put", lambda: ssm.put_parameter(Name="/agree/a", Value="1", Type="String")["Version"])
    note("ssm put again", lambda: code(ssm.put_parameter, Name="/agree/a", Value="2", Type="String"))
    note("ssm overwrite", lambda: ssm.put_parameter(Name="/agree/a", Value="2", Type="String", Overwrite=True)["Version"])
    note("ssm get", lambda: pick(ssm.get_parameter(Name="/agree/a")["Parameter"], "Name", "Type", "Value", "Version", "ARN"))
    note("ssm secure", lambda: (ssm.put_parameter(Name="/agree/s", Value="x", Type="SecureString"),
                                ssm.get_parameter(Name="/agree/s", WithDecryption=True)["Parameter"]["Value"])[1])
    note("ssm hidden", lambda: ssm.get_parameter(Name="/agree/s")["Parameter"]["Value"] == "x")
    note("ssm missing", lambda: code(ssm.get_parameter, Name="/agree/none"))
    note("ssm several", lambda: (lambda answer: [[own["Name"] for own in answer["Parameters"]], answer["InvalidParameters"]])(
        ssm.get_parameters(Names=["/agree/a", "/agree/none"])))
    note("ssm path", lambda: sorted(own["Name"] for own in ssm.get_parameters_by_path(Path="/agree")["Parameters"]))
    note("secret", lambda: secrets.create_secret(Name="agree", SecretString="x")["Name"])
    note("secret value", lambda: secrets.get_secret_value(SecretId="agree")["SecretString"])
    note("secret by arn", lambda: secrets.get_secret_value(SecretId=secrets.describe_secret(SecretId="agree")["ARN"])["SecretString"])
    note("secret twice", lambda: code(secrets.create_secret, Name="agree", SecretString="y"))
    note("secret missing", lambda: code(secrets.get_secret_value, SecretId="none"))
    note("sns topic", lambda: sns.create_topic(Name="agree")["TopicArn"])
    note("sns publish", lambda: bool(sns.publish(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:agree", Message="{\"default\": \"x\"}",
                                                 MessageStructure="json")["MessageId"]))
    note("sns missing", lambda: code(sns.publish, TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:none", Message="x"))
    note("sns attributes", lambda: sns.get_topic_attributes(TopicArn=f"arn:aws:sns:{REGION}:{ACCOUNT}:agree")["Attributes"]["TopicArn"])
    note("logs group", lambda: bool(logs.create_log_group(logGroupName="agree")))
    note("logs group twice", lambda: code(logs.create_log_group, logGroupName="agree"))
    note("logs groups", lambda: [own["logGroupName"] for own in logs.describe_log_groups(logGroupNamePrefix="agr")["logGroups"]])
    now = int(time.time() * 1000)
    note("logs lines", lambda: (
        logs.create_log_stream(logGroupName="agree", logStreamName="s"),
        logs.put_log_events(logGroupName="agree", logStreamName="s", logEvents=[
            {"timestamp": now + n, "message": f"line {n}"} for n in range(3)]),
        [own["message"] for own in logs.get_log_events(logGroupName="agree", logStreamName="s", startFromHead=True)["events"]])[2])
    note("logs tail", lambda: [own["message"] for own in logs.get_log_events(
        logGroupName="agree", logStreamName="s", limit=2)["events"]])
    note("logs filter", lambda: [own["message"] for own in logs.filter_log_events(
        logGroupName="agree", filterPattern="\"line 1\"")["events"]])
    note("logs stream missing", lambda: code(logs.get_log_events, logGroupName="agree", logStreamName="none"))
    note("logs group missing", lambda: code(logs.describe_log_streams, logGroupName="none"))
    note("ecr repository", lambda: pick(ecr.create_repository(repositoryName="agree")["repository"],
                                        "repositoryName", "repositoryArn", "repositoryUri", "registryId"))
    note("ecr repository twice", lambda: code(ecr.create_repository, repositoryName="agree"))
    note("ecr repository missing", lambda: code(ecr.describe_repositories, repositoryNames=["none"]))
    note("ecr no images", lambda: ecr.describe_images(repositoryName="agree")["imageDetails"])
    note("ecr image missing", lambda: code(ecr.describe_images, repositoryName="agree", imageIds=[{"imageTag": "v1"}]))
    note("ecr token", lambda: len(ecr.get_authorization_token()["authorizationData"]))
    note("lambda missing", lambda: code(aws["lambda"].invoke, FunctionName="none"))


def shared(url):
    aws = clients(url)
    facts = Facts()
    vpc, subnets, firewall = network(url)
    kept = shared_elb(aws, facts, vpc, subnets)
    shared_ecs(aws, facts, subnets, firewall, kept.get("agree", "none"))
    shared_deploy(aws, facts, subnets, firewall)
    shared_small(aws, facts)
    print(json.dumps(facts.all, sort_keys=True))


# Only the fake has what follows.


def fake(url, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/_fake/{path}", method=method, data=data)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def until(read, wanted, what):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        seen = read()
        if wanted(seen):
            return seen
        time.sleep(0.02)
    raise AssertionError(f"{what}: {seen}")


OVER = ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")


def own_deployments(aws, url):
    ecs, elb = aws["ecs"], aws["elbv2"]
    ecs.create_cluster(clusterName="own")
    lb = elb.create_load_balancer(Name="own", Subnets=["a", "b"])["LoadBalancers"][0]["LoadBalancerArn"]
    group = elb.create_target_group(Name="own", Protocol="HTTP", Port=80, VpcId="vpc-1", TargetType="ip")["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}])
    elb.create_listener(LoadBalancerArn=lb, Port=80, Protocol="HTTP", DefaultActions=[{"Type": "forward", "TargetGroupArn": group}])
    fake(url, "POST", "images", {"image": "bad", "exits": 1, "logs": ["it broke"]})
    logs = aws["logs"]
    logs.create_log_group(logGroupName="own")
    log = {"logDriver": "awslogs", "options": {"awslogs-group": "own", "awslogs-stream-prefix": "p", "awslogs-region": REGION}}

    def register(image):
        container = dict(CONTAINER, image=image, logConfiguration=log)
        return ecs.register_task_definition(family="own", **dict(DEFINITION, containerDefinitions=[container]))["taskDefinition"]["taskDefinitionArn"]

    def newest():
        arn = ecs.list_service_deployments(cluster="own", service="web")["serviceDeployments"][0]["serviceDeploymentArn"]
        return ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]

    good = register("good")
    ecs.create_service(cluster="own", serviceName="web", taskDefinition=good, desiredCount=1, launchType="FARGATE", clientToken="t",
                       networkConfiguration={"awsvpcConfiguration": {"subnets": ["a"]}},
                       loadBalancers=[{"targetGroupArn": group, "containerName": "web", "containerPort": 80}],
                       deploymentConfiguration={"deploymentCircuitBreaker": {"enable": True, "rollback": True}})
    first = until(newest, lambda own: own["status"] in OVER, "first deployment")
    assert first["status"] == "SUCCESSFUL", first
    assert first["finishedAt"] >= first["startedAt"] >= first["createdAt"]
    service = ecs.describe_services(cluster="own", services=["web"])["services"][0]
    assert service["currentServiceDeployment"] == first["serviceDeploymentArn"]
    assert service["deployments"][0]["rolloutState"] == "COMPLETED"
    assert service["events"][0]["message"] == "(service web) has reached a steady state."
    ecs.get_waiter("services_stable").wait(cluster="own", services=["web"])
    revision = ecs.describe_service_revisions(serviceRevisionArns=[first["targetServiceRevision"]["arn"]])["serviceRevisions"][0]
    assert revision["taskDefinition"] == good and revision["containerImages"][0]["image"] == "good", revision
    health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert [own["TargetHealth"]["State"] for own in health] == ["healthy"], health
    ecs.update_service(cluster="own", service="web", taskDefinition=register("bad"))
    second = until(newest, lambda own: own["status"] in OVER, "second deployment")
    assert second["status"] == "ROLLBACK_SUCCESSFUL", second
    assert second["rollback"]["serviceRevisionArn"] == first["targetServiceRevision"]["arn"]
    assert second["deploymentCircuitBreaker"] == {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
    stopped = ecs.list_tasks(cluster="own", serviceName="web", desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster="own", tasks=stopped)["tasks"]
    failed = [own for own in tasks if own.get("stopCode") == "EssentialContainerExited"]
    assert len(failed) == 3 and failed[0]["containers"][0]["exitCode"] == 1, tasks
    stream = f"p/web/{failed[0]['taskArn'].rsplit('/', 1)[-1]}"
    lines = logs.get_log_events(logGroupName="own", logStreamName=stream)["events"]
    assert [own["message"] for own in lines] == ["it broke"], lines
    listed = ecs.list_service_deployments(cluster="own", service="web", status=["SUCCESSFUL"])["serviceDeployments"]
    assert [own["serviceDeploymentArn"] for own in listed] == [first["serviceDeploymentArn"]]
    assert code(ecs.stop_service_deployment, serviceDeploymentArn=second["serviceDeploymentArn"]) == "ConflictException"

    # Pages.
    seen, token = [], None
    while True:
        more = {"nextToken": token} if token else {}
        answer = ecs.list_service_deployments(cluster="own", service="web", maxResults=1, **more)
        seen += answer["serviceDeployments"]
        token = answer.get("nextToken")
        if not token:
            break
    assert len(seen) == 2, seen
    assert code(ecs.describe_services, cluster="own", services=[f"s{n}" for n in range(11)]) == "InvalidParameterException"
    assert code(ecs.describe_service_deployments, serviceDeploymentArns=["x"] * 21) == "InvalidParameterException"
    assert code(ecs.describe_tasks, cluster="own", tasks=["x"] * 101) == "InvalidParameterException"

    # A pause hook, as the API shows it.
    hook = {"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"], "timeoutConfiguration": {"timeoutInMinutes": 5, "action": "CONTINUE"}}
    ecs.update_service(cluster="own", service="web", taskDefinition=register("good"), deploymentConfiguration={
        "strategy": "BLUE_GREEN", "bakeTimeInMinutes": 0, "lifecycleHooks": [hook]})
    paused = until(newest, lambda own: own.get("lifecycleHookDetails"), "pause hook")
    assert paused["lifecycleStage"] == "POST_SCALE_UP" and paused["status"] == "IN_PROGRESS", paused
    detail = paused["lifecycleHookDetails"][0]
    assert (detail["status"], detail["targetType"], detail["timeoutAction"]) == ("AWAITING_ACTION", "PAUSE", "CONTINUE"), detail
    ecs.continue_service_deployment(serviceDeploymentArn=paused["serviceDeploymentArn"], hookId=detail["hookId"])
    assert until(newest, lambda own: own["status"] in OVER, "third deployment")["status"] == "SUCCESSFUL"
    owned = aws["resourcegroupstaggingapi"].get_resources(TagFilters=[{"Key": "none"}])["ResourceTagMappingList"]
    assert owned == [], owned


def own_small(aws, url):
    # Roles: credentials of another account act there.
    answer = aws["sts"].assume_role(RoleArn="arn:aws:iam::210987654321:role/deploy", RoleSessionName="ci")["Credentials"]
    other = boto3.client("sts", endpoint_url=url, region_name="eu-west-1", aws_access_key_id=answer["AccessKeyId"],
                         aws_secret_access_key=answer["SecretAccessKey"], aws_session_token=answer["SessionToken"])
    assert other.get_caller_identity()["Arn"] == "arn:aws:sts::210987654321:assumed-role/deploy/ci"
    web = aws["sts"].assume_role_with_web_identity(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/ci", RoleSessionName="runner", WebIdentityToken="y" * 10)
    assert web["Credentials"]["Expiration"].timestamp() > time.time()
    # Functions.
    fake(url, "POST", "rules", {"functions": [{"name": "hook", "answer": {"ok": True}}, {"name": "bad", "answer": {"errorMessage": "no"}, "error": "Unhandled"}]})
    function = aws["lambda"]
    answer = function.invoke(FunctionName="hook", Payload=b'{"a": 1}')
    assert (answer["StatusCode"], json.load(answer["Payload"]), answer.get("FunctionError")) == (200, {"ok": True}, None)
    answer = function.invoke(FunctionName=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:bad", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert function.invoke(FunctionName="hook", InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    state = fake(url, "GET", "state")[f"{ACCOUNT}/{REGION}"]
    assert state["invocations"][0] == ["hook", {"a": 1}], state["invocations"]
    # Messages.
    topic = aws["sns"].create_topic(Name="own")["TopicArn"]
    envelope = json.dumps({"default": json.dumps({"channel": "#c", "text": "t"})})
    aws["sns"].publish(TopicArn=topic, Message=envelope, MessageStructure="json", MessageAttributes={
        "kind": {"DataType": "String", "StringValue": "x"}})
    state = fake(url, "GET", "state")[f"{ACCOUNT}/{REGION}"]
    assert state["published"][-1]["message"] == envelope, state["published"]
    assert code(aws["sns"].publish, TopicArn=topic, Message="{}", MessageStructure="json") in ("InvalidParameter", "InvalidParameterException")
    # Images.
    ecr = aws["ecr"]
    ecr.create_repository(repositoryName="own")
    digest = ecr.put_image(repositoryName="own", imageManifest="{}", imageTag="v1")["image"]["imageId"]["imageDigest"]
    assert ecr.describe_images(repositoryName="own", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]["imageDigest"] == digest
    got = ecr.batch_get_image(repositoryName="own", imageIds=[{"imageTag": "v1"}, {"imageTag": "v2"}])
    assert (got["images"][0]["imageId"]["imageDigest"], got["failures"][0]["failureCode"]) == (digest, "ImageNotFound")
    # Alarms.
    alarms = aws["cloudwatch"]
    alarms.put_metric_alarm(AlarmName="errors", MetricName="m", Namespace="n", Statistic="Sum", Period=60, EvaluationPeriods=1,
                            Threshold=1.5, ComparisonOperator="GreaterThanThreshold")
    alarms.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="test")
    alarm = alarms.describe_alarms(AlarmNames=["errors", "none"])["MetricAlarms"]
    assert [(own["AlarmName"], own["StateValue"], own["Threshold"]) for own in alarm] == [("errors", "ALARM", 1.5)], alarm
    assert abs(alarm[0]["StateUpdatedTimestamp"].timestamp() - time.time()) < 60
    # Rights.
    fake(url, "POST", "roles", {"roles": ["there"], "denied": ["ecs:Delete*"]})
    iam = aws["iam"]
    assert iam.get_role(RoleName="there")["Role"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/there"
    assert code(iam.get_role, RoleName="none") in ("NoSuchEntity", "NoSuchEntityException")
    rows = iam.simulate_principal_policy(PolicySourceArn=f"arn:aws:iam::{ACCOUNT}:role/there", ActionNames=["ecs:DeleteService", "ecs:RunTask"])
    assert [own["EvalDecision"] for own in rows["EvaluationResults"]] == ["implicitDeny", "allowed"], rows
    fake(url, "POST", "roles", {})
    limits = {own["Name"]: own["Max"] for own in aws["elbv2"].describe_account_limits()["Limits"]}
    assert limits["listeners-per-application-load-balancer"] == "50"


def own_faults(aws, url):
    ecs = aws["ecs"]
    fake(url, "DELETE", "calls")
    fake(url, "POST", "faults", {"service": "ecs", "operation": "ListClusters", "skip": 1, "times": 1,
                                 "error": {"code": "ThrottlingException", "message": "Rate exceeded"}})
    answers = [code(ecs.list_clusters) for _ in range(3)]
    assert answers == ["no error", "ThrottlingException", "no error"], answers
    fake(url, "POST", "faults", {"service": "elasticloadbalancing", "operation": "CreateTargetGroup", "times": 1,
                                 "error": {"code": "InternalFailure", "message": "x", "status": 500}})
    group = dict(Name="lost", Protocol="HTTP", Port=80, VpcId="vpc-1")
    assert code(aws["elbv2"].create_target_group, **group) == "InternalFailure"
    assert code(aws["elbv2"].describe_target_groups, Names=["lost"]) in ("TargetGroupNotFound", "TargetGroupNotFoundException")

    def broken(call, **arguments):
        try:
            call(**arguments)
        except (ConnectionError, HTTPClientError):
            return True
        return False

    # The effect happens and its answer is lost; a cut before it has none.
    fake(url, "POST", "faults", {"operation": "CreateCluster", "contains": "lost", "times": 1, "lose_response": True})
    fake(url, "POST", "faults", {"operation": "CreateCluster", "contains": "never", "times": 1, "cut": True})
    assert broken(ecs.create_cluster, clusterName="lost") and broken(ecs.create_cluster, clusterName="never")
    described = ecs.describe_clusters(clusters=["lost", "never"])
    assert [own["clusterName"] for own in described["clusters"]] == ["lost"], described
    assert len(described["failures"]) == 1
    calls = fake(url, "GET", "calls")
    assert calls["summary"]["operations"]["ecs:CreateCluster"] == 2
    assert [own["lost"] for own in calls["calls"] if own["operation"] == "CreateCluster"] == [True, True]
    fake(url, "DELETE", "faults")
    # Policies.
    fake(url, "POST", "policy", {"Statement": [{"Effect": "Allow", "Action": ["ecs:List*"], "Resource": "*"}]})
    assert code(ecs.list_clusters) == "no error"
    try:
        ecs.create_cluster(clusterName="denied")
        raise AssertionError("a call without a right went through")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "AccessDeniedException", error.response
        assert "is not authorized to perform: ecs:CreateCluster" in error.response["Error"]["Message"]
    fake(url, "DELETE", "policy")
    # Reads lag behind writes.
    fake(url, "POST", "consistency", {"lag_ms": 400})
    ecs.create_cluster(clusterName="late")
    assert ecs.describe_clusters(clusters=["late"])["failures"], "the read did not lag"
    until(lambda: ecs.describe_clusters(clusters=["late"])["clusters"], bool, "the lagging read")
    fake(url, "POST", "consistency", {"lag_ms": 0})
    # Quotas.
    fake(url, "POST", "quotas", {"ecs cluster read": {"burst": 3, "per_second": 0.001}})
    answers = [code(ecs.list_clusters) for _ in range(5)]
    assert answers == ["no error"] * 3 + ["ThrottlingException"] * 2, answers
    fake(url, "DELETE", "quotas")
    # Without the service deployments API.
    fake(url, "POST", "rules", {"no_service_deployments": True})
    assert code(ecs.list_service_deployments, cluster="own", service="web") == "UnsupportedFeatureException"
    assert "currentServiceDeployment" not in ecs.describe_services(cluster="own", services=["web"])["services"][0]
    fake(url, "POST", "rules", {"no_service_deployments": False})


def own(url):
    aws = {name: strict(client) for name, client in clients(url).items()}
    # The shared part again, for the shapes of its answers.
    facts = Facts()
    kept = shared_elb(aws, facts, "vpc-1", ["subnet-1", "subnet-2"])
    shared_ecs(aws, facts, ["subnet-1"], "sg-1", kept["agree"])
    shared_deploy(aws, facts, ["subnet-1"], "sg-1")
    shared_small(aws, facts)
    broken = {name: fact for name, fact in facts.all.items() if str(fact).startswith(("broken", "error"))}
    assert not broken, broken
    own_deployments(aws, url)
    own_small(aws, url)
    own_faults(aws, url)
    print("{}")


if __name__ == "__main__":
    {"shared": shared, "own": own}[sys.argv[1]](sys.argv[2])
