//! Every code a manifest diagnostic can carry. docs/manifest.md explains each; a test keeps the two lists equal.

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal;)*) => {
        $(#[doc = $title] pub const $name: &str = $code;)*
        /// Code and one-line title, in order.
        pub const ALL: &[(&str, &str)] = &[$(($code, $title)),*];
    };
}

codes! {
    UNREADABLE = "LF-M001", "The file cannot be read, is too large or is not UTF-8";
    SYNTAX = "LF-M002", "The text is not YAML";
    BUDGET = "LF-M003", "Too large, too deeply nested, or aliases expand too far";
    ROOT = "LF-M004", "The file is empty, holds several documents, or is not a map";
    DUPLICATE_KEY = "LF-M005", "A key appears twice in one map";
    UNKNOWN_KEY = "LF-M006", "A key that does not exist here";
    WRONG_TYPE = "LF-M007", "A value of the wrong type";
    MISSING = "LF-M008", "A required key is missing";
    BAD_VALUE = "LF-M009", "A value that is not one of those allowed, or malformed";
    VARIABLE = "LF-M010", "A variable in `${…}` is unset or the reference is malformed";
    UNSUPPORTED = "LF-M011", "YAML that a manifest does not use: tags, composite keys, misplaced merge keys";
    FARGATE_SIZE = "LF-M012", "Not one of Fargate's pairs of cpu and memory";
    CONTAINER_SIZE = "LF-M013", "The containers need more than the task has";
    ESSENTIAL = "LF-M014", "No container of the task is essential";
    DEPENDENCY = "LF-M015", "`depends_on` names an unknown container or the container itself";
    CYCLE = "LF-M016", "Containers wait for each other in a circle";
    HEALTHY_WITHOUT_CHECK = "LF-M017", "HEALTHY is awaited from a container without a health check";
    ESSENTIAL_EXITS = "LF-M018", "COMPLETE or SUCCESS is awaited from an essential container (warning)";
    DUPLICATE_PORT = "LF-M019", "Two containers of a task listen on the same port";
    LOAD_BALANCER = "LF-M020", "The load balancer's container or port does not exist";
    STOP_TIMEOUT = "LF-M021", "A stop timeout that Fargate does not allow";
    EXACTLY_ONE = "LF-M022", "Exactly one of several keys must be given";
    GLOB = "LF-M023", "Not a valid branch pattern";
    DOMAIN = "LF-M024", "Not a legal host name";
    PORT_RANGE = "LF-M025", "A port or range of ports that cannot be used";
    UNKNOWN_SERVICE = "LF-M026", "A service or container that is not defined";
    PLAIN_SECRET = "LF-M027", "What looks like a secret is written in the open (warning)";
    NAME = "LF-M028", "A name with characters or a length that is not allowed";
    HEALTH_TIMES = "LF-M029", "A health check whose timeout does not fit into its interval";
    MATCHER = "LF-M030", "Not a valid list of HTTP status codes";
    URL = "LF-M031", "Not a usable URL";
    OUT_OF_RANGE = "LF-M032", "A number or duration outside of its range";
    IMAGE = "LF-M033", "Not a legal image reference or placeholder";
    NEVER_BUILT = "LF-M034", "Something that can never work as written (warning)";
    REPOSITORY = "LF-M035", "A repository that is malformed or listed twice";
    PATH = "LF-M036", "A path that leaves the repository or is not a path";
    VARIABLE_NAME = "LF-M037", "A name that no environment variable can have, or one set twice";
    SOURCE_PASSWORD = "LF-M038", "A repository's `source` holds a password";
    UNKNOWN_TARGET = "LF-M039", "A target that is not defined under `aws`";
    AWS_ID = "LF-M040", "Not an ARN, id, name, account or region as AWS has them";
    PLACEHOLDER = "LF-M041", "An identifier that AWS never gave to anybody (warning)";
    AWS_NEEDS = "LF-M042", "Something that AWS needs is not given";
    NOT_ON_AWS = "LF-M043", "Something that does not exist on AWS";
    ONLY_ON_AWS = "LF-M044", "Something that exists on AWS only";
    AWS_QUOTA = "LF-M045", "More than a quota of AWS allows unless it was raised (warning)";
    NO_EFFECT = "LF-M046", "Something that has no effect on AWS (warning)";
    UNKNOWN_ENVIRONMENT = "LF-M047", "An environment, or previews, that are not defined";
    UNKNOWN_STEP = "LF-M048", "A CI step that is not defined, or a name that two of them have";
    ENV_FILE = "LF-M049", "An env file that cannot be read, or a line of it that is none";
    OPEN_SECRET = "LF-M050", "What looks like a secret would be in the open: from an env file, or from CI";
    STACK = "LF-M051", "Something that a stack cannot hold, or that two of its parts contradict";
    INTERNAL = "LF-M099", "A defect of Landfall: the checks and the types disagree";
}
