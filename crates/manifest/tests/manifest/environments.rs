//! Lasting environments: every rule of `check/environments.rs`, as a person sees it broken.

use landfall_model::step::RouteTarget;

use crate::{codes_of, loaded, rendered};

macro_rules! snapshot {
    ($($name:ident: $text:expr;)*) => {
        $(#[test] fn $name() { insta::assert_snapshot!(rendered($text)); })*
    };
}

snapshot! {
    services_names_and_counts: "\
project: shop
services:
  web: {cpu: 256, memory: 512, load_balancer: {}, containers: {app: {image: nginx, ports: [80]}}}
  worker: {cpu: 256, memory: 512, containers: {app: {image: busybox}}}
  idle: {cpu: 256, memory: 512, containers: {app: {image: busybox}}}
environments:
  Prod_1: {services: [web]}
  empty: {services: []}
  typo: {services: [wep, web, web]}
  dev:
    services: [web, worker]
    variables: {1X: a, LANDFALL_URL: b, OK: c}
    names: {web: old web, worker: '', idle: x, wrker: y}
    desired_count: {web: 5001, worker: -1, idle: 2}
  twice: {services: [web, worker], names: {web: shop, worker: shop}}
";
    routing_and_target_groups_here: "\
project: shop
services:
  web: {cpu: 256, memory: 512, load_balancer: {}, containers: {app: {image: nginx, ports: [80]}}}
environments:
  host: {routing: {host: {name: 'http://www.example.com/'}}}
  port: {routing: {port: 80}}
  both: {routing: {host: {name: www.example.com}, port: 8080}}
  none: {routing: {}}
  nameless: {routing: {host: {port: 8080}}}
  groups: {target_groups: {web: 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef'}}
";
    routing_and_target_groups_on_aws: "\
project: shop
aws:
  main:
    cluster: main
    load_balancer: front
    execution_role: exec
    network: {subnets: [subnet-0123456789abcdef0]}
services:
  web: {cpu: 256, memory: 512, load_balancer: {}, containers: {app: {image: nginx, ports: [80]}}}
  worker: {cpu: 256, memory: 512, containers: {app: {image: busybox}}}
environments:
  unreached: {on: main}
  nowhere: {on: mian, routing: {host: {name: www.example.com}}}
  group: {on: main, target_groups: {web: my-group, worker: 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/w/0123456789abcdef'}}
  attached:
    on: main
    services: [web]
    target_groups: {web: 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/web/0123456789abcdef'}
    routing: {port: 8080}
";
}

const SHOP: &str = "project: shop\nservices:\n  web: {cpu: 256, memory: 512, load_balancer: {}, \
                    containers: {app: {image: nginx, ports: [80]}}}\n";

#[test]
fn every_default_of_an_environment() {
    let app = loaded(&format!("{SHOP}environments: {{staging: {{}}}}\n")).app;
    let staging = &app.environments["staging"];
    assert_eq!((staging.on.as_deref(), staging.services.as_slice()), (None, &["web".to_owned()][..]));
    let host = RouteTarget::Host { host: "staging.shop.localhost".to_owned(), port: 8080 };
    assert_eq!(staging.routing, Some(host));
    assert!(staging.names.is_empty() && staging.target_groups.is_empty() && staging.desired_count.is_empty());
    assert!(codes_of(&format!("{SHOP}environments: {{staging: {{desired_count: {{web: 0}}}}}}\n")).is_empty());
}
