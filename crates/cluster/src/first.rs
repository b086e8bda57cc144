//! A first `infra.yml`, of what an account has.

/// What was found, and what is proposed.
#[derive(Debug, Clone)]
pub struct Found<'a> {
    pub name: &'a str,
    pub region: &'a str,
    /// Its default VPC.
    pub vpc: &'a str,
    /// With the zone of each.
    pub subnets: &'a [(String, String)],
    /// Instance types, and what each may cost an hour.
    pub bids: &'a [(String, f64)],
    /// Where the prices are from.
    pub prices: &'a str,
}

/// The text of it.
pub fn first(found: &Found<'_>) -> String {
    let Found { name, region, vpc, subnets, bids, prices } = found;
    let subnets: String = subnets.iter().map(|(id, zone)| format!("    - {id} # {zone}\n")).collect();
    let bids: String =
        bids.iter().map(|(kind, price)| format!("        - {{ instance_type: {kind}, price: {price} }}\n")).collect();
    format!(
        "# `landfall cluster check` explains mistakes; docs/clusters.md has every key.
cluster:
  name: {name}
  # The default VPC of {region}, and its subnets.
  vpc: {vpc}
  subnets:
{subnets}ec2_instances:
  spot_fleets:
    - name: main
      # Instances, to begin with, at least and at most.
      desired_weight: 1
      min_weight: 1
      max_weight: 4
      # The most that an instance may cost an hour: {prices}.
      # The more types there are, the less often Spot takes instances back.
      bids:
{bids}"
    )
}
