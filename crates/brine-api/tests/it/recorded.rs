//! A master that answers as the one in the captures did: its users are real, its results are recorded.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use brine_api::rest::{Client, Credential, Low, Operator, OperatorError, Pending};
use brine_auth::{AuthConfig, Authority, Login, LoginError, Token, TokenLayout, TokenStore};
use brine_wire::{Map, Value, json};
use tempfile::TempDir;

pub(crate) fn value(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap()
}

/// The `external_auth` of the captures.
pub(crate) fn external_auth(directory: &TempDir) -> Map {
    let users = directory.path().join("users");
    std::fs::write(&users, "bob:secret\n").unwrap();
    let text = format!(
        r#"{{"sharedsecret": {{"fred": [".*", "@wheel", "@runner", "@jobs"], "events": ["@events"]}},
            "auto": {{"alice": [".*", "@wheel", "@runner", "@jobs"], "limited": ["test.*"]}},
            "file": {{"^filename": "{}", "bob": [".*"]}}}}"#,
        users.display()
    );
    value(&text).as_map().unwrap().clone()
}

/// The master of the captures.
pub(crate) struct Recorded {
    authority: Authority,
    /// What webhooks fired.
    pub(crate) fired: Mutex<Vec<(String, Map)>>,
    /// What was run.
    pub(crate) ran: Mutex<Vec<Low>>,
    directory: TempDir,
}

impl Recorded {
    pub(crate) fn start() -> (Arc<Self>, Map) {
        let directory = tempfile::tempdir().unwrap();
        let external_auth = external_auth(&directory);
        let config = AuthConfig {
            external_auth: external_auth.clone(),
            sharedsecret: Some("hunter2".to_owned()),
            allows_auto: true,
            ..AuthConfig::default()
        };
        let tokens = directory.path().join("tokens");
        let tokens = TokenStore::new(tokens, TokenLayout::Cache, "sha256");
        let recorded = Self {
            authority: Authority::new(config, tokens),
            fired: Mutex::default(),
            ran: Mutex::default(),
            directory,
        };
        (Arc::new(recorded), external_auth)
    }

    /// The files of tokens.
    pub(crate) fn token_files(&self) -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(self.directory.path().join("tokens")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn user(&self, by: &Credential) -> Result<Token, OperatorError> {
        let refused = || OperatorError::NotAuthenticated("Authentication error occurred.".into());
        match by {
            Credential::Token(text) => self.authority.token(text).unwrap().ok_or_else(refused),
            Credential::Login { login, from } => {
                let checked = self.authority.check(login, Some(*from));
                checked.map_err(|_| refused())
            }
        }
    }

    fn answer(&self, low: &Low, by: &Credential) -> Result<Value, OperatorError> {
        let token = self.user(by)?;
        let fun = low.fields.get("fun").and_then(Value::as_str).unwrap();
        if !permits(&token, fun) {
            return Err(OperatorError::NotPermitted(
                "Authorization error occurred.".into(),
            ));
        }
        let keys = r#"{"minions_pre": [], "minions_rejected": [], "minions": ["m1"],
            "minions_denied": [], "local": ["vm.pem", "vm.pub"]}"#;
        let wheel = |returned: &str| {
            value(&format!(
                r#"{{"tag": "salt/wheel/20261123211206598817", "data": {{"fun": "wheel.{fun}",
                "jid": "20261123211206598817", "tag": "salt/wheel/20261123211206598817",
                "user": "fred", "return": {returned}, "success": true}}}}"#
            ))
        };
        Ok(match (low.client, fun) {
            (Client::Local, "test.ping") => value(r#"{"m1": true}"#),
            (Client::LocalBatch, "test.ping") => value(r#"[{"m1": true}, {"m2": {}}]"#),
            (Client::Local, "grains.items") => value(r#"{"m1": {"cwd": "x"}}"#),
            (Client::LocalAsync, _) => {
                value(r#"{"jid": "20261123211207046286", "minions": ["m1"]}"#)
            }
            (Client::Runner, "test.arg") => value(r#"{"args": [1, "a"], "kwargs": {}}"#),
            (Client::Runner, "jobs.list_job") => value(
                r#"{"jid": "20261123211207046286", "Function": "test.ping", "Arguments": [],
                "Target": "*", "Target-type": "glob", "User": "fred", "Minions": ["m1"],
                "StartTime": "2026, Nov 23 21:12:07.046286",
                "Result": {"m1": {"return": true, "retcode": 0, "success": true}}}"#,
            ),
            (Client::Runner, "jobs.list_jobs") => value("{}"),
            (Client::RunnerAsync, _) => {
                value(r#"{"tag": "salt/run/20261123211206741983", "jid": "20261123211206741983"}"#)
            }
            (Client::Wheel, "key.list_all") => wheel(keys),
            (Client::Wheel, "key.finger") => wheel(r#"{"minions": {"m1": "a9:12"}}"#),
            (Client::Wheel, "key.gen_accept") => wheel(r#"{"pub": "PUBLIC", "priv": "PRIVATE"}"#),
            (client, fun) => {
                return Err(OperatorError::Failed(format!(
                    "{client:?} {fun} is not recorded"
                )));
            }
        })
    }
}

fn permits(user: &Token, fun: &str) -> bool {
    user.name != "limited" || fun.starts_with("test.")
}

impl Operator for Recorded {
    fn is_running(&self) -> bool {
        true
    }

    fn log_in(&self, login: Login, from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Box::pin(async move {
            let token = self.authority.log_in(&login, Some(from));
            token.map_err(|error| match error {
                LoginError::TooMany { wait } => OperatorError::TooMany { wait },
                error => OperatorError::NotAuthenticated(error.to_string()),
            })
        })
    }

    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
        Box::pin(async move {
            let found = self.authority.token(text);
            found.map_err(|error| OperatorError::Failed(error.to_string()))
        })
    }

    fn revoke<'a>(&'a self, text: &'a str) -> Pending<'a, ()> {
        Box::pin(async move { self.authority.revoke(text) })
    }

    fn may_run<'a>(
        &'a self,
        fields: &'a Map,
        by: &'a Credential,
    ) -> Pending<'a, Result<bool, OperatorError>> {
        Box::pin(async move {
            let fun = fields.get("fun").and_then(Value::as_str).unwrap();
            Ok(permits(&self.user(by)?, fun))
        })
    }

    fn run(&self, low: Low, by: Credential) -> Pending<'_, Result<Value, OperatorError>> {
        Box::pin(async move {
            let answer = self.answer(&low, &by);
            self.ran.lock().unwrap().push(low);
            answer
        })
    }

    fn fire<'a>(&'a self, tag: &'a str, data: Map) -> Pending<'a, bool> {
        Box::pin(async move {
            self.fired.lock().unwrap().push((tag.to_owned(), data));
            true
        })
    }
}
