//! Dates in headers, as HTTP writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A moment as `Tue, 24 Nov 2026 07:12:04 GMT`.
pub(crate) fn http(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH);
    let since = since.unwrap_or(Duration::ZERO);
    // `2026-11-24T07:12:04.000000`
    let stamp = brine_wire::stamp::format(since, brine_wire::stamp::StampStyle::Naive);
    let part = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().unwrap_or(1);
    let day = DAYS[(since.as_secs() / 86_400 % 7) as usize];
    let month = MONTHS[(month.clamp(1, 12)) - 1];
    format!(
        "{day}, {} {month} {} {} GMT",
        part(8, 10),
        part(0, 4),
        part(11, 19)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let at = |seconds| http(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(1_795_504_324), "Tue, 24 Nov 2026 07:12:04 GMT");
    }
}
