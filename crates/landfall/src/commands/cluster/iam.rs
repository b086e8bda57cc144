//! `cluster iam`: the policy that the credentials need for what is done with a cluster. Nothing is asked of AWS.

use landfall_cluster::{Infra, Rights, rights};
use landfall_iam::{ClusterWork, Policy, Where};

use super::infra::Open;
use super::template::unfit;
use crate::cli::put_pipeline::{ClusterIamArgs, ClusterRight};
use crate::env_vars;
use crate::error::CliResult;
use crate::exit::ExitCode;
use crate::printer::Printer;

/// Of a managed policy, in characters that are no white space; a role's inline policies take more.
const MANAGED: usize = 6144;

pub(super) fn run(args: &ClusterIamArgs, printer: &Printer) -> CliResult<ExitCode> {
    let open = Open::of(&args.values, printer)?;
    let region = env_vars::region();
    let work = match args.what {
        ClusterRight::Deploy => ClusterWork::Deploy,
        ClusterRight::Scale => ClusterWork::Scale,
        ClusterRight::Destroy => ClusterWork::Destroy,
        ClusterRight::Init => ClusterWork::Init,
        ClusterRight::Ami => ClusterWork::Image,
    };
    let place = Where::of(region.as_deref(), args.account.as_deref());
    let policy = of(&open.infra, work, place, false, &args.pass_roles)?;
    if args.account.is_none() {
        printer.hint("the account is not known, so ARNs hold `*`: give --account");
    }
    if region.is_none() {
        printer.hint("the region is not known, so ARNs hold `*`: give AWS_REGION");
    }
    told(&open.infra, work, &args.pass_roles, printer);
    if policy.size() > MANAGED {
        printer.hint(format!(
            "it has {} characters: more than the 6,144 of a managed policy; an inline policy of a role takes 10,240",
            policy.size()
        ));
    }
    printer.json_data(&policy)?;
    Ok(ExitCode::Ok)
}

/// `image_given`: it is said with each deployment.
pub(super) fn of(
    infra: &Infra,
    work: ClusterWork,
    place: Where<'_>,
    image_given: bool,
    pass_roles: &[String],
) -> CliResult<Policy> {
    rights(&Rights { infra, work, place, image_given, pass_roles }).map_err(unfit)
}

/// What nobody can read off the file.
pub(super) fn told(infra: &Infra, work: ClusterWork, pass_roles: &[String], printer: &Printer) {
    let gives = work == ClusterWork::Deploy;
    if let Some(profile) = infra.instance_profile.as_ref().filter(|_| gives && pass_roles.is_empty()) {
        printer
            .hint(format!("which role {profile} has nobody here knows, and it is given to the instances: --pass-role"));
    }
}
