//! Finds out which minions are connected over ZeroMQ, where connections carry no id.
//!
//! As real masters do: compares the addresses connected to the publish port, from the kernel's tables, with the
//! addresses in minions' grains. Minions behind one address are therefore present or absent together. Facts: `docs/protocol/network.md` §11.

use std::collections::HashSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use crate::functions::grains;

/// An established connection, as the kernel's tables number states.
const ESTABLISHED: &str = "01";

/// The addresses that are connected to a local port.
pub(crate) fn addresses(port: u16) -> HashSet<IpAddr> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|path| fs::read_to_string(path).unwrap_or_default());
    let connected = tables.iter().flat_map(|table| table.lines().skip(1));
    connected.filter_map(|line| remote(line, port)).collect()
}

/// The machine's own addresses.
pub(crate) fn own_addresses() -> HashSet<IpAddr> {
    shown(&grains::core(&Map::new())).collect()
}

/// At which of the addresses a minion with these grains is. A connection over loopback is of some
/// minion on this machine, which has one of `own`, the machine's addresses.
pub(crate) fn present_at(
    grains: &Map,
    connected: &HashSet<IpAddr>,
    own: &HashSet<IpAddr>,
) -> Option<IpAddr> {
    let local = connected.iter().any(IpAddr::is_loopback);
    let mut named: Vec<IpAddr> = shown(grains).collect();
    if named.iter().any(|address| !address.is_loopback()) {
        named.retain(|address| !address.is_loopback());
    }
    named.into_iter().find(|address| {
        connected.contains(address) || (local && (address.is_loopback() || own.contains(address)))
    })
}

/// The addresses that grains name.
fn shown(grains: &Map) -> impl Iterator<Item = IpAddr> {
    let lists = ["ipv4", "ipv6"]
        .into_iter()
        .filter_map(|name| match grains.get(name) {
            Some(Value::Array(addresses)) => Some(addresses),
            _ => None,
        });
    lists
        .flatten()
        .filter_map(|text| text.as_str()?.parse().ok())
}

/// The difference between two lists of present minions.
pub(crate) fn changes(before: &[MinionId], now: &[MinionId]) -> (Vec<MinionId>, Vec<MinionId>) {
    let without = |all: &[MinionId], known: &[MinionId]| {
        all.iter()
            .filter(|id| !known.contains(id))
            .cloned()
            .collect()
    };
    (without(now, before), without(before, now))
}

/// The other end of a line of the table, if it is an established connection of this port.
fn remote(line: &str, port: u16) -> Option<IpAddr> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let (_, local_port) = local.split_once(':')?;
    let is_ours = state == ESTABLISHED && u16::from_str_radix(local_port, 16).ok()? == port;
    is_ours
        .then(|| address(remote.split_once(':')?.0))
        .flatten()
}

/// An address as the kernel writes it: groups of four bytes, each in the machine's order.
fn address(hex: &str) -> Option<IpAddr> {
    let group = |at: usize| {
        Some(
            u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16)
                .ok()?
                .to_ne_bytes(),
        )
    };
    if hex.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from(group(0)?)));
    }
    let mut bytes = [0; 16];
    for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
        place.copy_from_slice(&group(at)?);
    }
    let address = Ipv6Addr::from(bytes);
    Some(
        address
            .to_ipv4_mapped()
            .map_or(IpAddr::V6(address), IpAddr::V4),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_is_seen_while_it_lasts() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(addresses(port).is_empty());
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let accepted = listener.accept().unwrap();
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(addresses(port), HashSet::from([loopback]));
        drop((stream, accepted));
    }

    #[test]
    fn a_local_connection_is_of_minions_with_an_address_of_this_machine() {
        let ours: IpAddr = "10.0.0.5".parse().unwrap();
        let grains = |addresses: &[&str]| -> Map {
            let addresses: Vec<Value> = addresses.iter().map(|text| (*text).into()).collect();
            [("ipv4", addresses)].into_iter().collect()
        };
        let local = HashSet::from([Ipv4Addr::LOCALHOST.into()]);
        let own = HashSet::from([ours]);
        let far: IpAddr = "10.0.0.9".parse().unwrap();
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        for (shown, connected, at) in [
            (&["127.0.0.1", "10.0.0.5"][..], &local, Some(ours)),
            (&["127.0.0.1", "10.0.0.9"], &local, None),
            (&["127.0.0.1"], &local, Some(loopback)),
            (&["10.0.0.9"], &HashSet::from([far]), Some(far)),
        ] {
            assert_eq!(present_at(&grains(shown), connected, &own), at, "{shown:?}");
        }
    }
}
