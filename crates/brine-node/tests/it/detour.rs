//! A way between a minion and its master that can be cut and mended, as networks are.

use std::future::pending;

use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way through to another port of this machine, which can be cut and mended.
pub(crate) struct Detour {
    pub(crate) port: u16,
    way: watch::Sender<Through>,
}

/// What gets through a [`Detour`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// Everything.
    All,
    /// What is asked, not what is answered: what was open before stays silent for ever.
    Requests,
    /// Nothing, to new connections either.
    Nothing,
}

impl Detour {
    /// Opens one to a port.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let way = watch::Sender::new(Through::All);
        let through = way.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(pass(near, port, through.subscribe()));
            }
        });
        Self { port: own, way }
    }

    pub(crate) fn let_through(&self, through: Through) {
        self.way.send_replace(through);
    }
}

/// Passes bytes both ways until something does not get through any more; then holds what is open.
async fn pass(near: TcpStream, port: u16, way: watch::Receiver<Through>) {
    until(way.clone(), |way| way != Through::Nothing).await;
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else {
        return;
    };
    let (mut near_reads, mut near_writes) = near.into_split();
    let (mut far_reads, mut far_writes) = far.into_split();
    let answers = async {
        tokio::select! {
            _ = copy(&mut far_reads, &mut near_writes) => {}
            () = until(way.clone(), |way| way != Through::All) => pending().await,
        }
    };
    let requests = async {
        tokio::select! {
            _ = copy(&mut near_reads, &mut far_writes) => {}
            () = until(way.clone(), |way| way == Through::Nothing) => pending().await,
        }
    };
    tokio::select! {
        () = answers => {}
        () = requests => {}
    }
}

async fn until(mut way: watch::Receiver<Through>, is: impl Fn(Through) -> bool) {
    let _ = way.wait_for(|way| is(*way)).await;
}
