//! All runner functions, with their documentation.

use super::{
    Documented, Function, JobFunction, Parameter, ReactorFunction, Which, optional, required,
};
use crate::minion_cache::Bank;
use crate::runner::manage::What;

/// All functions, by name.
pub const FUNCTIONS: &[Function] = &[
    clear_cached("cache.clear_all", &[Bank::Grains, Bank::Pillar, Bank::Mine]),
    clear_cached("cache.clear_grains", &[Bank::Grains]),
    clear_cached("cache.clear_mine", &[Bank::Mine]),
    Function {
        name: "cache.clear_mine_func",
        which: Which::ClearMineFunction,
        parameters: &[
            optional("tgt"),
            optional("tgt_type"),
            optional("clear_mine_func_flag"),
        ],
        help: "
    Forgets what one function of minions left in the mine.

    tgt
        which minions; tgt_type says how to read it
    clear_mine_func_flag
        the function's name in the mine

    Example:

        salt-run cache.clear_mine_func 'web*' clear_mine_func_flag=network.ip_addrs
",
    },
    clear_cached("cache.clear_pillar", &[Bank::Pillar]),
    cached("cache.grains", Bank::Grains, &[required("tgt"), optional("tgt_type")]),
    cached("cache.mine", Bank::Mine, TARGET),
    cached("cache.pillar", Bank::Pillar, TARGET),
    Function {
        name: "doc.runner",
        which: Which::Documents(Documented::Runner),
        parameters: &[],
        help: "
    What each runner function does.

    Example:

        salt-run doc.runner
",
    },
    Function {
        name: "doc.wheel",
        which: Which::Documents(Documented::Wheel),
        parameters: &[],
        help: "
    What each wheel function does.

    Example:

        salt-run doc.wheel
",
    },
    Function {
        name: "event.send",
        which: Which::EventSend,
        parameters: &[required("tag"), optional("data")],
        help: "
    Fires an event on the master's bus.

    tag
        the event's tag, used unchanged
    data
        a mapping

    Example:

        salt-run event.send myco/backup '{host: web1}'
",
    },
    Function {
        name: "fileserver.update",
        which: Which::Nothing,
        parameters: &[optional("back"), optional("backend")],
        help: "
    Does nothing: file_roots are read when a file is asked for. For reactions that call it.

    Example:

        salt-run fileserver.update
",
    },
    Function {
        name: "jobs.active",
        which: Which::Asks(What::Active),
        parameters: &[],
        help: "
    The jobs that are running on minions now.

    Example:

        salt-run jobs.active
",
    },
    Function {
        name: "jobs.exit_success",
        which: Which::Jobs(JobFunction::ExitSuccess),
        parameters: &[JID, optional("ext_source")],
        help: "
    Whether each minion of a job returned something true.

    jid
        the job's id

    Example:

        salt-run jobs.exit_success 20261124040116373859
",
    },
    Function {
        name: "jobs.last_run",
        which: Which::Jobs(JobFunction::LastRun),
        parameters: &[
            optional("ext_source"),
            optional("outputter"),
            optional("metadata"),
            optional("function"),
            optional("target"),
            optional("display_progress"),
        ],
        help: "
    The newest of the jobs that match, as jobs.print_job shows it; False without one.

    metadata, function, target
        which jobs; see jobs.list_jobs

    Example:

        salt-run jobs.last_run function='test.*'
",
    },
    Function {
        name: "jobs.list_job",
        which: Which::Jobs(JobFunction::ListJob),
        parameters: &[JID, optional("ext_source"), optional("display_progress")],
        help: "
    A job: what was published, and what minions returned.

    jid
        the job's id

    Example:

        salt-run jobs.list_job 20261124040116373859
",
    },
    Function {
        name: "jobs.list_jobs",
        which: Which::Jobs(JobFunction::ListJobs),
        parameters: &[
            optional("ext_source"),
            optional("outputter"),
            optional("search_metadata"),
            optional("search_function"),
            optional("search_target"),
            optional("start_time"),
            optional("end_time"),
            optional("display_progress"),
        ],
        help: "
    The jobs in the master's job cache.

    search_metadata
        a mapping: only jobs with one of these pairs in their metadata
    search_function
        globs for the function: a list, or separated by commas
    search_target
        globs for the target as it was given
    start_time, end_time
        only jobs that started at or between these times, such as '2026-11-29 08:00' or 'Nov 29 2026'
    outputter
        how to print them

    Example:

        salt-run jobs.list_jobs search_function='test.*' start_time='2026-11-29 08:00'
",
    },
    Function {
        name: "jobs.list_jobs_filter",
        which: Which::Jobs(JobFunction::LatestJobs),
        parameters: &[
            required("count"),
            optional("filter_find_job"),
            optional("ext_source"),
            optional("outputter"),
            optional("display_progress"),
        ],
        help: "
    The newest jobs in the master's job cache.

    count
        how many at most
    filter_find_job: True
        leave out the questions whether a job still runs

    Example:

        salt-run jobs.list_jobs_filter 50
",
    },
    Function {
        name: "jobs.lookup_jid",
        which: Which::Jobs(JobFunction::LookupJid),
        parameters: &[
            JID,
            optional("ext_source"),
            optional("returned"),
            optional("missing"),
            optional("display_progress"),
        ],
        help: "
    What minions returned for a job.

    jid
        the job's id
    returned: True
        list minions that returned
    missing: False
        also list minions that did not return

    Example:

        salt-run jobs.lookup_jid 20261124040116373859 missing=True
",
    },
    Function {
        name: "jobs.print_job",
        which: Which::Jobs(JobFunction::PrintJob),
        parameters: &[JID, optional("ext_source")],
        help: "
    A job, under its id: what was published, and what minions returned.

    jid
        the job's id

    Example:

        salt-run jobs.print_job 20261124040116373859
",
    },
    presence("manage.alived", true),
    presence("manage.allowed", true),
    Function {
        name: "manage.down",
        which: Which::Asks(What::Down),
        parameters: ASKS,
        help: "
    The minions that do not answer.

    tgt: '*'
        which minions to ask; tgt_type says how to read it
    timeout, gather_job_timeout
        seconds, instead of the configured ones

    Example:

        salt-run manage.down timeout=5
",
    },
    presence("manage.joined", true),
    presence("manage.list_not_state", false),
    presence("manage.list_state", true),
    presence("manage.not_alived", false),
    presence("manage.not_allowed", false),
    presence("manage.not_joined", false),
    presence("manage.not_present", false),
    presence("manage.not_reaped", false),
    presence("manage.present", true),
    presence("manage.reaped", true),
    Function {
        name: "manage.status",
        which: Which::Asks(What::Status),
        parameters: ASKS,
        help: "
    The minions that answer and those that do not; see manage.down.

    Example:

        salt-run manage.status
",
    },
    Function {
        name: "manage.up",
        which: Which::Asks(What::Up),
        parameters: ASKS,
        help: "
    The minions that answer; see manage.down.

    Example:

        salt-run manage.up
",
    },
    Function {
        name: "manage.versions",
        which: Which::Asks(What::Versions),
        parameters: &[],
        help: "
    The minions' releases, beside the master's.

    Example:

        salt-run manage.versions
",
    },
    Function {
        name: "reactor.add",
        which: Which::Reactor(ReactorFunction::Add),
        parameters: &[required("event"), required("reactors"), optional("saltenv"), optional("test")],
        help: "
    Adds a rule to the running reactor, until the master ends.

    event
        a shell pattern for tags
    reactors
        a reaction file, or a list of them

    Example:

        salt-run reactor.add 'salt/beacon/*' /srv/reactor/beacon.sls
",
    },
    Function {
        name: "reactor.delete",
        which: Which::Reactor(ReactorFunction::Delete),
        parameters: &[required("event"), optional("saltenv"), optional("test")],
        help: "
    Removes the rule of a pattern from the running reactor, until the master ends.

    Example:

        salt-run reactor.delete 'salt/beacon/*'
",
    },
    Function {
        name: "reactor.is_leader",
        which: Which::Reactor(ReactorFunction::IsLeader),
        parameters: &[],
        help: "
    Whether this master's reactor reacts.

    Example:

        salt-run reactor.is_leader
",
    },
    Function {
        name: "reactor.list",
        which: Which::Reactor(ReactorFunction::List),
        parameters: &[optional("saltenv"), optional("test")],
        help: "
    The rules of the running reactor.

    Example:

        salt-run reactor.list
",
    },
    Function {
        name: "reactor.rerun",
        which: Which::Reactor(ReactorFunction::Rerun),
        parameters: &[required("number")],
        help: "
    Runs a reaction of the record again (Brine's own; brine reactor history has the numbers).

    Example:

        salt-run reactor.rerun 17
",
    },
    Function {
        name: "reactor.set_leader",
        which: Which::Reactor(ReactorFunction::SetLeader),
        parameters: &[optional("value")],
        help: "
    Has this master's reactor react, or pass all events over.

    Example:

        salt-run reactor.set_leader False
",
    },
    Function {
        name: "reactor.status",
        which: Which::Reactor(ReactorFunction::Status),
        parameters: &[],
        help: "
    What each rule of the running reactor has done (Brine's own).

    Example:

        salt-run reactor.status
",
    },
    Function {
        name: "state.event",
        which: Which::StateEvent,
        parameters: &[
            optional("tagmatch"),
            optional("count"),
            optional("quiet"),
            optional("sock_dir"),
            optional("pretty"),
            optional("node"),
        ],
        help: "
    Prints the events of a bus as they come: tag, TAB, data as JSON.

    tagmatch: '*'
        shell pattern for the tag, or regular expression for the whole tag
    count: -1
        stop after so many events; -1: never
    quiet: False
        print nothing, only wait
    sock_dir
        directory of the bus's sockets
    pretty: False
        print data over several lines, sorted
    node: master
        whose bus to read: master or minion

    Example:

        salt-run state.event 'salt/job/*' pretty=True
",
    },
    Function {
        name: "test.arg",
        which: Which::Echo,
        parameters: &[],
        help: "
    Returns its arguments.

    Example:

        salt-run test.arg foo bar=baz
",
    },
];

const JID: Parameter = required("jid");
const PRESENCE: &[Parameter] = &[optional("subset"), optional("show_ip")];
const TARGET: &[Parameter] = &[optional("tgt"), optional("tgt_type")];
const ASKS: &[Parameter] = &[
    optional("tgt"),
    optional("tgt_type"),
    optional("timeout"),
    optional("gather_job_timeout"),
];

/// The functions of a name and its opposite that ask which minions are connected: Salt has six names for it.
const fn presence(name: &'static str, is_connected: bool) -> Function {
    Function {
        name,
        which: Which::Presence { is_connected },
        parameters: PRESENCE,
        help: match is_connected {
            true => PRESENT,
            false => ABSENT,
        },
    }
}

const PRESENT: &str = "
    The minions that are connected, without asking them.

    subset
        a list of ids: only those of them
    show_ip: False
        with the address of each

    Example:

        salt-run manage.present
";

const ABSENT: &str = "
    The minions with accepted keys that are not connected.

    subset
        a list of ids: only those of them

    Example:

        salt-run manage.not_present
";

/// `cache.grains` and its like.
const fn cached(name: &'static str, bank: Bank, parameters: &'static [Parameter]) -> Function {
    Function {
        name,
        which: Which::Cached(bank),
        parameters,
        help: "
    What the master has cached of minions.

    tgt
        which minions; tgt_type says how to read it

    Example:

        salt-run cache.grains '*'
",
    }
}

/// `cache.clear_grains` and its like.
const fn clear_cached(name: &'static str, banks: &'static [Bank]) -> Function {
    Function {
        name,
        which: Which::ClearCached(banks),
        parameters: TARGET,
        help: "
    Forgets what the master has cached of minions; a running master of ours may still know their grains.

    tgt
        which minions; tgt_type says how to read it

    Example:

        salt-run cache.clear_all 'web*'
",
    }
}
