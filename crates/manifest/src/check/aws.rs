//! Places on AWS: every identifier in its form, and all of them in one region and account.

use super::arn::{self, Fault};
use super::{Checker, shown_at};
use crate::authored::{AwsTarget, Manifest};
use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::scalar::Text;
use crate::tree::{At, shorten};

impl Checker<'_, '_> {
    pub(super) fn targets(&mut self, manifest: &Manifest) {
        let at = self.root.get("aws");
        for (name, target) in &manifest.aws {
            self.name("target", name, 40, at.get(name));
            self.target(target, at.get(name));
        }
    }

    fn target(&mut self, target: &AwsTarget, at: At<'_>) {
        if let Some(region) = &target.region {
            let at = at.get("region");
            if let Err(Fault::Wrong(rule)) = arn::region(region) {
                let error = Diagnostic::error(codes::AWS_ID, format!("{} is no region", shown_at(at)))
                    .label(at.span(), rule)
                    .maybe_help(arn::region_meant(region));
                self.push(error);
            }
        }
        if let Some(url) = &target.endpoint {
            self.url(url, at.get("endpoint"));
        }
        if let Some(profile) = &target.profile
            && (profile.0.trim().is_empty() || profile.0.chars().any(char::is_control))
        {
            self.error(codes::BAD_VALUE, at.get("profile"), "`profile` names nothing", "empty");
        }
        self.identifier(target.account.as_ref(), at.get("account"), "account", arn::account);
        self.identifier(Some(&target.cluster), at.get("cluster"), "cluster", arn::cluster);
        self.identifier(target.load_balancer.as_ref(), at.get("load_balancer"), "load balancer", arn::load_balancer);
        self.identifier(target.address.as_ref(), at.get("address"), "address", arn::address);
        match target.probe_through.as_ref() {
            Some(url) if url.0.contains("://") => self.url(&url.0, at.get("probe_through")),
            address => self.identifier(address, at.get("probe_through"), "address with a port", arn::host_and_port),
        }
        self.identifier(target.vpc.as_ref(), at.get("vpc"), "VPC", |text| arn::id(text, "vpc"));
        self.identifier(target.execution_role.as_ref(), at.get("execution_role"), "role", arn::role);
        self.identifier(target.task_role.as_ref(), at.get("task_role"), "role", arn::role);
        self.identifier(target.log_group.as_ref(), at.get("log_group"), "log group", arn::log_group);
        self.identifier(target.certificate.as_ref(), at.get("certificate"), "certificate", arn::certificate);
        if let Some(role) = &target.role {
            let at = at.get("role");
            self.identifier(Some(&role.arn), at.get("arn"), "role's ARN", arn::role_arn);
            self.identifier(role.external_id.as_ref(), at.get("external_id"), "external id", arn::external_id);
        }
        if let Some(network) = &target.network {
            let at = at.get("network");
            for (key, prefix, what, ids, most) in [
                ("subnets", "subnet", "subnet", &network.subnets, 16),
                ("security_groups", "sg", "security group", &network.security_groups, 5),
            ] {
                let at = at.get(key);
                for (index, id) in ids.iter().enumerate() {
                    self.identifier(Some(id), at.item(index), what, |text| arn::id(text, prefix));
                    if ids[..index].contains(id) {
                        let message = format!("{} is listed twice", shown_at(at.item(index)));
                        self.error(codes::BAD_VALUE, at.item(index), message, "again here");
                    }
                }
                if ids.len() > most {
                    let message = format!("ECS takes at most {most} {what}s");
                    self.error(codes::OUT_OF_RANGE, at, message, format!("{} are given", ids.len()));
                }
            }
        }
        self.same_place(target, at);
    }

    /// ARNs name a region and an account; those of the target must be the same.
    fn same_place(&mut self, target: &AwsTarget, at: At<'_>) {
        let arns = [
            ("cluster", Some(&target.cluster)),
            ("load_balancer", target.load_balancer.as_ref()),
            ("certificate", target.certificate.as_ref()),
        ];
        for (key, text) in arns {
            let Some(found) = text.and_then(|text| arn::parse(&text.0)) else { continue };
            let given = [
                ("region", found.region, target.region.as_deref()),
                ("account", found.account, target.account.as_ref().map(|text| text.0.as_str())),
            ];
            for (part, here, wanted) in given {
                let Some(wanted) = wanted.filter(|wanted| !here.is_empty() && *wanted != here) else { continue };
                let sound = |text| if part == "region" { arn::region(text) } else { arn::account(text) }.is_ok();
                if sound(here) && sound(wanted) {
                    let message = format!("`{key}` is in another {part}");
                    let error = Diagnostic::error(codes::AWS_ID, message)
                        .label(at.get(key).span(), format!("in {}", shorten(here)))
                        .label(at.get(part).span(), format!("the target's is {}", shorten(wanted)));
                    self.push(error);
                }
            }
        }
    }

    pub(super) fn identifier(
        &mut self,
        value: Option<&Text>,
        at: At<'_>,
        what: &str,
        check: impl Fn(&str) -> Result<(), Fault>,
    ) {
        let Some(value) = value.filter(|_| at.is_given()) else { return };
        match check(&value.0) {
            Ok(()) => {}
            Err(Fault::Wrong(rule)) => {
                let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
                self.error(codes::AWS_ID, at, format!("{} cannot be {article} {what}", shown_at(at)), rule);
            }
            Err(Fault::Doubtful(rule)) => {
                let message = format!("{} looks like a placeholder", shown_at(at));
                let warning = Diagnostic::warning(codes::PLACEHOLDER, message)
                    .label(at.span(), rule)
                    .help("put the real one here before anything is made");
                self.push(warning);
            }
        }
    }
}
