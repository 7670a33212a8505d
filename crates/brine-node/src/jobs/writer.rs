//! A thread that writes returns to the job cache, so that nobody waits for the disk.
//!
//! Its queue is bounded: while it is full, returns are on the bus and not in the cache, which is said.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use brine_wire::Map;
use brine_wire::network::{Jid, MinionId};

use super::JobCache;

/// Returns that wait to be written.
const WAITING: usize = 65_536;

/// The way to the thread; the thread ends, after the last return, when this is dropped.
#[derive(Debug)]
pub struct Writer {
    returns: SyncSender<(Jid, MinionId, Map)>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(cache: JobCache) -> std::io::Result<Self> {
        let (returns, waiting) = sync_channel::<(Jid, MinionId, Map)>(WAITING);
        thread::Builder::new()
            .name("brine-jobs".into())
            .spawn(move || {
                for (jid, id, ret) in waiting {
                    if let Err(error) = cache.returned(&jid, &id, &ret) {
                        tracing::error!(%error, %jid, %id, "return not kept");
                    }
                }
            })?;
        Ok(Self { returns })
    }

    /// Hands a return over.
    pub fn returned(&self, jid: Jid, id: MinionId, ret: Map) {
        match self.returns.try_send((jid, id, ret)) {
            Ok(()) => {}
            Err(TrySendError::Full((jid, id, _)) | TrySendError::Disconnected((jid, id, _))) => {
                tracing::error!(%jid, %id, "return not kept: the disk is slower than the returns");
            }
        }
    }
}
