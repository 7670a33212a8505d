//! What a service started with `Type=notify` tells systemd: that it is ready, and that it is alive.

use std::time::Duration;

use sd_notify::NotifyState;

/// Reports that others may use what the service offers, if a service manager waits for that.
pub(super) fn report_ready() {
    report(NotifyState::Ready);
}

/// Reports that the service is still starting, and may go on with that for so long.
pub(super) fn report_starting(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    report(NotifyState::ExtendTimeoutUsec(micros));
}

/// Reports again and again that the service is alive, if its unit has `WatchdogSec=`.
///
/// It runs where the service runs, on its runtime: one that hangs does not report, and is restarted. Never returns.
pub(super) async fn keep_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    // As systemd advises: twice within the limit.
    let mut due = tokio::time::interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        due.tick().await;
        report(NotifyState::Watchdog);
    }
}

fn report(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(err = %error, "cannot reach the service manager");
    }
}
