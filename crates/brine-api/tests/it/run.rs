//! `POST /run`: read, permitted, answered; what a command does is a stub's business here.

use std::pin::Pin;
use std::sync::Arc;

use brine_api::{Command, CommandClient, RunCommand, RunError, Subject};
use brine_testkit::user::{as_nobody, can_switch};
use brine_wire::{Map, Value};

use crate::support::{Api, Setup, at};

/// Gives back what it was asked, and by whom.
struct Echo;

impl RunCommand for Echo {
    fn run<'a>(
        &'a self,
        command: Command,
        by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>> {
        Box::pin(async move {
            match command.client {
                CommandClient::Wheel => Err(RunError::Failed {
                    name: "SaltInvocationError".to_owned(),
                    message: "no such function".to_owned(),
                }),
                client => {
                    let mut answer: Map = command.load;
                    answer.insert("by", by.user.as_str());
                    answer.insert("client", client.to_string());
                    Ok(answer.into())
                }
            }
        })
    }
}

fn api(acl: &'static str) -> Api {
    Api::with(Setup {
        acl,
        change: Box::new(|state| state.runner = Some(Arc::new(Echo))),
        ..Setup::default()
    })
}

#[test]
fn a_command_is_answered_with_its_return() {
    let api = api("[]");
    let (status, body) = api.request(
        "POST /run",
        r#"{"client": "local_async", "tgt": "*", "fun": "test.ping", "arg": [1]}"#,
    );
    assert_eq!(status, 200, "{body}");
    assert_eq!(at(&body, "/return/tgt"), "*");
    assert_eq!(at(&body, "/return/arg/0"), 1);
    assert_eq!(at(&body, "/return/client"), "local_async");
}

#[test]
fn what_is_wrong_is_named() {
    let api = api("[]");
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        (r#"{"fun": "test.ping"}"#, 400),
        (r#"{"client": "destroy", "fun": "x"}"#, 400),
        (r#"{"client": "caller"}"#, 400),
        (r#"{"client": "caller", "fun": [1]}"#, 400),
        (r#"{"client": "wheel", "fun": "key.nothing"}"#, 422),
    ] {
        assert_eq!(api.request("POST /run", body).0, status, "{body}");
    }
    let (_, body) = api.request("POST /run", r#"{"client": "wheel", "fun": "x"}"#);
    assert_eq!(at(&body, "/error/code"), "SaltInvocationError");
    assert_eq!(Api::start().request("POST /run", "{}").0, 501);
}

#[test]
fn others_run_what_the_list_permits() {
    if !can_switch() {
        return;
    }
    let api = api(r#"[{"user": 65534, "run": ["test.*", "@runner/jobs.*"]}]"#);
    as_nobody(|| {
        let run = |body: &str| api.request("POST /run", body).0;
        assert_eq!(run(r#"{"client": "caller", "fun": "test.ping"}"#), 200);
        assert_eq!(
            run(r#"{"client": "local_async", "fun": ["test.ping", "test.echo"]}"#),
            200
        );
        assert_eq!(
            run(r#"{"client": "local_async", "fun": ["test.ping", "cmd.run"]}"#),
            403
        );
        assert_eq!(run(r#"{"client": "runner", "fun": "jobs.active"}"#), 200);
        assert_eq!(run(r#"{"client": "runner", "fun": "test.ping"}"#), 403);
        assert_eq!(run(r#"{"client": "wheel", "fun": "jobs.active"}"#), 403);
    });
}
