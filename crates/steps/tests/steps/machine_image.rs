//! Images on an EC2 that has no room in one subnet, remembers tokens, and lets nothing be taken away for a while.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use landfall_cluster::ami::{Failure, Next, Order, Patience, recipe};
use landfall_model::Timestamp;
use landfall_model::machine_image::{ImageState, Launched, MachineLaunch, MachineState};
use landfall_ports::machine_images::MachineImages;
use landfall_ports::{PortError, PortResult};
use landfall_steps::machine_image::{Launch, Machine, Making, found};

const SCRIPT: &str = "#!/bin/sh\ntrue\n";
const NOW: i64 = 1_800_000_000;

#[derive(Default)]
struct World {
    images: Vec<ImageState>,
    builders: Vec<MachineState>,
    /// In which there is no room.
    full: Vec<String>,
    tokens: BTreeMap<String, String>,
    launches: Vec<MachineLaunch>,
    /// What does not go at the next try.
    clings: Option<String>,
    /// What becomes of the next one that is made.
    becomes: &'static str,
}

impl World {
    fn goes(&mut self, what: &str) -> PortResult<()> {
        match self.clings.take_if(|clings| clings == what) {
            Some(_) => Err(PortError::Throttled { message: "Rate exceeded".to_owned(), retry_after_ms: None }),
            None => Ok(()),
        }
    }
}

/// Scripts end well at once.
struct Ec2(Mutex<World>);

impl Ec2 {
    fn new() -> Self {
        let source = ImageState { id: "ami-1".to_owned(), architecture: "arm64".to_owned(), ..ImageState::default() };
        Self(Mutex::new(World { images: vec![source], becomes: "available", ..World::default() }))
    }

    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Images and builders.
    fn counted(&self) -> (usize, usize) {
        let world = self.world();
        (world.images.len(), world.builders.len())
    }
}

#[async_trait]
impl MachineImages for Ec2 {
    async fn image(&self, id: &str) -> PortResult<Option<ImageState>> {
        Ok(self.world().images.iter().find(|one| one.id == id).cloned())
    }

    async fn own(&self, tag: &str, prefix: &str) -> PortResult<Vec<ImageState>> {
        let own = |one: &&ImageState| one.tags.contains_key(tag) || one.name.starts_with(prefix);
        Ok(self.world().images.iter().filter(own).cloned().collect())
    }

    async fn machines(&self, tag: &str, value: &str) -> PortResult<Vec<MachineState>> {
        let own = |one: &&MachineState| one.tags.get(tag).is_some_and(|own| own == value);
        Ok(self.world().builders.iter().filter(own).cloned().collect())
    }

    async fn launch(&self, launch: &MachineLaunch) -> PortResult<Launched> {
        let mut world = self.world();
        if world.full.contains(&launch.subnet) {
            return Ok(Launched::NoRoom("there is not enough capacity".to_owned()));
        }
        if world.tokens.contains_key(&launch.token) {
            return Ok(Launched::Spent);
        }
        let id = format!("i-{}", world.launches.len() + 1);
        world.tokens.insert(launch.token.clone(), id.clone());
        world.launches.push(launch.clone());
        let launched = Timestamp::from_second(NOW).ok();
        let (state, tags) = ("stopped".to_owned(), launch.tags.clone());
        world.builders.push(MachineState { id: id.clone(), state, launched, tags, ..MachineState::default() });
        Ok(Launched::It(id))
    }

    async fn console(&self, _: &str, latest: bool) -> PortResult<String> {
        Ok(if latest { String::new() } else { format!("landfall-ami {} ended with 0\r\n", recipe(SCRIPT)) })
    }

    async fn create(&self, _: &str, name: &str, tags: &BTreeMap<String, String>) -> PortResult<()> {
        let mut world = self.world();
        let (id, state) = ("ami-made".to_owned(), world.becomes.to_owned());
        world.images.push(ImageState { id, name: name.to_owned(), state, tags: tags.clone(), ..ImageState::default() });
        Ok(())
    }

    async fn discard(&self, image: &str) -> PortResult<()> {
        let mut world = self.world();
        world.goes(image)?;
        world.images.retain(|one| one.id != image);
        Ok(())
    }

    async fn terminate(&self, machine: &str) -> PortResult<()> {
        let mut world = self.world();
        world.goes(machine)?;
        world.builders.retain(|one| one.id != machine);
        Ok(())
    }
}

fn order() -> Order {
    Order { source: "ami-1".to_owned(), recipe: Some(recipe(SCRIPT)) }
}

fn machine() -> Machine {
    Machine { script: SCRIPT.to_owned(), ..Machine::default() }
}

fn subnets() -> [String; 2] {
    ["subnet-a", "subnet-b"].map(str::to_owned)
}

/// The next thing, done.
async fn step(making: &mut Making<'_>) -> PortResult<Next> {
    let facts = making.look(NOW + 60).await?;
    let decided = making.next(&facts);
    if decided == Next::Launch {
        assert!(matches!(making.launch(&machine(), &subnets()).await?, Launch::It(_)));
    }
    assert!(making.act(&decided).await?.is_empty());
    Ok(decided)
}

#[tokio::test]
async fn a_builder_is_launched_where_there_is_room_with_a_token_that_is_not_spent() {
    let (ec2, order) = (Ec2::new(), order());
    ec2.world().full = vec!["subnet-a".to_owned()];
    for builder in ["i-1", "i-2"] {
        let mut making = Making::new(&ec2, &order, "web", Patience { script: 90, ..Patience::default() });
        assert_eq!(making.launch(&machine(), &subnets()).await.unwrap(), Launch::It(builder.to_owned()));
        let launch = ec2.world().launches.last().unwrap().clone();
        assert_eq!((launch.subnet.as_str(), launch.instance_type.as_str()), ("subnet-b", "t4g.small"));
        assert_eq!(launch.tags["landfall:limit"], "90");
        let (gone, went) = making.abandon().await.unwrap();
        assert!(gone == builder && went.is_ok(), "{gone}: {went:?}");
    }
    assert_eq!(found(&ec2).await.unwrap().builders, []);
    ec2.world().full.push("subnet-b".to_owned());
    let mut making = Making::new(&ec2, &order, "web", Patience::default());
    let why = "subnet-b: there is not enough capacity".to_owned();
    let none = Launch::NoRoom { instance_type: "t4g.small".to_owned(), why };
    assert_eq!(making.launch(&machine(), &subnets()).await.unwrap(), none);
    ec2.world().images.clear();
    assert_eq!(making.launch(&machine(), &subnets()).await.unwrap(), Launch::NoSource);
    assert!(making.abandon().await.is_none());
}

/// Whoever makes it dies after each thing that is done.
#[tokio::test]
async fn an_image_is_made_and_its_builder_goes() {
    let (ec2, order) = (Ec2::new(), order());
    let builder = || "i-1".to_owned();
    let all = [
        Next::Launch,
        Next::Create { builder: builder() },
        Next::Terminate { builder: builder() },
        Next::Done { image: "ami-made".to_owned() },
    ];
    for expected in all {
        let mut making = Making::new(&ec2, &order, "web", Patience::default());
        assert_eq!(step(&mut making).await.unwrap(), expected);
    }
}

/// The end says why: so the builder, by which it is known, stays until the image is gone.
#[tokio::test]
async fn what_failed_goes_before_its_builder() {
    let (ec2, order) = (Ec2::new(), order());
    let mut making = Making::new(&ec2, &order, "web", Patience::default());
    ec2.world().becomes = "failed";
    step(&mut making).await.unwrap();
    step(&mut making).await.unwrap();
    // Neither goes at the first try.
    for (clings, left) in [("ami-made", (2, 1)), ("i-1", (1, 1))] {
        ec2.world().clings = Some(clings.to_owned());
        assert!(step(&mut making).await.is_err_and(|error| error.passes()));
        assert_eq!(ec2.counted(), left);
    }
    let ended = step(&mut making).await.unwrap();
    assert!(matches!(ended, Next::Failed { why: Failure::Image { .. }, .. }), "{ended:?}");
    assert_eq!(ec2.counted(), (1, 0));
}
