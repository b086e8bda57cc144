//! What the original did by mistake and no preview of Landfall does. The numbers are those of docs/import.md.

use super::Config;
use crate::Changes;

pub(super) fn add(config: &Config, changes: &mut Changes) {
    let (first, last) = config.ports;
    let prefix = &config.prefix;
    let mut say = |number: u8, text: &str| changes.differs(number.to_string(), text);
    say(
        1,
        "anyone could create and destroy environments; now GitHub's signature is verified, and only the repositories listed may ask",
    );
    say(
        2,
        "a chat command named its environments after the stage, so that deleting the branch never removed them; now an environment is one \
         repository and branch, whoever asks",
    );
    say(
        3,
        &format!(
            "`{prefix}/a/x` and `{prefix}/b/x` shared one environment; now names are the original's for `{prefix}/` and letters or digits, \
             such as `{prefix}/test123`, and every other branch has a hash in its name"
        ),
    );
    say(4, "long names, capitals, `_`, `.` and `#` failed at the target group; now they are made legal and unique");
    let count = u32::from(last - first) + 1;
    say(
        5,
        &format!(
            "two branches could choose the same port; now ports are reserved, and one taken in between is chosen again. The range excluded its \
             end: it is {first}-{last}{}",
            if count > 50 {
                ", more than the 50 listeners that a load balancer has unless its quota was raised"
            } else {
                ""
            }
        ),
    );
    say(6, "only the first page of listeners and target groups was read; now all of them are");
    say(
        7,
        "a redirect, fixed response or weighted listener on the load balancer stopped every creation; now it only occupies its port",
    );
    say(8, "for a listener that existed a new random port was announced; now the port announced is the listener's own");
    say(
        9,
        "what a failed creation had made stayed; now it is undone, also when the deploy function fails (`on_failure: warn` on the hook keeps \
         the environment). Destroying what was never created is no error",
    );
    say(
        10,
        "a service that never became stable was polled for ever, with a message each time; now ECS's circuit breaker and a limit of 10m end it, and messages are sent on change only",
    );
    say(
        11,
        "deleting during creation left the creation polling; redelivered webhooks started again; now the newest request wins and each delivery counts once",
    );
    say(
        12,
        "later pushes were not seen; now each updates the environment: the service gets the base task definition again and the deploy function is \
         called again (remove `deploy-again` where it does not deploy). Let the container `await` the branch's image to do without it",
    );
    say(13, "the sender of a message depended on the one before; now it is always `ecs deity`");
    say(
        14,
        "header names and content types had to be spelt exactly, and one function had no code; now the webhook is read as HTTP and GitHub define it",
    );
    say(
        15,
        "rights were an administrator's, URLs are http without a `certificate`, and environments had no end; `ttl: 72h` under `previews` gives \
         them one",
    );
    changes.differs(
        "deploy_lambda_arn",
        "the function gets the environment as Landfall's hooks describe it (LANDFALL_BRANCH, LANDFALL_URL, …; docs/manifest.md), not the state \
         of the Step Functions machine: `branch`, `service`, `port` and `service_created` have other names",
    );
    if !config.fargate {
        changes.differs(
            "launch_type",
            "services on EC2 were given the role `ecsServiceRole`; now ECS uses its own service-linked role",
        );
    }
}
