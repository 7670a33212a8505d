//! What a minion's masters have against its key, as far as the running minion knows.
//!
//! The masters themselves are not asked: whoever signs in makes a key that the master does not have wait there, or be
//! accepted.

use brine_node::minion::{MasterType, MinionOptions, Standing};

use super::Site;
use crate::bus_location::NodeKind;
use crate::clock;
use crate::commands::findings::Finding;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    if site.kind != NodeKind::Minion || site.is_bus_alone() {
        return Vec::new();
    }
    let minion = site.part("minion");
    let since = minion.and_then(|minion| minion.get("key_since")?.as_str());
    let since = since.and_then(clock::stamp).map(clock::local_text);
    let finding = match site.standing() {
        Some(standing) => finding(site, standing, since.as_deref()),
        None => has_masters(site).then(|| unknown(site)),
    };
    finding.into_iter().collect()
}

/// Wrong options are found with the configuration.
fn has_masters(site: &Site) -> bool {
    let opts = site.location.opts.as_ref();
    let options = opts.and_then(|opts| MinionOptions::from_opts(opts, &site.location.brine).ok());
    options.is_some_and(|options| options.master_type != MasterType::None)
}

fn unknown(site: &Site) -> Finding {
    let id = site.id();
    Finding::note("key-state-unknown", "master").says(
        "whether it accepts this minion's key is not known: no running minion says so to this user",
        format!("look on the master: salt-key -l all shows where {id} is"),
    )
}

fn finding(site: &Site, standing: Standing, since: Option<&str>) -> Option<Finding> {
    let id = site.id();
    let (kind, what, remedy) = match standing {
        Standing::Good => {
            return since.map(|since| {
                Finding::note("key-accepted", "master").says(
                    format!("had accepted this minion's key when it last signed in, at {since}"),
                    "doctor does not sign in by itself; salt-key -l all on the master shows the key's state now",
                )
            });
        }
        Standing::Pending => (
            "key-waits",
            "has not accepted this minion's key yet",
            format!("accept it there: salt-key -a {id}"),
        ),
        Standing::Rejected => (
            "key-rejected",
            "has rejected or denied this minion's key",
            format!(
                "if the key is the right one, salt-key -d {id} there, restart this minion if it has ended, and accept \
                 its key: salt-key -a {id}"
            ),
        ),
        Standing::Untrusted => (
            "master-key-changed",
            "gives answers that are not trusted",
            format!(
                "read the minion's log for why; if the master was set up anew, remove {}/minion_master.pub, and accept \
                 this minion there: salt-key -a {id}",
                site.option("pki_dir").unwrap_or_default()
            ),
        ),
    };
    let since = since.map_or_else(String::new, |since| format!(", since {since}"));
    Some(Finding::error(kind, "master").says(format!("{what}{since}"), remedy))
}
