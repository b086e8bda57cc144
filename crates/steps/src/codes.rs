//! Every code that a step may fail with, with a line for docs/errors/.

/// A stable code and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub code: &'static str,
    pub what: &'static str,
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $what:literal, $remedy:literal;)+) => {
        $(pub(crate) const $name: &str = $code;)+
        /// All of them, sorted as in the source.
        pub const ALL: &[Code] = &[$(Code { code: $code, what: $what, remedy: $remedy }),+];
    };
}

codes! {
    UNAVAILABLE = "LF-PLATFORM-UNAVAILABLE", "The platform (container engine, load balancer, AWS) does not answer.",
        "It is tried again by itself. If it lasts: is the engine running, is its socket reachable?";
    THROTTLED = "LF-PLATFORM-THROTTLED", "The platform asked to slow down.", "Nothing to do; it is tried again by itself.";
    FULL = "LF-PLATFORM-FULL", "A limit of the platform is reached; the message says which.",
        "Destroy what is not needed or have the limit raised; it is tried again by itself for a while.";
    DENIED = "LF-PLATFORM-DENIED", "The platform refused: a right is missing.", "Grant the right that the message names.";
    NOT_FOUND = "LF-PLATFORM-NOT-FOUND", "Something that the step needs does not exist.",
        "Somebody removed it meanwhile; ask for the preview again.";
    CONFLICT = "LF-PLATFORM-CONFLICT", "A resource of that name belongs to somebody else.",
        "Landfall never adopts what is not its own: remove or rename the other one.";
    INVALID = "LF-PLATFORM-INVALID", "The platform can never accept this request.", "Correct what the message names in landfall.yml.";
    BUG = "LF-PLATFORM-BUG", "A promise of Landfall's own code was broken.", "Please report it with the execution's JSON.";
    PARAMETERS = "LF-STEP-PARAMETERS", "The step was planned by another version of Landfall.", "Abort the execution and ask again.";
    BUILD_FAILED = "LF-IMAGE-BUILD-FAILED", "The image could not be built.", "Read the build's last lines; `docker build` shows the same.";
    SERVICE_FAILED = "LF-SERVICE-DEPLOYMENT-FAILED", "The service's new tasks did not stay up.",
        "Read the stopped reason and the container's last lines.";
    SERVICE_ROLLED_BACK = "LF-SERVICE-ROLLED-BACK", "The new tasks did not stay up; what ran before runs again.",
        "Read the stopped reason and the container's last lines, then push a mended commit.";
    SERVICE_ROLLBACK_FAILED = "LF-SERVICE-ROLLBACK-FAILED",
        "The new tasks did not stay up, and the platform could not bring back what ran before either.",
        "Read the stopped reasons; deploy a release that worked.";
    SERVICE_STOPPED = "LF-SERVICE-DEPLOYMENT-STOPPED", "Somebody stopped the deployment.", "Ask who; deploy again.";
    SERVICE_REPLACED = "LF-SERVICE-REPLACED", "Another deployment of the same service took over.", "Somebody else changes this service.";
    SERVICE_NO_WAY_BACK = "LF-SERVICE-NO-WAY-BACK",
        "A deployment failed, and of what ran before those that were cut short before it nothing is known: the service is left half done.",
        "Look at what runs (`landfall status`); deploy what should.";
    SERVICE_TAKEN_OVER = "LF-SERVICE-TAKEN-OVER", "Another installation of Landfall took the service over meanwhile.",
        "Let one installation deploy an environment, or let all of them share one state (docs/state-s3.md).";
    PORT_TAKEN = "LF-PORT-TAKEN", "The port that was chosen has been taken by another process.",
        "Another port is chosen by itself, a few times; then see docs/errors/routing.md.";
    HOOK_FAILED = "LF-HOOK-FAILED", "A hook failed.", "Read its last lines; see `on_failure` in docs/manifest.md.";
    TASK_FAILED = "LF-TASK-FAILED", "A one-off task did not end with exit code 0.", "Read the container's last lines.";
    TASK_GONE = "LF-TASK-GONE", "A one-off task vanished before its exit code was read.", "Was it removed by hand?";
    LISTING = "LF-LISTING-INCOMPLETE", "A listing failed or was incomplete, so nothing was deleted.", "It is tried again by itself.";
    LEFT = "LF-RESOURCES-LEFT", "Resources of the environment are still there after everything was deleted.",
        "The message names them; destruction is tried again by itself.";
}
