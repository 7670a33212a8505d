//! Events that are meant only for the processes of one node, and are never shown to other readers.

/// Whether events of this tag are never stored, served or sent on: they carry a minion's session
/// keys between its own processes.
#[must_use]
pub fn is_withheld(tag: &[u8]) -> bool {
    tag == b"salt/auth/creds" || tag.ends_with(b"/salt/auth/creds")
}
