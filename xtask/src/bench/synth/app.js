// The application for `cdk synth`: SERVICES times two containers on Fargate behind a load balancer, scaled by CPU and by the hour.
const cdk = require('aws-cdk-lib');
const ec2 = require('aws-cdk-lib/aws-ec2');
const ecs = require('aws-cdk-lib/aws-ecs');
const elb = require('aws-cdk-lib/aws-elasticloadbalancingv2');
const { Schedule } = require('aws-cdk-lib/aws-applicationautoscaling');

const services = Number(process.env.SERVICES);
const app = new cdk.App({ analyticsReporting: false });
const stack = new cdk.Stack(app, 'Penguin');
const vpc = new ec2.Vpc(stack, 'Vpc', { maxAzs: 2 });
const cluster = new ecs.Cluster(stack, 'Cluster', { vpc });
const balancer = new elb.ApplicationLoadBalancer(stack, 'LoadBalancer', { vpc, internetFacing: true });
const listener = balancer.addListener('Listener', { port: 80 });
for (let number = 1; number <= services; number++) {
  const definition = new ecs.FargateTaskDefinition(stack, `Web${number}Task`, { cpu: 256, memoryLimitMiB: 512 });
  for (const [name, port] of [['nginx', 80], ['app', 3000]]) {
    definition.addContainer(name, {
      image: ecs.ContainerImage.fromRegistry(`docker.io/penguin/${name}:1`),
      portMappings: [{ containerPort: port }],
      logging: ecs.LogDrivers.awsLogs({ streamPrefix: name, logRetention: undefined }),
    });
  }
  const service = new ecs.FargateService(stack, `Web${number}`, {
    cluster, taskDefinition: definition, circuitBreaker: { rollback: true }, minHealthyPercent: 100,
  });
  listener.addTargets(`Web${number}Targets`, {
    port: 80,
    targets: [service],
    ...(number > 1 ? { priority: number * 10, conditions: [elb.ListenerCondition.pathPatterns([`/web${number}/*`])] } : {}),
  });
  const scaling = service.autoScaleTaskCount({ maxCapacity: 4 });
  const cooldown = cdk.Duration.seconds(60);
  scaling.scaleOnCpuUtilization('Cpu', { targetUtilizationPercent: 50, scaleInCooldown: cooldown, scaleOutCooldown: cooldown });
  scaling.scaleOnSchedule('Up', { schedule: Schedule.cron({ minute: '0', hour: '0/2' }), minCapacity: 2 });
  scaling.scaleOnSchedule('Down', { schedule: Schedule.cron({ minute: '0', hour: '1/2' }), minCapacity: 1 });
}
