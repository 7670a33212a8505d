//! Events that Brine itself fires, all below `brine/`.

use brine_wire::Map;

use super::{Line, count, string};
use crate::text::counted;

pub(super) fn sentence(parts: &[&str], map: &Map) -> Option<Line> {
    match parts {
        ["brine", "gap"] => {
            let (from, to) = (string(map, "from")?, string(map, "to")?);
            let line = Line::default().warning(&match count(map, "missed") {
                Some(missed) => format!("{} MISSED", counted(missed, "event")),
                None => "events may be MISSED".to_owned(),
            });
            let reason =
                string(map, "reason").map_or_else(String::new, |reason| format!(": {reason}"));
            Some(line.text(&format!("between {from} and {to}{reason}")))
        }
        ["brine", "spool", id, "dropped"] => {
            let line = Line::default().who(id);
            let line = line.bad(&format!("{} LOST", counted(count(map, "count")?, "event")));
            Some(line.text(&format!(
                "on the minion before they could be sent: {}",
                string(map, "reason").unwrap_or("unknown")
            )))
        }
        ["brine", "minion", "refused"] => {
            let line = Line::default().who(string(map, "id")?);
            let refused = counted(count(map, "count")?, "event");
            let line = line.warning(&format!("{refused} refused:"));
            Some(line.text(string(map, "reason").unwrap_or_default()))
        }
        ["brine", "attach", "joined"] => {
            Some(Line::default().who("brine attach").faint("joined this bus"))
        }
        ["brine", "attach", "leaving"] => {
            Some(Line::default().who("brine attach").faint("leaves this bus"))
        }
        _ => None,
    }
}
