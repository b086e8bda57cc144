//! `landfall cluster ami` on moto, with builders that really run what they are told.

use std::cell::RefCell;
use std::io::BufReader;
use std::process::Stdio;

use serde_json::{Value, json};

use super::World;
use crate::common::aws::boto3;
use crate::common::{ends, heard, signal, text};

const SCRIPT: &str = "#!/bin/sh\necho baked\n";

/// Two zones: there is no capacity in the first.
fn world() -> World {
    let world = World::with("builders.py");
    world.script(SCRIPT);
    world
}

impl World {
    fn script(&self, text: &str) {
        std::fs::write(self.directory.path().join("ecs_userdata.sh"), text).unwrap();
    }

    fn ec2(&self, arguments: &[&str]) -> String {
        let mut command = boto3("images.py", &self.moto.url);
        let output = command.args(arguments).env("AWS_DEFAULT_REGION", "us-west-2").output().unwrap();
        ends(&output, 0, &[])
    }

    /// Images, and instances.
    fn there(&self) -> (Vec<Value>, Vec<Value>) {
        let told: Value = serde_json::from_str(&self.ec2(&["state"])).unwrap();
        (told["images"].as_array().unwrap().clone(), told["instances"].as_array().unwrap().clone())
    }

    /// The image's id, which is all there is on stdout.
    #[track_caller]
    fn image(&self) -> String {
        let (stdout, stderr) = self.run(&["ami", "build"], 0);
        let id = stdout.trim_end();
        assert!(id.starts_with("ami-") && !id.contains('\n'), "{stdout}{stderr}");
        id.to_owned()
    }
}

fn all(of: &[Value], key: &str) -> Vec<Value> {
    of.iter().map(|one| one[key].clone()).collect()
}

#[test]
fn an_image_is_made_used_again_and_made_anew_without_its_tag() {
    let world = world();
    let (stdout, stderr) = world.run(&["ami", "build", "--output", "json"], 0);
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(told["how"], "built", "{stderr}");
    let (images, instances) = world.there();
    let (image, builder) = (&images[0], &instances[0]);
    assert_eq!((images.len(), instances.len()), (1, 1));
    assert_eq!((&image["id"], &image["state"]), (&told["image"], &json!("available")));
    assert_eq!(
        (&image["tags"]["source_ami"], &image["tags"]["landfall:recipe"]),
        (&told["source_ami"], &told["recipe"])
    );
    assert_eq!((&builder["image"], &builder["state"]), (&told["source_ami"], &json!("terminated")));
    assert_eq!((&builder["type"], &builder["zone"]), (&json!("t3.small"), &json!("us-west-2b")));
    assert_eq!(builder["tokens"], "required");
    let name = format!(
        "landfall-ami-{}-{}-{}",
        told["source_ami"].as_str().unwrap(),
        told["recipe"].as_str().unwrap(),
        builder["id"].as_str().unwrap()
    );
    assert_eq!(image["name"], json!(name));

    let first = told["image"].as_str().unwrap();
    assert_eq!(world.image(), first);
    assert_eq!(world.there().1.len(), 1, "nothing was launched");
    let (listed, _) = world.run(&["ami", "list"], 0);
    assert!(listed.starts_with(&format!("* {first}  available")) && listed.lines().count() == 1, "{listed}");

    world.ec2(&["untag", first, "source_ami"]);
    let second = world.image();
    assert_ne!(second, first);
    assert_eq!(world.image(), second);
    // Another script is another image, and the old one is there for the old script.
    world.script("#!/bin/sh\necho other\n");
    let third = world.image();
    assert!(third != second && third != first);
    world.script(SCRIPT);
    assert_eq!(world.image(), second);
    let (images, instances) = world.there();
    assert_eq!((images.len(), all(&instances, "state")), (3, vec![json!("terminated"); 3]));
}

#[test]
fn what_fails_is_told_with_its_cause_and_no_builder_stays() {
    let world = world();
    let refused = RefCell::new(Vec::new());
    let fails = |arguments: &[&str], code: i32, says: &[&str]| {
        let (stdout, stderr) = world.run(&[&["ami", "build"], arguments].concat(), code);
        assert_eq!(stdout, "", "{stderr}");
        assert!(says.iter().all(|say| stderr.contains(say)), "{says:?}: {stderr}");
        refused.borrow_mut().push(stderr);
    };
    world.script("#!/bin/bash\nfor at in {1..60}; do echo line $at; done\necho no such package >&2\nexit 3\n");
    fails(&[], 1, &["ended with 3", "line 60", "no such package", "line 42\n"]);
    // The same again: a builder of its own, though the token of the first is spent.
    fails(&["--instance-type", "t2.micro"], 1, &["ended with 3"]);
    fails(&[], 1, &["ended with 3"]);
    world.script("#!/bin/sh\n/bin/sleep 60\n");
    fails(&["--limit", "1"], 1, &["was not done in time", "--limit"]);
    world.script("#!/bin/sh\necho unmakeable\n");
    fails(&[], 1, &["could not be made: the volume has no key"]);
    world.script("#!/bin/sh\necho forbidden\n");
    fails(&[], 77, &["ec2:CreateImage on i-", "is terminated; nothing is left of it"]);
    fails(&["--instance-type", "c5.large"], 77, &["ec2:RunInstances on one c5.large of ami-"]);

    world.script("yum install -y htop\n");
    fails(&[], 65, &["ecs_userdata.sh", "does not begin with `#!`"]);
    fails(&["--script", "none.sh"], 66, &["none.sh cannot be read"]);
    world.script(SCRIPT);
    let infra = super::INFRA.replace("  availability_zones: [us-west-2a, us-west-2b]\n", "");
    world.infra(&infra);
    let output = world.command(&["ami", "build"]).env("AWS_REGION", "eu-north-1").output().unwrap();
    ends(&output, 66, &[]);
    assert!(text(&output.stderr).contains("eu-north-1 has no default VPC"), "{}", text(&output.stderr));
    world.infra(&super::INFRA.replace(", us-west-2b", ""));
    fails(&[], 69, &["no t3.small can be had to build on", "--instance-type"]);
    world.infra(&super::INFRA.replace("ec2_instances:", "ec2_instances:\n  image: bottlerocket"));
    fails(&[], 65, &["Bottlerocket runs no scripts"]);

    // Three whose script failed, one that took too long, one whose image could not be made, one of which none may be made.
    let (images, builders) = world.there();
    let told = refused.into_inner();
    assert_eq!(images, Vec::<Value>::new(), "what failed is gone: {told:#?}");
    assert_eq!(all(&builders, "state"), ["terminated"; 6], "{told:#?}");
}

#[test]
fn what_packer_made_is_used_where_there_is_no_script() {
    let world = World::with("builders.py");
    let (_, stderr) = world.run(&["ami", "build"], 66);
    assert!(stderr.contains("no script to make one with") && stderr.contains("--script"), "{stderr}");
    std::fs::write(world.directory.path().join("packer.json"), "{}").unwrap();
    let (_, stderr) = world.run(&["ami", "build"], 66);
    assert!(stderr.contains("packer.json is Packer's to run: tag its image source_ami=ami-"), "{stderr}");
    // One as Packer makes it: with that tag, and none of ours.
    world.script(SCRIPT);
    let (_, stderr) = world.run(&["ami", "build"], 0);
    assert!(stderr.contains("packer.json is not run"), "{stderr}");
    let (images, _) = world.there();
    let own = images[0]["id"].as_str().unwrap();
    world.ec2(&["untag", own, "landfall:recipe"]);
    std::fs::remove_file(world.directory.path().join("ecs_userdata.sh")).unwrap();
    assert_eq!(world.image(), own);
}

#[test]
fn killed_at_any_moment_it_goes_on_with_the_builder_that_is_there() {
    let world = world();
    // It waits for a file, for half a minute at most.
    let go = world.directory.path().join("go");
    let waits = format!("[ -e {} ] || [ $n = 300 ]", go.display());
    world.script(&format!("#!/bin/sh\nn=0\nuntil {waits}; do n=$((n+1)); /bin/sleep 0.1; done\n"));
    let killed_when_it_says = |what: &str| {
        let mut command = world.command(&["ami", "build"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        heard(&mut stderr, what);
        signal(child.id(), "KILL");
        child.wait().unwrap();
    };
    killed_when_it_says("runs the script");
    let (_, stderr) = world.run(&["ami", "build", "--timeout", "0"], 8);
    assert!(stderr.contains("no image after 0 s") && stderr.contains("goes on"), "{stderr}");
    std::fs::write(go, "").unwrap();
    killed_when_it_says("becomes an image");
    // Two at once come to the same.
    let mut other = world.command(&["ami", "build"]);
    let other = other.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let image = world.image();
    let output = other.wait_with_output().unwrap();
    assert_eq!(ends(&output, 0, &[]).trim_end(), image);
    let (images, instances) = world.there();
    assert_eq!(all(&images, "id"), [json!(image)]);
    assert_eq!(all(&instances, "state"), ["terminated"]);
}

#[test]
fn a_version_has_the_image_that_is_named() {
    let world = World::new();
    let own = "ami-0123456789abcdef0";
    let mut deploy = world.command(&["deploy", "--version", "one", "--prove", "0", "--register", "60"]);
    ends(&deploy.env("AMI", own).output().unwrap(), 0, &[]);
    assert_eq!(all(&world.there().1, "image"), [own; 3]);
}
