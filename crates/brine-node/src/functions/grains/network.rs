//! Names and addresses of the machine.
//!
//! Addresses come from the kernel (rtnetlink), names from the hosts file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brine_wire::{Map, Value};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::read;

pub(super) fn insert_into(grains: &mut Map) {
    names(grains);
    let interfaces = interfaces();
    let of = |wanted: fn(&IpAddr) -> bool| -> Map {
        let addresses = |all: &Interface| {
            let wanted = all.addresses.iter().filter(|ip| wanted(ip));
            Value::Array(wanted.map(|ip| ip.to_string().into()).collect())
        };
        let pairs = interfaces
            .iter()
            .map(|one| (one.name.as_str(), addresses(one)));
        pairs.collect()
    };
    let hardware = interfaces.iter().filter(|one| !one.hardware.is_empty());
    let hardware: Map = hardware
        .map(|one| (one.name.as_str(), one.hardware.as_str()))
        .collect();
    grains.insert("hwaddr_interfaces", hardware);
    grains.insert("ip4_interfaces", of(IpAddr::is_ipv4));
    grains.insert("ip6_interfaces", of(IpAddr::is_ipv6));
    let mut all: Vec<IpAddr> = interfaces
        .iter()
        .flat_map(|one| &one.addresses)
        .copied()
        .collect();
    all.sort_unstable();
    all.dedup();
    let (four, six): (Vec<_>, Vec<_>) = all.into_iter().partition(IpAddr::is_ipv4);
    grains.insert("ipv4", texts(&four));
    grains.insert("ipv6", texts(&six));
    grains.insert("ip_interfaces", of(|_| true));
    gateways(grains);
    dns(grains);
}

fn names(grains: &mut Map) {
    let node = read("/proc/sys/kernel/hostname").trim().to_owned();
    let hosts = brine_config::Environment::current().host_names;
    let fqdn = hosts.into_iter().next().unwrap_or_else(|| node.clone());
    let (host, domain) = match fqdn.split_once('.') {
        Some((host, domain)) => (host.to_owned(), domain.to_owned()),
        None => (fqdn.clone(), String::new()),
    };
    grains.insert("localhost", node.as_str());
    grains.insert("nodename", node);
    grains.insert("fqdn", fqdn);
    grains.insert("host", host);
    grains.insert("domain", domain);
}

fn texts(addresses: &[IpAddr]) -> Vec<Value> {
    let texts = addresses.iter().map(ToString::to_string);
    texts.map(Value::from).collect()
}

/// The first default gateway of each family; False where there is none.
fn gateways(grains: &mut Map) {
    let routes = read("/proc/net/route");
    let four = routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (to, gateway) = (fields.next()?, fields.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        // The kernel writes the number in the machine's byte order.
        (to == "00000000" && gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    });
    let routes = read("/proc/net/ipv6_route");
    let six = routes.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_default = fields.first()?.bytes().all(|c| c == b'0') && *fields.get(1)? == "00";
        let gateway = u128::from_str_radix(fields.get(4)?, 16).ok()?;
        (is_default && gateway != 0).then(|| Ipv6Addr::from(gateway))
    });
    let text = |ip: Option<String>| ip.map_or(Value::Bool(false), Value::from);
    grains.insert("ip_gw", four.is_some() || six.is_some());
    grains.insert("ip4_gw", text(four.map(|ip| ip.to_string())));
    grains.insert("ip6_gw", text(six.map(|ip| ip.to_string())));
}

/// The contents of `/etc/resolv.conf`.
fn dns(grains: &mut Map) {
    let (mut servers, mut search, mut domain) = (Vec::new(), Vec::new(), String::new());
    for line in read("/etc/resolv.conf").lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().map(str::to_owned)),
            Some("search") => search = words.map(Value::from).collect(),
            Some("domain") => words.next().unwrap_or_default().clone_into(&mut domain),
            _ => {}
        }
    }
    let of = |wanted: fn(&IpAddr) -> bool| -> Vec<Value> {
        let is = |text: &&String| text.parse().is_ok_and(|ip| wanted(&ip));
        servers
            .iter()
            .filter(is)
            .map(|text| text.as_str().into())
            .collect()
    };
    let mut dns = Map::new();
    dns.insert("nameservers", of(|_| true));
    dns.insert("ip4_nameservers", of(IpAddr::is_ipv4));
    dns.insert("ip6_nameservers", of(IpAddr::is_ipv6));
    dns.insert("sortlist", Vec::new());
    dns.insert("domain", domain);
    dns.insert("search", search);
    dns.insert("options", Vec::new());
    grains.insert("dns", dns);
}

struct Interface {
    /// The kernel's number, by which they are sorted.
    index: u32,
    name: String,
    hardware: String,
    addresses: Vec<IpAddr>,
}

/// All interfaces, including those without an address.
fn interfaces() -> Vec<Interface> {
    let addresses = addresses().unwrap_or_else(|err| {
        tracing::debug!(%err, "cannot read the addresses of network interfaces");
        Vec::new()
    });
    let names = std::fs::read_dir("/sys/class/net")
        .into_iter()
        .flatten()
        .flatten();
    let mut interfaces: Vec<_> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let of = |what: &str| {
                read(&format!("/sys/class/net/{name}/{what}"))
                    .trim()
                    .to_owned()
            };
            let index = of("ifindex").parse().ok()?;
            let own = addresses.iter().filter(|(at, _)| *at == index);
            Some(Interface {
                index,
                hardware: of("address"),
                addresses: own.map(|(_, ip)| *ip).collect(),
                name,
            })
        })
        .collect();
    interfaces.sort_unstable_by_key(|one| one.index);
    interfaces
}

const HEADER: usize = 16;
const DUMP_ADDRESSES: u16 = 22; // RTM_GETADDR
const ADDRESS: u16 = 20; // RTM_NEWADDR
const DONE: u16 = 3;
const ERROR: u16 = 2;

/// Every address with its interface's number, from the kernel.
fn addresses() -> rustix::io::Result<Vec<(u32, IpAddr)>> {
    /// The kernel's largest message.
    const BUFFER: usize = 32 << 10;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, &dump_request(), SendFlags::empty())?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; BUFFER]);
    loop {
        let (_, length) = rustix::net::recv(&socket, &mut buffer, RecvFlags::empty())?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        if rest.is_empty() {
            return Ok(found);
        }
        while let Some((kind, body, after)) = next_message(rest) {
            match kind {
                DONE | ERROR => return Ok(found),
                ADDRESS => found.extend(read_address(body)),
                _ => {}
            }
            rest = after;
        }
    }
}

/// `nlmsghdr` and `rtgenmsg`: dump the addresses of every family.
fn dump_request() -> [u8; HEADER + 4] {
    const REQUEST_AND_DUMP: u16 = 0x301;
    let mut request = [0; HEADER + 4];
    request[..4].copy_from_slice(&(20_u32).to_ne_bytes());
    request[4..6].copy_from_slice(&DUMP_ADDRESSES.to_ne_bytes());
    request[6..8].copy_from_slice(&REQUEST_AND_DUMP.to_ne_bytes());
    request
}

/// The kind and body of the message at the beginning, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..length)?;
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, after))
}

/// `ifaddrmsg` and its attributes: the interface's number and its own address.
fn read_address(body: &[u8]) -> Option<(u32, IpAddr)> {
    const PEER_OR_OWN: u16 = 1; // IFA_ADDRESS
    const OWN: u16 = 2; // IFA_LOCAL
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let (mut found, mut rest) = (None, body.get(8..)?);
    while let Some(length) = rest.first_chunk().map(|length| u16::from_ne_bytes(*length)) {
        let length = usize::from(length);
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let value = rest.get(4..length)?;
        let ip = match value.len() {
            4 => value.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
            16 => value.first_chunk::<16>().map(|ip| IpAddr::from(*ip)),
            _ => None,
        };
        match kind {
            OWN => return ip.map(|ip| (index, ip)),
            PEER_OR_OWN => found = ip,
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found.map(|ip| (index, ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_address_is_among_those_the_kernel_tells() {
        let found = addresses().unwrap();
        assert!(found.iter().any(|(_, ip)| ip.is_loopback()), "{found:?}");
    }

    #[test]
    fn messages_cut_short_are_no_addresses() {
        let whole = [
            2, 8, 0, 0, 1, 0, 0, 0, 8, 0, 2, 0, 127, 0, 0, 1, // ifaddrmsg, IFA_LOCAL
        ];
        assert_eq!(read_address(&whole), Some((1, Ipv4Addr::LOCALHOST.into())));
        for end in 0..whole.len() {
            assert_eq!(read_address(&whole[..end]), None, "{end}");
        }
        assert_eq!(next_message(&[255; 20]), None);
    }
}
