//! What instances and Fargate cost, and what is on an instance: a dated table, embedded, and replaceable by another of the
//! same form. Every section names its source and its date; a type whose facts are not known is not in it.

use serde::{Deserialize, Serialize};

use crate::resources::Resources;

const EMBEDDED: &str = include_str!("../data/prices.json");

/// Hours of a month, as AWS's own calculator has it.
pub const MONTH: f64 = 730.0;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    pub region: String,
    pub currency: String,
    /// Of the on-demand prices.
    pub on_demand: Source,
    /// Of the Spot prices: what was seen once, not a promise.
    pub spot: Source,
    /// Of vCPUs, memory, network interfaces and GPUs.
    pub facts: Source,
    pub fargate: Fargate,
    pub types: Vec<InstanceType>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// `2026-01-19`, or as much of it as is known.
    pub date: String,
    pub source: String,
}

/// An hour of one vCPU and of one GB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fargate {
    pub date: String,
    pub source: String,
    pub vcpu: f64,
    pub gb: f64,
    pub spot_vcpu: f64,
    pub spot_gb: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceType {
    pub name: String,
    pub vcpu: u32,
    pub memory_mib: u64,
    /// Network interfaces, the instance's own among them.
    pub enis: u32,
    pub gpus: u32,
    pub arch: String,
    /// An hour, on demand.
    pub on_demand: f64,
    /// An hour, Spot.
    pub spot: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purchase {
    Spot,
    OnDemand,
}

impl InstanceType {
    /// An hour.
    pub fn price(&self, purchase: Purchase) -> f64 {
        match purchase {
            Purchase::Spot => self.spot,
            Purchase::OnDemand => self.on_demand,
        }
    }

    /// What tasks find on an empty instance. Memory is the type's: the kernel and the agent keep some of it, and what an
    /// instance registers is to be believed before this. One network interface is the instance's own.
    pub fn capacity(&self) -> Resources {
        Resources {
            cpu: u64::from(self.vcpu) * 1024,
            memory: self.memory_mib,
            gpu: u64::from(self.gpus),
            eni: u64::from(self.enis.saturating_sub(1)),
            tasks: u64::MAX,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    #[error("not a table of prices: {0}")]
    Unreadable(String),
    #[error("the table of prices is not in order: {0}")]
    Wrong(String),
    #[error("no instance type `{0}` in the table of prices")]
    NoType(String),
}

impl Prices {
    /// The table in the binary.
    pub fn embedded() -> Result<Self, PriceError> {
        Self::parse(EMBEDDED)
    }

    pub fn parse(text: &str) -> Result<Self, PriceError> {
        let prices: Prices = serde_json::from_str(text).map_err(|error| PriceError::Unreadable(error.to_string()))?;
        let positive = |price: f64| price.is_finite() && price > 0.0;
        for kind in &prices.types {
            let wrong = |what: &str| Err(PriceError::Wrong(format!("{}: {what}", kind.name)));
            if !positive(kind.on_demand) || !positive(kind.spot) {
                return wrong("a price is a number above 0");
            }
            if kind.vcpu == 0 || kind.memory_mib == 0 {
                return wrong("an instance has vCPUs and memory");
            }
            if prices.types.iter().filter(|other| other.name == kind.name).count() > 1 {
                return wrong("named twice");
            }
        }
        let Fargate { vcpu, gb, spot_vcpu, spot_gb, .. } = prices.fargate;
        if ![vcpu, gb, spot_vcpu, spot_gb].into_iter().all(positive) {
            return Err(PriceError::Wrong("fargate: a price is a number above 0".to_owned()));
        }
        Ok(prices)
    }

    pub fn get(&self, name: &str) -> Result<&InstanceType, PriceError> {
        self.types.iter().find(|kind| kind.name == name).ok_or_else(|| PriceError::NoType(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_embedded_table_is_in_order_and_spot_is_cheaper() {
        let prices = Prices::embedded().unwrap();
        assert!(prices.types.len() > 100);
        for kind in &prices.types {
            assert!(kind.spot < kind.on_demand, "{}", kind.name);
            assert!(kind.enis >= 2 && matches!(kind.arch.as_str(), "x86_64" | "arm64"), "{}", kind.name);
        }
        // AWS doubles the price with the size: a slip of the pen in one family shows.
        for (small, large) in [("t3.medium", "t3.large"), ("m5.large", "m5.xlarge"), ("c6i.large", "c6i.xlarge")] {
            let ratio = prices.get(large).unwrap().on_demand / prices.get(small).unwrap().on_demand;
            assert!((ratio - 2.0).abs() < 0.01, "{large}: {ratio}");
        }
    }

    #[test]
    fn a_table_that_is_not_in_order_is_refused_and_says_where() {
        assert!(matches!(Prices::parse("{}"), Err(PriceError::Unreadable(_))));
        let mut prices = Prices::embedded().unwrap();
        prices.types[3].spot = 0.0;
        let text = serde_json::to_string(&prices).unwrap();
        let error = Prices::parse(&text).unwrap_err().to_string();
        assert!(error.contains(&prices.types[3].name), "{error}");
    }
}
