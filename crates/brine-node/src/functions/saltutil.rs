//! `saltutil.*`: listing and ending jobs, synchronising modules, refreshing grains and pillar.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them.

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value};

use super::context::Context;
use super::signature::Bound;
use super::sync::{self, Kind};
use super::table::{Builtin, Run, Waiting};
use super::{Failure, HostError};

const fn waits(
    name: &'static str,
    signature: &'static str,
    doc: &'static str,
    run: for<'a> fn(&'a Context, Bound) -> Waiting<'a>,
) -> Builtin {
    Builtin {
        name,
        signature,
        doc,
        run: Run::Waits(run),
    }
}

/// The parameters of every `sync_*` function.
const SYNC: &str = "saltenv=None, refresh=True, extmod_whitelist=None, extmod_blacklist=None";

/// The parameters of functions that refresh grains or pillar.
const SYNC_CLEAN: &str = "saltenv=None, refresh=True, extmod_whitelist=None, \
                          extmod_blacklist=None, clean_pillar_cache=False";
/// The parameters of functions that refresh nothing.
const SYNC_ONLY: &str = "saltenv=None, refresh=False, extmod_whitelist=None, extmod_blacklist=None";

pub(super) const TABLE: &[Builtin] = &[
    waits(
        "saltutil.find_job",
        "jid",
        "
    Return what is known of a job that runs, or waits to; an empty mapping of any other.

        salt '*' saltutil.find_job <job id>
    ",
        |context, bound| {
            Box::pin(async move {
                let jid = bound.text(0);
                let known = known(context, &bound.jid).await?;
                let job = known.into_iter().find(|job| is_job(job, &jid));
                Ok(Value::Map(job.unwrap_or_default()).into())
            })
        },
    ),
    waits(
        "saltutil.is_running",
        "fun",
        "
    Return the jobs whose function matches a glob.

        salt '*' saltutil.is_running state.highstate
    ",
        |context, bound| {
            Box::pin(async move {
                let glob = TagMatch::new(MatchType::Fnmatch, bound.text(0));
                let matches = |job: &Map| {
                    let fun = job.get("fun").and_then(Value::as_str).unwrap_or_default();
                    glob.as_ref().is_ok_and(|glob| glob.matches(fun))
                };
                let jobs = running(context, &bound.jid).await?;
                let jobs = jobs.into_iter().filter(matches);
                Ok(Value::Array(jobs.map(Value::Map).collect()).into())
            })
        },
    ),
    waits(
        "saltutil.kill_all_jobs",
        "",
        "
    Kill all jobs that run.

        salt '*' saltutil.kill_all_jobs
    ",
        |context, bound| end_all(context, 9, bound.jid),
    ),
    waits(
        "saltutil.kill_job",
        "jid",
        "
    Kill a job that runs.

        salt '*' saltutil.kill_job <job id>
    ",
        |context, bound| end_one(context, bound.text(0), 9, bound.jid),
    ),
    waits(
        "saltutil.refresh_grains",
        "**kwargs",
        "
    Have the minion read its grains again.

        salt '*' saltutil.refresh_grains
    ",
        |context, _| fire(context, "module_refresh", Map::new()),
    ),
    waits(
        "saltutil.refresh_modules",
        "**kwargs",
        "
    Tell the minion that modules have changed.

        salt '*' saltutil.refresh_modules
    ",
        |context, _| fire(context, "module_refresh", Map::new()),
    ),
    waits(
        "saltutil.refresh_pillar",
        "wait=False, timeout=30, clean_cache=True",
        "
    Have the minion ask its master for the pillar again.

        salt '*' saltutil.refresh_pillar
    ",
        refresh_pillar,
    ),
    waits(
        "saltutil.pillar_refresh",
        "wait=False, timeout=30, clean_cache=True",
        "
    The same as saltutil.refresh_pillar.

        salt '*' saltutil.pillar_refresh
    ",
        refresh_pillar,
    ),
    waits(
        "saltutil.revoke_auth",
        "preserve_minion_cache=False",
        "
    Ask the master to revoke this minion's key.

        salt '*' saltutil.revoke_auth
    ",
        revoke_auth,
    ),
    waits(
        "saltutil.running",
        "",
        "
    Return the jobs that run.

        salt '*' saltutil.running
    ",
        |context, bound| {
            Box::pin(async move {
                let jobs = running(context, &bound.jid).await?;
                Ok(Value::Array(jobs.into_iter().map(Value::Map).collect()).into())
            })
        },
    ),
    waits(
        "saltutil.signal_job",
        "jid, sig",
        "
    Send a signal that ends it to a job that runs.

        salt '*' saltutil.signal_job <job id> 15
    ",
        |context, bound| {
            Box::pin(async move {
                let signal = bound.get(1).as_int().unwrap_or(0);
                end_one(context, bound.text(0), signal, bound.jid).await
            })
        },
    ),
    waits(
        "saltutil.sync_all",
        SYNC_CLEAN,
        "
    Get users' execution and utility modules from the master. Other kinds are not used here, and
    their lists stay empty.

        salt '*' saltutil.sync_all
    ",
        sync_all,
    ),
    waits(
        "saltutil.sync_modules",
        SYNC,
        "
    Get users' execution modules from _modules of the master's files; return the new and changed.

        salt '*' saltutil.sync_modules
        salt '*' saltutil.sync_modules saltenv=base,dev
    ",
        |context, bound| sync_one(context, bound, Kind::Modules),
    ),
    waits(
        "saltutil.sync_utils",
        SYNC,
        "
    Get users' utility modules from _utils of the master's files; return the new and changed.

        salt '*' saltutil.sync_utils
    ",
        |context, bound| sync_one(context, bound, Kind::Utils),
    ),
    waits("saltutil.sync_beacons", SYNC, NOT_USED, refused),
    waits("saltutil.sync_engines", SYNC_ONLY, NOT_USED, refused),
    waits("saltutil.sync_grains", SYNC_CLEAN, NOT_USED, refused),
    waits("saltutil.sync_matchers", SYNC_ONLY, NOT_USED, refused),
    waits("saltutil.sync_output", SYNC, NOT_USED, refused),
    waits("saltutil.sync_renderers", SYNC, NOT_USED, refused),
    waits("saltutil.sync_returners", SYNC, NOT_USED, refused),
    waits("saltutil.sync_states", SYNC, NOT_USED, refused),
    waits(
        "saltutil.term_all_jobs",
        "",
        "
    End all jobs that run.

        salt '*' saltutil.term_all_jobs
    ",
        |context, bound| end_all(context, 15, bound.jid),
    ),
    waits(
        "saltutil.term_job",
        "jid",
        "
    End a job that runs.

        salt '*' saltutil.term_job <job id>
    ",
        |context, bound| end_one(context, bound.text(0), 15, bound.jid),
    ),
];

const NOT_USED: &str = "
    Not supported: this minion runs users' execution modules, and no others.
    ";

/// A host that does not answer fails the function.
fn failed(err: &HostError) -> Failure {
    Failure::Execution {
        message: err.to_string(),
    }
}

/// The running jobs, and those that wait for a slot, marked as such; without the calling job, `own`.
async fn known(context: &Context, own: &str) -> Result<Vec<Map>, Failure> {
    let known = context.host().running().await;
    let mut jobs = known.map_err(|err| failed(&err))?;
    jobs.retain(|job| !is_job(job, own));
    Ok(jobs)
}

async fn running(context: &Context, own: &str) -> Result<Vec<Map>, Failure> {
    let mut jobs = known(context, own).await?;
    jobs.retain(|job| job.get("queued").is_none());
    Ok(jobs)
}

fn is_job(job: &Map, jid: &str) -> bool {
    job.get("jid")
        .is_some_and(|own| brine_wire::python_text::str(own) == jid)
}

/// Ends a job and returns a text about it; an empty one if there is no such job. Whatever the signal, the job ends:
/// its process is killed, or its built-in function cancelled.
fn end_one(context: &Context, jid: String, signal: i128, own: String) -> Waiting<'_> {
    Box::pin(async move {
        if !matches!(signal, 1 | 2 | 3 | 6 | 9 | 15) {
            let message = format!(
                "signal_job: expected a signal that ends a job (1, 2, 3, 6, 9, 15), found {signal}"
            );
            return Err(Failure::Execution { message });
        }
        let jobs = known(context, &own).await?;
        let Some(job) = jobs.iter().find(|job| is_job(job, &jid)) else {
            return Ok(Value::from("").into());
        };
        let pid = job
            .get("pid")
            .map(brine_wire::python_text::str)
            .unwrap_or_default();
        let ended = context.host().kill(jid.as_str()).await;
        let text = if ended.map_err(|err| failed(&err))? {
            format!("Signal {signal} sent to job {jid} at pid {pid}")
        } else {
            format!("Job {jid} was not running and job data has been cleaned up")
        };
        Ok(Value::from(text).into())
    })
}

fn end_all(context: &Context, signal: i128, own: String) -> Waiting<'_> {
    Box::pin(async move {
        let mut texts = Vec::new();
        for job in known(context, &own).await? {
            let jid = job
                .get("jid")
                .map(brine_wire::python_text::str)
                .unwrap_or_default();
            texts.push(end_one(context, jid, signal, own.clone()).await?.value);
        }
        Ok(Value::Array(texts).into())
    })
}

/// Fires on the minion's own bus, which the minion itself follows.
fn fire<'a>(context: &'a Context, tag: &'static str, data: Map) -> Waiting<'a> {
    Box::pin(async move {
        let fired = context.host().fire(tag, data).await.is_ok();
        Ok(Value::Bool(fired).into())
    })
}

fn refresh_pillar(context: &Context, mut bound: Bound) -> Waiting<'_> {
    let data: Map = [("clean_cache", bound.take(2))].into_iter().collect();
    fire(context, "pillar_refresh", data)
}

fn revoke_auth(context: &Context, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let mut load = Map::new();
        load.insert("cmd", "revoke_auth");
        load.insert("preserve_minion_cache", bound.take(0));
        let asked = context.host().master(load).await;
        Ok(Value::Bool(asked.is_ok()).into())
    })
}

fn sync_one(context: &Context, bound: Bound, kind: Kind) -> Waiting<'_> {
    Box::pin(async move {
        let wanted = sync::Wanted::from_bound(context, &bound, kind)?;
        let new = sync::sync(context, kind, &wanted).await?;
        if bound.get(1).is_true() {
            // Modules reload by themselves; other listeners may wait for this event.
            let _ = context.host().fire("module_refresh", Map::new()).await;
        }
        Ok(Value::Array(new.into_iter().map(Value::from).collect()).into())
    })
}

fn sync_all(context: &Context, bound: Bound) -> Waiting<'_> {
    const EVERY: [&str; 17] = [
        "clouds",
        "beacons",
        "modules",
        "states",
        "sdb",
        "grains",
        "renderers",
        "returners",
        "output",
        "utils",
        "log_handlers",
        "executors",
        "proxymodules",
        "engines",
        "thorium",
        "serializers",
        "matchers",
    ];
    Box::pin(async move {
        let mut all = Map::new();
        for name in EVERY {
            let new = match name {
                "modules" => sync_one(context, bound.clone(), Kind::Modules).await?.value,
                "utils" => sync_one(context, bound.clone(), Kind::Utils).await?.value,
                _ => Value::Array(Vec::new()),
            };
            all.insert(name, new);
        }
        Ok(Value::Map(all).into())
    })
}

fn refused(_: &Context, _: Bound) -> Waiting<'_> {
    Box::pin(async {
        let message = "expected execution or utility modules to synchronise, found another kind: \
                       this minion does not use it";
        Err(Failure::Execution {
            message: message.into(),
        })
    })
}
