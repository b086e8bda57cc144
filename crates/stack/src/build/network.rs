//! The VPC: its own, in two zones, or the target's.

use landfall_model::stack::{Nat, Network as Wanted};

use super::Build;
use crate::expr::{Expr, Id};
use crate::resources::Properties;
use crate::resources::network::{
    Address, GatewayAttachment, InternetGateway, NatGateway, Route, RouteTable, RouteTableAssociation, Subnet, Vpc,
};

const ZONES: u8 = 2;
pub(super) const ANYWHERE: &str = "0.0.0.0/0";

/// Where load balancer and tasks are placed.
pub(super) struct Network {
    pub vpc: Expr,
    /// Its block, where the stack makes it.
    pub block: Option<Expr>,
    pub balancer_subnets: Vec<Expr>,
    pub task_subnets: Vec<Expr>,
    pub public_ip: bool,
    /// Security groups that tasks have beside their own.
    pub groups: Vec<Expr>,
    /// Without these nothing gets out.
    pub ways_out: Vec<Id>,
    pub way_in: Option<Id>,
}

impl Build<'_> {
    pub(super) fn network(&mut self) -> Network {
        match &self.stack.network {
            Wanted::New { cidr, nat } => self.new_network(cidr, *nat),
            Wanted::Existing { load_balancer_subnets } => {
                let texts = |ids: &[String]| ids.iter().map(Expr::text).collect::<Vec<_>>();
                let tasks = texts(&self.target.subnets);
                let balancer = texts(load_balancer_subnets);
                Network {
                    vpc: Expr::text(self.target.vpc.clone().unwrap_or_default()),
                    block: None,
                    balancer_subnets: if balancer.is_empty() { tasks.clone() } else { balancer },
                    task_subnets: tasks,
                    public_ip: self.target.public_ip,
                    groups: texts(&self.target.security_groups),
                    ways_out: Vec::new(),
                    way_in: None,
                }
            }
        }
    }

    fn new_network(&mut self, cidr: &str, nat: Nat) -> Network {
        let blocks = quarters(cidr);
        let mut blocks = blocks.into_iter();
        let tags = self.named("vpc");
        let properties =
            Vpc { cidr_block: cidr.to_owned(), enable_dns_hostnames: true, enable_dns_support: true, tags };
        let vpc = self.draft.add(Id::of(&["Vpc"]), Properties::Vpc(properties));
        let tags = self.named("gateway");
        let gateway =
            self.draft.add(Id::of(&["InternetGateway"]), Properties::InternetGateway(InternetGateway { tags }));
        let attachment = GatewayAttachment { vpc_id: Expr::from(&vpc), internet_gateway_id: Expr::from(&gateway) };
        let attached =
            self.draft.add(Id::of(&["InternetGatewayAttachment"]), Properties::GatewayAttachment(attachment));
        let mut network = Network {
            block: Some(Expr::text(cidr)),
            vpc: Expr::from(&vpc),
            balancer_subnets: Vec::new(),
            task_subnets: Vec::new(),
            public_ip: nat == Nat::None,
            groups: Vec::new(),
            ways_out: Vec::new(),
            way_in: None,
        };
        // One table for both: what is public is public the same way.
        let table = self.table("Public", &vpc);
        let route = Route {
            route_table_id: Expr::from(&table),
            destination_cidr_block: ANYWHERE,
            gateway_id: Some(Expr::from(&gateway)),
            nat_gateway_id: None,
        };
        let out = self.draft.add_after(Id::of(&["PublicRoute"]), Properties::Route(route), vec![attached.clone()]);
        let mut public = Vec::new();
        for zone in 0..ZONES {
            public.push(self.subnet("Public", zone, &vpc, &table, blocks.next().unwrap_or_default(), nat == Nat::None));
        }
        network.balancer_subnets = public.iter().map(Expr::from).collect();
        network.way_in = Some(out.clone());
        if nat == Nat::None {
            network.task_subnets.clone_from(&network.balancer_subnets);
            network.ways_out = vec![out];
            return network;
        }
        let mut gateways: Vec<Id> = Vec::new();
        for (zone, subnet) in (0..ZONES).zip(&public) {
            if gateways.is_empty() || nat == Nat::PerZone {
                gateways.push(self.nat_gateway(zone, subnet, &attached));
            }
            let gateway = gateways[gateways.len() - 1].clone();
            let which = format!("Private{}", zone + 1);
            let table = self.table(&which, &vpc);
            let route = Route {
                route_table_id: Expr::from(&table),
                destination_cidr_block: ANYWHERE,
                gateway_id: None,
                nat_gateway_id: Some(Expr::from(&gateway)),
            };
            network.ways_out.push(self.draft.add(Id::of(&[&which, "Route"]), Properties::Route(route)));
            let subnet = self.subnet("Private", zone, &vpc, &table, blocks.next().unwrap_or_default(), false);
            network.task_subnets.push(Expr::from(&subnet));
        }
        network
    }

    fn table(&mut self, which: &str, vpc: &Id) -> Id {
        let tags = self.named(&which.to_ascii_lowercase());
        let table = RouteTable { vpc_id: Expr::from(vpc), tags };
        self.draft.add(Id::of(&[which, "RouteTable"]), Properties::RouteTable(table))
    }

    fn subnet(&mut self, kind: &str, zone: u8, vpc: &Id, table: &Id, block: String, addresses: bool) -> Id {
        let number = (zone + 1).to_string();
        let subnet = Subnet {
            vpc_id: Expr::from(vpc),
            availability_zone: Expr::Zone(zone),
            cidr_block: block,
            map_public_ip_on_launch: addresses,
            tags: self.named(&format!("{}{number}", kind.to_ascii_lowercase())),
        };
        let id = self.draft.add(Id::of(&[kind, "Subnet", &number]), Properties::Subnet(subnet));
        let association = RouteTableAssociation { route_table_id: Expr::from(table), subnet_id: Expr::from(&id) };
        let name = Id::of(&[kind, "Subnet", &number, "Association"]);
        self.draft.add(name, Properties::RouteTableAssociation(association));
        id
    }

    fn nat_gateway(&mut self, zone: u8, subnet: &Id, attached: &Id) -> Id {
        let number = (zone + 1).to_string();
        let tags = self.named(&format!("nat{number}"));
        let address = Address { domain: "vpc", tags: tags.clone() };
        let address = self.draft.add_after(
            Id::of(&["NatAddress", &number]),
            Properties::Address(address),
            vec![attached.clone()],
        );
        let gateway =
            NatGateway { allocation_id: Expr::Attribute(address, "AllocationId"), subnet_id: Expr::from(subnet), tags };
        self.draft.add(Id::of(&["NatGateway", &number]), Properties::NatGateway(gateway))
    }
}

/// Two public subnets, then two private ones. The manifest's checks let only blocks pass that can be cut.
fn quarters(cidr: &str) -> Vec<String> {
    let Some((address, length)) = landfall_model::stack::cidr(cidr) else { return Vec::new() };
    let size = 1_u64 << (32 - u32::from(length) - 2);
    let part = |index: u64| u32::try_from(u64::from(u32::from(address)) + index * size).unwrap_or(u32::MAX);
    (0..4).map(|index| format!("{}/{}", std::net::Ipv4Addr::from(part(index)), length + 2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_cut_into_four() {
        assert_eq!(quarters("10.1.0.0/20"), ["10.1.0.0/22", "10.1.4.0/22", "10.1.8.0/22", "10.1.12.0/22"]);
        assert_eq!(quarters("10.0.0.0/16")[3], "10.0.192.0/18");
        assert_eq!(quarters("192.168.255.192/26")[3], "192.168.255.240/28");
    }
}
