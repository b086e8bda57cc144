//! The pipeline of a cluster, as CodePipeline runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use landfall_iam::Statement;
use landfall_stack::delivery::{ClusterAsk, ClusterImage, ClusterStage, Source, Undeliverable, of_cluster};
use serde_json::{Value, json};

fn right(sid: &str, call: &str) -> Vec<Statement> {
    let resource = "arn:${AWS::Partition}:cloudformation:${AWS::Region}:${AWS::AccountId}:stack/web-cluster/*";
    vec![Statement::allow(sid, &[call], [resource.to_owned()]).when(
        "StringEquals",
        "aws:RequestedRegion",
        ["${AWS::Region}".to_owned()],
    )]
}

fn connection() -> Source {
    Source::Connection("arn:aws:codeconnections:us-west-2:111122223333:connection/0a1b".to_owned())
}

fn token(key: Option<&str>) -> Source {
    Source::Token { secret: "GithubToken".to_owned(), key: key.map(str::to_owned) }
}

fn ask<'a>(source: &'a Source, environments: &[&str]) -> ClusterAsk<'a> {
    let stage = |environment: &&str| ClusterStage {
        environment: (*environment).to_owned(),
        values: "infra.yml".to_owned(),
        rights: right("Deploys", "cloudformation:ExecuteChangeSet"),
    };
    let image = ClusterImage {
        environment: environments[0].to_owned(),
        values: "infra.yml".to_owned(),
        rights: right("Builds", "ec2:RunInstances"),
    };
    ClusterAsk {
        cluster: "web",
        tag: ("landfall:cluster", "web"),
        owner: "acme",
        repository: "clusters",
        branch: "main",
        source,
        images: vec![image],
        stages: environments.iter().map(stage).collect(),
        url: Some("https://example.com/landfall.tar.gz"),
        sha256: None,
    }
}

fn made(ask: &ClusterAsk<'_>) -> Value {
    serde_json::from_str(&of_cluster(ask).unwrap().template.json()).unwrap()
}

/// Stage → names of its actions.
fn stages(template: &Value) -> Vec<(String, Vec<String>)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of = |stage: &Value| {
        let actions = stage["Actions"].as_array().unwrap().iter();
        (text(&stage["Name"]), actions.map(|action| text(&action["Name"])).collect())
    };
    template["Resources"]["Pipeline"]["Properties"]["Stages"].as_array().unwrap().iter().map(of).collect()
}

fn row(stage: &str, action: &str) -> (String, Vec<String>) {
    (stage.to_owned(), vec![action.to_owned()])
}

#[test]
fn a_push_builds_the_image_and_rolls_each_environment() {
    let source = connection();
    let template = made(&ask(&source, &["dev", "prod"]));
    insta::assert_snapshot!("cluster_connection", of_cluster(&ask(&source, &["dev", "prod"])).unwrap().template.yaml());
    assert_eq!(
        stages(&template),
        [row("Source", "Source"), row("BuildAMI", "ImageDev"), row("DeployDev", "Deploy"), row("DeployProd", "Deploy")]
    );
    // The image and the commit reach both.
    for index in [2, 3] {
        let stage = &template["Resources"]["Pipeline"]["Properties"]["Stages"][index];
        let told = stage["Actions"][0]["Configuration"]["EnvironmentVariables"].as_str().unwrap();
        let told: Value = serde_json::from_str(told).unwrap();
        let variable = |name: &str, value: &str| json!({"name": name, "value": value, "type": "PLAINTEXT"});
        assert_eq!(told, json!([variable("VERSION", "#{Source.CommitId}"), variable("AMI", "#{ImageDev.AMI}")]));
    }
    let spec = |project: &str| template["Resources"][project]["Properties"]["Source"]["BuildSpec"].clone();
    let image = spec("ImageDevProject");
    let image = image.as_str().unwrap();
    assert!(image.contains("AMI=") && image.contains("landfall cluster ami build --values infra.yml"), "{image}");
    assert!(image.contains("exported-variables"), "{image}");
    let deploy = spec("DeployProdProject");
    assert!(deploy.as_str().unwrap().contains("landfall cluster deploy --values infra.yml"), "{deploy}");
    // A connection needs neither token nor webhook.
    let text = template.to_string();
    assert!(!text.contains("secretsmanager") && !text.contains("Webhook"), "{text}");
}

#[test]
fn a_token_comes_with_a_webhook_that_has_a_secret_of_its_own() {
    let source = token(None);
    insta::assert_snapshot!("cluster_token", of_cluster(&ask(&source, &[""])).unwrap().template.yaml());
    let template = made(&ask(&source, &[""]));
    assert_eq!(stages(&template), [row("Source", "Source"), row("BuildAMI", "Image"), row("Deploy", "Deploy")]);
    let source = &template["Resources"]["Pipeline"]["Properties"]["Stages"][0]["Actions"][0]["Configuration"];
    assert_eq!(source["OAuthToken"], "{{resolve:secretsmanager:GithubToken:SecretString}}");
    assert_eq!(source["PollForSourceChanges"], "false");
    let webhook = &template["Resources"]["Webhook"]["Properties"];
    assert_eq!(webhook["Authentication"], "GITHUB_HMAC");
    assert_eq!(webhook["Filters"], json!([{"JsonPath": "$.ref", "MatchEquals": "refs/heads/main"}]));
    assert_eq!(webhook["RegisterWithThirdParty"], true);
    let token = &webhook["AuthenticationConfiguration"]["SecretToken"]["Fn::Sub"];
    assert_eq!(token, "{{resolve:secretsmanager:${WebhookSecret}:SecretString}}");
    assert!(template["Resources"]["WebhookSecret"]["Properties"]["GenerateSecretString"].is_object());
    let keyed = self::token(Some("token"));
    let keyed = made(&ask(&keyed, &[""]));
    let source = &keyed["Resources"]["Pipeline"]["Properties"]["Stages"][0]["Actions"][0]["Configuration"];
    assert_eq!(source["OAuthToken"], "{{resolve:secretsmanager:GithubToken:SecretString:token}}");
}

/// Without an image of one's own nothing is said of one.
#[test]
fn without_an_image_there_is_no_stage_for_it() {
    let source = connection();
    let mut own = ask(&source, &[""]);
    own.images.clear();
    let template = made(&own);
    assert_eq!(stages(&template), [row("Source", "Source"), row("Deploy", "Deploy")]);
    assert!(!template.to_string().contains("AMI"));
}

#[test]
fn each_job_has_its_own_rights_and_no_more() {
    let source = connection();
    let template = made(&ask(&source, &["dev", "prod"]));
    let rights = |role: &str| {
        let policy = &template["Resources"][role]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"];
        policy.as_array().unwrap().clone()
    };
    let sids = |role: &str| rights(role).iter().map(|one| one["Sid"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(sids("ImageDevRole"), ["WriteLogs", "UseArtifacts", "Builds"]);
    assert_eq!(sids("DeployProdRole"), ["WriteLogs", "UseArtifacts", "Deploys"]);
    assert_eq!(sids("PipelineRole"), ["UseConnection", "KeepArtifacts", "SeeArtifacts", "RunJobs"]);
    // The place is the stack's own.
    let deploys = &rights("DeployProdRole")[2];
    assert!(deploys["Resource"][0]["Fn::Sub"].as_str().unwrap().contains("${AWS::Region}"), "{deploys}");
    assert_eq!(deploys["Condition"]["StringEquals"]["aws:RequestedRegion"], json!({"Ref": "AWS::Region"}));
    let source = token(None);
    let template = made(&ask(&source, &[""]));
    assert!(!template["Resources"]["PipelineRole"].to_string().contains("UseConnection"));
}

#[test]
fn a_file_s_name_stays_one_word_and_stages_have_names_of_their_own() {
    let source = connection();
    let mut own = ask(&source, &[""]);
    own.stages[0].values = "my infra; x.yml".to_owned();
    let template = made(&own);
    let spec = template["Resources"]["DeployProject"]["Properties"]["Source"]["BuildSpec"].as_str().unwrap();
    assert!(spec.contains("--values 'my infra; x.yml'"), "{spec}");
    let same = of_cluster(&ask(&source, &["eu-1", "eu1"])).unwrap_err();
    assert_eq!(same, Undeliverable::SameStage("web-cluster".to_owned(), "DeployEu1".to_owned()));
}
