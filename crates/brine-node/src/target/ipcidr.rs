//! Addresses and networks, compared with a minion's own addresses.

use std::net::IpAddr;

use brine_wire::{Map, Value};

use super::TargetError;

/// An address, or all of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Addresses {
    first: IpAddr,
    /// How many bits are the network's; `None` for one address.
    prefix: Option<u32>,
}

impl Addresses {
    /// Reads `10.0.0.1`, `10.0.0.0/24`, `10.0.0.0/255.255.255.0`, `fe80::/10`. A network whose address has
    /// bits beyond its own is none, as in Python.
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let none = || TargetError::Address {
            found: text.to_owned(),
        };
        let (address, prefix) = match text.split_once('/') {
            None => (text, None),
            Some((address, prefix)) => (address, Some(prefix)),
        };
        let first: IpAddr = address.parse().map_err(|_| none())?;
        let prefix = match prefix {
            None => None,
            Some(prefix) => Some(bits(prefix, first).ok_or_else(none)?),
        };
        let addresses = Self { first, prefix };
        let host_bits = prefix.is_some_and(|prefix| {
            number(first) & !mask(prefix, width(first)) & ones(width(first)) != 0
        });
        if host_bits {
            Err(none())
        } else {
            Ok(addresses)
        }
    }

    /// Whether one of a minion's addresses is meant.
    pub(super) fn matches(self, grains: &Map) -> bool {
        let name = if self.first.is_ipv4() { "ipv4" } else { "ipv6" };
        let Some(Value::Array(own)) = grains.get(name) else {
            return false;
        };
        let own = own.iter().filter_map(Value::as_str);
        own.filter_map(|text| text.parse().ok())
            .any(|address| self.holds(address))
    }

    fn holds(self, address: IpAddr) -> bool {
        if address.is_ipv4() != self.first.is_ipv4() {
            return false;
        }
        match self.prefix {
            None => address == self.first,
            Some(prefix) => {
                let mask = mask(prefix, width(address));
                number(address) & mask == number(self.first) & mask
            }
        }
    }
}

/// A prefix length, or a netmask.
fn bits(text: &str, address: IpAddr) -> Option<u32> {
    let width = width(address);
    if let Ok(prefix) = text.parse::<u32>() {
        return (prefix <= width).then_some(prefix);
    }
    let netmask: IpAddr = text.parse().ok()?;
    if netmask.is_ipv4() != address.is_ipv4() || address.is_ipv6() {
        return None;
    }
    let prefix = (number(netmask) << (128 - width)).leading_ones();
    (number(netmask) == mask(prefix, width) & ones(width)).then_some(prefix)
}

const fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

const fn ones(width: u32) -> u128 {
    u128::MAX >> (128 - width)
}

const fn mask(prefix: u32, width: u32) -> u128 {
    match u128::MAX.checked_shl(width - prefix) {
        Some(mask) => mask,
        None => 0,
    }
}
