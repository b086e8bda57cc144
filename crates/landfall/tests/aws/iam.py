"""ministack with IAM switched on, as its root user: `setup` makes what Landfall expects to find and a user with a key, `policy`
gives that user the policy on standard input and no other, and takes away what Landfall has made before."""

import io
import json
import sys
import zipfile

import boto3

ECS, ELB, EC2, IAM = (boto3.client(name) for name in ("ecs", "elbv2", "ec2", "iam"))
USER = "landfall"
FUNCTION = "def handler(event, context):\n    return {}\n"


def setup():
    vpc = EC2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        EC2.create_subnet(VpcId=vpc, CidrBlock=f"10.30.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]["SubnetId"]
        for n, zone in enumerate("ab")
    ]
    group = EC2.create_security_group(GroupName="iam", Description="iam", VpcId=vpc)["GroupId"]
    ECS.create_cluster(clusterName="main")
    ELB.create_load_balancer(Name="front", Subnets=subnets, SecurityGroups=[group])
    ecr = boto3.client("ecr")
    ecr.create_repository(repositoryName="web")
    for digit in "12":
        ecr.put_image(repositoryName="web", imageManifest=json.dumps({"schemaVersion": 2, "n": digit}), imageTag=digit * 40)
    boto3.client("ssm").put_parameter(Name="/slack", Value="http://127.0.0.1:9/hook", Type="SecureString")
    for environment in ("preview", "prod"):
        boto3.client("ssm").put_parameter(Name=f"/my-project/{environment}/key", Value="x", Type="SecureString")
    for name in ("db", "signing"):
        boto3.client("secretsmanager").create_secret(Name=name, SecretString="{}")
    topic = boto3.client("sns").create_topic(Name="ops")["TopicArn"]
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
    role = IAM.create_role(RoleName="function", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    trust["Statement"][0]["Principal"]["Service"] = "ecs-tasks.amazonaws.com"
    execution = IAM.create_role(RoleName="execution", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("f.py", FUNCTION)
    boto3.client("lambda").create_function(
        FunctionName="seed", Runtime="python3.11", Role=role, Handler="f.handler", Code={"ZipFile": code.getvalue()}
    )
    IAM.create_user(UserName=USER)
    key = IAM.create_access_key(UserName=USER)["AccessKey"]
    return {
        "account": role.split(":")[4],
        "subnet": subnets[0],
        "group": group,
        "topic": topic,
        "execution": execution,
        "key": [key["AccessKeyId"], key["SecretAccessKey"]],
    }


def policy():
    reset()
    IAM.put_user_policy(UserName=USER, PolicyName="landfall", PolicyDocument=sys.stdin.read())
    return {}


def reset():
    for arn in ECS.list_services(cluster="main")["serviceArns"]:
        ECS.delete_service(cluster="main", service=arn, force=True)
    balancer = ELB.describe_load_balancers(Names=["front"])["LoadBalancers"][0]["LoadBalancerArn"]
    for listener in ELB.describe_listeners(LoadBalancerArn=balancer)["Listeners"]:
        ELB.delete_listener(ListenerArn=listener["ListenerArn"])
    for group in ELB.describe_target_groups()["TargetGroups"]:
        ELB.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
    for arn in ECS.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]:
        ECS.deregister_task_definition(taskDefinition=arn)


def main():
    json.dump({"setup": setup, "policy": policy}[sys.argv[1]](), sys.stdout, default=str)


main()
