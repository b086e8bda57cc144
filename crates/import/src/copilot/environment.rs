//! Environments: `environments/NAME/manifest.yml` → a target and a lasting environment.

use super::{Opened, Whole};
use crate::write::{Lines, slug};
use landfall_manifest::yaml::Map;

pub(super) fn name(one: &Opened, map: &Map<'_>) -> String {
    map.text("name").unwrap_or_else(|| one.path.split('/').nth(1).unwrap_or_default().to_owned())
}

pub(super) fn legal(name: &str) -> String {
    slug(name).unwrap_or_else(|| "test".to_owned())
}

/// Those with a manifest, else those that services mention, else one.
pub(super) fn names(manifests: &[&(&Opened, Map<'_>)], all: &[(&Opened, Map<'_>)]) -> Vec<String> {
    let mut names: Vec<String> = manifests.iter().map(|(one, map)| name(one, map)).collect();
    if names.is_empty() {
        let mentioned = all.iter().filter(|(one, _)| one.path.split('/').count() == 2);
        names = mentioned.flat_map(|(_, map)| map.at.get("environments").keys()).map(str::to_owned).collect();
    }
    if names.is_empty() {
        names.push("test".to_owned());
    }
    names.sort_unstable();
    names.dedup_by_key(|name| legal(name));
    names
}

pub(super) fn target(name: &str, map: Option<&Map<'_>>, balanced: bool, whole: &mut Whole<'_>, out: &mut Lines) {
    let guess = format!("{}-{name}", whole.app);
    let about = |key: &str| format!("aws.{}.{key}", legal(name));
    out.line(1, format!("{}:", legal(name)));
    out.text(2, "cluster", &guess);
    whole.changes.pending(
        about("cluster"),
        format!("Copilot's is called `{guess}-Cluster-…`: `aws ecs list-clusters` shows it"),
    );
    let mut subnets = Vec::new();
    let mut certificate = None;
    if let Some(map) = map {
        let vpc = map.map("network").map("vpc");
        out.maybe(2, "vpc", vpc.text("id").as_deref());
        let public: Vec<_> = vpc.map("subnets").items("public").iter().filter_map(|subnet| subnet.text("id")).collect();
        let private: Vec<_> =
            vpc.map("subnets").items("private").iter().filter_map(|subnet| subnet.text("id")).collect();
        subnets = if public.is_empty() { private } else { public };
        certificate = map.map("http").map("public").texts("certificates").into_iter().next();
        map.text("type");
        for (key, reason) in
            [("cdn", "CloudFront is not made by Landfall"), ("observability", "settings of the cluster")]
        {
            if map.has(key) {
                whole.changes.dropped(format!("environments/{name}: {key}"), reason);
            }
        }
        if vpc.has("cidr") {
            whole.changes.dropped(
                format!("environments/{name}: network.vpc.cidr"),
                "a VPC is not made by Landfall: name the one that Copilot made",
            );
        }
        whole.rest(&format!("environments/{name}"), map, &[]);
    }
    if balanced {
        let mut short: String = guess.chars().take(32).collect();
        short = short.trim_end_matches('-').to_owned();
        out.text(2, "load_balancer", &short);
        let text = "the load balancer that Copilot made: `aws elbv2 describe-load-balancers` shows its name";
        whole.changes.pending(about("load_balancer"), text);
    }
    out.line(2, "network:");
    if subnets.is_empty() {
        subnets.push("subnet-replaceme".to_owned());
        whole.changes.pending(
            about("network.subnets"),
            "the subnets of Copilot's VPC, the public ones unless services say `placement: private`",
        );
    }
    out.list(3, "subnets", &subnets);
    out.line(3, "public_ip: true");
    whole.changes.pending(
        about("network.security_groups"),
        format!("Copilot's is called `{guess}-EnvironmentSecurityGroup-…`: without it tasks get the VPC's own"),
    );
    out.text(2, "execution_role", "ecsTaskExecutionRole");
    whole.changes.pending(
        about("execution_role"),
        "Copilot has one for each service; one is needed here that may pull from ECR, read the secrets and write logs",
    );
    out.text(2, "log_group", &format!("/copilot/{guess}"));
    whole.changes.differs(
        about("log_group"),
        format!("one group for all services, where Copilot had `/copilot/{guess}-SERVICE` for each"),
    );
    out.maybe(2, "certificate", certificate.as_deref());
}
