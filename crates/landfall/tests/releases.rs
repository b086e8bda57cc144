//! `landfall release` and what goes by it, against a real registry, as a person and a CI job call them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Output, Stdio};

use common::fake::FakeAws;
use common::registry::{World, layout};
use common::{ends, landfall};
use serde_json::{Value, json};

const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";
const OTHER: &str = "1a2b3c400000000000000000000000000000000f";

impl Shop {
    /// Two services with an image each, and one of somebody else's; `second`: the registry of the other's.
    fn new(second: Option<&World>) -> Self {
        let world = World::new();
        let (web, worker) = (world.image("team/web"), worker(&world, second));
        let digest = format!("sha256:{}", "c".repeat(64));
        let manifest = format!(
            "project: shop\nservices:\n  web:\n    containers:\n      app: {{ await: {{ image: \"{web}:{{commit}}\" }} }}\n      \
             cache: {{ image: \"redis@{digest}\", essential: false }}\n  worker:\n    containers:\n      \
             app: {{ await: {{ image: \"{worker}:{{commit}}\" }} }}\n"
        );
        std::fs::write(world.path("work/landfall.yml"), manifest).unwrap();
        Self { world, web, worker }
    }

    fn run(&self, commit: &str, arguments: &[&str]) -> Output {
        let mut command = self.world.landfall(arguments);
        command.env("LANDFALL_COMMIT", commit).env("LANDFALL_BRANCH", "feature/one").env("USER", "jo");
        for name in ["GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "BUILDKITE", "CODEBUILD_BUILD_ARN"] {
            command.env_remove(name);
        }
        command.output().unwrap()
    }

    /// An image that holds this text, as the commit's of both services; its digest.
    fn push(&self, commit: &str, text: &str) -> String {
        let directory = self.world.path(&format!("work/{text}"));
        let digest = layout(&directory, text);
        for image in [&self.web, &self.worker] {
            let target = format!("{image}:{commit}");
            ends(&self.run(commit, &["push", "--from", directory.to_str().unwrap(), &target]), 0, &[]);
        }
        digest
    }
}

/// In another registry by a name that comes after the first one's: that is the order in which releases are kept.
fn worker(world: &World, second: Option<&World>) -> String {
    second.map_or_else(|| world.image("team/worker"), |second| format!("localhost:{}/team/worker", second.port))
}

struct Shop {
    world: World,
    web: String,
    worker: String,
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&ends(output, 0, &[])).unwrap()
}

#[test]
fn a_release_is_recorded_once_and_found_from_anywhere() {
    let shop = Shop::new(None);
    ends(&shop.run(COMMIT, &["release", "create"]), 66, &["web/app", "is not there", "landfall push"]);
    ends(&shop.run(COMMIT, &["release", "show"]), 66, &["no release", "landfall release list"]);
    assert_eq!(ends(&shop.run(COMMIT, &["release", "list"]), 0, &[]), "no releases\n");
    let digest = shop.push(COMMIT, "one");
    let id = ends(&shop.run(COMMIT, &["release", "create"]), 0, &["✓ Release 1a2b3c4"]).trim().to_owned();
    let tag = format!("landfall-release-shop-{COMMIT}");
    for repository in ["team/web", "team/worker"] {
        assert_eq!(shop.world.tag(repository, &tag).as_deref(), Some(id.as_str()), "{repository}");
    }
    let (_, _, manifest) = shop.world.get(&format!("/v2/team/web/manifests/{tag}"));
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["artifactType"], json!("application/vnd.landfall.release.v1+json"));

    // Later, by somebody else: the same release, whoever asks for it.
    let again = json_of(&shop.run(COMMIT, &["release", "create", "--output", "json"]));
    assert_eq!((&again["what"], &again["id"]), (&json!("existed"), &json!(id)));
    let shown = json_of(&shop.run(OTHER, &["release", "show", &COMMIT[..8], "--output", "json"]));
    assert_eq!((&shown["commit"], &shown["branch"]), (&json!(COMMIT), &json!("feature/one")));
    let containers = &shown["services"]["web"]["containers"];
    assert_eq!(containers["app"]["image"], json!(format!("{}@{digest}", shop.web)));
    assert_eq!(containers["cache"]["foreign"], json!(true));
    assert_eq!((&shown["provenance"]["by"], &shown["provenance"]["ci"]), (&json!("cli:jo"), &Value::Null));
    std::fs::remove_file(shop.world.path("work/landfall.yml")).unwrap();
    let text = ends(&shop.run(OTHER, &["release", "show", &id[..20], "--in", &shop.web]), 0, &[]);
    assert!(text.contains(&format!("release     {id}")) && text.contains(&shop.web), "{text}");
}

#[test]
fn another_release_of_the_same_commit_is_refused_and_replaced_where_asked_for() {
    let shop = Shop::new(None);
    shop.push(COMMIT, "one");
    let first = ends(&shop.run(COMMIT, &["release", "create"]), 0, &[]);
    shop.push(COMMIT, "two");
    let refused = shop.run(COMMIT, &["release", "create"]);
    ends(&refused, 73, &["another release already", first.trim(), "web/app is", "nothing was changed"]);
    let second = ends(&shop.run(COMMIT, &["release", "create", "--replace"]), 0, &["in the place of another one"]);
    assert_ne!(first, second);
    // A later commit is listed first, and what two commits begin with names neither.
    shop.push(OTHER, "three");
    ends(&shop.run(OTHER, &["release", "create"]), 0, &[]);
    let listed = json_of(&shop.run(COMMIT, &["release", "list", "--output", "json"]));
    let commits: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["commit"].as_str().unwrap()).collect();
    assert_eq!(commits, [OTHER, COMMIT]);
    assert_eq!(listed[1]["id"], json!(second.trim()));
    assert_eq!(ends(&shop.run(COMMIT, &["release", "list", "--limit", "1"]), 0, &[]).lines().count(), 2);
    ends(&shop.run(COMMIT, &["release", "show", "1a2b3c4"]), 73, &["names 2 releases", COMMIT, OTHER]);
    ends(&shop.run(COMMIT, &["release", "show", "main"]), 64, &["neither a commit nor a release's id"]);
    ends(&shop.run("main", &["release", "create"]), 64, &["the commit is not known"]);
}

#[test]
fn a_registry_that_fails_in_the_middle_leaves_a_release_that_the_next_completes() {
    let mut other = World::new();
    let shop = Shop::new(Some(&other));
    shop.push(COMMIT, "one");
    other.restart("maintenance: {readonly: {enabled: true}}");
    let failed = shop.run(COMMIT, &["release", "create"]);
    ends(&failed, 1, &["is not kept in", &shop.worker, &format!("it is in {}", shop.web), "completes it"]);
    let half = json_of(&shop.run(COMMIT, &["release", "show", "--output", "json"]));
    assert_eq!(half["repositories"], json!([shop.web]));
    other.restart("");
    let whole = json_of(&shop.run(COMMIT, &["release", "create", "--output", "json"]));
    assert_eq!((&whole["id"], &whole["repositories"]), (&half["id"], &json!([shop.web, shop.worker])));
    other.stop();
    ends(&shop.run(COMMIT, &["release", "show"]), 69, &["LF-REGISTRY-UNAVAILABLE"]);
}

/// What a terminal shows until it shows `what`.
fn until(terminal: &mut ChildStdout, what: &str) -> String {
    let (mut shown, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&shown).contains(what) {
        assert_eq!(terminal.read(&mut byte).unwrap(), 1, "no {what:?} in {}", String::from_utf8_lossy(&shown));
        shown.extend(byte);
    }
    String::from_utf8(shown).unwrap()
}

#[test]
fn up_asks_for_a_login_where_there_is_a_terminal_and_nobody_knows_one() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // htpasswd -Bbn somebody canary-5f3a
    std::fs::write(file.path(), "somebody:$2b$04$64Hr9dq0fZYpgEUOOsy4S.Euy19GN6Pm/.HnfKmyqp./bb.zwaal2\n").unwrap();
    let world = World::with(&format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.path().display()));
    let manifest = format!(
        "project: shop\nservices:\n  web:\n    launch_type: local\n    containers:\n      app: {{ await: {{ image: \"{}:{{commit}}\" }} }}\n",
        world.image("team/web")
    );
    std::fs::write(world.path("work/landfall.yml"), manifest).unwrap();
    let direct = world.landfall(&["up", "--from", "v9"]).output().unwrap();
    ends(&direct, 77, &["LF-REGISTRY-DENIED", "docker login 127.0.0.1"]);
    let asked = |password: &str, ends_with: i32, says: &str| {
        // util-linux's: a terminal around a command.
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{} up --from v9", landfall()), "/dev/null"]);
        let like = world.landfall(&[]);
        for (name, value) in like.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(world.path("work")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut keys: ChildStdin = child.stdin.take().unwrap();
        let mut terminal: ChildStdout = child.stdout.take().unwrap();
        until(&mut terminal, "user at 127.0.0.1:");
        keys.write_all(b"somebody\n").unwrap();
        until(&mut terminal, "(not shown): ");
        keys.write_all(format!("{password}\n").as_bytes()).unwrap();
        let mut rest = String::new();
        terminal.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(ends_with), "{rest}");
        assert!(rest.contains(says) && !rest.contains(password), "{rest}");
    };
    asked("canary-5f3a", 66, "there is no v9");
    asked("wrong-canary", 77, "LF-REGISTRY-DENIED");
}

/// `plan`, `diff` and `verify` compare with the release's images, also where the commit's tag has moved since.
#[test]
fn what_a_release_would_change_is_told_beforehand() {
    let (aws, registry) = (FakeAws::new(), World::new());
    let web = registry.image("team/web");
    let manifest = format!(
        "project: shop\n{}services:\n  web:\n    cpu: 256\n    memory: 512\n    containers:\n      app: {{ await: {{ image: \
         \"{web}:{{commit}}\" }} }}\nenvironments:\n  prod: {{ on: cloud, services: [web] }}\n",
        aws.place()
    );
    aws.write("landfall.yml", &manifest);
    let run = |arguments: &[&str]| aws.landfall(arguments).env("LANDFALL_COMMIT", COMMIT).output().unwrap();
    let push = |text: &str| {
        let directory = aws.path().join(text);
        let digest = layout(&directory, text);
        ends(&run(&["push", "--from", directory.to_str().unwrap(), &format!("{web}:{COMMIT}")]), 0, &[]);
        digest
    };
    let released = push("one");
    ends(&run(&["release", "create"]), 0, &[]);
    push("two");
    let image = format!("{web}@{released}");
    for (verb, code) in [("plan", 2), ("diff", 2), ("verify", 0)] {
        let said =
            ends(&run(&[verb, "prod", "--release", &COMMIT[..7], "--output", "json"]), code, &["release sha256:"]);
        assert!(said.contains(&image), "{verb}: {said}");
        ends(&run(&[verb, "prod", "--release", OTHER]), 66, &["no release of", "landfall release list"]);
    }
    ends(&run(&["verify", "prod", "--probes", "--release", COMMIT]), 64, &["cannot be used with"]);
}

/// What is written to SSM is a tag that the other registry has, of the same image.
#[test]
fn what_a_pipeline_copies_has_the_tag_that_it_publishes() {
    let (aws, registry, other) = (FakeAws::new(), World::new(), World::new());
    let (web, mirror) = (registry.image("team/web"), other.image("mirror/web"));
    let manifest = format!(
        "project: shop\n{}services:\n  web:\n    cpu: 256\n    memory: 512\n    containers:\n      app: {{ await: {{ image: \
         \"{web}:v-{{short_commit}}\" }} }}\nenvironments:\n  prod: {{ on: cloud, services: [web] }}\npipelines:\n  main:\n    stages:\n      \
         - environment: prod\n        copy: {{ \"{web}\": \"{mirror}\" }}\n        run: [{{ deploy: {{}} }}]\n        image_tag: [shop-imagetag]\n",
        aws.place()
    );
    aws.write("landfall.yml", &manifest);
    let run = |arguments: &[&str]| aws.landfall(arguments).env("LANDFALL_COMMIT", COMMIT).output().unwrap();
    let directory = aws.path().join("one");
    let digest = layout(&directory, "one");
    let tag = format!("v-{}", &COMMIT[..7]);
    ends(&run(&["push", "--from", directory.to_str().unwrap(), &format!("{web}:{tag}")]), 0, &[]);
    // Somebody pushed another image there under the same tag.
    let elsewhere = aws.path().join("two");
    layout(&elsewhere, "two");
    ends(&run(&["push", "--from", elsewhere.to_str().unwrap(), &format!("{mirror}:{tag}")]), 0, &[]);

    ends(&run(&["pipeline", "run", "main", "--commit", COMMIT]), 0, &[]);
    let published = aws.fake.call("ssm", "GetParameter", json!({"Name": "shop-imagetag"})).unwrap();
    assert_eq!(published["Parameter"]["Value"], json!(tag));
    assert_eq!(other.tag("mirror/web", &tag).as_deref(), Some(digest.as_str()));
    let lasting = format!("landfall-{}", &digest["sha256:".len()..][..12]);
    assert_eq!(other.tag("mirror/web", &lasting), Some(digest.clone()));
    let service =
        aws.fake.call("ecs", "DescribeServices", json!({"cluster": "main", "services": ["shop-prod-web"]})).unwrap();
    let definition = json!({"taskDefinition": service["services"][0]["taskDefinition"]});
    let definition = aws.fake.call("ecs", "DescribeTaskDefinition", definition).unwrap();
    let image = &definition["taskDefinition"]["containerDefinitions"][0]["image"];
    assert_eq!(image, &json!(format!("{mirror}@{digest}")));
}
