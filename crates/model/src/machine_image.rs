//! Machine images of EC2, and the instances they are made of.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// An AMI.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageState {
    /// `ami-…`
    pub id: String,
    pub name: String,
    /// EC2's word: `pending`, `available`, `failed`, …
    pub state: String,
    /// Why it failed; empty where EC2 says nothing.
    pub reason: String,
    pub created: Option<Timestamp>,
    /// `arm64`, `x86_64`
    pub architecture: String,
    /// `/dev/xvda`
    pub root_device: String,
    pub tags: BTreeMap<String, String>,
}

/// An instance of no group and no fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineState {
    /// `i-…`
    pub id: String,
    /// EC2's word: `pending`, `running`, `stopping`, `stopped`, `shutting-down`, `terminated`.
    pub state: String,
    /// Why it is in that state; empty where EC2 says nothing.
    pub reason: String,
    pub launched: Option<Timestamp>,
    pub tags: BTreeMap<String, String>,
}

/// An instance that is to be there once for a token, however often it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MachineLaunch {
    pub image: String,
    pub instance_type: String,
    pub subnet: String,
    /// Of the image; its volume is encrypted, and goes with the instance.
    pub root_device: String,
    /// As text.
    pub user_data: String,
    /// Name or ARN of an instance profile.
    pub profile: Option<String>,
    /// Of the instance and its volumes.
    pub tags: BTreeMap<String, String>,
    /// At most 64 characters of ASCII.
    pub token: String,
}

/// What became of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launched {
    /// The instance's id.
    It(String),
    /// An instance of this token was there, and is gone: it takes another token.
    Spent,
    /// None of the type can be had in this subnet for now, and why.
    NoRoom(String),
}
