//! Phase two: every minion subscribes and fires its start event, as real ones do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_wire::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::link;
use super::member::Member;
use super::{Fleet, FleetError, FleetOptions, jobs, pool};

/// What starting came to.
#[derive(Debug, Clone, Default)]
pub struct StartReport {
    /// Minions whose start event was answered.
    pub started: usize,
    /// Start events that were sent again, as real minions do.
    pub repeated: usize,
    /// Why the first of those was.
    pub first_failure: Option<String>,
    /// Open subscriptions.
    pub subscriptions: usize,
    /// From the first connection to the last answer.
    pub after: Duration,
}

/// The tasks that read publishes; they end when this is dropped.
#[derive(Default)]
pub(super) struct Subscriptions(JoinSet<()>);

impl Fleet {
    pub(super) async fn start(&mut self) -> Result<StartReport, FleetError> {
        let began = Instant::now();
        let members: Vec<_> = (self.members.iter())
            .filter(|member| member.session().is_some())
            .cloned()
            .collect();
        let (options, tell) = (self.options.clone(), self.tell.clone());
        let subscribed = pool::for_all(&members, self.options.concurrency, move |_, member| {
            let (options, tell) = (options.clone(), tell.clone());
            async move { subscribe(member, options, tell).await }
        })
        .await;
        let mut subscriptions = 0;
        for reading in subscribed.into_iter().flatten() {
            subscriptions += 1;
            self.subscriptions.0.spawn(reading);
        }
        let wait = self.options.timeout;
        let started = pool::for_all(
            &members,
            self.options.concurrency,
            move |_, member| async move { fire_start(&member, wait).await },
        )
        .await;
        let after = began.elapsed();
        Ok(StartReport {
            started: started.iter().filter(|start| start.is_answered).count(),
            repeated: started.iter().map(|start| start.repeated).sum(),
            first_failure: started.into_iter().find_map(|start| start.first_failure),
            subscriptions,
            after,
        })
    }
}

async fn subscribe(
    member: Arc<Member>,
    options: Arc<FleetOptions>,
    tell: mpsc::Sender<jobs::Answered>,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let mut subscription = link::subscribe(&options, &*member.session()?).await?;
    let wait = options.timeout;
    Some(async move {
        while let Ok(publish) = subscription.next().await {
            let received = Instant::now();
            jobs::answer(&member, &publish, received, wait, &tell).await;
        }
    })
}

/// How often a real minion tries (`return_retry_tries`).
const TRIES: u32 = 3;

/// What one start event came to.
#[derive(Default)]
struct Start {
    is_answered: bool,
    repeated: usize,
    first_failure: Option<String>,
}

async fn fire_start(member: &Member, wait: Duration) -> Start {
    let text = format!("Minion {} started at a benchmark", member.id);
    let mut fields = Map::new();
    fields.insert("pretag", Value::Nil);
    fields.insert("data", text);
    fields.insert("tag", format!("salt/minion/{}/start", member.id));
    let mut start = Start::default();
    for tries in 1..=TRIES {
        match member.ask("_minion_event", fields.clone(), wait).await {
            Ok(_) => {
                start.is_answered = true;
                break;
            }
            Err(error) => start.first_failure.get_or_insert(error.to_string()),
        };
        start.repeated += usize::from(tries < TRIES);
        tokio::time::sleep(Duration::from_millis(100) * tries).await;
    }
    start
}
