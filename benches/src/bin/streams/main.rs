//! Event streams over HTTP: Brine beside real salt-api, nginx with nchan, and the machine's limit.
//!
//!     streams --peers brine,nchan,floor --cases 100x1000,1000x100 --repeat 3
//!
//! One generator for all: a publisher at a fixed rate whatever the peer does (open loop), and one
//! thread that reads every stream and checks every event of it. What is measured and how:
//! `docs/benchmarks-api.md`.

mod floor;
mod measure;
mod peer;
mod publisher;
mod readers;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

use self::measure::{Case, Figures};
use self::peer::Peer;

/// Measures event streams over HTTP.
#[derive(Debug, Parser)]
struct Arguments {
    /// Who is measured, in this order in every round.
    #[arg(long, value_delimiter = ',', default_value = "brine,nchan,floor")]
    peers: Vec<Peer>,
    /// Streams x events per second.
    #[arg(long, value_delimiter = ',', default_value = "100x1000,1000x100")]
    cases: Vec<Case>,
    /// Streams beside them that never read.
    #[arg(long, default_value_t = 0)]
    stuck: usize,
    /// How long events are published, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; the tables show medians and extremes.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// The virtual environment with real Salt.
    #[arg(long, default_value = ".salt/3008.3")]
    salt: PathBuf,
    /// Serves as a peer instead: `brine` or `floor`, in this directory.
    #[arg(long, num_args = 2, value_names = ["PEER", "DIR"], hide = true)]
    serve: Option<Vec<PathBuf>>,
}

#[allow(clippy::print_stdout, reason = "a program that prints a table")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let files = brine_bench::raise_file_limit();
    if let Some(serve) = &arguments.serve {
        let [peer, dir] = serve.as_slice() else {
            bail!("expected --serve PEER DIR");
        };
        return match peer.to_str() {
            Some("brine") => server::serve(dir),
            Some("floor") => floor::serve(dir),
            _ => bail!("expected --serve brine DIR or --serve floor DIR"),
        };
    }
    println!("{}", Figures::HEADER);
    for case in &arguments.cases {
        let mut rows: Vec<(Peer, Vec<Figures>)> = arguments
            .peers
            .iter()
            .map(|peer| (*peer, Vec::new()))
            .collect();
        if (case.readers + arguments.stuck) as u64 * 2 > files {
            bail!("{case}: the system allows {files} open files");
        }
        for _ in 0..arguments.repeat {
            for (peer, figures) in &mut rows {
                let time = Duration::from_secs(arguments.seconds);
                let measured = measure::run(*peer, *case, arguments.stuck, time, &arguments.salt);
                figures.push(measured.with_context(|| format!("{peer}, {case}"))?);
            }
        }
        for (peer, figures) in &rows {
            println!("{}", Figures::row(*case, *peer, figures));
        }
    }
    Ok(())
}
