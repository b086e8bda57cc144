"""The application in troposphere: SERVICES times two containers on Fargate behind a load balancer, scaled by CPU and by the hour."""

import os

from troposphere import GetAZs, GetAtt, Ref, Select, Sub, Template
from troposphere import applicationautoscaling as scaling
from troposphere import ec2, ecs, iam, logs
from troposphere import elasticloadbalancingv2 as elb

t = Template()
vpc = t.add_resource(ec2.VPC("Vpc", CidrBlock="10.0.0.0/16", EnableDnsSupport=True, EnableDnsHostnames=True))
gateway = t.add_resource(ec2.InternetGateway("InternetGateway"))
attached = t.add_resource(ec2.VPCGatewayAttachment("Attachment", VpcId=Ref(vpc), InternetGatewayId=Ref(gateway)))
table = t.add_resource(ec2.RouteTable("PublicRouteTable", VpcId=Ref(vpc)))
t.add_resource(ec2.Route("PublicRoute", RouteTableId=Ref(table), DestinationCidrBlock="0.0.0.0/0", GatewayId=Ref(gateway), DependsOn=attached))
public, private = [], []
for zone in (0, 1):
    def subnet(kind, own, block):
        one = t.add_resource(ec2.Subnet(f"{kind}Subnet{zone + 1}", VpcId=Ref(vpc), AvailabilityZone=Select(zone, GetAZs("")), CidrBlock=block))
        t.add_resource(ec2.SubnetRouteTableAssociation(f"{kind}Association{zone + 1}", SubnetId=Ref(one), RouteTableId=Ref(own)))
        return one

    public.append(subnet("Public", table, f"10.0.{zone * 64}.0/18"))
    address = t.add_resource(ec2.EIP(f"Address{zone + 1}", Domain="vpc", DependsOn=attached))
    nat = t.add_resource(ec2.NatGateway(f"NatGateway{zone + 1}", AllocationId=GetAtt(address, "AllocationId"), SubnetId=Ref(public[zone])))
    own = t.add_resource(ec2.RouteTable(f"PrivateRouteTable{zone + 1}", VpcId=Ref(vpc)))
    t.add_resource(ec2.Route(f"PrivateRoute{zone + 1}", RouteTableId=Ref(own), DestinationCidrBlock="0.0.0.0/0", NatGatewayId=Ref(nat)))
    private.append(subnet("Private", own, f"10.0.{128 + zone * 64}.0/18"))
cluster = t.add_resource(ecs.Cluster("Cluster"))
world = ec2.SecurityGroupRule(IpProtocol="tcp", FromPort=80, ToPort=80, CidrIp="0.0.0.0/0")
group = t.add_resource(ec2.SecurityGroup("LoadBalancerGroup", GroupDescription="load balancer", VpcId=Ref(vpc), SecurityGroupIngress=[world]))
balancer = t.add_resource(elb.LoadBalancer("LoadBalancer", Subnets=[Ref(one) for one in public], SecurityGroups=[Ref(group)]))
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
listener = None
for number in range(1, int(os.environ["SERVICES"]) + 1):
    name = f"Web{number}"
    log = t.add_resource(logs.LogGroup(f"{name}Logs", RetentionInDays=30))
    write = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": GetAtt(log, "Arn")}
    policy = iam.Policy(PolicyName="rights", PolicyDocument={"Version": "2012-10-17", "Statement": [write]})
    role = t.add_resource(iam.Role(f"{name}Role", AssumeRolePolicyDocument=trust, Policies=[policy]))
    options = {"awslogs-group": Ref(log), "awslogs-region": Ref("AWS::Region"), "awslogs-stream-prefix": name}
    containers = [
        ecs.ContainerDefinition(
            Name=one,
            Image=f"docker.io/penguin/{one}:1",
            PortMappings=[ecs.PortMapping(ContainerPort=port)],
            LogConfiguration=ecs.LogConfiguration(LogDriver="awslogs", Options=options),
        )
        for one, port in (("app", 3000), ("nginx", 80))
    ]
    definition = t.add_resource(
        ecs.TaskDefinition(
            f"{name}Task", Family=name, Cpu="256", Memory="512", NetworkMode="awsvpc", RequiresCompatibilities=["FARGATE"],
            ExecutionRoleArn=GetAtt(role, "Arn"), ContainerDefinitions=containers,
        )
    )
    targets = t.add_resource(elb.TargetGroup(f"{name}Targets", VpcId=Ref(vpc), Port=80, Protocol="HTTP", TargetType="ip"))
    forward = elb.Action(Type="forward", TargetGroupArn=Ref(targets))
    lead = elb.Listener("Listener", LoadBalancerArn=Ref(balancer), Port=80, Protocol="HTTP", DefaultActions=[forward])
    if listener:
        path = elb.Condition(Field="path-pattern", Values=[f"/web{number}/*"])
        action = elb.ListenerRuleAction(Type="forward", TargetGroupArn=Ref(targets))
        lead = elb.ListenerRule(f"{name}Rule", ListenerArn=Ref(listener), Priority=number * 10, Conditions=[path], Actions=[action])
    lead = t.add_resource(lead)
    listener = listener or lead
    ingress = ec2.SecurityGroupRule(IpProtocol="tcp", FromPort=80, ToPort=80, SourceSecurityGroupId=Ref(group))
    own = t.add_resource(ec2.SecurityGroup(f"{name}Group", GroupDescription=name, VpcId=Ref(vpc), SecurityGroupIngress=[ingress]))
    service = t.add_resource(
        ecs.Service(
            name, Cluster=Ref(cluster), TaskDefinition=Ref(definition), LaunchType="FARGATE", DependsOn=lead,
            DeploymentConfiguration=ecs.DeploymentConfiguration(
                MinimumHealthyPercent=100, MaximumPercent=200,
                DeploymentCircuitBreaker=ecs.DeploymentCircuitBreaker(Enable=True, Rollback=True),
            ),
            NetworkConfiguration=ecs.NetworkConfiguration(
                AwsvpcConfiguration=ecs.AwsvpcConfiguration(Subnets=[Ref(one) for one in private], SecurityGroups=[Ref(own)])
            ),
            LoadBalancers=[ecs.LoadBalancer(ContainerName="nginx", ContainerPort=80, TargetGroupArn=Ref(targets))],
        )
    )
    actions = [
        scaling.ScheduledAction(
            ScheduledActionName=which, Schedule=f"cron(0 {hours} * * ? *)", ScalableTargetAction=scaling.ScalableTargetAction(MinCapacity=least)
        )
        for which, hours, least in (("up", "0/2", 2), ("down", "1/2", 1))
    ]
    target = t.add_resource(
        scaling.ScalableTarget(
            f"{name}Scaling", MinCapacity=1, MaxCapacity=4, ServiceNamespace="ecs", ScalableDimension="ecs:service:DesiredCount",
            ResourceId=Sub(f"service/${{Cluster}}/${{{name}.Name}}"), RoleARN=Sub("arn:aws:iam::${AWS::AccountId}:role/scaling"),
            ScheduledActions=actions,
        )
    )
    cpu = scaling.PredefinedMetricSpecification(PredefinedMetricType="ECSServiceAverageCPUUtilization")
    t.add_resource(
        scaling.ScalingPolicy(
            f"{name}Cpu", PolicyName=name, PolicyType="TargetTrackingScaling", ScalingTargetId=Ref(target),
            TargetTrackingScalingPolicyConfiguration=scaling.TargetTrackingScalingPolicyConfiguration(
                PredefinedMetricSpecification=cpu, TargetValue=50, ScaleInCooldown=60, ScaleOutCooldown=60
            ),
        )
    )
print(t.to_json())
