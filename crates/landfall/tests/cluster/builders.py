"""moto with what it lacks of AWS where an image is made of an instance: `builders.py PORT`, run by moto's own Python.

- An instance with user data really runs it, with the machine's own paths in a directory and its commands as stubs; when it shuts down it
  is stopped, and its console is posted half a second later. Types of t2 have no newer console than that.
- A client token launches one instance, and none any more when that is gone.
- An image is pending for a second; its name is its own. A script that says `unmakeable` makes one that fails, of one that says `forbidden`
  nobody may make any.
- There is no capacity in us-west-2a, nobody may launch a c5.large, and eu-north-1 has no default VPC.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time

from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import AmiBackend
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse
from moto.server import main

STUBS = {
    "systemctl": "exit 0",
    "cloud-init": "exit 0",
    "shutdown": 'touch "$ROOT/halted"',
    "sleep": "exit 0",
}


def run(one):
    with tempfile.TemporaryDirectory(prefix="landfall-builder-") as root:
        runs(one, root)


def runs(one, root):
    os.makedirs(f"{root}/bin")
    for name in ["var/lib/ecs/data", "var/log/ecs", "etc"]:
        os.makedirs(f"{root}/{name}")
    for name, text in STUBS.items():
        with open(f"{root}/bin/{name}", "w") as stub:
            stub.write(f"#!/bin/sh\n{text}\n")
        os.chmod(f"{root}/bin/{name}", 0o755)
    text = one.user_data.decode()
    for path in ["/var/", "/etc/", "/dev/console"]:
        text = text.replace(path, root + path)
    # Every write to it adds to it, as to a console.
    text = text.replace(f">{root}/dev/console", f">>{root}/console")
    with open(f"{root}/user-data", "w") as script:
        script.write(text)
    environment = {"PATH": f"{root}/bin:{os.environ['PATH']}", "ROOT": root}
    subprocess.run(["bash", f"{root}/user-data"], env=environment, stdin=subprocess.DEVNULL, check=False)
    if os.path.exists(f"{root}/halted") and one.state == "running":
        one._state.name, one._state.code = "stopped", 80
        time.sleep(0.5)
        one.posted = console(root)


def console(root):
    with open(f"{root}/console") as text:
        return "[  0.0] Linux\r\n" + text.read().replace("\n", "\r\n") + "[ 99.0] reboot: Power down\r\n"


# A volume of the image has the image's size where nobody says another.
InstanceResponse._validate_block_device_mapping = staticmethod(lambda mapping: mapping["Ebs"].setdefault("VolumeSize", 30))
tokens = {}
launched = InstanceResponse.run_instances


def run_instances(self):
    token, subnet = self._get_param("ClientToken"), self._get_param("SubnetId")
    if self._get_param("InstanceType") == "c5.large":
        raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")
    if subnet and self.ec2_backend.get_subnet(subnet).availability_zone == "us-west-2a":
        raise EC2ClientError("InsufficientInstanceCapacity", "We currently do not have sufficient capacity in the Availability Zone you requested")
    if token in tokens:
        if tokens[token].instances[0].state == "terminated":
            raise EC2ClientError("IdempotentInstanceTerminated", "The instance of this token has been terminated")
        return ActionResult(tokens[token])
    # What nobody sees of an instance that is gone.
    volume, stops = self._get_param("BlockDeviceMappings", [])[0]["Ebs"], self._get_param("InstanceInitiatedShutdownBehavior")
    if not (volume["Encrypted"] and volume["DeleteOnTermination"] and stops == "stop"):
        raise EC2ClientError("InvalidParameterValue", f"{volume}, {stops}")
    answer = launched(self)
    tokens[token] = answer.result
    one = answer.result.instances[0]
    one.posted = ""
    threading.Thread(target=run, args=(one,), daemon=True).start()
    return answer


InstanceResponse.run_instances = run_instances


def get_console_output(self):
    one = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    latest = self._get_param("Latest")
    if latest and one.instance_type.startswith("t2."):
        raise EC2ClientError("UnsupportedOperation", "This instance type does not support retrieving the latest console logs")
    return ActionResult({"InstanceId": one.id, "Output": Base64EncodedString.from_raw_string(one.posted)})


General.get_console_output = get_console_output
made = AmiBackend.create_image


def create_image(self, instance_id, name, description, tag_specifications):
    if any(one.name == name for one in self.amis.values()):
        raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
    one = self.get_instance(instance_id)
    if one.state != "stopped":
        raise EC2ClientError("IncorrectInstanceState", f"{instance_id} is {one.state}")
    if "forbidden" in one.user_data.decode():
        raise EC2ClientError("UnauthorizedOperation", "You are not authorized to perform this operation.")
    assert {spec["ResourceType"] for spec in tag_specifications} == {"image", "snapshot"}
    image = made(self, instance_id, name, description, [spec for spec in tag_specifications if spec["ResourceType"] == "image"])
    image.state = "pending"

    def later():
        time.sleep(1)
        fails = "unmakeable" in one.user_data.decode()
        image.state = "failed" if fails else "available"
        image.state_reason = {"Code": "Client.InternalError", "Message": "the volume has no key"} if fails else None

    threading.Thread(target=later, daemon=True).start()
    return image


AmiBackend.create_image = create_image

north = ec2_backends["123456789012"]["eu-north-1"]
for subnet in north.describe_subnets():
    north.delete_subnet(subnet.id)
north.delete_vpc(next(iter(north.vpcs)))
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
