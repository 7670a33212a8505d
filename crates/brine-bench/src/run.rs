//! One run from the first connection to the report.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Instant, SystemTime};

use crate::churn::{self, Churned};
use crate::cut::Expected;
use crate::event::{LEAST_DATA_BYTES, event};
use crate::histogram::Histogram;
use crate::load::{Load, Pace};
use crate::process::{BusUse, Process, machine_cpu, own_cpu, raise_file_limit};
use crate::publish::{Batch, Published, Publisher, send_all};
use crate::read::{Reader, Sample, Seen};
use crate::report::{ChurnReport, Faults, GeneratorUse, Latency, Report};
use crate::shared::Shared;
use crate::stamp::PROBE;
use crate::target::{Endpoint, Target};

/// How long subscribers may take to hear their first event.
const HEAR_WITHIN: Duration = Duration::from_secs(5);

/// Why a run gave no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The load asks for something that is not possible.
    #[error("expected {expected}, found {found}")]
    Load {
        /// What a load may have.
        expected: &'static str,
        /// What this one has.
        found: usize,
    },
    /// The system allows too few open files for so many connections.
    #[error(
        "{needed} connections need as many open files, but the limit is {allowed}; raise it (ulimit -Hn) or ask for fewer"
    )]
    TooFewFiles {
        /// Connections and some files besides.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
    /// The bus did not take a connection.
    #[error("{endpoint}: cannot connect {who}: {source}; is a bus running there?")]
    Connect {
        /// A publisher or a subscriber.
        who: &'static str,
        /// Where.
        endpoint: Endpoint,
        /// The system's error.
        source: io::Error,
    },
    /// Connected, but events do not come out.
    #[error(
        "only {hearing} of {subscribers} subscribers received an event within {within:?}; does the bus use the dialect {dialect}?"
    )]
    Deaf {
        /// Subscribers that heard one.
        hearing: usize,
        /// Subscribers there are.
        subscribers: usize,
        /// How long they were given.
        within: Duration,
        /// What was spoken.
        dialect: &'static str,
    },
    /// The system refused something else.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Its output.
        source: io::Error,
    },
}

/// Puts `load` on `target` and measures.
///
/// Blocks for warm-up, duration and the time the bus needs to deliver what is under way.
///
/// # Errors
/// [`BenchError`]; faults of the bus during the run are no error but in the report.
pub fn run(target: &Target, load: &Load) -> Result<Report, BenchError> {
    check(load)?;
    let event = event(load.data_bytes);
    let number = run_number();
    let run = Run {
        target,
        load,
        expected: Expected::new(&target.dialect, &event, number),
        number,
        event,
        shared: Shared::new(load.publishers, load.reader_threads, load.subscribers),
    };
    run.measure()
}

struct Run<'a> {
    target: &'a Target,
    load: &'a Load,
    event: Vec<u8>,
    expected: Expected,
    number: u32,
    shared: Shared,
}

/// The connections of a run, before any thread has them.
struct Connections {
    subscribers: Vec<OwnedFd>,
    publishers: Vec<OwnedFd>,
    /// Open, and never read.
    _stuck: Vec<OwnedFd>,
}

/// Counters at one moment.
#[derive(Clone, Copy)]
struct Moment {
    at_ns: u64,
    through: u64,
    bus_cpu: Duration,
    own_cpu: Duration,
    machine_cpu: Duration,
}

impl Run<'_> {
    fn measure(&self) -> Result<Report, BenchError> {
        let process = self.target.process.map(|pid| Process { pid });
        let rss_before = process.map(Process::rss);
        let Connections {
            subscribers,
            publishers,
            _stuck,
        } = self.connect()?;
        let process = process.or_else(|| Process::behind(&subscribers[0]));
        let rss_before = rss_before.or_else(|| process.map(Process::rss));
        let readers = self.readers(subscribers)?;
        thread::scope(|scope| {
            let readers: Vec<_> = readers
                .into_iter()
                .map(|reader| scope.spawn(|| reader.run()))
                .collect();
            let heard = self.wait_until_all_hear(&publishers[0]);
            if heard.is_err() {
                self.shared.finish(vec![0; self.load.publishers + 1]);
                readers.into_iter().for_each(|reader| drop(reader.join()));
                return heard.map(|()| unreachable!("it is an error"));
            }
            let churner = self.load.churn.map(|churn| {
                let number = self.load.publishers as u32;
                let batch = Batch::new(&self.target.dialect, &self.event, 1, number, self.number);
                scope.spawn(move || churn::run(self.target, churn, batch, &self.shared))
            });
            let publishers: Vec<_> = self
                .publishers(publishers)
                .map(|publisher| scope.spawn(|| publisher.run(&self.shared)))
                .collect();
            let (from, until) = self.watch(process);
            let rss_after = process.map_or(0, Process::rss);
            self.shared.stop();
            let churned = churner.map(|churner| churner.join().expect("churn does not panic"));
            let published: Vec<Published> = publishers
                .into_iter()
                .map(|publisher| publisher.join().expect("a publisher does not panic"))
                .collect();
            let mut totals: Vec<_> = published.iter().map(|publisher| publisher.sent).collect();
            totals.push(churned.map_or(0, |churned| churned.sent));
            self.shared.finish(totals);
            let seen: Vec<Seen> = readers
                .into_iter()
                .map(|reader| reader.join().expect("a reader does not panic"))
                .collect();
            let bus = process.map(|process| BusUse {
                pid: process.pid,
                cpu: until.bus_cpu.saturating_sub(from.bus_cpu),
                rss_before: rss_before.unwrap_or(0),
                rss_after,
                rss_peak: process.rss_peak(),
            });
            Ok(self.report(from, until, &published, &seen, churned, bus))
        })
    }

    fn connect(&self) -> Result<Connections, BenchError> {
        let failed = |who, endpoint: &Endpoint| {
            let endpoint = endpoint.clone();
            move |source| BenchError::Connect {
                who,
                endpoint,
                source,
            }
        };
        let subscribe = |_| {
            self.target
                .subscriber()
                .map_err(failed("a subscriber", &self.target.publish))
        };
        let publish = |_| {
            self.target
                .publisher()
                .map_err(failed("a publisher", &self.target.pull))
        };
        Ok(Connections {
            _stuck: (0..self.load.stuck)
                .map(subscribe)
                .collect::<Result<_, _>>()?,
            subscribers: (0..self.load.subscribers)
                .map(subscribe)
                .collect::<Result<_, _>>()?,
            publishers: (0..self.load.publishers)
                .map(publish)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Deals the subscribers out to the reader threads.
    fn readers(&self, mut sockets: Vec<OwnedFd>) -> Result<Vec<Reader<'_>>, BenchError> {
        let sample = match self.load.pace {
            Pace::Closed => Sample::Sixteenth,
            Pace::Rate(_) => Sample::Every,
        };
        let threads = self.load.reader_threads;
        (0..threads)
            .map(|number| {
                let left = sockets.len();
                let share = sockets.split_off(left - left / (threads - number));
                let publishers = self.load.publishers;
                Reader::new(
                    &self.shared,
                    &self.expected,
                    number,
                    publishers,
                    sample,
                    share,
                )
            })
            .collect::<Result<_, _>>()
            .map_err(|source| BenchError::System {
                doing: "watching the subscribers",
                source,
            })
    }

    fn publishers(&self, sockets: Vec<OwnedFd>) -> impl Iterator<Item = Publisher> {
        let load = self.load;
        let window = load.window_events(self.expected.frame_bytes()) / load.publishers as u64;
        sockets
            .into_iter()
            .enumerate()
            .map(move |(number, socket)| Publisher {
                socket,
                number,
                batch: Batch::new(
                    &self.target.dialect,
                    &self.event,
                    load.events_per_write,
                    number as u32,
                    self.number,
                ),
                events_per_write: load.events_per_write,
                window,
                pace: match load.pace {
                    Pace::Closed => Pace::Closed,
                    Pace::Rate(all) => Pace::Rate(all / load.publishers as f64),
                },
            })
    }

    /// A connected subscriber may not be subscribed yet, and Salt's bus does not announce when it is:
    /// so events are sent until every subscriber has heard one.
    fn wait_until_all_hear(&self, publisher: &OwnedFd) -> Result<(), BenchError> {
        const PROBE_EVERY: Duration = Duration::from_millis(5);
        let system = |source| BenchError::System {
            doing: "sending the first event",
            source,
        };
        let subscribers = self.load.subscribers;
        let mut probe = Batch::new(&self.target.dialect, &self.event, 1, PROBE, self.number);
        let since = Instant::now();
        for sequence in 0.. {
            let now = self.shared.now_ns();
            let bytes = probe.stamped(1, sequence, now, |_| now);
            send_all(publisher, bytes, &self.shared).map_err(system)?;
            thread::sleep(PROBE_EVERY);
            let hearing = self.shared.hearing();
            if hearing == subscribers {
                break;
            }
            if since.elapsed() > HEAR_WITHIN {
                let dialect = self.target.dialect.name;
                return Err(BenchError::Deaf {
                    hearing,
                    subscribers,
                    within: HEAR_WITHIN,
                    dialect,
                });
            }
        }
        Ok(())
    }

    /// Lets the load run and takes the counters at both ends of the time measured.
    fn watch(&self, process: Option<Process>) -> (Moment, Moment) {
        self.wait(self.load.warm_up);
        let from = self.moment(process);
        self.shared.measure_from(from.at_ns);
        self.wait(self.load.duration);
        let until = self.moment(process);
        self.shared.measure_until(until.at_ns);
        (from, until)
    }

    /// Sleeps, unless nothing is left to measure.
    fn wait(&self, time: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let until = Instant::now() + time;
        while !self.shared.deserted() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(STEP));
        }
    }

    fn moment(&self, process: Option<Process>) -> Moment {
        Moment {
            at_ns: self.shared.now_ns(),
            through: self.shared.through(),
            bus_cpu: process.map_or(Duration::ZERO, Process::cpu),
            own_cpu: own_cpu(),
            machine_cpu: machine_cpu(),
        }
    }

    fn report(
        &self,
        from: Moment,
        until: Moment,
        published: &[Published],
        seen: &[Seen],
        churned: Option<Churned>,
        bus: Option<BusUse>,
    ) -> Report {
        let measured = Duration::from_nanos((until.at_ns - from.at_ns).max(1));
        let seconds = measured.as_secs_f64();
        let whole_run = self.shared.now_ns() as f64 / 1e9;
        let machine = until.machine_cpu.saturating_sub(from.machine_cpu);
        let own = until.own_cpu.saturating_sub(from.own_cpu);
        let others = machine
            .saturating_sub(own)
            .saturating_sub(bus.map_or(Duration::ZERO, |bus| bus.cpu));
        let publishers: Duration = published.iter().map(|publisher| publisher.cpu).sum();
        let reader = seen.iter().map(|seen| seen.cpu).max().unwrap_or_default();
        Report {
            load: self.load.clone(),
            frame_bytes: self.expected.frame_bytes(),
            measured,
            events_per_second: (until.through - from.through) as f64 / seconds,
            published: published.iter().map(|publisher| publisher.sent).sum(),
            deliveries: seen.iter().map(|seen| seen.deliveries).sum(),
            faults: faults(published, seen),
            latency: latency(seen),
            bus,
            generator: GeneratorUse {
                publishers: publishers.as_secs_f64() / whole_run,
                busiest_reader: reader.as_secs_f64() / whole_run,
                others: others.as_secs_f64() / seconds,
            },
            churn: self
                .load
                .churn
                .zip(churned)
                .map(|(churn, churned)| ChurnReport {
                    of: churn.of,
                    cycles_per_second: churned.cycles as f64 / whole_run,
                    failed: churned.failed,
                }),
        }
    }
}

fn check(load: &Load) -> Result<(), BenchError> {
    let least = |expected, found, least| {
        if found < least {
            Err(BenchError::Load { expected, found })
        } else {
            Ok(())
        }
    };
    least("at least 1 publisher", load.publishers, 1)?;
    least("at least 1 subscriber", load.subscribers, 1)?;
    least("at least 1 reader thread", load.reader_threads, 1)?;
    least(
        "as many subscribers as reader threads",
        load.subscribers,
        load.reader_threads,
    )?;
    least("at least 1 event per write", load.events_per_write, 1)?;
    least(
        "data of at least 160 bytes",
        load.data_bytes,
        LEAST_DATA_BYTES,
    )?;
    let needed = (load.publishers + load.subscribers + load.stuck + 64) as u64;
    let allowed = raise_file_limit();
    if needed > allowed {
        return Err(BenchError::TooFewFiles { needed, allowed });
    }
    Ok(())
}

fn faults(published: &[Published], seen: &[Seen]) -> Faults {
    let mut faults = Faults::default();
    for seen in seen {
        faults.lost += seen.wrongs.lost;
        faults.reordered += seen.wrongs.reordered;
        faults.duplicated += seen.wrongs.duplicated;
        faults.owed += seen.wrongs.owed;
        faults.swapped += seen.wrongs.swapped;
        faults.corrupt += seen.corrupt;
        faults.disconnected += seen.disconnected;
    }
    let closed = published.iter().filter(|publisher| publisher.closed_by_bus);
    faults.publishers_disconnected = closed.count() as u64;
    faults
}

fn latency(seen: &[Seen]) -> Latency {
    let (mut from_due, mut from_send) = (Histogram::new(), Histogram::new());
    for seen in seen {
        from_due.merge(&seen.from_due);
        from_send.merge(&seen.from_send);
    }
    Latency {
        from_due: from_due.percentiles(),
        from_send: from_send.percentiles(),
    }
}

/// Tells the events of this run from those of another on the same bus.
fn run_number() -> u32 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    since.subsec_nanos() ^ (std::process::id() << 12) ^ since.as_secs() as u32
}
