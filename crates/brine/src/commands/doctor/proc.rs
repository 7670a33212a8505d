//! What the system knows about processes and their sockets (`/proc`).

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// A socket that somebody listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listening<T> {
    pub(super) at: T,
    pub(super) inode: u64,
}

/// UNIX sockets by path.
pub(super) fn unix_listeners() -> Vec<Listening<PathBuf>> {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    parse_unix(&text)
}

fn parse_unix(text: &str) -> Vec<Listening<PathBuf>> {
    /// `__SO_ACCEPTCON`: `listen` was called.
    const LISTENS: u32 = 0x10000;
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
            let inode: u64 = fields.nth(2)?.parse().ok()?;
            // A path may have blanks; it is all that is left.
            let at = line.find(&format!(" {inode} "))?;
            let path = line[at..].trim_start().split_once(' ')?.1;
            (flags & LISTENS != 0 && path.starts_with('/')).then(|| Listening {
                at: path.into(),
                inode,
            })
        })
        .collect()
}

/// TCP sockets by address.
pub(super) fn tcp_listeners() -> Vec<Listening<SocketAddr>> {
    let read = |name: &str| fs::read_to_string(name).unwrap_or_default();
    let mut all = parse_tcp(&read("/proc/net/tcp"));
    all.extend(parse_tcp(&read("/proc/net/tcp6")));
    all
}

fn parse_tcp(text: &str) -> Vec<Listening<SocketAddr>> {
    /// `TCP_LISTEN`.
    const LISTENS: &str = "0A";
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (ip, port) = fields.get(1)?.rsplit_once(':')?;
            (*fields.get(3)? == LISTENS).then_some(())?;
            Some(Listening {
                at: SocketAddr::new(parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?),
                inode: fields.get(9)?.parse().ok()?,
            })
        })
        .collect()
}

/// The kernel prints the address's words of four bytes as numbers of this machine.
fn parse_ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok();
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?.to_ne_bytes()).into());
    }
    let mut bytes = [0; 16];
    for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
        part.copy_from_slice(&word(at * 8)?.to_ne_bytes());
    }
    Some(Ipv6Addr::from(bytes).into())
}

/// The processes that hold these sockets, as far as this user may see them.
pub(super) fn holders(inodes: &[u64]) -> HashMap<u64, Vec<i32>> {
    let mut holders: HashMap<u64, Vec<i32>> = HashMap::new();
    for pid in pids() {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for file in files.flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            let inode = target.to_str().and_then(|text| {
                text.strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            });
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                let pids = holders.entry(inode).or_default();
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    holders
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether there is such a process.
pub(in crate::commands) fn exists(pid: i32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// Whether a signal or a debugger has stopped it.
pub(in crate::commands) fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before it may hold anything.
    let state = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.starts_with(['T', 't']));
    state.unwrap_or_default()
}

/// A process by number and command: `pid 812 (salt-master -c /etc/salt)`.
pub(super) fn name(pid: i32) -> String {
    let command = command(pid);
    match command.is_empty() {
        true => format!("pid {pid}"),
        false => format!(
            "pid {pid} ({})",
            brine_view::text::cut(&command.join(" "), 60)
        ),
    }
}

/// The words a process was started with.
pub(super) fn command(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The program a process runs.
pub(super) fn program(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// The user that a process runs as now.
pub(super) fn user(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
}

/// How many files a process may have open.
pub(super) fn open_file_limit(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
        .filter(|pid| *pid > 1)
}

fn ancestors(pid: i32) -> Vec<i32> {
    std::iter::successors(parent(pid), |pid| parent(*pid))
        .take(64)
        .collect()
}

/// Whether two processes are of one service: one started the other, or the same program started both, be it through
/// others (real Salt's master has managers of managers).
pub(super) fn are_one_service(a: i32, b: i32) -> bool {
    let line = |pid| std::iter::once(pid).chain(ancestors(pid));
    let others: Vec<i32> = line(b).collect();
    let Some(nearest) = line(a).find(|pid| others.contains(pid)) else {
        return false;
    };
    // A shell or a service manager starts many services.
    nearest == a || nearest == b || (program(nearest).is_some() && program(nearest) == program(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_and_connections_are_not() {
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 12345 /tmp/a b/master_event_pub.ipc\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 12346 /tmp/x\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 12347\n";
        let found = parse_unix(unix);
        assert_eq!(
            found,
            [Listening {
                at: "/tmp/a b/master_event_pub.ipc".into(),
                inode: 12345
            }]
        );
        let tcp = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                   0: 0100007F:119A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 98765 1 x\n   \
                   1: 0100007F:119A 0100007F:0001 01 00000000:00000000 00:00000000 00000000     0        0 98766 1 x\n";
        assert_eq!(
            parse_tcp(tcp),
            [Listening {
                at: "127.0.0.1:4506".parse().unwrap(),
                inode: 98765
            }]
        );
    }

    #[test]
    fn addresses_are_read_as_this_machine_prints_them() {
        let listener = std::net::TcpListener::bind("[::1]:0").ok();
        let address = listener.as_ref().and_then(|one| one.local_addr().ok());
        // Not every machine has IPv6.
        let is_found = |at| tcp_listeners().iter().any(|one| one.at == at);
        assert!(address.is_none_or(is_found), "{address:?}");
        assert_eq!(parse_ip("00000000"), Some(Ipv4Addr::UNSPECIFIED.into()));
        assert_eq!(parse_ip("0000"), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(exists(own) && open_file_limit(own).is_some() && !command(own).is_empty());
        assert!(are_one_service(own, own) && !are_one_service(own, 1));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = tcp_listeners()
            .into_iter()
            .find(|one| one.at == address)
            .unwrap();
        assert_eq!(holders(&[found.inode])[&found.inode], [own]);
    }
}
