//! What instances cost an hour and a month, beside the same vCPUs and memory on Fargate.

use serde::Serialize;

use crate::price::{Fargate, MONTH, PriceError, Prices, Purchase};

/// So many instances of one type, bought one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub instance_type: String,
    pub count: u32,
    pub purchase: Purchase,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    pub region: String,
    pub parts: Vec<PartCost>,
    pub vcpu: u64,
    pub memory_gb: f64,
    pub hour: f64,
    pub month: f64,
    pub fargate: Beside,
    pub fargate_spot: Beside,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartCost {
    pub instance_type: String,
    pub count: u32,
    pub purchase: Purchase,
    /// One of them.
    pub price: f64,
    pub hour: f64,
    pub month: f64,
}

/// The same vCPUs and memory, all of them rented as tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Beside {
    pub hour: f64,
    pub month: f64,
    /// Where tasks take less than this part of the instances (0 to 1), this is the cheaper way: Fargate bills what tasks
    /// ask for, instances cost the same when they are empty. `None` where it never is, nothing being rented.
    pub cheaper_below: Option<f64>,
}

pub fn cost(parts: &[Part], prices: &Prices) -> Result<Cost, PriceError> {
    let mut lines = Vec::new();
    let (mut vcpu, mut memory_mib) = (0u64, 0u64);
    for part in parts {
        let kind = prices.get(&part.instance_type)?;
        let price = kind.price(part.purchase);
        let hour = price * f64::from(part.count);
        vcpu += u64::from(kind.vcpu) * u64::from(part.count);
        memory_mib += kind.memory_mib * u64::from(part.count);
        lines.push(PartCost {
            instance_type: part.instance_type.clone(),
            count: part.count,
            purchase: part.purchase,
            price,
            hour,
            month: hour * MONTH,
        });
    }
    let hour: f64 = lines.iter().map(|line| line.hour).sum();
    let memory_gb = memory_mib as f64 / 1024.0;
    let beside = |per_vcpu: f64, per_gb: f64| {
        let rented = per_vcpu * vcpu as f64 + per_gb * memory_gb;
        let cheaper_below = (rented > 0.0).then(|| (hour / rented).min(1.0));
        Beside { hour: rented, month: rented * MONTH, cheaper_below }
    };
    let Fargate { vcpu: per_vcpu, gb, spot_vcpu, spot_gb, .. } = prices.fargate;
    Ok(Cost {
        region: prices.region.clone(),
        vcpu,
        memory_gb,
        hour,
        month: hour * MONTH,
        fargate: beside(per_vcpu, gb),
        fargate_spot: beside(spot_vcpu, spot_gb),
        parts: lines,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn part(instance_type: &str, count: u32, purchase: Purchase) -> Part {
        Part { instance_type: instance_type.to_owned(), count, purchase }
    }

    #[test]
    fn three_t3_medium_on_demand_beside_fargate() {
        let prices = Prices::embedded().unwrap();
        let cost = cost(&[part("t3.medium", 3, Purchase::OnDemand)], &prices).unwrap();
        assert_eq!((cost.vcpu, cost.memory_gb), (6, 12.0));
        assert!((cost.hour - 0.1248).abs() < 1e-9 && (cost.month - 0.1248 * 730.0).abs() < 1e-6);
        assert!((cost.fargate.hour - (6.0 * 0.04048 + 12.0 * 0.004445)).abs() < 1e-9);
        let below = cost.fargate.cheaper_below.unwrap();
        assert!((below - cost.hour / cost.fargate.hour).abs() < 1e-9 && below < 0.5);
        assert!(cost.fargate_spot.hour < cost.hour && cost.fargate_spot.cheaper_below == Some(1.0));
    }

    #[test]
    fn parts_add_up_and_an_unknown_type_is_named() {
        let prices = Prices::embedded().unwrap();
        let parts = [part("m5.large", 2, Purchase::Spot), part("c5.large", 1, Purchase::OnDemand)];
        let cost = cost(&parts, &prices).unwrap();
        assert!((cost.hour - cost.parts.iter().map(|part| part.hour).sum::<f64>()).abs() < 1e-12);
        assert!((cost.parts[0].hour - 2.0 * prices.get("m5.large").unwrap().spot).abs() < 1e-12);
        let unknown = super::cost(&[part("m99.large", 1, Purchase::Spot)], &prices);
        assert_eq!(unknown, Err(PriceError::NoType("m99.large".to_owned())));
        let nothing = super::cost(&[part("m5.large", 0, Purchase::Spot)], &prices).unwrap();
        assert_eq!((nothing.hour, nothing.fargate.cheaper_below), (0.0, None));
    }
}
