//! Being another user for a moment, to see what it is refused.

use std::thread;

use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// The user without any rights.
pub const NOBODY: u32 = 65534;

/// Whether this process may become another user.
#[must_use]
pub fn can_switch() -> bool {
    geteuid().is_root()
}

/// Does something as [`NOBODY`].
///
/// # Panics
/// As [`as_user`].
pub fn as_nobody<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    as_user(NOBODY, action)
}

/// Does something as a user and the group of the same number, on a thread of its own: Linux keeps identities by
/// thread, and the thread ends with it.
///
/// # Panics
/// When the process may not become another user, and when `action` panics.
pub fn as_user<T: Send>(id: u32, action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
            set_thread_groups(&[]).expect("root may give up its groups");
            set_thread_res_gid(group, group, group).expect("root may change its group");
            set_thread_res_uid(user, user, user).expect("root may become another user");
            action()
        });
        thread
            .join()
            .expect("what is done as another user succeeds")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_is_another_user_and_only_for_a_moment() {
        if can_switch() {
            let (user, readable) = as_nobody(|| (geteuid(), std::fs::read("/etc/shadow").is_ok()));
            assert_eq!((user.as_raw(), readable), (NOBODY, false));
            assert!(geteuid().is_root());
        }
    }
}
