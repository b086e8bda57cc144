//! Instances that are drained. No emulator has tasks that take their time to stop, so ECS's answers are given here, as it gives them
//! (<https://github.com/aws/aws-cdk/issues/13506>).

use landfall_model::aws::AwsTarget;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::place::connect;

/// An ECS that answers so, by action. Its address.
async fn ecs(answer: fn(&str, &Value) -> Value) -> String {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", server.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            let (action, input) = loop {
                let read = stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0, "cut off: {request}");
                request.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
                let Some((head, body)) = request.split_once("\r\n\r\n") else { continue };
                if let Ok(input) = serde_json::from_str::<Value>(body) {
                    let (_, action) = head.split_once("AmazonEC2ContainerServiceV20141113.").unwrap();
                    break (action.lines().next().unwrap().to_owned(), input);
                }
            };
            let body = answer(&action, &input).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\nconnection: close\r\n";
            let told = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(told.as_bytes()).await.unwrap();
        }
    });
    url
}

fn answer(action: &str, input: &Value) -> Value {
    let instance = |name: &str, status: &str, running: u32| json!({ "containerInstanceArn": name, "status": status, "agentConnected": true, "runningTasksCount": running, "pendingTasksCount": 0 });
    let task = |name: &str, on: &str, status: &str| json!({ "taskArn": name, "containerInstanceArn": on, "lastStatus": status, "desiredStatus": "STOPPED" });
    match action {
        "ListContainerInstances" if input["status"] == "DRAINING" => {
            json!({ "containerInstanceArns": ["draining", "empty"] })
        }
        "ListContainerInstances" => json!({ "containerInstanceArns": ["active"] }),
        "DescribeContainerInstances" => json!({ "failures": [], "containerInstances": [
            instance("active", "ACTIVE", 4), instance("draining", "DRAINING", 1), instance("empty", "DRAINING", 0),
        ]}),
        "ListTasks" => {
            assert_eq!(input["desiredStatus"], "STOPPED");
            json!({ "taskArns": ["a", "b", "c", "d", "e", "f"] })
        }
        "DescribeTasks" => json!({ "failures": [], "tasks": [
            task("a", "draining", "DEACTIVATING"),
            task("b", "draining", "STOPPING"),
            task("c", "draining", "DEPROVISIONING"),
            task("d", "draining", "STOPPED"),
            task("e", "empty", "STOPPED"),
            task("f", "active", "DEACTIVATING"),
        ]}),
        other => panic!("{other} {input}"),
    }
}

#[tokio::test]
async fn tasks_of_drained_instances_count_until_they_have_stopped() {
    let target = AwsTarget {
        name: "test".to_owned(),
        region: Some("eu-west-1".to_owned()),
        endpoint: Some(ecs(answer).await),
        cluster: "main".to_owned(),
        ..AwsTarget::default()
    };
    let instances = connect(&target).await.container_instances().instances().await.unwrap();
    let counted: Vec<(&str, u32)> = instances.iter().map(|one| (one.arn.as_str(), one.tasks)).collect();
    assert_eq!(counted, [("active", 4), ("draining", 4), ("empty", 0)]);
}
