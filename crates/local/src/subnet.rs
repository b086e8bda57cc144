//! Subnets for networks, where Docker has none left: its default pools are enough for thirty networks, and each environment
//! has one. Podman takes a /24 of 10.0.0.0/8 by itself, as is done here.

use std::net::Ipv4Addr;

/// 10.192.0.0/10: away from what Podman and most people begin with.
const FIRST: u32 = u32::from_be_bytes([10, 192, 0, 0]);
const COUNT: u32 = 1 << 14;
const MASK: u32 = 0xffff_ff00;

/// Taken subnets in a row after which the engine's refusal is believed.
const TRIES: usize = 64;

/// What to try for a network of this name, in order: nothing that this machine has a route to. Names begin at different places,
/// so that two that are made at once seldom meet.
pub(crate) fn candidates(name: &str, routes: &str) -> Vec<String> {
    let routes = destinations(routes);
    let taken = |subnet: u32| routes.iter().any(|(route, mask)| (subnet ^ route) & mask & MASK == 0);
    let start = name.bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (0..COUNT)
        .map(|step| FIRST + (start.wrapping_add(step) % COUNT) * 256)
        .filter(|subnet| !taken(*subnet))
        .take(TRIES)
        .map(|subnet| format!("{}/24", Ipv4Addr::from(subnet)))
        .collect()
}

/// Of `/proc/net/route`: hexadecimal, in the byte order of the machine. The default route leads everywhere and says nothing.
fn destinations(routes: &str) -> Vec<(u32, u32)> {
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(|number| u32::from_be_bytes(number.to_ne_bytes()));
    let fields = routes.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields
        .filter_map(|fields| Some((number(fields.get(1)?)?, number(fields.get(7)?)?)))
        .filter(|(_, mask)| *mask != 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn route(destination: [u8; 4], mask: [u8; 4]) -> String {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        format!("eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n", hex(destination), hex(mask))
    }

    #[test]
    fn what_the_machine_reaches_already_is_left_out() {
        let default = format!("{HEAD}{}", route([0, 0, 0, 0], [0, 0, 0, 0]));
        let free = candidates("n", &default);
        assert_eq!(free.len(), TRIES);
        let first: Ipv4Addr = free[0].trim_end_matches("/24").parse().unwrap();
        let narrow = format!("{default}{}", route((u32::from(first) | 128).to_be_bytes(), [255, 255, 255, 128]));
        let left = candidates("n", &narrow);
        assert_eq!(left[..TRIES - 1], free[1..]);
        let wide = format!("{default}{}", route([10, 0, 0, 0], [255, 0, 0, 0]));
        assert_eq!(candidates("n", &wide), [""; 0]);
    }

    #[test]
    fn names_begin_at_different_places_and_all_are_of_the_range() {
        let one = candidates("landfall-my-project-one-abcdef", "");
        let two = candidates("landfall-my-project-two-abcdef", "");
        assert_ne!(one[0], two[0]);
        for subnet in one.iter().chain(&two) {
            let address: Ipv4Addr =
                subnet.strip_suffix(".0/24").map(|net| format!("{net}.0")).unwrap().parse().unwrap();
            assert!((192..=255).contains(&address.octets()[1]) && address.octets()[0] == 10, "{subnet}");
        }
    }
}
