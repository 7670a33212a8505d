//! `brine check`: checks Salt's configuration files. Of the machine it looks at users and groups only.

mod site;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use brine_api::Acl;
use brine_bus::address::Node;
use brine_config::{ConfigError, Environment, Loaded, Opts, Place, Role, Severity, review};
use brine_node::BusAddressError;
use brine_node::master::MasterOptions;
use brine_node::minion::MinionOptions;
use brine_node::options::OptionsError;
use brine_reactor::Problem;

use super::findings::{Finding, ShowArgs};
use crate::bus_location::{self, NodeKind, is_a_minions};
use crate::daemon::account;
use crate::daemon::syslog::SyslogAddress;
use crate::host::faults;
use crate::host::reactor::{self, Whose};

/// The arguments of `brine check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reports options that are misspelt, ignored, obsolete, of a wrong type, dangerous or given twice, with file and line, and what to do. brine doctor also examines the running site.

Exit codes: 0 no error (with --strict: no warning either); 1 something is wrong; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Directory with Salt's files `master` and `minion` [default: /etc/salt]
    #[arg(short = 'c', long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// One file, of --node [default: minion if it has that name, else master]
    #[arg(long, value_name = "FILE", conflicts_with = "config_dir")]
    config: Option<PathBuf>,
    /// Only this node's file [default: each that is there]
    #[arg(long, value_enum)]
    node: Option<NodeKind>,
    /// Also check the rules in this file and the files they name, as brine attach --reactor FILE would use them
    /// beside this master
    #[arg(long, value_name = "FILE")]
    reactor: Option<PathBuf>,
    #[command(flatten)]
    show: ShowArgs,
}

/// The kind of finding of a user that this machine does not have.
const UNKNOWN_USER: &str = "unknown-user";

/// Checks the files.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = arguments.files()?;
    let mut findings = Vec::new();
    for (role, file) in &files {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        findings.extend(of_file(*role, &file));
    }
    for finding in &mut findings {
        // The files may be another machine's, where there is one; doctor looks at this machine.
        if finding.kind == UNKNOWN_USER {
            finding.severity = Severity::Warning;
        }
    }
    let mut names: Vec<String> = files
        .iter()
        .map(|(_, file)| file.display().to_string())
        .collect();
    if let Some(rules) = &arguments.reactor {
        let Some((role, file)) = files.iter().find(|(role, _)| *role != Role::Minion) else {
            bail!("--reactor: reactions run beside a master, and no file of one is checked");
        };
        let file = std::path::absolute(file)?;
        // Where it cannot be read, the findings above say why.
        if let Ok(loaded) = Opts::load(*role, &file, &Environment::current()) {
            let problems = reactor::check_file(&loaded, &std::path::absolute(rules)?);
            findings.extend(problems.into_iter().map(of_problem));
        }
        names.push(rules.display().to_string());
    }
    arguments.show.print(findings, &names.join(", "))
}

impl Arguments {
    fn files(&self) -> anyhow::Result<Vec<(Role, PathBuf)>> {
        let roles = match self.node {
            Some(NodeKind::Master) => vec![Role::Master],
            Some(NodeKind::Minion) => vec![Role::Minion],
            None if self.config.as_ref().is_some_and(|file| is_a_minions(file)) => {
                vec![Role::Minion]
            }
            None if self.config.is_some() => vec![Role::Master],
            None => vec![Role::Master, Role::Minion],
        };
        if let Some(file) = self.config.as_ref().filter(|file| file.is_dir()) {
            bail!("{}", bus_location::not_a_file(file));
        }
        if let Some(file) = self.config_dir.as_ref().filter(|file| file.is_file()) {
            bail!("{}", bus_location::not_a_directory(file));
        }
        let file = |role: Role| match (&self.config, &self.config_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => directory.join(match role {
                Role::Minion => "minion",
                Role::Master | Role::Client => "master",
            }),
            (None, None) => PathBuf::from(role.default_file()),
        };
        let all: Vec<_> = roles.into_iter().map(|role| (role, file(role))).collect();
        let there: Vec<_> = all
            .iter()
            .filter(|(_, file)| is_there(file))
            .cloned()
            .collect();
        if there.is_empty() {
            let names: Vec<String> = all
                .iter()
                .map(|(_, file)| file.display().to_string())
                .collect();
            bail!("{}: no such file", names.join(", "));
        }
        Ok(there)
    }
}

/// The findings about a node's file, the files that it includes and the rules that it names.
pub(super) fn of_file(role: Role, file: &Path) -> Vec<Finding> {
    let (remarks, loaded) = review(role, file, &Environment::current());
    let mut findings: Vec<Finding> = remarks.into_iter().map(Finding::from).collect();
    if let Some(loaded) = &loaded {
        let places = Opts::places(role, file, &Environment::current());
        findings.extend(of_node(role, loaded, &places));
        findings.extend(of_sockets(role, loaded, &places));
        findings.extend(of_user(loaded, &places));
        findings.extend(of_permissions(loaded, &places));
        findings.extend(of_logs(role, loaded, &places));
        findings.extend(of_reactor(role, loaded));
        findings.extend(of_outlets(role, loaded));
        findings.extend(site::findings(role, loaded, &places));
    }
    findings
}

/// What keeps Brine's own node from starting with these options: each that cannot be used.
fn of_node(role: Role, loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let environment = Environment::current();
    let (mut opts, brine) = (loaded.opts.clone(), &loaded.brine);
    let mut findings: Vec<Finding> = Vec::new();
    let mut seen = BTreeSet::new();
    loop {
        let read = match role {
            Role::Minion => MinionOptions::from_opts(&opts, brine).map(drop),
            Role::Master | Role::Client => MasterOptions::from_opts(&opts, brine).map(drop),
        };
        let Err(error) = read else {
            return findings;
        };
        let option = match &error {
            OptionsError::Value { option, .. } => *option,
            OptionsError::Hash(_) => "hash_type",
            OptionsError::Tls(_) => "ssl",
            OptionsError::Config(ConfigError::WrongType { option, .. }) => option,
            _ => "",
        }
        .to_owned();
        let place = place_of(&option, places);
        let node = match role {
            Role::Minion => "minion",
            Role::Master | Role::Client => "master",
        };
        let remedy = format!("correct the option: Brine's {node} does not start with it");
        let text = crate::show::one_line(&error.into());
        findings.push(Finding::error("wrong-value", place).says(text, remedy));
        // The rest is looked at with the default for this one.
        let mut rest = opts.with_default(&option, role, &environment);
        if option == "id"
            && let Some(rest) = &mut rest
        {
            // Without an id there is another error, which is not the file's.
            rest.set("id", "minion");
        }
        match rest.filter(|_| seen.insert(option)) {
            Some(rest) => opts = rest,
            None => return findings,
        }
    }
}

/// Sockets of the bus that cannot be there: paths that are too long for Linux, ports that are none.
fn of_sockets(role: Role, loaded: &Loaded, places: &[Place]) -> Option<Finding> {
    let node = match role {
        // What is wrong with the id or hash_type is said already.
        Role::Minion => bus_location::own_minion(&loaded.opts).ok()?,
        Role::Master | Role::Client => Node::Master,
    };
    let Err(error) = bus_location::address(&loaded.opts, &node, None) else {
        return moved_sockets(loaded, places);
    };
    let option = match error.downcast_ref() {
        Some(BusAddressError::Port { option, .. }) => option,
        _ => "sock_dir",
    };
    let remedy = "correct the option: neither Brine nor Salt starts with it";
    let finding = Finding::error("wrong-value", place_of(option, places));
    Some(finding.says(crate::show::one_line(&error), remedy))
}

/// A `sock_dir` so long that Salt's rule puts the sockets into `cachedir`.
fn moved_sockets(loaded: &Loaded, places: &[Place]) -> Option<Finding> {
    let used = loaded.opts.text("sock_dir").ok()?;
    let is_set = places.iter().any(|place| place.option == "sock_dir");
    (is_set && used.ends_with("/.salt-unix")).then(|| {
        Finding::warning("wrong-value", place_of("sock_dir", places)).says(
            format!("sock_dir is longer than cachedir by more than 10 characters: Salt and Brine use {used} instead"),
            "write a shorter one",
        )
    })
}

/// Where the value of an option is that takes effect; the option's name, if it is in no file.
fn place_of(option: &str, places: &[Place]) -> String {
    let place = places.iter().rev().find(|place| place.option == option);
    place.map_or_else(|| option.to_owned(), ToString::to_string)
}

/// A user that this machine does not have.
fn of_user(loaded: &Loaded, places: &[Place]) -> Option<Finding> {
    let error = account::configured_user(&loaded.opts).err()?;
    let remedy =
        "create the user or correct the option: on this machine Brine does not start with it";
    let finding = Finding::error(UNKNOWN_USER, place_of("user", places));
    Some(finding.says(crate::show::one_line(&error), remedy))
}

/// A mistake in the list of permissions, with which no bus starts, or what is odd about it.
fn of_permissions(loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let rules = loaded.brine.acl.as_ref().map(|acl| &acl.0);
    let place = place_of("brine: acl", places);
    // The same mistakes whoever reads it.
    match Acl::parse(rules, 0) {
        Err(error) => {
            let remedy = "correct the rule: no bus starts with it";
            vec![Finding::error("wrong-value", place).says(error.to_string(), remedy)]
        }
        Ok(acl) => {
            let remarks = brine_api::local::remarks(&acl).into_iter();
            let finding = |remark: String| {
                Finding::warning("useless-rule", &place)
                    .says(remark, "correct the rule, or remove it")
            };
            remarks.map(finding).collect()
        }
    }
}

/// Where logs would go, which leads nowhere.
fn of_logs(role: Role, loaded: &Loaded, places: &[Place]) -> Vec<Finding> {
    let options: &[&str] = match role {
        Role::Minion => &["log_file"],
        Role::Master | Role::Client => &["log_file", "api_logfile"],
    };
    let found = options.iter().filter_map(|option| {
        let text = loaded.opts.text(option).ok()?;
        let error = SyslogAddress::parse(text)?.err()?;
        let place = place_of(option, places);
        let remedy = "correct the option: Brine does not start with it";
        Some(Finding::error("wrong-value", place).says(error.to_string(), remedy))
    });
    found.collect()
}

/// What is wrong with the rules of a node's reactor, and with the files they name.
fn of_reactor(role: Role, loaded: &Loaded) -> Vec<Finding> {
    let whose = match role {
        Role::Minion => Whose::Minion,
        Role::Master | Role::Client => Whose::Master,
    };
    let problems = reactor::check(loaded, whose).into_iter();
    problems.map(of_problem).collect()
}

fn of_problem(problem: Problem) -> Finding {
    let line = problem
        .line
        .map_or_else(String::new, |line| format!(":{line}"));
    let place = format!("{}{line}", problem.file);
    let finding = match problem.is_error {
        true => Finding::error("reactor", place),
        false => Finding::warning("reactor", place),
    };
    let option = problem
        .option
        .map_or_else(String::new, |option| format!("{option}: "));
    let remedy = match problem.text.ends_with("no such file") {
        true => "create it, or correct the rule",
        false => "see docs/reactor.md",
    };
    finding.says(format!("{option}{}", problem.text), remedy)
}

/// What keeps sinks, and the cluster, from starting.
fn of_outlets(role: Role, loaded: &Loaded) -> Vec<Finding> {
    let faults = match (role, loaded.master_sinks()) {
        (Role::Minion, _) => faults::of_minion(loaded),
        (_, Ok(sinks)) => faults::of_master(loaded, &sinks),
        // What is wrong with Salt's own options is said already.
        (_, Err(_)) => faults::of_master(loaded, &loaded.brine.sinks),
    };
    let found = faults.into_iter().map(|fault| {
        let place = fault.place;
        let place = place.map_or_else(String::new, |(file, line)| format!("{file}:{line}"));
        let text = format!("{}: {}", fault.option, crate::show::one_line(&fault.error));
        let remedy = "correct the option: Brine does not start with it";
        Finding::error("wrong-value", place).says(text, remedy)
    });
    found.collect()
}

fn is_there(file: &Path) -> bool {
    // What may not be read is there, too.
    file.symlink_metadata().is_ok()
}
