//! One function per host. Text, not a serialiser: the file is read and changed by people, and says why each thing is there.
//!
//! Every job gets the whole history (`paths` are told against the commit before), keeps the records of a run for the next try of the
//! same run (on S3, where the state is there), and goes on where that was: `landfall ci resume` does all of it where nothing is recorded.

use super::{Binary, For, Settings};

/// The file's text.
pub fn render(host: For, settings: &Settings) -> String {
    let mut out = Lines::default();
    out.add(
        0,
        &format!(
            "# Written by `landfall ci init {}`; yours from here on. What runs when stands in landfall.yml under `ci`.",
            host.word()
        ),
    );
    match host {
        For::GitHub => github(&mut out, settings),
        For::GitLab => gitlab(&mut out, settings),
        For::CircleCi => circleci(&mut out, settings),
        For::Travis => travis(&mut out, settings),
        For::CodeBuild => codebuild(&mut out, settings),
    }
    out.0
}

/// Records of a run, below which the state directory is too.
const CACHE: &str = ".landfall";

/// Below it, where the records alone are: hosts whose caches are shared by all runs keep these and nothing that could be stale.
const RECORDS: &str = ".landfall/landfall/ci";

/// Whether the host keeps the records; where the state is on S3 they are there.
fn keeps_records(settings: &Settings) -> bool {
    settings.state.is_none()
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, level: usize, text: &str) {
        self.0.push_str(&"  ".repeat(level));
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn all(&mut self, level: usize, lines: &[&str]) {
        for line in lines {
            self.add(level, line);
        }
    }

    /// Items of a list of commands.
    fn commands(&mut self, level: usize, commands: &[String]) {
        for command in commands {
            self.add(level, &format!("- {}", quoted(command)));
        }
    }
}

/// As JSON writes it, which every YAML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Checks out the commit that the variable names, where it names one.
fn own_commit(variable: &str) -> String {
    format!("[ -z \"${variable}\" ] || git checkout --quiet \"${variable}\"")
}

/// What every job is told: where the binary is, where things are kept, where AWS is.
fn variables(settings: &Settings, home: &str) -> Vec<(&'static str, String)> {
    let mut all = settings.binary.variables();
    all.push(("XDG_STATE_HOME", format!("{home}/{CACHE}")));
    if let Some(state) = &settings.state {
        all.push(("LANDFALL_STATE", state.clone()));
    }
    if settings.needs.aws
        && let Some(region) = &settings.region
    {
        all.push(("AWS_REGION", region.clone()));
    }
    all
}

fn github(out: &mut Lines, settings: &Settings) {
    let needs = settings.needs;
    let oidc = settings.role.as_ref().filter(|_| needs.aws);
    out.all(0, &["name: landfall", "", "on:"]);
    if needs.branches || needs.tags {
        out.add(1, "push:");
        if needs.branches {
            out.add(2, "branches: [\"**\"]");
        }
        if needs.tags {
            out.add(2, "tags: [\"**\"]");
        }
    }
    if needs.pull_requests {
        out.add(1, "pull_request:");
    }
    if !(needs.branches || needs.tags || needs.pull_requests) {
        out.add(1, "workflow_dispatch:");
    }
    out.all(0, &["", "permissions:"]);
    out.add(1, "contents: read");
    if oidc.is_some() {
        out.add(1, "id-token: write # proves to AWS which repository this is, instead of a key");
    }
    if settings.beside {
        out.add(1, "packages: write # images go to ghcr.io");
    }
    out.all(0, &["", "# One at a time for each ref; a deployment that has begun is not cut off.", "concurrency:"]);
    out.all(1, &["group: landfall-${{ github.ref }}", "cancel-in-progress: false"]);
    out.all(0, &["", "jobs:"]);
    out.add(1, "landfall:");
    out.all(2, &["runs-on: ubuntu-latest", "timeout-minutes: 60", "env:"]);
    for (name, value) in variables(settings, "${{ github.workspace }}") {
        out.add(3, &format!("{name}: {}", quoted(&value)));
    }
    out.add(2, "steps:");
    out.all(3, &["- uses: actions/checkout@v4", "  with:", "    fetch-depth: 0"]);
    if needs.pull_requests {
        // Not GitHub's merge of it, which is no commit that anybody has.
        out.add(5, "ref: ${{ github.event.pull_request.head.sha || github.sha }}");
    }
    out.all(3, &["- name: Get landfall", "  run: |"]);
    for line in settings.binary.install() {
        out.add(5, &line);
    }
    out.add(5, "echo \"$HOME/bin\" >> \"$GITHUB_PATH\"");
    if settings.beside {
        out.all(
            3,
            &[
                "- name: Log in to ghcr.io",
                "  run: echo \"$TOKEN\" | docker login ghcr.io --username \"$GITHUB_ACTOR\" --password-stdin",
            ],
        );
        out.all(4, &["env:", "  TOKEN: ${{ github.token }}"]);
    }
    if let Some(role) = oidc {
        out.all(3, &["- uses: aws-actions/configure-aws-credentials@v4"]);
        // A stranger's pull request gets no token.
        out.add(4, "if: github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository");
        out.add(4, "with:");
        out.add(5, &format!("role-to-assume: {}", quoted(role)));
        out.add(5, &format!("aws-region: {}", quoted(settings.region.as_deref().unwrap_or("us-east-1"))));
    }
    let key = "landfall-${{ github.run_id }}";
    if keeps_records(settings) {
        out.add(3, "# Only a second try of this very run finds something here.");
        out.all(3, &["- uses: actions/cache/restore@v4", "  with:"]);
        out.add(5, &format!("path: {CACHE}"));
        out.add(5, &format!("key: {key}-${{{{ github.run_attempt }}}}"));
        out.add(5, &format!("restore-keys: {key}-"));
    }
    out.add(3, "- run: landfall ci resume");
    if keeps_records(settings) {
        out.all(3, &["- uses: actions/cache/save@v4", "  if: always()", "  with:"]);
        out.add(5, &format!("path: {CACHE}"));
        out.add(5, &format!("key: {key}-${{{{ github.run_attempt }}}}"));
    }
}

pub(super) const GITLAB_LOGIN: &str = "if command -v docker > /dev/null; then printf '%s' \"$CI_REGISTRY_PASSWORD\" | docker login --username \"$CI_REGISTRY_USER\" --password-stdin \"$CI_REGISTRY\"; elif [ ! -e \"$HOME/.docker/config.json\" ] || grep -qF \"\\\"$CI_REGISTRY\\\"\" \"$HOME/.docker/config.json\"; then mkdir -p \"$HOME/.docker\" && printf '{\"auths\":{\"%s\":{\"auth\":\"%s\"}}}' \"$CI_REGISTRY\" \"$(printf '%s' \"$CI_REGISTRY_USER:$CI_REGISTRY_PASSWORD\" | base64 | tr -d '\\n')\" > \"$HOME/.docker/config.json\"; fi";

fn gitlab(out: &mut Lines, settings: &Settings) {
    let needs = settings.needs;
    let engine = needs.engine || matches!(settings.binary, Binary::Image { .. });
    let oidc = settings.role.as_ref().filter(|_| needs.aws);
    out.add(0, "landfall:");
    out.add(1, "# Whatever your tests need has to be in this image too.");
    match (&settings.binary, engine) {
        (Binary::Cargo { .. }, _) => out.add(1, "image: rust:1-alpine"),
        (_, true) => out.add(1, "image: docker:28-cli"),
        (_, false) => out.add(1, "image: alpine:3"),
    }
    if engine {
        out.add(1, "services: [\"docker:28-dind\"]");
    }
    out.add(1, "variables:");
    out.add(2, "GIT_DEPTH: \"0\"");
    if engine {
        out.all(
            2,
            &[
                "DOCKER_HOST: tcp://docker:2376",
                "DOCKER_TLS_CERTDIR: /certs",
                "DOCKER_TLS_VERIFY: \"1\"",
                "DOCKER_CERT_PATH: /certs/client",
            ],
        );
    }
    for (name, value) in variables(settings, "$CI_PROJECT_DIR") {
        out.add(2, &format!("{name}: {}", quoted(&value)));
    }
    if let Some(role) = oidc {
        out.add(2, &format!("AWS_ROLE_ARN: {}", quoted(role)));
        out.add(2, "AWS_WEB_IDENTITY_TOKEN_FILE: /tmp/landfall-token");
        out.add(1, "# Proves to AWS which project this is, instead of a key.");
        out.add(1, "id_tokens:");
        out.add(2, "LANDFALL_ID_TOKEN:");
        out.add(3, "aud: https://gitlab.com");
    }
    out.add(1, "rules:");
    if needs.pull_requests {
        out.add(2, "- if: $CI_PIPELINE_SOURCE == \"merge_request_event\"");
    }
    if needs.branches {
        out.add(2, "- if: $CI_COMMIT_BRANCH");
    }
    if needs.tags {
        out.add(2, "- if: $CI_COMMIT_TAG");
    }
    if !(needs.branches || needs.tags || needs.pull_requests) {
        out.add(2, "- when: manual");
    }
    out.add(1, "# One at a time for each ref; a deployment that has begun is not cut off.");
    out.add(1, "resource_group: landfall-$CI_COMMIT_REF_SLUG");
    out.add(1, "interruptible: false");
    out.add(1, "timeout: 1h");
    if keeps_records(settings) {
        out.add(1, "# Only a second try of this very pipeline finds something here.");
        out.add(1, "cache:");
        out.all(2, &["key: landfall-$CI_PIPELINE_ID", "when: always"]);
        out.add(2, &format!("paths: [{CACHE}/]"));
    }
    out.add(1, "before_script:");
    match settings.binary {
        // What compiling the cryptography and SQLite takes beside the compiler.
        Binary::Cargo { .. } => {
            let docker = if engine { " docker-cli docker-cli-buildx" } else { "" };
            out.add(2, &format!("- apk add --no-cache curl git build-base linux-headers{docker}"));
        }
        _ => out.add(2, "- apk add --no-cache curl git"),
    }
    out.commands(2, &settings.binary.install());
    out.add(2, "- export PATH=\"$HOME/bin:$PATH\"");
    if settings.beside {
        out.add(2, "# Not every image has docker, which keeps other logins.");
        out.commands(2, &[GITLAB_LOGIN.to_owned()]);
    }
    if needs.pull_requests {
        out.add(2, "# Where GitLab checks out the merge with the target: that is no commit that anybody has.");
        out.commands(2, &[own_commit("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")]);
    }
    if oidc.is_some() {
        out.commands(2, &["printf '%s' \"$LANDFALL_ID_TOKEN\" > \"$AWS_WEB_IDENTITY_TOKEN_FILE\"".to_owned()]);
    }
    out.add(1, "script:");
    out.add(2, "- landfall ci resume");
}

fn circleci(out: &mut Lines, settings: &Settings) {
    let needs = settings.needs;
    let oidc = settings.role.as_ref().filter(|_| needs.aws);
    out.all(0, &["version: 2.1", "", "jobs:"]);
    out.add(1, "landfall:");
    out.all(2, &["machine:", "  image: ubuntu-2404:current", "resource_class: medium", "environment:"]);
    for (name, value) in variables(settings, "/home/circleci/project") {
        out.add(3, &format!("{name}: {}", quoted(&value)));
    }
    if let Some(role) = oidc {
        out.add(3, &format!("AWS_ROLE_ARN: {}", quoted(role)));
        out.add(3, "AWS_WEB_IDENTITY_TOKEN_FILE: /tmp/landfall-token");
    }
    out.add(2, "steps:");
    out.add(3, "- checkout");
    out.all(3, &["- run:", "    name: Get landfall", "    command: |"]);
    for line in settings.binary.install() {
        out.add(6, &line);
    }
    out.add(6, "echo 'export PATH=\"$HOME/bin:$PATH\"' >> \"$BASH_ENV\"");
    if oidc.is_some() {
        out.add(6, "# Proves to AWS which project this is, instead of a key.");
        out.add(6, "printf '%s' \"$CIRCLE_OIDC_TOKEN\" > \"$AWS_WEB_IDENTITY_TOKEN_FILE\"");
    }
    let key = "landfall-{{ .Environment.CIRCLE_WORKFLOW_WORKSPACE_ID }}";
    if keeps_records(settings) {
        out.add(3, "# Only a second try of this very workflow finds something here.");
        out.all(3, &["- restore_cache:", &format!("    keys: [{}]", quoted(&format!("{key}-")))]);
    }
    out.all(3, &["- run:", "    name: landfall ci", "    command: landfall ci resume", "    no_output_timeout: 30m"]);
    if keeps_records(settings) {
        out.all(3, &["- save_cache:", "    when: always"]);
        out.add(5, &format!("key: {}", quoted(&format!("{key}-{{{{ epoch }}}}"))));
        out.add(5, &format!("paths: [{CACHE}]"));
    }
    out.all(0, &["", "workflows:"]);
    out.add(1, "landfall:");
    out.add(2, "jobs:");
    out.add(3, "- landfall:");
    if oidc.is_some() {
        out.add(5, "# Only jobs with a context get a token; it may be empty.");
        out.add(5, "context: [landfall]");
    }
    out.add(5, "filters:");
    match (needs.branches || needs.pull_requests, needs.tags) {
        (true, true) => out.add(6, "tags: {only: /.*/}"),
        (true, false) => out.add(6, "branches: {only: /.*/}"),
        (false, _) => out.all(6, &["branches: {ignore: /.*/}", "tags: {only: /.*/}"]),
    }
}

fn travis(out: &mut Lines, settings: &Settings) {
    let needs = settings.needs;
    if needs.aws {
        out.add(0, "# Travis CI has no OpenID Connect: put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the repository's settings, where");
        out.add(0, "# they stay hidden and forks do not get them; of a user that has the policy beside this file and no other.");
    }
    let language = if matches!(settings.binary, Binary::Cargo { .. }) { "rust" } else { "minimal" };
    out.all(0, &["os: linux", "dist: jammy", &format!("language: {language}")]);
    if needs.engine || matches!(settings.binary, Binary::Image { .. }) {
        out.add(0, "services: docker");
    }
    out.all(0, &["git:", "  depth: false", "env:", "  global:"]);
    for (name, value) in variables(settings, "$TRAVIS_BUILD_DIR") {
        out.add(2, &format!("- {}", quoted(&format!("{name}=\"{value}\""))));
    }
    let wanted = match (needs.branches, needs.tags, needs.pull_requests) {
        (true, true, true) | (false, false, false) => None,
        (branches, tags, pulls) => {
            let mut any = Vec::new();
            if branches {
                any.push("(type = push AND tag IS blank)");
            }
            if tags {
                any.push("tag IS present");
            }
            if pulls {
                any.push("type = pull_request");
            }
            Some(any.join(" OR "))
        }
    };
    if let Some(wanted) = wanted {
        out.add(0, &format!("if: {wanted}"));
    }
    if keeps_records(settings) {
        out.all(0, &["cache:", "  directories:", &format!("    - {RECORDS}")]);
    }
    out.add(0, "install:");
    if needs.pull_requests {
        out.add(1, "# Travis CI checks out the merge of a pull request, which is no commit that anybody has.");
        out.commands(1, &[own_commit("TRAVIS_PULL_REQUEST_SHA")]);
    }
    out.commands(1, &settings.binary.install());
    out.add(1, "- export PATH=\"$HOME/bin:$PATH\"");
    out.add(0, "script:");
    out.add(1, "- landfall ci resume");
}

fn codebuild(out: &mut Lines, settings: &Settings) {
    if settings.needs.aws {
        out.add(0, "# The project's own role needs the policy beside this file; no key is kept anywhere.");
    }
    if settings.needs.engine || matches!(settings.binary, Binary::Image { .. }) {
        out.add(0, "# Images are built here: the project needs privileged mode. Source: a full clone (git depth 0).");
    }
    out.all(0, &["version: 0.2", "", "env:", "  variables:"]);
    for (name, value) in variables(settings, "/codebuild/landfall") {
        out.add(2, &format!("{name}: {}", quoted(&value)));
    }
    out.all(0, &["", "phases:", "  install:", "    commands:"]);
    out.commands(3, &settings.binary.install());
    out.add(1, "build:");
    out.add(2, "commands:");
    out.add(3, "- \"PATH=\\\"$HOME/bin:$PATH\\\" landfall ci resume\"");
    if keeps_records(settings) {
        out.all(0, &["", "cache:", "  paths:", &format!("    - \"/codebuild/landfall/{RECORDS}/**/*\"")]);
    }
}
