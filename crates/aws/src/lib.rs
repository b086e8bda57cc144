//! Amazon ECS and Elastic Load Balancing behind the ports, through the official SDK.
//!
//! Every call goes through `call::Caller`: it waits for its quota, retries throttling, is timed, counted and traced, and its
//! error comes out as a `PortError`. The SDK's own retries are off, so that the engine's are the only others. What
//! decides (mappings, budgets, what an update changes) is pure.

mod alarms;
mod batch;
mod budget;
mod call;
mod clients;
mod cloudformation;
mod config;
mod core;
mod denial;
mod deployed;
pub mod doctor;
mod ecr;
mod ecr_stock;
mod ecs;
mod elb;
mod error;
mod fleets;
mod hooks;
mod http;
mod images;
mod lookups;
mod machine_images;
mod platform;
mod s3;
mod secret_store;
mod secrets;
mod signed;
mod sns;
mod tags;
mod transport;
mod wire;
mod xml;

pub use ecr::Ecr;
pub use lookups::{ParameterValue, Subnet};
pub use platform::{AwsOptions, AwsPlatform};
