//! Every environment variable that Landfall reads, named here and nowhere else. docs/cli.md lists them from this table.

/// The variables of one purpose, for the reference.
#[cfg_attr(not(test), expect(dead_code, reason = "the descriptions are for docs/cli.md, which a test generates"))]
pub(crate) struct EnvVar {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

macro_rules! env_vars {
    ($($(#[doc = $doc:literal])+ $constant:ident = $name:literal;)+) => {
        $(
            $(#[doc = $doc])+
            // Some are read by the crates below, and named here for the reference.
            #[allow(dead_code)]
            pub(crate) const $constant: &str = $name;
        )+
        #[cfg_attr(not(test), expect(dead_code, reason = "read by the test that generates docs/cli.md"))]
        pub(crate) const ALL: &[EnvVar] = &[$(EnvVar { name: $name, what: concat!($($doc, " "),+) }),+];
    };
}

env_vars! {
    /// The state directory or `s3://BUCKET/PREFIX`, as `--state`.
    STATE = "LANDFALL_STATE";
    /// The manifest, as `--config`.
    CONFIG = "LANDFALL_CONFIG";
    /// Log filter: `info`, `debug`, `landfall_engine=debug,warn`. Wins over `RUST_LOG`.
    LOG = "LANDFALL_LOG";
    /// Log filter where `LANDFALL_LOG` is not set.
    RUST_LOG = "RUST_LOG";
    /// `text` or `json`, as `--log-format`.
    LOG_FORMAT = "LANDFALL_LOG_FORMAT";
    /// The secret that signs GitHub webhooks, where the manifest names none. While rotating: the old and the new one, separated
    /// by a comma.
    WEBHOOK_SECRET = "LANDFALL_WEBHOOK_SECRET";
    /// Where people reach the server's pages: `https://landfall.example`. Notices then hold links to approve by.
    PUBLIC_URL = "LANDFALL_PUBLIC_URL";
    /// The container engine's socket: `unix:///var/run/docker.sock`. Wins over `DOCKER_HOST` and `CONTAINER_HOST`.
    ENGINE = "LANDFALL_ENGINE";
    /// The container engine's socket, as the docker command reads it.
    DOCKER_HOST = "DOCKER_HOST";
    /// `0`: `landfall build` through docker is its builder of before BuildKit, as the docker command reads it.
    DOCKER_BUILDKIT = "DOCKER_BUILDKIT";
    /// The container engine's socket, as the podman command reads it.
    CONTAINER_HOST = "CONTAINER_HOST";
    /// Repositories whose cache `landfall build` uses, separated by commas, as `--cache-from`.
    CACHE_FROM = "LANDFALL_CACHE_FROM";
    /// Repositories that `landfall build` sends its builder's cache to, as `--cache-to`.
    CACHE_TO = "LANDFALL_CACHE_TO";
    /// The commit of which `landfall build` and `landfall push` speak; without it git's.
    CI_COMMIT = "LANDFALL_COMMIT";
    /// The branch that tags of images are named after; without it git's.
    CI_BRANCH = "LANDFALL_BRANCH";
    /// The git tag that tags of images are named after.
    CI_TAG = "LANDFALL_TAG";
    /// Logins to registries, as the text of docker's `config.json`; the files below come after it.
    DOCKER_AUTH_CONFIG = "DOCKER_AUTH_CONFIG";
    /// File of logins to registries, as podman, buildah and skopeo have it.
    REGISTRY_AUTH_FILE = "REGISTRY_AUTH_FILE";
    /// Directory of docker's `config.json`; without it `~/.docker`.
    DOCKER_CONFIG = "DOCKER_CONFIG";
    /// Base of podman's file of logins, `containers/auth.json`; without it `~/.config`.
    XDG_CONFIG_HOME = "XDG_CONFIG_HOME";
    /// Proxies for registries that are spoken to over TLS.
    HTTPS_PROXY = "HTTPS_PROXY";
    /// Hosts that are reached without one.
    NO_PROXY = "NO_PROXY";
    /// Region of places that name none, as the AWS SDK reads it; also of what `landfall iam` prints.
    AWS_REGION = "AWS_REGION";
    /// The same, where there is no `AWS_REGION`.
    AWS_DEFAULT_REGION = "AWS_DEFAULT_REGION";
    /// Where AWS is instead: an emulator. Read by the AWS SDK, and for what `travis-ecs-deploy` deploys.
    AWS_ENDPOINT_URL = "AWS_ENDPOINT_URL";
    /// Of `landfall cluster`: the file that says what the cluster is, as `--values`.
    VALUES_FILE = "VALUES_FILE";
    /// Of `landfall cluster`: the version, as `--version`; without it the commit.
    VERSION = "VERSION";
    /// Of `landfall cluster`: the instances' image, as `--ami`.
    AMI = "AMI";
    /// Any value: no colour.
    NO_COLOR = "NO_COLOR";
    /// Base of the default state directory: `$XDG_STATE_HOME/landfall`.
    XDG_STATE_HOME = "XDG_STATE_HOME";
    /// Where there is no `XDG_STATE_HOME`: `~/.local/state/landfall`.
    HOME = "HOME";
    /// Where engine sockets of a user's own are looked for.
    XDG_RUNTIME_DIR = "XDG_RUNTIME_DIR";
    /// Used to open a preview's URL before `xdg-open`.
    BROWSER = "BROWSER";
    /// Who asked, in the journal and in notices, for commands: `cli:$USER`; without it the name of the process's user.
    USER = "USER";
    /// For crash tests only: `KIND:before` or `KIND:after` a step's effect, where the server stops and waits to be killed.
    TEST_HOLD = "LANDFALL_TEST_HOLD";
    /// Collector that traces go to (OTLP over HTTP, protobuf); none are made unless this or the next is set.
    OTEL_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT";
    /// The same for traces only, complete with its path. Headers, sampling, batching and resource come from the other
    /// standard `OTEL_*` variables, which the OpenTelemetry SDK reads itself.
    OTEL_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    /// External variables of an ecspresso project's Jsonnet, as text: `NAME=VALUE;NAME=VALUE`.
    EXT_STR = "ECSPRESSO_EXT_STR";
    /// The same as Jsonnet code.
    EXT_CODE = "ECSPRESSO_EXT_CODE";
    /// `true`: no traces, whatever else is set.
    OTEL_DISABLED = "OTEL_SDK_DISABLED";
}

/// A variable that is set to something: empty counts as unset, as in every standard that defines one of these.
pub(crate) fn get(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The region that the variables name.
pub(crate) fn region() -> Option<String> {
    get(AWS_REGION).or_else(|| get(AWS_DEFAULT_REGION))
}
