//! The events of a wheel function, and the answer to the client that called it.

use std::time::Duration;

use brine_wire::compat::Series;
use brine_wire::network::Jid;
use brine_wire::stamp;
use brine_wire::tag::{SALT, tagify};
use brine_wire::{Map, Value};

use super::WheelError;
use crate::master::context::Context;
use crate::node_bus::since_epoch;

/// The events of one call. 3008 fires events of the function; earlier releases fire events of the request, and
/// between those the function's, under a job id of their own.
pub(super) struct CallEvents<'a> {
    master: &'a Context,
    tag: String,
    /// The data of the request's events.
    request: Map,
    /// Tag and data of the function's events; with arguments once it runs.
    function: (String, Map),
}

/// The user of the function in the events of earlier releases.
const UNKNOWN_USER: &str = "UNKNOWN";

impl<'a> CallEvents<'a> {
    /// Fires the first event of the request.
    pub(super) fn begin(master: &'a Context, fun: &str, user: &str) -> Self {
        let data = |jid: &str, user: &str| -> Map {
            let mut data = Map::new();
            data.insert("fun", format!("wheel.{fun}"));
            data.insert("jid", jid);
            data.insert("user", user);
            data
        };
        let tag = |jid: &str| tagify(["wheel", jid], "", SALT);
        let jid = Jid::at(since_epoch());
        let mut request = Map::new();
        request.insert("fun", format!("wheel.{fun}"));
        request.insert("jid", jid.as_str());
        request.insert("tag", tag(jid.as_str()));
        request.insert("user", user);
        let function = match master.options.compat().series() {
            Series::S3008 => (tag(jid.as_str()), data(jid.as_str(), user)),
            _ => {
                master.fire(&format!("{}/new", tag(jid.as_str())), request.clone());
                let own = Jid::at(since_epoch() + Duration::from_micros(1));
                (tag(own.as_str()), data(own.as_str(), UNKNOWN_USER))
            }
        };
        Self {
            tag: tag(jid.as_str()),
            master,
            request,
            function,
        }
    }

    /// Fires the event that the function starts.
    pub(super) fn started(&mut self, fun_args: Vec<Value>) {
        let (tag, data) = &mut self.function;
        data.insert("fun_args", fun_args);
        self.master.fire(&format!("{tag}/new"), data.clone());
    }

    /// Records the call in the job cache and fires the events of the result; the answer to the client. Waits for the disk.
    pub(super) fn ended(self, returned: &Result<Value, WheelError>) -> Value {
        let (ret, success) = match returned {
            Ok(ret) => (ret.clone(), true),
            Err(error) => (self.exception(error).into(), false),
        };
        let with_return = |mut data: Map| {
            data.insert("return", ret.clone());
            data.insert("success", success);
            data
        };
        let is_3008 = self.is_3008();
        let (tag, data) = &self.function;
        let has_started = data.get("fun_args").is_some();
        if has_started || !is_3008 {
            let ended = with_return(match has_started {
                true => self.stamped(data.clone()),
                false => data.clone(),
            });
            // Before the event, as in Salt: whoever sees it can look the job up.
            self.master.function_jobs.record(&ended);
            self.master.fire(&format!("{tag}/ret"), ended);
        }
        let result = match is_3008 {
            true => with_return(self.request.clone()),
            false => with_return(self.stamped(self.request.clone())),
        };
        if !is_3008 || !has_started {
            self.master
                .fire(&format!("{}/ret", self.tag), result.clone());
        }
        let mut answer = Map::new();
        answer.insert("tag", self.tag);
        answer.insert("data", result);
        answer.into()
    }

    /// The text of a function's exception, as Salt formats it.
    fn exception(&self, error: &WheelError) -> String {
        let fun = self.request.get("fun").and_then(Value::as_str);
        let fun = fun.unwrap_or_default().trim_start_matches("wheel.");
        format!(
            "Exception occurred in wheel {fun}: {}: {error}",
            error.class()
        )
    }

    /// With a stamp before the return, where Salt puts it.
    fn stamped(&self, mut data: Map) -> Map {
        let style = self.master.options.compat().stamp_style();
        data.insert("_stamp", stamp::format(since_epoch(), style));
        data
    }

    fn is_3008(&self) -> bool {
        self.master.options.compat().series() == Series::S3008
    }
}
