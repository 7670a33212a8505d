//! What a minion's masters say of its key, and whether they are the masters it trusts.
//!
//! Asked by signing in as the minion does: a minion that is connected learns of a rejected key only when it sends
//! something. A minion that has never signed in is not asked for, since that would leave traces: a key that waits on
//! the master, and the master's key here.

use std::fs::File;
use std::sync::Arc;

use brine_config::Brine;
use brine_net::keys::minion::MinionKeys;
use brine_net::minion::Distrust;
use brine_node::minion::master_client::{MasterClient, SignInError};
use brine_node::minion::{MinionOptions, Standing};
use brine_wire::{Map, Value};

use super::masters::FEW;
use super::{ANSWER, Site};
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    if site.kind != NodeKind::Minion {
        return Vec::new();
    }
    let opts = site.location.opts.as_ref();
    // Wrong options are found with the configuration.
    let options = opts.and_then(|opts| options(opts, &site.location.brine));
    match options.and_then(|options| ask(&Arc::new(options))) {
        Some(findings) => findings,
        None => of_status(site).into_iter().collect(),
    }
}

fn options(opts: &brine_config::Opts, brine: &Brine) -> Option<MinionOptions> {
    let mut options = MinionOptions::from_opts(opts, brine).ok()?;
    // Such a minion takes another key for its master's, and writes it down.
    if options.open_mode || options.master_sign_key_name.is_some() {
        return None;
    }
    // The minion's own connections have it.
    options.source_ret_port = 0;
    options.auth_timeout = options.auth_timeout.min(ANSWER);
    options.retry.auth_tries = std::num::NonZeroU32::MIN;
    Some(options)
}

/// Signs in to each master; `None` if this user may not read the keys, or the minion has never signed in.
fn ask(options: &Arc<MinionOptions>) -> Option<Vec<Finding>> {
    let is_there = |name| File::open(options.pki_dir.join(name)).is_ok();
    if !is_there("minion.pem") || !is_there("minion_master.pub") {
        return None;
    }
    let keys = MinionKeys::open(&options.pki_dir, &options.key_options).ok()?;
    let keys = Arc::new(keys);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let mut findings = Vec::new();
    for master in options.masters.iter().take(FEW) {
        findings.extend(runtime.block_on(async {
            let grains = Map::new();
            let client =
                MasterClient::new(options.clone(), keys.clone(), &grains, master.clone()).ok()?;
            let error = client.sign_in(None).await.err()?;
            finding(&client, &error)
        }));
    }
    Some(findings)
}

fn finding(client: &MasterClient, error: &SignInError) -> Option<Finding> {
    let place = format!("master {}", client.master().with_port(client.master().port));
    let advice = client.advice(error);
    let kind = match error {
        SignInError::Pending { .. } => "key-waits",
        SignInError::Rejected | SignInError::Unproven { .. } => "key-rejected",
        SignInError::Distrust(Distrust::KeyChanged | Distrust::Signature) => "master-key-changed",
        SignInError::Full => "master-full",
        SignInError::Distrust(_) | SignInError::Algorithm { .. } => "sign-in-failed",
        // One that does not answer is named with its port.
        _ => return None,
    };
    Some(Finding::error(kind, place).says(advice.what, advice.remedy))
}

/// What the running minion knows itself.
fn of_status(site: &Site) -> Option<Finding> {
    let word = site.part("minion")?.get("key").and_then(Value::as_str)?;
    let (kind, what) = match Standing::named(word)? {
        Standing::Good => return None,
        Standing::Pending => ("key-waits", "has not accepted this minion's key yet"),
        Standing::Rejected => ("key-rejected", "has rejected or denied this minion's key"),
        Standing::Untrusted => ("master-key-changed", "gives answers that are not trusted"),
    };
    Some(Finding::error(kind, "master").says(
        what,
        "run brine doctor as root or as the minion's user, who may ask the master, or read the minion's log",
    ))
}
