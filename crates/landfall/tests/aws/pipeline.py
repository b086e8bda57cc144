"""A cluster's pipeline as boto3 sees it: `pipeline.py NAME`, JSON on standard output; `pipeline.py secret NAME` makes a secret."""

import ast
import json
import sys

import boto3

if sys.argv[1] == "secret":
    boto3.client("secretsmanager").create_secret(Name=sys.argv[2], SecretString="token")
    sys.exit()

codepipeline, codebuild, iam = (boto3.client(name) for name in ("codepipeline", "codebuild", "iam"))
try:
    pipeline = codepipeline.get_pipeline(name=sys.argv[1])["pipeline"]
except codepipeline.exceptions.PipelineNotFoundException:
    json.dump(None, sys.stdout)
    sys.exit()
actions = [action for stage in pipeline["stages"] for action in stage["actions"]]
names = [action["configuration"]["ProjectName"] for action in actions if "ProjectName" in action["configuration"]]
projects = codebuild.batch_get_projects(names=names)["projects"] if names else []


def sids(role):
    document = iam.get_role_policy(RoleName=role.rsplit("/", 1)[-1], PolicyName="rights")["PolicyDocument"]
    document = ast.literal_eval(document) if isinstance(document, str) else document
    return [one["Sid"] for one in document["Statement"]]


json.dump(
    {
        "stages": [stage["name"] for stage in pipeline["stages"]],
        "source": {"provider": actions[0]["actionTypeId"]["provider"]} | actions[0]["configuration"],
        "projects": {
            one["name"]: {
                "buildspec": one["source"]["buildspec"],
                "variables": {own["name"]: own["value"] for own in one["environment"]["environmentVariables"]},
                "rights": sids(one["serviceRole"]),
            }
            for one in projects
        },
        "rights": sids(pipeline["roleArn"]),
    },
    sys.stdout,
)
