"""What the cluster `web` has published of itself, in all: of each metric how often, and its greatest value. JSON on standard output."""

import datetime
import json

import boto3

cloudwatch = boto3.client("cloudwatch")
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)


def published(name):
    points = cloudwatch.get_metric_statistics(
        Namespace="AWS/ECS",
        MetricName=name,
        Dimensions=[dict(Name="ClusterName", Value="web")],
        StartTime=now - day,
        EndTime=now + day,
        Period=60,
        Statistics=["SampleCount", "Maximum"],
    )["Datapoints"]
    return [sum(point["SampleCount"] for point in points), max((point["Maximum"] for point in points), default=None)]


print(json.dumps({name: published(name) for name in ("Schedulable Cluster Tasks", "Scheduled Percentage")}))
