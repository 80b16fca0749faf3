//! How long it takes to find out where addresses are, with the databases that tcpwatch would use on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use tcpwatch::enrich::{Enricher as _, Places, scope};
use tcpwatch::record::Scope;

use crate::clock::Pinned;
use crate::random::Random;
use crate::report::{Budget, Line};
use crate::statistics::median;

const ADDRESSES: usize = 1_000_000;
const ROUNDS: usize = 5;

/// The first look-up of each address, and the same once more, as in the next interval.
pub fn measure() -> Vec<Line> {
    let _pinned = Pinned::new();
    let addresses = addresses();
    let (mut first, mut again, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let mut databases = 0;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let (mut places, _warnings) = Places::discover();
        open.push(started.elapsed().as_secs_f64() * 1e3);
        databases = places.files().len();
        for times in [&mut first, &mut again] {
            let started = Instant::now();
            let known = addresses
                .iter()
                .filter(|address| places.place(**address).country.is_some())
                .count();
            times.push(started.elapsed().as_secs_f64() * 1e3);
            assert!(
                databases == 0 || known > ADDRESSES / 2,
                "only {known} of {ADDRESSES} addresses have a country"
            );
        }
    }
    let case = format!("places, {ADDRESSES} addresses, {databases} database(s)");
    let (open, first, again) = (median(&open), median(&first), median(&again));
    vec![
        Line::alone(&case, "to open the databases", open, "ms"),
        Line::alone(&case, "look-ups, the first time", first, "ms")
            .promised(Budget::at_most(1000.0, "ms", first)),
        Line::alone(&case, "look-ups, once more", again, "ms"),
    ]
}

/// Spread evenly over the IPv4 addresses that are global, and over the IPv6 prefixes that registries have given out; one in
/// four is IPv6.
fn addresses() -> Vec<IpAddr> {
    let mut random = Random::new();
    let mut addresses = Vec::with_capacity(ADDRESSES);
    while addresses.len() < ADDRESSES {
        let bits = random.next();
        let address: IpAddr = if addresses.len() % 4 == 3 {
            let prefixes = [
                0x2001_0200,
                0x2400_0000,
                0x2600_0000,
                0x2800_0000,
                0x2a00_0000,
                0x2c00_0000,
            ];
            let prefix = prefixes[(bits >> 60) as usize % prefixes.len()] | ((bits >> 32) as u32 & 0xff_ffff);
            Ipv6Addr::from((u128::from(prefix) << 96) | u128::from(bits as u32)).into()
        } else {
            Ipv4Addr::from(bits as u32).into()
        };
        if scope(address) == Scope::Global {
            addresses.push(address);
        }
    }
    addresses
}
