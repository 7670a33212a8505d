//! The time as Salt formats it.

use std::time::Duration;

use brine_wire::network::Jid;

/// The time as C's `asctime` writes it, in UTC: `Tue Nov 24 03:29:51 2026`.
pub(crate) fn asctime(since_epoch: Duration) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // A job id is a time in digits already: year, month, day, hour, minute, second.
    let jid = Jid::at(since_epoch);
    let digits = |range: std::ops::Range<usize>| jid.as_str().get(range).unwrap_or_default();
    let number = |range: std::ops::Range<usize>| digits(range).parse::<usize>().unwrap_or_default();
    let weekday = usize::try_from(since_epoch.as_secs() / 86_400 % 7).unwrap_or_default();
    format!(
        "{} {} {:>2} {}:{}:{} {}",
        DAYS.get(weekday).unwrap_or(&""),
        MONTHS.get(number(4..6).wrapping_sub(1)).unwrap_or(&""),
        number(6..8),
        digits(8..10),
        digits(10..12),
        digits(12..14),
        digits(0..4),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_in_c() {
        assert_eq!(asctime(Duration::ZERO), "Thu Jan  1 00:00:00 1970");
        assert_eq!(
            asctime(Duration::from_secs(1_795_491_006)),
            "Tue Nov 24 03:30:06 2026"
        );
    }
}
