//! A TCP proxy in front of a server, which loses what the server answers when a test says so.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A proxy on loopback, until the process ends.
#[derive(Debug, Clone)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    swallows: AtomicBool,
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
            shared: Arc::default(),
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
        self.shared.swallows.store(swallows, Ordering::SeqCst);
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
            if !(is_answer && self.swallows.load(Ordering::SeqCst)) {
                to.write_all(&buffer[..count])?;
            }
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
