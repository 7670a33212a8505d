//! Compares addresses and networks with a minion's own addresses.
//!
//! Strings are parsed as by Python 3.11's `ipaddress`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brine_wire::{Map, Value};

use super::TargetError;

/// An address or a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Addresses {
    /// An address as Python writes it: a minion's own are compared as texts.
    One {
        text: String,
        is_ipv4: bool,
    },
    Network(Network),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    first: IpAddr,
    /// The length of the prefix, in bits.
    prefix: u32,
}

impl Addresses {
    /// Reads `10.0.0.1`, `10.0.0.0/24`, `10.0.0.0/255.255.255.0`, `10.0.0.0/0.0.0.255`, `fe80::/10`. A network
    /// with host bits set is invalid, as in Python.
    pub(super) fn parse(text: &str) -> Result<Self, TargetError> {
        let parsed = match text.split_once('/') {
            None => address(text).map(|(address, scope)| Self::One {
                text: written(address, scope),
                is_ipv4: address.is_ipv4(),
            }),
            Some((first, prefix)) => Network::parse(first, prefix).map(Self::Network),
        };
        parsed.ok_or_else(|| TargetError::Address {
            found: text.to_owned(),
        })
    }

    /// Whether one of a minion's addresses matches; values that are not addresses are skipped.
    pub(super) fn matches(&self, grains: &Map) -> bool {
        let is_ipv4 = match self {
            Self::One { is_ipv4, .. } => *is_ipv4,
            Self::Network(network) => network.first.is_ipv4(),
        };
        let own = match grains.get(if is_ipv4 { "ipv4" } else { "ipv6" }) {
            Some(Value::Array(own)) => own.as_slice(),
            Some(own) => std::slice::from_ref(own),
            None => return false,
        };
        own.iter().filter_map(Value::as_str).any(|own| match self {
            Self::One { text, .. } => own == text,
            Self::Network(network) => address(own).is_some_and(|(own, _)| network.holds(own)),
        })
    }
}

impl Network {
    fn parse(first: &str, prefix: &str) -> Option<Self> {
        let (first, _) = address(first)?;
        let prefix = bits(prefix, first)?;
        let network = Self { first, prefix };
        (number(first) & !network.mask() == 0).then_some(network)
    }

    fn holds(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && number(address) & self.mask() == number(self.first)
    }

    const fn mask(self) -> u128 {
        mask(self.prefix, width(self.first))
    }
}

/// An address, with the zone of an IPv6 address: `fe80::1%eth0`.
fn address(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let Some((address, scope)) = text.split_once('%') else {
        return Some((text.parse().ok()?, None));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let is_scope = !scope.is_empty() && !scope.contains('%');
    is_scope.then_some((address.into(), Some(scope)))
}

/// An address as Python writes it: IPv4 addresses within IPv6 get no special form.
fn written(address: IpAddr, scope: Option<&str>) -> String {
    let text = match address {
        IpAddr::V6(address) => match address.segments() {
            [0, 0, 0, 0, 0, 0xffff, high, low] => format!("::ffff:{high:x}:{low:x}"),
            _ => address.to_string(),
        },
        IpAddr::V4(address) => address.to_string(),
    };
    match scope {
        Some(scope) => format!("{text}%{scope}"),
        None => text,
    }
}

/// A prefix length; for IPv4 also a netmask or host mask.
fn bits(text: &str, address: IpAddr) -> Option<u32> {
    let width = width(address);
    if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) {
        return text.parse().ok().filter(|prefix| *prefix <= width);
    }
    let netmask: Ipv4Addr = text.parse().ok().filter(|_| address.is_ipv4())?;
    let netmask = number(netmask.into());
    let is = |netmask: u128| move |prefix: &u32| mask(*prefix, width) == netmask;
    (0..=width)
        .find(is(netmask))
        .or_else(|| (0..=width).find(is(!netmask & ones(width))))
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
        Some(mask) => mask & ones(width),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(target: &str, own: impl Into<Value>) -> bool {
        let name = if target.contains(':') { "ipv6" } else { "ipv4" };
        let grains: Map = [(name, own.into())].into_iter().collect();
        Addresses::parse(target).is_ok_and(|target| target.matches(&grains))
    }

    #[test]
    fn networks_are_read_as_python_reads_them() {
        for (target, expected) in [
            ("10.0.0.0/24", true),
            ("10.0.0.0/024", true),
            ("10.0.0.0/255.255.255.0", true),
            ("10.0.0.0/0.0.0.255", true),
            ("0.0.0.0/0.0.0.0", true),
            ("10.0.0.7/255.255.255.255", true),
            ("10.0.0.0/255.0.255.0", false),
            ("10.0.0.0/+24", false),
            ("10.0.0.0/", false),
            ("10.0.0.0/24/24", false),
            ("10.0.0.0/33", false),
            ("10.0.0.7/24", false),
            ("10.0.1.0/24", false),
        ] {
            assert_eq!(matches(target, "10.0.0.7"), expected, "{target}");
        }
        assert!(matches("fe80::%eth0/10", "fe80::1%eth1"));
        assert!(!matches("fe80::/ffc0::", "fe80::1"));
    }

    #[test]
    fn an_address_is_compared_with_a_minions_own_as_text() {
        let own = |own: &str| Value::Array(vec!["x".into(), own.into()]);
        assert!(matches("FE80:0::1", own("fe80::1")));
        assert!(!matches("fe80::1", own("FE80::1")));
        assert!(!matches("fe80::1", own("fe80::1%eth0")));
        assert!(matches("fe80::1%eth0", own("fe80::1%eth0")));
        assert!(matches("::ffff:10.0.0.7", own("::ffff:a00:7")));
        assert!(matches("10.0.0.7", own("10.0.0.7")));
        assert!(!matches("10.0.0.07", own("10.0.0.07")));
    }

    #[test]
    fn what_is_no_address_among_a_minions_own_hides_no_other() {
        let own = Value::Array(vec!["x".into(), Value::Nil, "10.0.0.7".into()]);
        assert!(matches("10.0.0.0/8", own));
        assert!(!matches("10.0.0.0/8", Value::Nil));
    }
}
