"""Images and instances as EC2 has them, for tests: `images.py state`, `images.py untag IMAGE KEY`."""

import json
import sys

import boto3

ec2 = boto3.client("ec2")
match sys.argv[1:]:
    case ["state"]:
        images = ec2.describe_images(Owners=["self"])["Images"]
        reservations = ec2.describe_instances()["Reservations"]
        tags = lambda one: {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])}
        instances = [one for reservation in reservations for one in reservation["Instances"]]
        print(
            json.dumps(
                {
                    "images": [
                        {"id": one["ImageId"], "name": one["Name"], "state": one["State"], "tags": tags(one)} for one in images
                    ],
                    "instances": [
                        {
                            "id": one["InstanceId"],
                            "state": one["State"]["Name"],
                            "type": one["InstanceType"],
                            "image": one["ImageId"],
                            "zone": one["Placement"]["AvailabilityZone"],
                            "tokens": one.get("MetadataOptions", {}).get("HttpTokens"),
                            "tags": tags(one),
                        }
                        for one in instances
                    ],
                }
            )
        )
    case ["untag", image, key]:
        ec2.delete_tags(Resources=[image], Tags=[{"Key": key}])
    case _:
        sys.exit(__doc__)
