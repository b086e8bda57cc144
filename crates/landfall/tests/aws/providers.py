"""The capacity providers of the cluster `web`, those that tasks go to by default, and all that there are of some versions, with the version of the
group that each scales: `providers.py VERSION …`, JSON on standard output.
"""

import json
import sys

import boto3

ecs, scaling = boto3.client("ecs"), boto3.client("autoscaling")
clusters = ecs.describe_clusters(clusters=["web"])["clusters"]
cluster = clusters[0] if clusters and clusters[0]["status"] == "ACTIVE" else {}
groups = {
    group["AutoScalingGroupName"]: next(tag["Value"] for tag in group["Tags"] if tag["Key"] == "landfall:version")
    for group in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
}
# moto lists none that it is not asked for.
names = [f"landfall-web_{fleet}_{version}" for fleet in ("main", "reserved") for version in sys.argv[1:]]
scales = lambda one: groups[one["autoScalingGroupProvider"]["autoScalingGroupArn"].rsplit("/", 1)[-1]]
print(
    json.dumps(
        {
            "cluster": cluster.get("capacityProviders", []),
            "default": [one["capacityProvider"] for one in cluster.get("defaultCapacityProviderStrategy", [])],
            "services": {
                one["serviceName"]: [share["capacityProvider"] for share in one.get("capacityProviderStrategy", [])]
                for one in (ecs.describe_services(cluster="web", services=["app"])["services"] if cluster else [])
                if one["status"] == "ACTIVE"
            },
            "scale": {one["name"]: scales(one) for one in ecs.describe_capacity_providers(capacityProviders=names)["capacityProviders"]},
        }
    )
)
