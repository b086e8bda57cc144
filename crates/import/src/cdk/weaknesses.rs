//! What the original did by mistake and nothing of Landfall does, and what the manifest does otherwise. The numbers are those of
//! docs/import.md.

use super::Config;
use crate::Changes;

pub(super) fn add(config: &Config, changes: &mut Changes) {
    let Config { dev_branch, prod_branch, token, parameter, .. } = config;
    let mut say = |number: u8, text: &str| changes.differs(number.to_string(), text);
    say(
        1,
        "the image tag was published before dev was deployed, and staging took its template from another branch than its images; now it is \
         published once dev is healthy, and what is promoted is one release: images by digest and manifest of one commit",
    );
    say(
        2,
        "traffic went to the task's first container (`app:3000`) and past nginx; now it goes to nginx, and nginx's health is what counts",
    );
    say(
        3,
        "`cron(0 0 0/2 ? * *)` was no expression of EventBridge (a second stood where the minute does); now the number of tasks is at least 2 \
         from every even hour, and 1 from every odd one, UTC: that is what was meant",
    );
    say(
        4,
        "deployments had an administrator's rights and builds ran on Ubuntu 14.04; now each role may what `landfall iam` prints",
    );
    say(
        5,
        "nothing was checked after a deployment, and one that failed stayed; now a circuit breaker rolls back, what was deployed is asked whether it answers, and who approves sees the release, what it changes and where to look at it. HTTPS: give a `certificate` \
         or a `zone` (docs/stacks.md)",
    );
    say(
        6,
        "the documented teardown left the application stacks, whose imports keep the clusters from being deleted; now an environment is one \
         stack. DevCluster, ProdCluster, DevPipelineStack, StagingProdPipelineStack, DevAppStack, StagingAppStack and ProdAppStack stay as \
         they are until you delete them: the three application stacks first",
    );
    say(
        7,
        &format!(
            "`{}` was one tag for everything, and whoever wrote last won; it is still written, beside one for each service and environment \
             (`/{{project}}/{{environment}}/{{service}}/image-tag`), and runs of a pipeline go one after another",
            parameter.escape_default()
        ),
    );
    changes.differs(
        "gitDevBranch",
        format!("`{}` was polled; now GitHub's webhook tells of a push (docs/github.md)", dev_branch.escape_default()),
    );
    changes.differs(
        "staging-prod",
        "was begun by hand; now a release that has passed dev goes on to staging by itself (without `after` it is begun by hand again), and to \
         prod only with somebody's yes. Who may say it was IAM's matter; now `by` names them, and the owner of the repository is the first",
    );
    changes.differs(
        "clusters",
        "staging and prod shared one VPC (10.3.0.0/20) and one cluster; now each has its own, so that what breaks in staging stays there. \
         A NAT gateway in every zone, as before: `nat: one` in dev and staging costs less",
    );
    changes.differs(
        "health checks",
        "every 5s instead of 30s, healthy after 2 instead of 5; connections are let go after 5s instead of 300s. `minimum_healthy_percent` is \
         100 instead of 50: a deployment takes nothing away before the new tasks serve",
    );
    changes.differs("logs", "were kept for ever under names that CDK made up; now 30 days (`log_retention`)");
    changes.dropped(
        "awsSecretsGitHubTokenName",
        format!(
            "the personal access token in the secret `{}` is not needed: it could administer all of its owner's repositories. GitHub's \
             webhook tells of pushes (docs/github.md)",
            token.escape_default()
        ),
    );
    changes.dropped(
        "gitProdBranch",
        format!(
            "`{}`: what goes to staging and prod is the release that has passed dev, of the commit that it was made of, and no branch's newest",
            prod_branch.escape_default()
        ),
    );
}
