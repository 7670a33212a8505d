//! A TCP proxy in front of a server, which loses what the server answers when a test says so.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A proxy on loopback, until the process ends.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// How many answers still pass; `usize::MAX` is all.
    passes: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// One in front of a port of this machine.
    ///
    /// # Panics
    /// When there is no port for it.
    #[must_use]
    pub fn start(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let proxy = Self {
            address: listener.local_addr().expect("an address"),
            shared: Arc::new(Shared {
                passes: AtomicUsize::new(usize::MAX),
                open: Mutex::default(),
            }),
        };
        let shared = Arc::clone(&proxy.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is not there: the client notices.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                    let _ = shared.join(&client, &server);
                }
            }
        });
        proxy
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.address.port()
    }

    /// Whether what the server says from now on is lost on its way; what it is told still reaches it.
    pub fn swallow(&self, swallows: bool) {
        self.swallow_after(if swallows { 0 } else { usize::MAX });
    }

    /// The same after so many more answers, each of which the server writes at once and after the one before was read.
    pub fn swallow_after(&self, answers: usize) {
        self.shared.passes.store(answers, Ordering::SeqCst);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for connection in self.shared.open().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: &TcpStream, server: &TcpStream) -> io::Result<()> {
        let pairs = [
            (client.try_clone()?, server.try_clone()?, false),
            (server.try_clone()?, client.try_clone()?, true),
        ];
        self.open()
            .extend([client.try_clone()?, server.try_clone()?]);
        for (from, to, is_answer) in pairs {
            let shared = Arc::clone(self);
            thread::spawn(move || {
                let _ = shared.copy(&from, &to, is_answer);
                // The other direction ends with it.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
        Ok(())
    }

    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream, is_answer: bool) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            if !is_answer || self.passes() {
                to.write_all(&buffer[..count])?;
            }
        }
    }

    /// Whether the next answer passes, which it then counts as.
    fn passes(&self) -> bool {
        let one_less = |passes: usize| match passes {
            usize::MAX => Some(passes),
            passes => passes.checked_sub(1),
        };
        self.passes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .is_ok()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
