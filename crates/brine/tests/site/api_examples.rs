//! `docs/api.md`: its configuration is used, its commands are run in its order, and what they print is compared.
//!
//! A command with `-N` prints a stream: it is read as far as the document has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use brine_testkit::salt;

use crate::api::Api;
use crate::page::{Example, blocks, examples, is_as_documented};
use crate::site::{Process, Site, free_port};

const DOCUMENT: &str = include_str!("../../../../docs/api.md");

/// What the commands are given: the address of this run, and what earlier ones printed.
struct Shell {
    port: u16,
    certificate: PathBuf,
    variables: BTreeMap<&'static str, String>,
}

impl Shell {
    fn spawn(&self, command: &str) -> Child {
        let command = command.replace(":8000/", &format!(":{}/", self.port));
        let python = salt::python("3008.3").get_program().to_owned();
        let bin = std::path::Path::new(&python).parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap();
        Command::new("sh")
            // Ending the shell ends what it runs.
            .args(["-c", &format!("exec {command}")])
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("SSL_CERT_FILE", &self.certificate)
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a command to its end; what it printed.
    fn run(&mut self, command: &str) -> String {
        let output = self.spawn(command).wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{command}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        for (name, key) in [("TOKEN", "token"), ("JID", "jid")] {
            let value = text.split_once(&format!("\"{key}\": \""));
            let value = value.and_then(|(_, rest)| rest.split('"').next());
            if let Some(value) = value {
                let name = match value.len() {
                    64 => "SALT_TOKEN",
                    _ => name,
                };
                self.variables.insert(name, value.to_owned());
            }
        }
        text
    }

    /// Reads a stream as far as the document has it, of which `event` is the first.
    fn stream(&mut self, example: &Example, event: &str) -> String {
        let mut child = self.spawn(&example.command);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut found = String::new();
        let wanted = example.output.lines().count();
        for nth in 0..wanted {
            let line = lines.next().expect("the stream goes on").unwrap();
            found.push_str(&line);
            found.push('\n');
            if nth == 0 {
                self.run(event);
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        found
    }
}

#[test]
fn every_example_of_the_document_prints_what_it_says() {
    let document = DOCUMENT.replace("web1", "m1");
    let blocks = blocks(&document);
    let api = Api { port: free_port() };
    let configuration = blocks
        .iter()
        .find(|block| block.starts_with("# /etc/salt/master.d/api.conf"))
        .expect("a configuration");
    let configuration = configuration.replace(
        "  port: 8000\n",
        &format!("  port: {}\n  host: 127.0.0.1\n", api.port),
    );
    let more = format!(
        "auto_accept: true\ntimeout: 120\ngather_job_timeout: 120\nbrine: {{api: {{in_master: true}}}}\n{configuration}"
    );
    let mut site = Site::configured("tcp", &more);
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = [
        ("/etc/pki/tls/certs/api.crt", "api.crt", made.cert.pem()),
        (
            "/etc/pki/tls/private/api.key",
            "api.key",
            made.signing_key.serialize_pem(),
        ),
        (
            "/etc/salt/api_users",
            "api_users",
            "ops:{SHA}NstYn3QVe0WBGmkMWLQ0CV9I6fo=\n".to_owned(),
        ),
    ];
    let master = site.path("master");
    let mut text = fs::read_to_string(&master).unwrap();
    for (documented, name, contents) in files {
        fs::write(site.path(name), contents).unwrap();
        assert!(text.contains(documented), "{documented} in {text}");
        text = text.replace(documented, site.path(name).to_str().unwrap());
    }
    fs::write(master, text).unwrap();
    let mut master = site.command("salt-master");
    master.args(["-l", "all"]);
    site.master = Some(Process::start(master));
    api.wait();
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    let examples = examples(&blocks);
    let hook = examples
        .iter()
        .find(|example| example.command.contains("/hook/"));
    let hook = hook.expect("a webhook").command.clone();
    let mut shell = Shell {
        port: api.port,
        certificate: site.path("api.crt"),
        variables: BTreeMap::new(),
    };
    for example in &examples {
        let found = match example.command.contains("-skN") {
            true => shell.stream(example, &hook),
            false => shell.run(&example.command),
        };
        assert!(
            is_as_documented(&found, &example.output),
            "{}\nprints\n{found}\nand the document says\n{}",
            example.command,
            example.output
        );
    }
    no_secret_is_kept(&site, &mut shell, &examples[0].command);
}

/// Tokens and passwords are in no log, whatever was asked with them; sessions are kept as digests.
fn no_secret_is_kept(site: &Site, shell: &mut Shell, login: &str) {
    let mut secrets = vec!["correct-horse".to_owned(), "wrong-battery".to_owned()];
    secrets.extend(["TOKEN", "SALT_TOKEN"].map(|name| shell.variables[name].clone()));
    shell.run(login);
    secrets.push(shell.variables["TOKEN"].clone());
    let wrong = login.replace("correct-horse", "wrong-battery");
    assert!(shell.run(&wrong).contains("401"));
    for request in [
        "/events?token=$TOKEN&from=soon",
        "/events?salt_token=$SALT_TOKEN&from=soon",
        "/nope/$TOKEN?token=$TOKEN",
        "/ws/$TOKEN",
        "/hook/a?token=$TOKEN -d x=1",
        "/hook/$TOKEN -H X-Auth-Token:$TOKEN -d x=1",
        "/keys -H Referer:https://x/events?token=$TOKEN",
        "/keys -H Accept:text/$TOKEN",
        "/nope-$TOKEN -H X-Auth-Token:$TOKEN",
        "/run -d client=$TOKEN -d token=$SALT_TOKEN -d fun=x",
        "/hook/a -H X-Auth-Token:$TOKEN -d x=1",
        "/keys -H Cookie:session_id=$TOKEN",
        "/keys -H X-Auth-Token:$SALT_TOKEN",
        "/run -d token=$SALT_TOKEN -d client=local -d tgt=m1 -d fun=test.ping",
        "/run -d token=$TOKEN -d client=local -d tgt=m1 -d fun=no.such",
        "/run -d token=nonsense -d client=runner -d fun=no.such",
        "/ -H X-Auth-Token:$TOKEN -d client=runner -d fun=no.such",
        "/ -H X-Auth-Token:$TOKEN -d client=wheel -d fun=key.finger -d match=m1",
        "/logout -H X-Auth-Token:$TOKEN -d x=1",
    ] {
        let request = request.replace('&', "\\&");
        shell.run(&format!("curl -sk https://127.0.0.1:8000{request}"));
    }
    let mut files = vec![site.path("salt-master"), site.path("salt-minion")];
    let sessions = fs::read_dir(site.path("m/cache/api_sessions")).unwrap();
    files.extend(sessions.map(|session| session.unwrap().path()));
    for file in files {
        let held = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        let name = file.display().to_string();
        for secret in &secrets {
            let at = held.find(secret.as_str());
            let line = at.map(|at| &held[at.saturating_sub(300)..at]);
            assert!(
                line.is_none() && !name.contains(secret.as_str()),
                "{name}: {line:?}"
            );
        }
    }
    let log = fs::read_to_string(site.path("salt-master")).unwrap();
    assert!(
        log.contains("request refused"),
        "requests are in the log at all: {log}"
    );
}

/// Each path in the table of endpoints is in an example.
#[test]
fn every_endpoint_has_an_example() {
    let examples = examples(&blocks(DOCUMENT));
    let commands: Vec<&str> = examples.iter().map(|one| one.command.as_str()).collect();
    let table = DOCUMENT.split("## Endpoints").nth(1).unwrap();
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"));
    let mut missing = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let method = cells[2].trim();
        for path in cells[1].split('`').skip(1).step_by(2) {
            // `/keys/ID` is in an example as `/keys/web1`.
            let path = path
                .split(|c: char| c.is_uppercase() || c == '…')
                .next()
                .unwrap();
            let is_shown = commands.iter().any(|command| {
                let is_path = command.split(":8000").skip(1).any(|asked| {
                    let asked = asked.split([' ', '?']).next().unwrap_or_default();
                    match path.len() > 1 && path.ends_with('/') {
                        true => asked.starts_with(path) && asked.len() > path.len(),
                        false => asked == path,
                    }
                });
                let posts = command.contains(" -d ");
                is_path && (method.is_empty() || posts == method.contains("POST"))
            });
            if !is_shown {
                missing.insert(format!("{method} {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
