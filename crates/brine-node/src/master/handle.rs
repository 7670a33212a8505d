//! A handle to a running master, for the local socket, the HTTP API and the reactor.
//!
//! Cheap to clone and always valid: after the master has stopped, events are still appended to its log, and jobs
//! reach no minion. Everything that may block runs on other threads than the caller's.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use brine_auth::{Login, LoginError, Token};
use brine_log::{EventCursor, Seq};
use brine_net::keys::store::KeyState;
use brine_wire::event::FireError;
use brine_wire::network::MinionId;
use brine_wire::nodegroup::without_nodegroups;
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value};
use tokio::task::spawn_blocking;

use super::access::Caller;
use super::audit::Act;
use super::context::Context;
use super::counters::MasterStats;
use super::wheel::{self, WheelError};
use crate::functions::Call;
use crate::job_request::{JobRequest, PublishError, Published};
use crate::jobs::JobCache;
use crate::minion_cache::MinionCache;
use crate::runner::AskReactor;

/// A running master, from outside.
#[derive(Clone)]
pub struct MasterHandle {
    pub(super) context: Arc<Context>,
}

impl MasterHandle {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// The master itself as a caller without restrictions: for what its administrator configured, such as the reactor.
    #[must_use]
    pub fn own_caller(&self) -> Caller {
        Caller::unrestricted(self.context.options.user.clone())
    }

    /// A local user identified by the kernel (peer credentials). Root and the master's own user may do anything,
    /// others what `publisher_acl` permits; `None` if that is nothing.
    #[must_use]
    pub fn local_caller(&self, user: &str) -> Option<Caller> {
        self.context.access.local(user)
    }

    /// A user whose permission for this command was checked elsewhere, by the local socket's list.
    #[must_use]
    pub fn permitted_caller(&self, user: &str) -> Caller {
        Caller::unrestricted(user.to_owned())
    }

    /// Checks a login by `external_auth` and makes a token.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn log_in(&self, login: Login, from: Option<IpAddr>) -> Result<Token, LoginError> {
        let context = self.context.clone();
        let checked = spawn_blocking(move || context.external.authority().log_in(&login, from));
        checked.await.unwrap_or(Err(LoginError::Wrong))
    }

    /// Checks a login for one command, without a token that is kept.
    ///
    /// # Errors
    /// [`LoginError`].
    pub async fn check_login(
        &self,
        login: Login,
        from: Option<IpAddr>,
    ) -> Result<Token, LoginError> {
        let context = self.context.clone();
        let checked = spawn_blocking(move || context.external.authority().check(&login, from));
        checked.await.unwrap_or(Err(LoginError::Wrong))
    }

    /// The token of a text, if it is valid now.
    ///
    /// # Errors
    /// When that cannot be told now.
    pub async fn token(&self, text: &str) -> io::Result<Option<Token>> {
        let (context, text) = (self.context.clone(), text.to_owned());
        let found = spawn_blocking(move || context.external.authority().token(&text));
        found.await?
    }

    /// Removes a token: it is dead at once.
    pub async fn revoke_token(&self, text: &str) {
        let (context, text) = (self.context.clone(), text.to_owned());
        let revoked = spawn_blocking(move || context.external.authority().revoke(&text));
        let _ = revoked.await; // an error is a panic, which is printed
    }

    /// The user of a token as a caller: may do what `external_auth` says.
    #[must_use]
    pub fn external_caller(&self, token: &Token) -> Caller {
        self.context.external.caller(token)
    }

    /// Fires an event on the master's bus: sets `_stamp`, trims data larger than `max_event_size`. Returns its number
    /// in the log.
    ///
    /// # Errors
    /// [`FireError`] for a tag that no subscriber could read.
    pub fn fire(&self, tag: &str, data: Map) -> Result<Seq, FireError> {
        self.context.bus.fire(tag, data)
    }

    /// Publishes a job. Dropping the future does not take it back.
    ///
    /// # Errors
    /// [`PublishError`].
    pub async fn publish(
        &self,
        request: JobRequest,
        by: &Caller,
    ) -> Result<Published, PublishError> {
        let (context, by) = (self.context.clone(), by.clone());
        let request = without_nodegroups_in(request, &context.options.nodegroups);
        spawn_blocking(move || context.publish_for(&request, &by))
            .await
            .unwrap_or(Err(PublishError::ShuttingDown))
    }

    /// Runs a wheel function and fires its events. Dropping the future does not stop it.
    ///
    /// # Errors
    /// [`WheelError`].
    pub async fn wheel(&self, call: Call, by: &Caller) -> Result<Value, WheelError> {
        self.wheel_answer(call, by).await?.1
    }

    /// Runs a wheel function as [`Self::wheel`] does: the answer of Salt's clients, `tag` and `data` of the event
    /// of its result, besides the result itself.
    ///
    /// # Errors
    /// [`WheelError`] if it was not run.
    pub async fn wheel_answer(
        &self,
        call: Call,
        by: &Caller,
    ) -> Result<(Value, Result<Value, WheelError>), WheelError> {
        by.may_call("wheel", &call.fun, &call.args, &call.kwargs)
            .map_err(|_| WheelError::NotPermitted)?;
        let (context, user) = (self.context.clone(), by.user.clone());
        spawn_blocking(move || wheel::run(&context, call, &user))
            .await
            .map_err(|_| WheelError::ShuttingDown)
    }

    /// A cursor over everything that is fired on the master's bus from now on.
    #[must_use]
    pub fn follow(&self) -> EventCursor {
        self.context.bus.follow()
    }

    /// From now on runner functions ask this reactor. Only the first one counts.
    pub fn set_reactor(&self, reactor: Arc<dyn AskReactor>) {
        let _ = self.context.reactor.set(reactor);
    }

    /// The reactor in this process.
    pub(crate) fn reactor(&self) -> Option<Arc<dyn AskReactor>> {
        self.context.reactor.get().cloned()
    }

    /// Fires an event; afterwards `data` holds its stamp.
    pub(crate) fn fire_stamped(&self, tag: &str, data: &mut Map) -> Result<Seq, FireError> {
        self.context.bus.fire_stamped(tag, data)
    }

    /// The job cache.
    pub(crate) fn jobs(&self) -> &JobCache {
        &self.context.jobs
    }

    /// What is on the disk about the master's minions.
    pub(crate) fn minion_cache(&self) -> &MinionCache {
        &self.context.options.minions
    }

    /// For the audit: what a user of the local socket or the HTTP API does. `who` says which.
    pub fn audit_user(&self, who: Map, act: Act<'_>) {
        self.context.audit_user(who, act);
    }

    /// The port that minions listen to.
    pub(crate) fn publish_port(&self) -> u16 {
        self.context.options.channel.publish_port
    }

    /// How long minions are waited for by default.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.context.options.timeouts
    }

    /// The minions that are connected now. Reads the kernel's tables over ZeroMQ: may take milliseconds.
    #[must_use]
    pub fn connected(&self) -> Vec<MinionId> {
        self.context.present()
    }

    /// How many minions' keys are in each state. Lists directories: may take milliseconds.
    #[must_use]
    pub fn key_counts(&self) -> [(&'static str, usize); 4] {
        let count = |state| {
            self.context
                .channel
                .store()
                .list(state)
                .map_or(0, |ids| ids.len())
        };
        [
            ("accepted", count(KeyState::Accepted)),
            ("pending", count(KeyState::Pending)),
            ("rejected", count(KeyState::Rejected)),
            ("denied", count(KeyState::Denied)),
        ]
    }

    /// What the master has counted since it started.
    #[must_use]
    pub fn stats(&self) -> MasterStats {
        self.context.counters.snapshot()
    }
}

impl std::fmt::Debug for MasterHandle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("MasterHandle")
            .field("id", &self.context.options.id)
            .finish_non_exhaustive()
    }
}

/// The request with its node groups replaced, of which minions know nothing. One that is wrong selects nobody.
fn without_nodegroups_in(request: JobRequest, groups: &Map) -> JobRequest {
    match without_nodegroups(&request.tgt, &request.tgt_type, groups) {
        Ok(Some(compound)) => {
            for fault in &compound.faults {
                tracing::error!("{fault}");
            }
            JobRequest {
                tgt: compound.words.join(" ").into(),
                tgt_type: "compound".to_owned(),
                ..request
            }
        }
        Ok(None) => request,
        Err(error) => {
            tracing::error!("{error}");
            request
        }
    }
}
