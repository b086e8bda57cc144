"""moto with what it lacks of AWS for a cluster that rolls: `agents.py PORT`, run by moto's own Python.

- Stacks that are made by change sets have outputs, exports and imports; an executed change set is gone.
- A group that is changed keeps the instances that fit: moto makes another group.
- Lifecycle hooks can be in a template, and are there while their condition holds. An instance of a group that has one waits with its end until
  the hook is completed.
- Spot Fleets of launch templates can be in a template, keep to their target by weights of 1, and their requests have a status.
- Instances of a group of mixed types are of its first type: moto's are of none.
- ECS's agent: each instance that runs is registered with the cluster, and with the attributes, that its user data says; one that is
  terminated is registered no more. moto starts no agents.
- RunTask holds to `attribute:NAME == VALUE`; tasks run until they are stopped.
- ECS's service scheduler: a service's tasks are placed where they fit, one is started elsewhere before one that drains is stopped. A service has a
  strategy of capacity providers, by itself the cluster's of the day that it was made, and its tasks are on instances of the first of these.
- Versions whose name begins with `mute` never register; on those that begin with `sick` tasks stop at once.
- Capacity providers, and which of them a cluster has, can be in a template. A cluster takes none that is not there, and one that a cluster has
  is not deleted, nor taken from the cluster while a service names it. Nothing scales their groups.
- Pipelines, build projects and secrets can be in a template: what CloudFormation is told of them their services are.
- Signatures are not checked: moto hashes a body that it has written anew, in which a space is no `%20`. Rights are.
- us-east-2 has a Local Zone with a subnet in the default VPC, eu-north-1 has no default VPC.
"""

import json
import re
import sys
import threading
import time

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, TerminateInstanceActivity
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudformation import parsing
from moto.cloudformation.models import CloudFormationBackend
from moto.codebuild.models import codebuild_backends
from moto.codepipeline.models import codepipeline_backends
from moto.core.responses import EmptyResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.availability_zones_and_regions import RegionsAndZonesBackend, Zone
from moto.ec2.models.spot_requests import SpotFleetRequest, SpotInstanceRequest, SpotRequestBackend
from moto.ecs.models import EC2ContainerServiceBackend, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.iam.access_control import IAMRequestBase
from moto.moto_api import state_manager
from moto.secretsmanager.models import secretsmanager_backends
from moto.server import main

# Tasks run until they are stopped.
state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1_000_000})

IAMRequestBase.check_signature = lambda self: None

execute = CloudFormationBackend.execute_change_set


def executed(self, change_set_name, stack_name=None):
    sets = self.change_sets
    own = sets.get(change_set_name) or next(one for one in sets.values() if one.change_set_name == change_set_name)
    stack = own.stack
    stack.cross_stack_resources = self.exports
    stack.resource_map.cross_stack_resources = self.exports
    execute(self, own.change_set_id, stack_name)
    stack.parameters = own.parameters
    stack.template = own.template
    stack._parse_template()
    stack.output_map = stack._create_output_map()
    stack.output_map._resource_map = stack.resource_map
    for export in stack.exports:
        self.exports[export.name] = export
    sets.pop(own.change_set_id, None)
    hooked(stack)


CloudFormationBackend.execute_change_set = executed


def hooked(stack):
    for own in stack.template_dict["Resources"].values():
        if own["Type"] == "AWS::AutoScaling::LifecycleHook":
            told = own["Properties"]
            group = stack.resource_map[told["AutoScalingGroupName"]["Ref"]]
            name = told["LifecycleHookName"]
            if stack.resource_map.lazy_condition_map[own["Condition"]]:
                timeout = told["HeartbeatTimeout"]
                group.autoscaling_backend.create_lifecycle_hook(name, group.name, told["LifecycleTransition"], timeout, "CONTINUE")
            else:
                group.autoscaling_backend.delete_lifecycle_hook(group.name, name)


end = AutoScalingBackend.terminate_instance


def hold(self, instance_id, should_decrement):
    every = [(group, one) for group in self.autoscaling_groups.values() for one in group.instance_states]
    group, one = next(((group, one) for group, one in every if one.instance.id == instance_id), (None, None))
    if not group or not self.describe_lifecycle_hooks(group.name):
        return end(self, instance_id, should_decrement)
    size = group.desired_capacity
    one.lifecycle_state = "Terminating:Wait"
    group.set_desired_capacity(size - 1 if should_decrement else size)
    return TerminateInstanceActivity(one.instance, size)


def complete(self):
    backend, instance = self.autoscaling_backend, self._get_param("InstanceId")
    group = backend.autoscaling_groups[self._get_param("AutoScalingGroupName")]
    held = [one for one in group.instance_states if one.instance.id == instance and one.lifecycle_state == "Terminating:Wait"]
    hooks = backend.describe_lifecycle_hooks(group.name, [self._get_param("LifecycleHookName")])
    if not held or not hooks or self._get_param("LifecycleActionResult") != "CONTINUE":
        raise ValidationError(f"No active Lifecycle Action found with instance ID {instance}")
    group.instance_states.remove(held[0])
    backend.ec2_backend.terminate_instances([instance])
    return EmptyResult()


AutoScalingBackend.terminate_instance = hold
AutoScalingResponse.complete_lifecycle_action = complete


def resized(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
    properties = cloudformation_json["Properties"]
    group = original_resource
    group.min_size, group.max_size = int(properties["MinSize"]), int(properties["MaxSize"])
    group.set_desired_capacity(min(max(len(group.active_instances()), group.min_size), group.max_size))
    tags = properties.get("Tags", [])
    named = {tag["Key"] for tag in tags}
    group.tags = tags + [tag for tag in group.tags if tag["Key"] not in named]
    return group


FakeAutoScalingGroup.update_from_cloudformation_json = classmethod(resized)

def requested(cls, resource_name, cloudformation_json, account_id, region_name, **_):
    asked = cloudformation_json["Properties"]["SpotFleetRequestConfigData"]
    return ec2_backends[account_id][region_name].request_spot_fleet(
        None, asked["TargetCapacity"], asked["IamFleetRole"], asked["AllocationStrategy"], [], asked["LaunchTemplateConfigs"]
    )


def retargeted(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
    asked = cloudformation_json["Properties"]["SpotFleetRequestConfigData"]
    original_resource.target_capacity = int(asked["TargetCapacity"])
    return original_resource


def cancelled(cls, resource_name, _, account_id, region_name):
    ec2 = ec2_backends[account_id][region_name]
    request = ec2.spot_fleet_requests.pop(resource_name)
    ec2.terminate_instances([one.instance.id for one in request.spot_requests])


SpotFleetRequest.create_from_cloudformation_json = classmethod(requested)
SpotFleetRequest.update_from_cloudformation_json = classmethod(retargeted)
SpotFleetRequest.delete_from_cloudformation_json = classmethod(cancelled)
asked_for = SpotFleetRequest.create_spot_requests
SpotFleetRequest.create_spot_requests = lambda self, weight: asked_for(self, weight) if weight > 0 else None
told_of = SpotInstanceRequest.get_filter_value
status = lambda self, name, method=None: self.status["Code"] if name == "status-code" else told_of(self, name, method)
SpotInstanceRequest.get_filter_value = status


def retarget(self, spot_fleet_request_id, target_capacity, _):
    # Whoever maintains it launches: two would launch twice.
    self.spot_fleet_requests[spot_fleet_request_id].target_capacity = target_capacity


SpotRequestBackend.modify_spot_fleet_request = retarget


def maintained(request):
    """Instances that are gone count no longer, and others come for them."""
    request.spot_requests = [one for one in request.spot_requests if one.instance.state == "running"]
    request.fulfilled_capacity = float(len(request.spot_requests))
    request.create_spot_requests(request.target_capacity - request.fulfilled_capacity)


typed = FakeAutoScalingGroup.instance_type.fget


def mixed(self):
    overrides = (self.mixed_instances_policy or {}).get("LaunchTemplate", {}).get("Overrides", [])
    return typed(self) or next((one["InstanceType"] for one in overrides), "")


FakeAutoScalingGroup.instance_type = property(mixed)
told = EC2ContainerServiceResponse.run_task
pinned = threading.local()


def run_task(self):
    constraints = self._get_param("placementConstraints") or []
    parts = [part for one in constraints for part in one["expression"].split(" and ")]
    pinned.to = [re.fullmatch(r"attribute:(\S+) == (\S+)", part).groups() for part in parts]
    return told(self)


EC2ContainerServiceResponse.run_task = run_task
placed = EC2ContainerServiceBackend.run_task


def place(self, cluster_str, *args, **kwargs):
    name = self._get_cluster(cluster_str).name
    every = self.container_instances.get(name, {})
    fits = lambda one: all(one.attributes.get(key) == value for key, value in pinned.to)
    self.container_instances[name] = {key: one for key, one in every.items() if fits(one) and one.status == "ACTIVE"}
    try:
        if not self.container_instances[name]:
            return []
        tasks = placed(self, cluster_str, *args, **kwargs)
    finally:
        self.container_instances[name] = every
    sick = any(value.startswith("sick") for _, value in pinned.to)
    for task in tasks if sick else []:
        self.stop_task(cluster_str, task.task_arn, "Essential container in task exited")
    return tasks


EC2ContainerServiceBackend.run_task = place
created = EC2ContainerServiceResponse.create_service


def create_service(self):
    told = created(self)
    cluster = self.ecs_backend._get_cluster(self._get_param("cluster", "default"))
    service = self.ecs_backend.services[f"{cluster.name}:{self._get_param('serviceName')}"]
    usual = [] if self._get_param("launchType") else cluster.default_capacity_provider_strategy or []
    service.capacity_provider_strategy = self._get_param("capacityProviderStrategy") or usual
    return told


EC2ContainerServiceResponse.create_service = create_service


def provider_of(cluster, instance):
    return f"landfall-{cluster}_{instance.attributes.get('landfall.fleet')}_{instance.attributes.get('landfall.version')}"


def named_by(service):
    strategy = getattr(service, "capacity_provider_strategy", None) or []
    return [one["capacityProvider"] for one in strategy if service.status == "ACTIVE"]


def agents(account="123456789012", region="us-west-2"):
    while True:
        ecs, ec2 = ecs_backends[account][region], ec2_backends[account][region]
        for request in list(ec2.spot_fleet_requests.values()):
            maintained(request)
        instances = [one for reservation in list(ec2.reservations.values()) for one in reservation.instances]
        known = {one.ec2_instance_id for every in ecs.container_instances.values() for one in every.values()}
        for one in instances:
            data = one.user_data.decode() if one.user_data else ""
            cluster = re.search(r"^ECS_CLUSTER=(\S+)$", data, re.M)
            attributes = re.search(r"^ECS_INSTANCE_ATTRIBUTES=(\{.*\})$", data, re.M)
            if one.state == "running" and one.id not in known and cluster and attributes:
                attributes = json.loads(attributes[1])
                if attributes["landfall.version"].startswith("mute"):
                    continue
                made = ecs.register_container_instance(cluster[1], one.id)
                made.attributes.update(attributes)
        for every in list(ecs.container_instances.values()):
            gone = {one.id for one in instances if one.state == "terminated"}
            for key, one in list(every.items()):
                if one.ec2_instance_id in gone:
                    every.pop(key)
        time.sleep(0.05)


def scheduler(account="123456789012", region="us-west-2"):
    pinned.to = []
    while True:
        ecs = ecs_backends[account][region]
        for service in list(ecs.services.values()):
            cluster, group = service.cluster_name, f"service:{service.name}"
            every = list(ecs.container_instances.get(cluster, {}).values())
            names = named_by(service)
            own_place = lambda one: not names or provider_of(cluster, one) == names[0]
            draining = {one.container_instance_arn for one in every if one.status == "DRAINING" or not own_place(one)}
            there = {one.container_instance_arn for one in every}
            own = [one for one in ecs.tasks.get(cluster, {}).values() if one.group == group and one.last_status != "STOPPED"]
            for one in [one for one in own if one.container_instance_arn not in there]:
                one.last_status = one.desired_status = "STOPPED"
                own.remove(one)
            if service.status != "ACTIVE":
                service.desired_count = 0
            deployment = service.deployments[0]
            stay = [one for one in own if one.container_instance_arn not in draining]
            free = [one for one in every if one.status == "ACTIVE" and own_place(one)]
            fits = bool(free)
            pinned.to = [(key, free[0].attributes[key]) for key in ("landfall.fleet", "landfall.version")] if names and fits else []
            for _ in range(max(service.desired_count - len(stay), 0) if fits else 0):
                placed = ecs.run_task(cluster, service.task_definition, 1, None, deployment["id"], None, "EC2", group=group)
                stay += placed
                own += placed
            leaving = [one for one in own if one.container_instance_arn in draining]
            surplus = stay[service.desired_count:] + leaving[:max(len(own) - service.desired_count, 0)]
            for one in surplus:
                ecs.stop_task(cluster, one.task_arn, "(service scheduler)")
                own.remove(one)
            service.running_count = deployment["runningCount"] = len(own)
            service.pending_count = deployment["pendingCount"] = 0
            deployment["desiredCount"] = service.desired_count
            moved = len(stay) >= service.desired_count and len(own) <= service.desired_count
            deployment["rolloutState"] = "COMPLETED" if moved else "IN_PROGRESS"
            # Those of before have a deployment for as long as they run.
            on = {one.container_instance_arn for one in own}
            left = {provider_of(cluster, one) for one in every if names and one.container_instance_arn in on and not own_place(one)}
            strategy = [{"capacityProvider": name, "base": 0, "weight": 1} for name in sorted(left)]
            before = dict(deployment, id="ecs-svc/0", status="ACTIVE", desiredCount=0, capacityProviderStrategy=strategy)
            service.deployments = [deployment, before] if left else [deployment]
        time.sleep(0.05)


class Made:
    """A type of which moto has the service, and no template may hold one."""

    is_created = lambda self: True

    def __init__(self, name, **attributes):
        self.name = self.physical_resource_id = name
        self.attributes = attributes

    @classmethod
    def has_cfn_attr(cls, attr):
        return True

    def get_cfn_attribute(self, name):
        return self.attributes[name]

    @classmethod
    def delete_from_cloudformation_json(cls, name, _, account_id, region_name):
        cls.all_of(account_id, region_name).pop(name, None)

    @classmethod
    def create_from_cloudformation_json(cls, resource_name, cloudformation_json, account_id, region_name, **_):
        return cls.made(resource_name, camel(cloudformation_json["Properties"]), account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        cls.delete_from_cloudformation_json(original_resource.name, None, account_id, region_name)
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)


def camel(value):
    """As the services' own APIs have it; the configuration of an action is the same in both."""
    if isinstance(value, dict):
        own = {key[0].lower() + key[1:]: inner if key == "Configuration" else camel(inner) for key, inner in value.items()}
        return own | ({"buildspec": own["buildSpec"]} if "buildSpec" in own else {})
    return [camel(one) for one in value] if isinstance(value, list) else value


class Project(Made):
    @classmethod
    def made(cls, _, own, account, region):
        made = codebuild_backends[account][region].create_project(
            own["name"], own["description"], own["source"], own["artifacts"], own["environment"], own["serviceRole"], own["tags"],
            timeout=own["timeoutInMinutes"], logs_config=own["logsConfig"],
            **dict.fromkeys(["cache", "queued_timeout", "source_version", "vpc_config"]),
        )
        return cls(own["name"], Arn=made["arn"])

    @staticmethod
    def all_of(account, region):
        return codebuild_backends[account][region].codebuild_projects


class Pipeline(Made):
    @classmethod
    def made(cls, _, own, account, region):
        codepipeline_backends[account][region].create_pipeline(own, own.pop("tags"))
        return cls(own["name"], Version="1")

    @staticmethod
    def all_of(account, region):
        return codepipeline_backends[account][region].pipelines


class Secret(Made):
    @classmethod
    def made(cls, name, own, account, region):
        value = "x" * int(own["generateSecretString"]["passwordLength"])
        made = secretsmanager_backends[account][region].create_secret(
            name, value, replica_regions=[], force_overwrite=False,
            **dict.fromkeys(["secret_binary", "description", "tags", "kms_key_id", "client_request_token"]),
        )
        return cls(json.loads(made)["ARN"])

    @staticmethod
    def delete_from_cloudformation_json(name, _, account, region):
        secretsmanager_backends[account][region].delete_secret(name, None, True)


class Provider(Made):
    @classmethod
    def made(cls, _, own, account, region):
        ecs_backends[account][region].create_capacity_provider(own["name"], own["autoScalingGroupProvider"], own.get("tags", []))
        return cls(own["name"])

    @staticmethod
    def delete_from_cloudformation_json(name, _, account, region):
        ecs = ecs_backends[account][region]
        if any(name in (cluster.capacity_providers or []) for cluster in ecs.clusters.values()):
            raise RuntimeError(f"The specified capacity provider is in use and cannot be removed: {name}")
        ecs.delete_capacity_provider(name)


class Providers(Made):
    @classmethod
    def made(cls, _, own, account, region):
        ecs = ecs_backends[account][region]
        kept_by(own["cluster"], own["capacityProviders"], ecs)
        missing = [name for name in own["capacityProviders"] if name not in ecs.capacity_providers]
        if missing:
            raise RuntimeError(f"The specified capacity providers were not found: {missing}")
        ecs.put_cluster_capacity_providers(own["cluster"], own["capacityProviders"], own["defaultCapacityProviderStrategy"])
        return cls(own["cluster"])

    @staticmethod
    def delete_from_cloudformation_json(name, _, account, region):
        kept_by(name, [], ecs_backends[account][region])
        ecs_backends[account][region].put_cluster_capacity_providers(name, [], [])

    @classmethod
    def update_from_cloudformation_json(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        return cls.made(new_resource_name, camel(cloudformation_json["Properties"]), account_id, region_name)


def kept_by(cluster, providers, ecs):
    used = {name for service in ecs.services.values() if service.cluster_name == cluster for name in named_by(service)}
    left = used & set(ecs._get_cluster(cluster).capacity_providers or []) - set(providers)
    if left:
        raise RuntimeError(f"The specified capacity provider is in use and cannot be removed: {sorted(left)}")


lacking = {
    "CodeBuild::Project": Project,
    "CodePipeline::Pipeline": Pipeline,
    "ECS::CapacityProvider": Provider,
    "ECS::ClusterCapacityProviderAssociations": Providers,
    "SecretsManager::Secret": Secret,
}
for kind, model in lacking.items():
    parsing.get_model_map()[f"AWS::{kind}"] = model
    parsing.get_name_type_map()[f"AWS::{kind}"] = "Cluster" if model is Providers else "Name"


def networks(account="123456789012"):
    local = Zone("us-east-2-xyz-1a", "us-east-2", "use2-xyz1-az1", "local-zone")
    RegionsAndZonesBackend.zones["us-east-2"].append(local)
    east, north = ec2_backends[account]["us-east-2"], ec2_backends[account]["eu-north-1"]
    east.create_subnet(next(iter(east.vpcs)), "172.31.240.0/24", availability_zone=local.name)
    for subnet in north.describe_subnets():
        north.delete_subnet(subnet.id)
    north.delete_vpc(next(iter(north.vpcs)))


networks()
threading.Thread(target=agents, daemon=True).start()
threading.Thread(target=scheduler, daemon=True).start()
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
