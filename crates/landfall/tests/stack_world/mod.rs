//! Stacks of the real binary on emulators that nobody here wrote, read back by boto3 (`tests/aws/stack.py`).
//!
//! What an emulator lacks is in its strip list, which the templates of `crates/stack/tests/outside` are held to as well: here the manifest
//! leaves out what would need a type of it, and a template that has one all the same fails the test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use landfall_testkit::emulator::{self, Emulator};
use serde_json::{Value, json};

use crate::common::aws::boto3;
use crate::common::fake::landfall;
use crate::common::{ends, text};

mod clicked;
mod life;
mod promoted;

pub(crate) const COMMITS: [&str; 2] =
    ["1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"];

pub(crate) struct Place {
    name: &'static str,
    emulator: Emulator,
    pub(crate) account: &'static str,
    key: [String; 2],
    directory: tempfile::TempDir,
    lacking: BTreeSet<String>,
}

impl Place {
    pub(crate) fn moto() -> Self {
        Self::new("moto", emulator::moto(), "123456789012")
    }

    pub(crate) fn ministack(more: &[(&str, &str)]) -> Self {
        Self::new("ministack", emulator::ministack(more), "000000000000")
    }

    fn new(name: &'static str, emulator: Emulator, account: &'static str) -> Self {
        let directory = tempfile::Builder::new().prefix("landfall-stack-").tempdir().unwrap();
        let lines = std::fs::read_to_string(strip(name)).unwrap();
        let lacking = lines.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned());
        let lacking = lacking.filter(|line| !line.is_empty()).collect();
        Self { name, emulator, account, key: ["test", "test"].map(str::to_owned), directory, lacking }
    }

    /// Of a setting that needs this type: nothing where the emulator lacks it.
    pub(crate) fn unless_lacking<'a>(&self, kind: &str, setting: &'a str) -> &'a str {
        if self.lacking.contains(kind) { "" } else { setting }
    }

    pub(crate) fn repository(&self) -> String {
        format!("{}.dkr.ecr.us-east-1.amazonaws.com/shop", self.account)
    }

    pub(crate) fn image(&self, digit: u8) -> String {
        format!("{}@sha256:{digit:064}", self.repository())
    }

    /// Environments `dev` and `prod`. `network`: of the places; `stack`: of the stacks; `rest` follows.
    pub(crate) fn manifest(&self, network: &str, stack: &str, rest: &str) {
        let url = &self.emulator.url;
        let account = self.account;
        let place = |name: &str| {
            format!(
                "  {name}: {{ region: us-east-1, endpoint: \"{url}\", account: \"{account}\", cluster: shop-{name}{network} }}\n"
            )
        };
        let environment = |name: &str| format!("  {name}:\n    on: {name}\n    stack:\n{stack}");
        let manifest = format!(
            r#"project: shop
aws:
{}{}services:
  web:
    cpu: 256
    memory: 512
    containers:
      app: {{ await: {{ image: "{}:{{commit}}" }}, ports: [80] }}
    load_balancer: {{}}
environments:
{}{}{rest}"#,
            place("dev"),
            place("prod"),
            self.repository(),
            environment("dev"),
            environment("prod"),
        );
        self.write_manifest(&manifest);
    }

    pub(crate) fn read_manifest(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("landfall.yml")).unwrap()
    }

    pub(crate) fn write_manifest(&self, text: &str) {
        std::fs::write(self.directory.path().join("landfall.yml"), text).unwrap();
    }

    pub(crate) fn command_as(&self, user: &str, arguments: &[&str]) -> Command {
        let [key, secret] = &self.key;
        let mut command = landfall(self.directory.path(), arguments);
        command.envs([("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)]).env("USER", user);
        command
    }

    pub(crate) fn run_as(&self, user: &str, arguments: &[&str]) -> Output {
        self.command_as(user, arguments).output().unwrap()
    }

    /// stdout and stderr.
    #[track_caller]
    pub(crate) fn ends(&self, arguments: &[&str], code: i32, says: &[&str]) -> (String, String) {
        let output = self.run_as("ben", arguments);
        (ends(&output, code, says), text(&output.stderr))
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str], code: i32) -> Value {
        let (stdout, _) = self.ends(&[arguments, &["--output", "json"]].concat(), code, &[]);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// As boto3 does it, as the emulator's root.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let output = boto3("stack.py", &self.emulator.url).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What is there of the environment's stack. Everything that the template has is, and nothing that the emulator lacks was wanted.
    pub(crate) fn look(&self, environment: &str) -> Value {
        let template = self.directory.path().join("template.json");
        let (printed, _) = self.ends(&["template", environment, "--output", "json"], 0, &[]);
        std::fs::write(&template, printed).unwrap();
        let (template, strip) = (template.to_string_lossy(), strip(self.name));
        let told = self.ask(&["look", &format!("shop-{environment}"), &template, &strip.to_string_lossy()]);
        assert_eq!(told["lacking"], json!([]), "{}", self.name);
        assert_eq!(told["made"], told["wanted"], "{}", self.name);
        assert_eq!(told["tags"]["landfall"], format!("shop@{environment}"), "{}", self.name);
        told
    }

    /// From now on whoever runs Landfall may do what the policy allows, and nothing else.
    pub(crate) fn hold_to(&mut self, policy: &Value) {
        let key: [String; 2] = serde_json::from_value(self.ask(&["user", &policy.to_string()])).unwrap();
        self.key = key;
    }
}

fn strip(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../stack/tests/outside/{name}.strip"))
}
