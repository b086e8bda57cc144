//! Our share of a task's start beside the bare engine calls. Run by hand:
//! `cargo test -p landfall-local --test containers -- --ignored --nocapture speed`

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use landfall_local::docker::types::{CreateContainer, HostConfig};
use landfall_ports::orchestrator::Orchestrator;

use crate::support::{IMAGE, web, with_world};

async fn answers(address: &str) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_start_beside_the_engines_own() {
    with_world(|world| async move {
        let definition = world.register(vec![web("x")]).await;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for round in 0..7 {
            let docker = world.docker();
            let network = format!("landfall-bench-{}-{round}", world.environment);
            let labels = BTreeMap::from([("landfall.bench".to_owned(), "1".to_owned())]);
            docker.create_network(&network, &labels, &BTreeMap::new(), None).await.unwrap();
            let command = web("x").settings.command;
            let body = |mode: String, command: &[String]| CreateContainer {
                image: IMAGE.to_owned(),
                cmd: command.to_vec(),
                host_config: HostConfig { network_mode: mode, ..HostConfig::default() },
                ..CreateContainer::default()
            };
            let sleep = ["/bin/busybox", "sleep", "60"].map(str::to_owned);
            let began = Instant::now();
            let pause = docker.create_container(&format!("{network}-p"), &body(network.clone(), &sleep)).await.unwrap();
            docker.start_container(&pause).await.unwrap();
            let member = body(format!("container:{pause}"), &command);
            let member = docker.create_container(&format!("{network}-m"), &member).await.unwrap();
            docker.start_container(&member).await.unwrap();
            let address =
                docker.inspect_container(&pause).await.unwrap().network_settings.address().unwrap().to_owned();
            answers(&format!("{address}:8080")).await;
            bare.push(began.elapsed());
            docker.remove_container(&member).await.unwrap();
            docker.remove_container(&pause).await.unwrap();
            docker.remove_network(&network).await.unwrap();

            let mut request = world.web_service(&definition, 1).await;
            request.deployment.timeout = 60;
            let began = Instant::now();
            let deployment = world.put(&request).await;
            world.completed(&deployment).await;
            ours.push(began.elapsed());
            world.platform.delete_service(&world.name()).await.unwrap();
            while world.platform.describe_service(&world.name()).await.unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        // The first start of an environment also makes its network; its own line.
        eprintln!("first start, network included: {:?}", ours.remove(0));
        bare.remove(0);
        ours.sort();
        bare.sort();
        eprintln!("ours, service asked for until healthy: {:?}, median {:?}", ours, ours[ours.len() / 2]);
        eprintln!("bare engine until the port answers:    {:?}, median {:?}", bare, bare[bare.len() / 2]);
        world
    });
}
