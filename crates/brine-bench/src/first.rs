//! How long a bus takes from its start to the first event through.

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;

use crate::event::event;
use crate::load::Load;
use crate::target::Target;

/// How often a socket that is not there yet is tried, and an event not yet heard repeated.
const TRY_EVERY: Duration = Duration::from_micros(200);

/// The time from `started`, when the bus's process was begun, until a subscriber has read its
/// first event. Call it right after starting the process.
///
/// # Errors
/// The last refusal, if the bus is not there `within` that time.
pub fn first_event(target: &Target, started: Instant, within: Duration) -> io::Result<Duration> {
    let deadline = started + within;
    let subscriber = retry(deadline, || target.subscriber())?;
    let publisher = retry(deadline, || target.publisher())?;
    rustix::io::ioctl_fionbio(&publisher, true)?;
    let frame = (target.dialect.publish)(&event(Load::SMALL));
    while Instant::now() < deadline {
        // Full is fine: then enough is under way.
        let _ = rustix::net::send(&publisher, &frame, SendFlags::NOSIGNAL);
        if readable(&subscriber)? {
            return Ok(started.elapsed());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn retry(
    deadline: Instant,
    mut connect: impl FnMut() -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    loop {
        match connect() {
            Err(_) if Instant::now() < deadline => thread::sleep(TRY_EVERY),
            done => return done,
        }
    }
}

fn readable(socket: &OwnedFd) -> io::Result<bool> {
    /// A little more than an event takes, so that a bus that is up is not flooded.
    const WAIT: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let mut polled = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
    Ok(poll(&mut polled, Some(&WAIT))? > 0)
}
