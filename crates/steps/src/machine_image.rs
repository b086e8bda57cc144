//! An image of one's own, in looks that never wait: each observes builders and images, and what follows is one thing at most, which
//! `landfall_cluster::ami` decides. Nothing is kept here but what saves calls: called again after any death, it goes on from where the builder is.

use landfall_cluster::ami::{BUILDER, Facts, NAMED, Next, Order, Patience, SOURCE, ending, next, user_data};
use landfall_model::machine_image::{Launched, MachineLaunch};
use landfall_ports::machine_images::MachineImages;
use landfall_ports::{PortError, PortResult};

/// Launches of one order within a day, which EC2 remembers the tokens of.
const ATTEMPTS: u32 = 50;

/// What is wanted, and the EC2 that makes it.
pub struct Making<'a> {
    pub images: &'a dyn MachineImages,
    pub order: &'a Order,
    /// Of the cluster that it is for.
    pub cluster: &'a str,
    pub patience: Patience,
    memory: Memory,
}

#[derive(Default)]
struct Memory {
    launched: Option<String>,
    /// The builder that was seen last.
    builder: Option<String>,
    /// Since when a console that says nothing has been asked, in seconds since 1970.
    asked: Option<i64>,
    /// What is told once its builder is gone.
    failed: Option<Next>,
}

/// What an image is made on.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// `None`: a small one that fits the image.
    pub instance_type: Option<String>,
    /// An instance profile.
    pub profile: Option<String>,
    pub script: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// The builder.
    It(String),
    /// There is no image to build upon.
    NoSource,
    /// In no subnet.
    NoRoom { instance_type: String, why: String },
}

/// What could not be taken away, and why.
pub type Left = (String, PortError);

/// Images and builders of all orders; nothing of what consoles say.
///
/// # Errors
/// EC2's.
pub async fn found(images: &dyn MachineImages) -> PortResult<Facts> {
    let (builders, images) = (images.machines(BUILDER.0, BUILDER.1).await?, images.own(SOURCE, NAMED).await?);
    Ok(Facts { images, builders, ..Facts::default() })
}

impl<'a> Making<'a> {
    pub fn new(images: &'a dyn MachineImages, order: &'a Order, cluster: &'a str, patience: Patience) -> Self {
        Self { images, order, cluster, patience, memory: Memory::default() }
    }

    /// `now`: seconds since 1970.
    ///
    /// # Errors
    /// EC2's.
    pub async fn look(&mut self, now: i64) -> PortResult<Facts> {
        let launched = self.memory.launched.clone();
        let mut facts = Facts { launched, now, ..found(self.images).await? };
        self.memory.builder = self.order.builder(&facts);
        if let (Some(builder), Some(recipe)) = (self.order.stopped(&facts), &self.order.recipe) {
            for latest in [true, false] {
                if facts.ending.is_none() {
                    facts.ending = ending(&self.images.console(&builder, latest).await?, recipe);
                }
            }
            facts.silent = now - *self.memory.asked.get_or_insert(now);
        }
        Ok(facts)
    }

    /// What follows. A failure is one until its builder is gone, also where the image that showed it is gone before; to whoever comes after
    /// a death between the two the builder has ended well, and its image is made once more.
    pub fn next(&self, facts: &Facts) -> Next {
        match &self.memory.failed {
            Some(failed @ Next::Failed { builder, .. }) if *builder == self.memory.builder => failed.clone(),
            _ => next(self.order, facts, self.patience),
        }
    }

    /// In the first subnet that has room.
    ///
    /// # Errors
    /// EC2's; `Invalid` where the script cannot be what an instance is told.
    pub async fn launch(&mut self, machine: &Machine, subnets: &[String]) -> PortResult<Launch> {
        let Some(source) = self.images.image(&self.order.source).await? else { return Ok(Launch::NoSource) };
        let small = || if source.architecture == "arm64" { "t4g.small" } else { "t3.small" }.to_owned();
        let instance_type = machine.instance_type.clone().unwrap_or_else(small);
        let limit = self.patience.script;
        let user_data = user_data(&machine.script, limit)
            .map_err(|why| PortError::Invalid(format!("what the instance is told: {why}")))?;
        let mut why = "there is no subnet".to_owned();
        for subnet in subnets {
            let launch = MachineLaunch {
                instance_type: instance_type.clone(),
                subnet: subnet.clone(),
                root_device: source.root_device.clone(),
                user_data: user_data.clone(),
                profile: machine.profile.clone(),
                ..MachineLaunch::default()
            };
            for attempt in 0..ATTEMPTS {
                let launch = self.order.launch(self.cluster, launch.clone(), limit, attempt);
                match self.images.launch(&launch).await? {
                    Launched::It(builder) => {
                        self.memory.builder = Some(builder.clone());
                        self.memory.launched = Some(builder.clone());
                        return Ok(Launch::It(builder));
                    }
                    Launched::Spent => why = format!("{ATTEMPTS} builders within a day"),
                    Launched::NoRoom(said) => {
                        why = format!("{subnet}: {said}");
                        break;
                    }
                }
            }
        }
        Ok(Launch::NoRoom { instance_type, why })
    }

    /// Anything but a launch.
    ///
    /// # Errors
    /// EC2's.
    pub async fn act(&mut self, decided: &Next) -> PortResult<Vec<Left>> {
        let mut left = Vec::new();
        match decided {
            Next::Create { builder } => {
                let tags = self.order.tags(builder, self.cluster);
                self.images.create(builder, &self.order.name(builder), &tags).await?;
            }
            Next::Terminate { builder } => {
                self.images.terminate(builder).await?;
                self.memory.asked = None;
            }
            // What could not be made first: while the builder is there, whoever comes sees it again.
            Next::Failed { image, builder, .. } => {
                self.memory.failed = builder.is_some().then(|| decided.clone());
                if let Some(image) = image {
                    left.extend(for_good(image, self.images.discard(image).await)?);
                }
                if let Some(builder) = builder {
                    left.extend(for_good(builder, self.images.terminate(builder).await)?);
                }
            }
            Next::Launch | Next::Wait { .. } | Next::Done { .. } => {}
        }
        Ok(left)
    }

    /// What AWS does not let be done it will not the next time either: no builder waits for that. The one that went, or did not.
    pub async fn abandon(&self) -> Option<(String, PortResult<()>)> {
        let builder = self.memory.builder.clone()?;
        let went = self.images.terminate(&builder).await;
        Some((builder, went))
    }
}

/// What may yet go is tried again.
fn for_good(what: &str, went: PortResult<()>) -> PortResult<Option<Left>> {
    match went {
        Err(error) if error.passes() => Err(error),
        went => Ok(went.err().map(|why| (what.to_owned(), why))),
    }
}
