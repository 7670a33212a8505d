//! How a user logs in to an API: with a token, or with name and password, which get another token when one has
//! expired.

use anyhow::bail;
use brine_bridge::Secret;
use brine_wire::{Map, Value, json};
use hyper::header::{ACCEPT, CONTENT_TYPE};

use super::http::{Failure, Server, away};
use crate::prompt;
use crate::terminal;

/// Who somebody is.
#[derive(Debug)]
pub(super) struct Login {
    token: Option<Secret>,
    credentials: Option<Credentials>,
}

#[derive(Debug)]
struct Credentials {
    user: String,
    password: Secret,
    eauth: String,
}

impl Login {
    /// The owner of a token.
    pub(super) fn with_token(token: String) -> Self {
        Self {
            token: Some(Secret::new(token)),
            credentials: None,
        }
    }

    /// Somebody with a password; asks on the terminal for what is not given.
    pub(super) fn ask(
        user: Option<String>,
        password: Option<String>,
        eauth: String,
    ) -> anyhow::Result<Self> {
        let user = match user {
            Some(user) => user,
            None => prompt::shown("username: ", terminal::stderr())?,
        };
        let password = match password {
            Some(password) => password,
            None => prompt::hidden("password: ")?,
        };
        if user.is_empty() || password.is_empty() {
            bail!("--api needs a token, or a name and a password");
        }
        Ok(Self {
            token: None,
            credentials: Some(Credentials {
                user,
                password: Secret::new(password),
                eauth,
            }),
        })
    }

    /// The token, for the server alone; empty before a login.
    pub(super) fn token(&self) -> &str {
        self.token.as_ref().map_or("", Secret::reveal)
    }

    /// Whether a login is possible, and not just a token there.
    pub(super) const fn can_log_in(&self) -> bool {
        self.credentials.is_some()
    }

    /// Gets a token.
    pub(super) async fn log_in(&mut self, server: &Server) -> Result<(), Failure> {
        let Some(credentials) = &self.credentials else {
            return Ok(());
        };
        let fields: Map = [
            ("username", Value::from(credentials.user.as_str())),
            ("password", credentials.password.reveal().into()),
            ("eauth", credentials.eauth.as_str().into()),
        ]
        .into_iter()
        .collect();
        let mut body = String::new();
        json::to_line(&fields.into(), &mut body);
        let request = server
            .request("POST", "/login")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| away(error.to_string()))?;
        let answer = server
            .whole(request)
            .await
            .map_err(|failure| match failure {
                Failure::Refused { status: 401, .. } => Failure::Refused {
                    status: 401,
                    message: format!(
                        "{} is not let in by external_auth: {}; check name, password and --eauth",
                        credentials.user, credentials.eauth
                    ),
                },
                other => other,
            })?;
        let token = token(&answer).ok_or_else(|| away("the answer to the login holds no token"))?;
        self.token = Some(Secret::new(token));
        Ok(())
    }
}

/// The token of `{"return": [{"token": …}]}`.
fn token(answer: &[u8]) -> Option<String> {
    let answer = json::parse(answer).ok()?;
    let returned = answer.as_map()?.get("return")?.as_array()?.first()?;
    let token = returned.as_map()?.get("token")?.as_str()?;
    Some(token.to_owned())
}
