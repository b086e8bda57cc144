"""Around stacks that Landfall makes on an emulator, as boto3 does and sees it: `stack.py COMMAND …`, JSON on standard output.

    network                     a VPC with subnets and a security group
    look NAME TEMPLATE STRIP    what is there of a stack that was made of TEMPLATE
    gone NAME                   what is left of it
    stuck NAME OWNER PHASE      a stack with the tag of OWNER that could not be made (create), or not be deleted (delete)
    push REPOSITORY TAG…        images in ECR
    alarm NAME STATE            an alarm in that state
    bucket NAME                 a bucket of S3
    objects NAME                keys and sizes of what is in it
    user POLICY                 a key of somebody with this policy and no other
"""

import io
import json
import pathlib
import sys
import time
import zipfile

import boto3

sys.path.insert(0, str(pathlib.Path(__file__).parents[2].parent / "stack" / "tests" / "outside"))
from stack import ended, there  # noqa: E402

# Fails as often as it is told to, which CloudFormation hears from what it was given for the answer.
FAILS = """
import json, urllib.request

def handler(event, context):
    ok = event["ResourceProperties"]["On"] != event["RequestType"].lower()
    answer = {
        "Status": "SUCCESS" if ok else "FAILED", "Reason": "told to fail", "PhysicalResourceId": "thing",
        "StackId": event["StackId"], "RequestId": event["RequestId"], "LogicalResourceId": event["LogicalResourceId"],
    }
    request = urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT")
    urllib.request.urlopen(request).read()
"""


def network():
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    zones = [zone["ZoneName"] for zone in ec2.describe_availability_zones()["AvailabilityZones"]][:2]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{at}.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
        for at, zone in enumerate(zones)
    ]
    group = ec2.create_security_group(GroupName="tasks", Description="tasks", VpcId=vpc)["GroupId"]
    return {"vpc": vpc, "subnets": subnets, "security_group": group}


def look(name, template, strip):
    with open(template) as file:
        template = json.load(file)
    lacking = {line.split("#")[0].strip() for line in open(strip)}
    used = {one["Type"] for one in template["Resources"].values()}
    cloudformation = boto3.client("cloudformation")
    stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
    told = there(stack, resources, template)
    return told | {
        "wanted": sorted(template["Resources"]),
        "lacking": sorted(used & lacking),
        "status": stack["StackStatus"],
        "tags": {one["Key"]: one["Value"] for one in stack.get("Tags", [])},
        "protected": stack.get("EnableTerminationProtection", False),
    }


def gone(name):
    ecs, elb, logs = boto3.client("ecs"), boto3.client("elbv2"), boto3.client("logs")
    services = []
    for cluster in ecs.list_clusters()["clusterArns"]:
        services += ecs.list_services(cluster=cluster)["serviceArns"]
    return {
        "services": [arn for arn in services if name in arn],
        "load_balancers": [one["LoadBalancerName"] for one in elb.describe_load_balancers()["LoadBalancers"]],
        "logs": [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"] if name in one["logGroupName"]],
    }


def stuck(name, owner, phase):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.py", FAILS)
    function = boto3.client("lambda").create_function(
        FunctionName=f"fails-{name}", Runtime="python3.12", Handler="index.handler", Role="arn:aws:iam::000000000000:role/any",
        Code={"ZipFile": packed.getvalue()},
    )["FunctionArn"]
    thing = {"Type": "Custom::Thing", "Properties": {"ServiceToken": function, "On": phase}}
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName=name, TemplateBody=json.dumps({"Resources": {"Thing": thing}}), Tags=[{"Key": "landfall", "Value": owner}]
    )
    status = ended(cloudformation, name)["StackStatus"]
    if phase == "delete":
        cloudformation.delete_stack(StackName=name)
        time.sleep(0.1)
        status = ended(cloudformation, name)["StackStatus"]
    return {"status": status}


def push(repository, *tags):
    ecr = boto3.client("ecr")
    ecr.create_repository(repositoryName=repository)
    made = {}
    for tag in tags:
        manifest = json.dumps({"schemaVersion": 2, "tag": tag})
        made[tag] = ecr.put_image(repositoryName=repository, imageManifest=manifest, imageTag=tag)["image"]["imageId"]["imageDigest"]
    return made


def bucket(name):
    boto3.client("s3").create_bucket(Bucket=name)


def objects(name):
    return {one["Key"]: one["Size"] for one in boto3.client("s3").list_objects_v2(Bucket=name).get("Contents", [])}


def alarm(name, state):
    cloudwatch = boto3.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name, Namespace="shop", MetricName="Errors", Statistic="Sum", Period=60, EvaluationPeriods=1, Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="told")


def user(policy):
    iam = boto3.client("iam")
    name = "landfall"
    if not any(one["UserName"] == name for one in iam.list_users()["Users"]):
        iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="landfall", PolicyDocument=policy)
    # Nobody has more than two.
    for old in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=name, AccessKeyId=old["AccessKeyId"])
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return [key["AccessKeyId"], key["SecretAccessKey"]]


json.dump(globals()[sys.argv[1]](*sys.argv[2:]), sys.stdout)
