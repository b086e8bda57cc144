//! What instances cost an hour and a month, beside the same vCPUs and memory on Fargate.

use serde::Serialize;

use crate::price::{Fargate, MONTH, PriceError, Prices, Purchase};

/// So many instances of one type, bought one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub instance_type: String,
    /// Instances.
    pub count: u32,
    pub purchase: Purchase,
}

/// Several types, weighted, partly on demand: as an Auto Scaling group of mixed instances has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed<'a> {
    /// Units of weight, of all instances together.
    pub weight: u32,
    /// Units of weight that are on demand in any case.
    pub on_demand: u32,
    /// Per cent of the rest that are, too.
    pub percent: u32,
    /// Instance types, and what one of each counts.
    pub types: Vec<(&'a str, u32)>,
}

impl Mixed<'_> {
    /// As if each way of buying took the type that is cheapest for its weight.
    pub fn parts(&self, prices: &Prices) -> Result<Vec<Part>, PriceError> {
        let base = self.on_demand.min(self.weight);
        let above = (u64::from(self.weight - base) * u64::from(self.percent.min(100))).div_ceil(100);
        let on_demand = base + above as u32;
        let mut parts = Vec::new();
        for (weight, purchase) in [(on_demand, Purchase::OnDemand), (self.weight - on_demand, Purchase::Spot)] {
            let mut cheapest: Option<(f64, &str, u32)> = None;
            for (name, each) in &self.types {
                let each = (*each).max(1);
                let price = prices.get(name)?.price(purchase) / f64::from(each);
                if cheapest.is_none_or(|(least, ..)| price < least) {
                    cheapest = Some((price, name, each));
                }
            }
            parts.extend(cheapest.map(|(_, name, each)| Part {
                instance_type: name.to_owned(),
                count: weight.div_ceil(each),
                purchase,
            }));
        }
        Ok(parts)
    }
}

/// In dollars, as [`PartCost`] and [`Beside`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// Of the prices.
    pub region: String,
    /// Without those of which there is no instance.
    pub parts: Vec<PartCost>,
    /// Of all instances together.
    pub vcpu: u64,
    /// GiB, which AWS calls GB.
    pub memory_gb: f64,
    pub hour: f64,
    /// Of [`MONTH`] hours.
    pub month: f64,
    pub fargate: Beside,
    pub fargate_spot: Beside,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartCost {
    pub instance_type: String,
    /// Instances.
    pub count: u32,
    pub purchase: Purchase,
    /// One of them, an hour.
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
    lines.retain(|line| line.count > 0);
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
        let unknown = super::cost(&[part("m99.large", 0, Purchase::Spot)], &prices);
        assert_eq!(unknown, Err(PriceError::NoType("m99.large".to_owned())), "also where there is none of them");
        let nothing = super::cost(&[part("m5.large", 0, Purchase::Spot)], &prices).unwrap();
        assert_eq!((nothing.hour, nothing.parts.len(), nothing.fargate.cheaper_below), (0.0, 0, None));
    }

    #[test]
    fn a_mixed_fleet_is_so_many_of_what_is_cheapest_for_its_weight_bought_each_way() {
        let prices = Prices::embedded().unwrap();
        let per_weight = |name: &str, weight: f64, purchase| prices.get(name).unwrap().price(purchase) / weight;
        assert!(per_weight("t3.small", 1.0, Purchase::Spot) < per_weight("t3.medium", 2.0, Purchase::Spot));
        let types = vec![("t3.medium", 2), ("t3.small", 1)];
        let parts = |weight, on_demand, percent| {
            let mixed = Mixed { weight, on_demand, percent, types: types.clone() };
            mixed.parts(&prices).unwrap().iter().map(|part| (part.count, part.purchase)).collect::<Vec<_>>()
        };
        // On demand both cost the same for their weight: the first.
        assert_eq!(parts(8, 0, 0), [(0, Purchase::OnDemand), (8, Purchase::Spot)]);
        assert_eq!(parts(8, 3, 0), [(2, Purchase::OnDemand), (5, Purchase::Spot)]);
        assert_eq!(parts(8, 0, 20), [(1, Purchase::OnDemand), (6, Purchase::Spot)], "1.6 of 8 are 2, as EC2 rounds");
        assert_eq!(parts(2, 5, 100), [(1, Purchase::OnDemand), (0, Purchase::Spot)]);
        let unknown = Mixed { weight: 1, on_demand: 0, percent: 0, types: vec![("m99.large", 1)] }.parts(&prices);
        assert_eq!(unknown, Err(PriceError::NoType("m99.large".to_owned())));
    }
}
