//! A job that runs on a limited number of minions at a time: `salt --batch`.
//!
//! All parts have one job id, so that the job can be looked up as one. When a minion has returned, or has not
//! returned in time, the next one may start after `wait`. Facts: Salt 3008.3 and 3006.28 (`salt.cli.batch`), by
//! running them.

use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use brine_wire::network::Jid;
use brine_wire::returns::{JOB_TAG, Returns, Step, Taken, Timeouts};
use brine_wire::{Map, Value};

use super::wait::{self, MasterLink};
use super::{ClientError, MinionReply, ReplyKind};
use crate::job_request::JobRequest;
use crate::node_bus::since_epoch;

/// How many minions run the job at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BatchSize {
    /// So many.
    Count(usize),
    /// So many of a hundred.
    Percent(f64),
}

impl BatchSize {
    /// Reads `10` or `25%`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains('%') {
            let percent: f64 = text.trim_matches('%').trim().parse().ok()?;
            return percent.is_finite().then_some(Self::Percent(percent));
        }
        let count: i64 = text.parse().ok()?;
        Some(Self::Count(usize::try_from(count).unwrap_or(0)))
    }

    /// How many minions at a time, for this many minions; at least one.
    #[must_use]
    pub fn of(self, minions: usize) -> usize {
        match self {
            Self::Count(count) => count.max(1),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "rounded down as Salt does, within the number of minions"
            )]
            Self::Percent(percent) => {
                ((percent / 100.0 * minions as f64) as usize).clamp(1, minions.max(1))
            }
        }
    }
}

/// How a batch goes on.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// How many minions at a time.
    pub size: usize,
    /// How long a place stays empty after a return (`--batch-wait`).
    pub wait: Duration,
    /// End at the first failure (`--failhard`).
    pub ends_at_failure: bool,
}

/// What happens in a batch.
#[derive(Debug)]
pub enum Progress {
    /// The job was sent to these minions, sorted.
    Started(Vec<String>),
    /// A minion returned.
    Returned(MinionReply),
    /// A minion did not return in time.
    TimedOut(String),
}

/// Runs a job on minions that are known to answer; hands what happens to `report`, and ends early if that breaks.
pub(super) async fn run(
    link: &mut impl MasterLink,
    request: &JobRequest,
    minions: Vec<String>,
    pace: Pace,
    timeouts: Timeouts,
    mut report: impl FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let mut batch = Batch {
        jid: request
            .jid
            .clone()
            .unwrap_or_else(|| Jid::at(since_epoch())),
        began: Instant::now(),
        pending: minions.into(),
        parts: Vec::new(),
        cooling: Vec::new(),
        pace,
    };
    loop {
        let next = batch.next();
        if !next.is_empty() {
            batch.publish(link, request, &next, timeouts).await?;
            if report(Progress::Started(next)).is_break() {
                return Ok(());
            }
        }
        let (until, late) = batch.poll(link).await?;
        for id in late {
            batch.leave();
            if report(Progress::TimedOut(id)).is_break() {
                return Ok(());
            }
        }
        if batch.is_done() {
            return Ok(());
        }
        let Some((tag, data)) = link.next_event(batch.began + until).await? else {
            continue;
        };
        let Some(reply) = batch.take(&tag, &data) else {
            continue;
        };
        let failed = reply.retcode != 0;
        if report(Progress::Returned(reply)).is_break() || (failed && pace.ends_at_failure) {
            return Ok(());
        }
    }
}

/// Runs a job on those minions of its target that answer a ping, a limited number at a time. Reports returns as they
/// arrive; of minions that did not return in time, only the names.
pub(crate) async fn run_on_target(
    link: &mut impl MasterLink,
    request: &JobRequest,
    size: BatchSize,
    timeouts: Timeouts,
) -> Result<Vec<(String, Option<MinionReply>)>, ClientError> {
    let mut ping = JobRequest::new(request.tgt.clone(), &request.tgt_type, "test.ping");
    ping.kwargs = request.kwargs.clone();
    let job = link.publish(ping).await?;
    let mut up = Vec::new();
    let answers = wait::wait(link, &job, timeouts, |reply| {
        if reply.kind == ReplyKind::Returned {
            up.push(reply.id);
        }
        ControlFlow::Continue(())
    });
    answers.await?;
    let pace = Pace {
        size: size.of(up.len()),
        wait: Duration::ZERO,
        ends_at_failure: false,
    };
    let mut returns = Vec::new();
    let report = |progress| {
        match progress {
            Progress::Started(_) => {}
            Progress::Returned(reply) => returns.push((reply.id.clone(), Some(reply))),
            Progress::TimedOut(id) => returns.push((id, None)),
        }
        ControlFlow::Continue(())
    };
    run(link, request, up, pace, timeouts, report).await?;
    Ok(returns)
}

struct Batch {
    jid: Jid,
    /// All times are since then.
    began: Instant,
    /// Minions that have not been sent the job.
    pending: VecDeque<String>,
    /// The parts of the job that minions run.
    parts: Vec<Part>,
    /// Until when places stay empty.
    cooling: Vec<Duration>,
    pace: Pace,
}

/// A part of the job: each has its own timeouts.
struct Part {
    minions: BTreeSet<String>,
    returns: Returns,
}

impl Batch {
    /// The minions there is room for, sorted.
    fn next(&mut self) -> Vec<String> {
        let now = self.began.elapsed();
        self.cooling.retain(|until| *until > now);
        let running: usize = self.parts.iter().map(|part| part.minions.len()).sum();
        let free = self.pace.size.saturating_sub(running + self.cooling.len());
        let mut next: Vec<_> = self.pending.drain(..free.min(self.pending.len())).collect();
        next.sort();
        next
    }

    async fn publish(
        &mut self,
        link: &mut impl MasterLink,
        request: &JobRequest,
        minions: &[String],
        timeouts: Timeouts,
    ) -> Result<(), ClientError> {
        let ids = minions.iter().map(|id| Value::from(id.as_str()));
        let published = link.publish(JobRequest {
            tgt: ids.collect::<Vec<_>>().into(),
            tgt_type: "list".to_owned(),
            jid: Some(self.jid.clone()),
            ..request.clone()
        });
        published.await?;
        let now = self.began.elapsed();
        let missing = std::iter::empty();
        self.parts.push(Part {
            returns: Returns::new(self.jid.as_str(), minions.to_vec(), missing, timeouts, now),
            minions: minions.iter().cloned().collect(),
        });
        Ok(())
    }

    /// Asks the minions that are late; until when to wait, and who is given up.
    async fn poll(
        &mut self,
        link: &mut impl MasterLink,
    ) -> Result<(Duration, Vec<String>), ClientError> {
        let mut until = self.cooling.iter().copied().min().unwrap_or(Duration::MAX);
        let mut late = Vec::new();
        let mut at = 0;
        while let Some(part) = self.parts.get_mut(at) {
            let now = self.began.elapsed();
            match part.returns.poll(now) {
                Step::WaitUntil(part_until) => {
                    until = until.min(part_until);
                    at += 1;
                }
                Step::Ask(ids) => {
                    let ids: Vec<Value> = ids.into_iter().map(Value::from).collect();
                    let mut request = JobRequest::new(ids, "list", "saltutil.find_job");
                    request.arg = vec![self.jid.as_str().into()];
                    let asked = link.publish(request).await?;
                    let jid = asked.jid.as_ref().map(Jid::as_str);
                    part.returns.asked(jid, now);
                }
                Step::Done => {
                    late.extend(part.returns.unreturned().map(str::to_owned));
                    self.parts.remove(at);
                }
            }
        }
        // A minion that was given up freed a slot: look again at once.
        let until = if late.is_empty() {
            until
        } else {
            Duration::ZERO
        };
        Ok((
            until.min(self.began.elapsed() + Duration::from_secs(3600)),
            late,
        ))
    }

    /// The reply in an event, if it is the first of a minion that was sent the job.
    fn take(&mut self, tag: &str, data: &Map) -> Option<MinionReply> {
        let now = self.began.elapsed();
        let (_, id) = tag.strip_prefix(JOB_TAG)?.split_once("/ret/")?;
        for part in &mut self.parts {
            // The answers to questions go to every part; the returns of the job to the one that waits for them.
            let is_return = tag[JOB_TAG.len()..].starts_with(self.jid.as_str());
            if is_return && !part.minions.contains(id) {
                continue;
            }
            if let Taken::Return { id, data } = part.returns.take(tag, data, now) {
                part.minions.remove(id);
                let reply = MinionReply::returned(id, data);
                self.leave();
                return Some(reply);
            }
        }
        None
    }

    /// A minion is done: its place stays empty for a while.
    fn leave(&mut self) {
        if !self.pace.wait.is_zero() {
            self.cooling.push(self.began.elapsed() + self.pace.wait);
        }
    }

    fn is_done(&self) -> bool {
        self.pending.is_empty() && self.parts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_request::Published;
    use brine_wire::network::MinionId;

    #[test]
    fn sizes_are_counts_or_percentages() {
        for (text, minions, size) in [
            ("3", 10, Some(3)),
            ("0", 10, Some(1)),
            ("-2", 10, Some(1)),
            ("25%", 10, Some(2)),
            ("%50", 10, Some(5)),
            ("1%", 10, Some(1)),
            ("100%", 3, Some(3)),
            ("50%", 0, Some(1)),
            ("x", 10, None),
            ("1.5", 10, None),
            ("nan%", 10, None),
        ] {
            let parsed = BatchSize::parse(text);
            assert_eq!(parsed.map(|parsed| parsed.of(minions)), size, "{text}");
        }
    }

    /// A master whose minions return at once, except those named.
    #[derive(Default)]
    struct Link {
        events: VecDeque<(String, Map)>,
        silent: Vec<&'static str>,
        failing: Vec<&'static str>,
    }

    impl MasterLink for Link {
        async fn publish(&mut self, request: JobRequest) -> Result<Published, ClientError> {
            let texts = request.tgt.as_array().unwrap_or_default().iter();
            let texts: Vec<_> = texts.filter_map(Value::as_str).collect();
            let jid = request
                .jid
                .clone()
                .unwrap_or_else(|| Jid::at(since_epoch()));
            for id in texts.iter().filter(|id| !self.silent.contains(*id)) {
                let mut data = Map::from_iter([("return", true)]);
                data.insert("retcode", i64::from(self.failing.contains(id)));
                self.events
                    .push_back((format!("salt/job/{jid}/ret/{id}"), data));
            }
            Ok(Published {
                jid: Some(jid),
                minions: texts
                    .iter()
                    .filter_map(|id| MinionId::parse(id).ok())
                    .collect(),
                missing: Vec::new(),
            })
        }

        async fn next_event(
            &mut self,
            until: Instant,
        ) -> Result<Option<(String, Map)>, ClientError> {
            if self.events.is_empty() {
                tokio::time::sleep_until(until.into()).await;
            }
            Ok(self.events.pop_front())
        }
    }

    async fn said(mut link: Link, size: usize, ends_at_failure: bool) -> Vec<String> {
        let mut said = Vec::new();
        let pace = Pace {
            size,
            wait: Duration::ZERO,
            ends_at_failure,
        };
        let timeouts = Timeouts {
            timeout: Duration::from_millis(20),
            gather: Duration::from_millis(20),
        };
        let ids = ["a", "b", "c"].map(str::to_owned).to_vec();
        let request = JobRequest::new("*", "glob", "test.ping");
        let report = |progress| {
            said.push(match progress {
                Progress::Started(ids) => format!("start {}", ids.join(",")),
                Progress::Returned(reply) => format!("{} {}", reply.id, reply.retcode),
                Progress::TimedOut(id) => format!("late {id}"),
            });
            ControlFlow::Continue(())
        };
        run(&mut link, &request, ids, pace, timeouts, report)
            .await
            .unwrap();
        said
    }

    #[tokio::test]
    async fn a_return_makes_room_for_the_next_minion() {
        let all = said(Link::default(), 2, false).await;
        assert_eq!(all, ["start a,b", "a 0", "start c", "b 0", "c 0"]);
        let late = Link {
            silent: vec!["a"],
            ..Link::default()
        };
        let all = said(late, 1, false).await;
        assert_eq!(
            all,
            ["start a", "late a", "start b", "b 0", "start c", "c 0"]
        );
    }

    #[tokio::test]
    async fn a_failure_ends_it_where_that_is_wanted() {
        let failing = || Link {
            failing: vec!["a"],
            ..Link::default()
        };
        assert_eq!(said(failing(), 1, true).await, ["start a", "a 1"]);
        assert_eq!(said(failing(), 1, false).await.len(), 6);
    }
}
