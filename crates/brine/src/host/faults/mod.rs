//! What keeps the sinks and the cluster of a configuration from starting, as far as that can be known without asking
//! the other sides. Checked before anything is created, and by `brine check`.

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod databases;
#[cfg(feature = "file")]
mod files;

use anyhow::anyhow;
use brine_config::{
    Brine, ClusterOptions, FileOption, Loaded, NatsOptions, Opts, SinkKind, SinkOptions,
};

use super::{cluster, sinks};
use crate::bus_location::BusLocation;
use crate::show;

/// A file and a line.
type Place = Option<(String, usize)>;

/// An option that cannot be used.
pub(crate) struct Fault {
    /// `brine: sinks: audit`, or one of Salt's.
    pub(crate) option: String,
    /// Where it stands.
    pub(crate) place: Place,
    /// What is wrong.
    pub(crate) error: anyhow::Error,
}

/// Where a configuration would have events go.
#[derive(Clone, Copy)]
struct Outlets<'a> {
    opts: Option<&'a Opts>,
    brine: &'a Brine,
    sinks: &'a [SinkOptions],
    /// `brine: cluster`, on a master; other buses cannot be members of one.
    cluster: Option<&'a ClusterOptions>,
    /// An argument asks for a history, whatever the file says.
    has_history: bool,
}

/// Refuses the faults of a master of ours.
pub(crate) fn refuse_of_master(loaded: &Loaded) -> anyhow::Result<()> {
    let sinks = loaded.master_sinks()?;
    refuse(of_master(loaded, &sinks))
}

/// Refuses the faults of a minion of ours.
pub(crate) fn refuse_of_minion(loaded: &Loaded) -> anyhow::Result<()> {
    refuse(of_minion(loaded))
}

/// Refuses the faults of a bus alone, or of one beside another's.
pub(crate) fn refuse_of_bus(location: &BusLocation, has_history: bool) -> anyhow::Result<()> {
    let outlets = Outlets {
        opts: location.opts.as_ref(),
        brine: &location.brine,
        sinks: &location.sinks,
        cluster: None,
        has_history,
    };
    refuse(outlets.faults())
}

/// What is wrong on a master of ours with these sinks.
pub(crate) fn of_master(loaded: &Loaded, sinks: &[SinkOptions]) -> Vec<Fault> {
    let outlets = Outlets {
        opts: Some(&loaded.opts),
        brine: &loaded.brine,
        sinks,
        cluster: loaded.brine.cluster.as_ref(),
        has_history: false,
    };
    outlets.faults()
}

/// What is wrong on a minion of ours.
pub(crate) fn of_minion(loaded: &Loaded) -> Vec<Fault> {
    let outlets = Outlets {
        opts: Some(&loaded.opts),
        brine: &loaded.brine,
        sinks: &loaded.brine.sinks,
        cluster: None,
        has_history: false,
    };
    outlets.faults()
}

fn refuse(faults: Vec<Fault>) -> anyhow::Result<()> {
    match faults.into_iter().next() {
        Some(fault) => Err(fault.into_error()),
        None => Ok(()),
    }
}

impl Outlets<'_> {
    fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.no_history().into_iter().collect();
        for sink in self.sinks {
            let error = sinks::check(self.opts, self.brine, sink).err();
            faults.extend(error.map(|error| Fault::of(sink, error)));
        }
        if let Some(options) = self.cluster {
            faults.extend(cluster::nats(&options.nats).err().map(|error| Fault {
                option: "brine: cluster".to_owned(),
                place: options.place.clone(),
                error,
            }));
        }
        #[cfg(feature = "file")]
        faults.extend(
            files::shared(self.sinks)
                .into_iter()
                .chain(files::unfit(self)),
        );
        #[cfg(any(feature = "mysql", feature = "postgres"))]
        faults.extend(databases::shared(self.sinks));
        faults.extend(self.shared_subjects());
        faults
    }

    /// A history that is switched off, and is needed.
    fn no_history(&self) -> Option<Fault> {
        if self.brine.history.enabled != Some(false) || self.has_history {
            return None;
        }
        let mut needed: Vec<&str> = self.sinks.iter().map(|sink| &*sink.option).collect();
        needed.extend(self.cluster.map(|_| "brine: cluster"));
        needed.dedup();
        (!needed.is_empty()).then(|| Fault {
            option: "brine: history".to_owned(),
            place: self.brine.history.place.clone(),
            error: anyhow!(
                "expected true or its options, because what is delivered is remembered there for {}; found false",
                needed.join(", ")
            ),
        })
    }

    /// Subjects of one NATS to which two publish: events would be stored twice, and name each other as the one before.
    fn shared_subjects(&self) -> Vec<Fault> {
        let mut known: Vec<(&str, &Place, &NatsOptions)> = Vec::new();
        if let Some(options) = self.cluster {
            known.push(("brine: cluster", &options.place, &options.nats));
        }
        let mut faults = Vec::new();
        for sink in self.sinks {
            let SinkKind::Nats(options) = &sink.kind else {
                continue;
            };
            let other = known.iter().find(|(.., other)| is_shared(options, other));
            if let Some((other, place, _)) = other {
                let error = anyhow!(
                    "prefix: expected one of its own, found {:?}, below which {other}{} publishes to the same server",
                    cluster::prefix(options),
                    at(place)
                );
                faults.push(Fault::of(sink, error));
            }
            known.push((&sink.option, &sink.place, options));
        }
        faults
    }
}

impl Fault {
    fn of(sink: &SinkOptions, error: anyhow::Error) -> Self {
        let text = show::one_line(&error);
        let of_file = |file: &FileOption| {
            let rest = text.strip_prefix(file.name)?.strip_prefix(": ")?;
            Some(Self {
                option: file.option.clone(),
                place: file.place.clone(),
                error: anyhow!("{rest}"),
            })
        };
        if let Some(fault) = sink.files.iter().find_map(of_file) {
            return fault;
        }
        Self {
            option: sink.option.clone(),
            place: sink.place.clone(),
            error,
        }
    }

    /// Says where the option stands.
    fn into_error(self) -> anyhow::Error {
        self.error.context(match self.place {
            Some((file, line)) => format!("{file}, line {line}: {}", self.option),
            None => self.option,
        })
    }
}

/// ` (FILE, line N)`, if it is known.
fn at(place: &Place) -> String {
    match place {
        Some((file, line)) => format!(" ({file}, line {line})"),
        None => String::new(),
    }
}

fn is_shared(one: &NatsOptions, other: &NatsOptions) -> bool {
    let others: Vec<String> = other.servers.iter().map(|server| host(server)).collect();
    let is_of_other = |server: &String| others.contains(&host(server));
    cluster::prefix(one) == cluster::prefix(other) && one.servers.iter().any(is_of_other)
}

/// Host and port of a server's address, however it is written.
fn host(server: &str) -> String {
    /// NATS's own.
    const PORT: u16 = 4222;
    let host = server.rsplit("//").next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = host.trim_end_matches('/').to_ascii_lowercase();
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    match has_port {
        true => host,
        false => format!("{host}:{PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_the_same_however_they_are_written() {
        for server in ["nats://u:p@Host", "tls://host:4222", "host", "host:4222/"] {
            assert_eq!(host(server), "host:4222", "{server}");
        }
        assert_eq!(host("nats://[::1]"), "[::1]:4222");
        assert_eq!(host("[::1]:1"), "[::1]:1");
    }
}
