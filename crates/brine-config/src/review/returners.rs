//! Options of Salt's returners that none of them reads: if one is misspelt, its default applies, for instance another
//! host.

use super::{Place, Remark, Severity};
use crate::brine_values::hint;

/// Where the options of a returner begin, and which there are. Those of `mysql` are modules' too, and have many others.
const RETURNERS: [(&str, &[&str]); 4] = [
    (
        "returner.pgjsonb",
        &[
            "host",
            "user",
            "pass",
            "db",
            "port",
            "connect_timeout",
            "sslmode",
            "sslcert",
            "sslkey",
            "sslrootcert",
            "sslcrl",
        ],
    ),
    (
        "returner.postgres",
        &["host", "user", "passwd", "db", "port"],
    ),
    (
        "master_job_cache.postgres",
        &["host", "user", "passwd", "db", "port"],
    ),
    ("rawfile_json", &["filename"]),
];

/// Those that stand in a file.
pub(super) fn misspelt(places: &[Place]) -> Vec<Remark> {
    let remarks = places.iter().filter_map(|place| {
        let option = place.option.replace(": ", ".").replace(':', ".");
        let (name, known) = RETURNERS.iter().find_map(|(returner, known)| {
            let name = option.strip_prefix(returner)?.strip_prefix('.')?;
            Some((name, *known))
        })?;
        let is_known = known.contains(&name) || name.contains('.');
        (!is_known).then(|| Remark {
            severity: Severity::Warning,
            kind: "unknown-option",
            place: Some(place.clone()),
            text: format!("option {} is not one of its returner", place.option),
            remedy: format!("{} nothing reads it as it is", hint(name, known, None)),
        })
    });
    remarks.collect()
}
