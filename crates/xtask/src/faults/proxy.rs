//! A TCP proxy that stands between a worker and its hub and does to the bytes what networks do.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

use crate::Outcome;

/// What happens to bytes and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They pass.
    Open,
    /// They pass at about 50 KB/s with 5 ms of delay each way.
    Slow,
    /// Nothing passes and nobody is told: a cable was pulled. What was sent passes later.
    Cut,
    /// Connections are reset, new ones too.
    Broken,
    /// Now and then a bit flips.
    Noisy,
}

/// The proxy, on a thread of its own.
pub(crate) struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// Passes connections on to `to`.
    pub(crate) fn start(to: SocketAddr) -> Outcome<Proxy> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (way, ways) = watch::channel(Way::Open);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(serve(listener, to, ways)));
        Ok(Proxy { address, way })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on.
    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

/// Ends when the proxy is dropped.
async fn serve(listener: std::net::TcpListener, to: SocketAddr, ways: watch::Receiver<Way>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut end = ways.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(connection(client, to, ways.clone()));
                }
            }
            gone = end.wait_for(|_| false) => if gone.is_err() { return },
        }
    }
}

async fn connection(client: TcpStream, to: SocketAddr, mut ways: watch::Receiver<Way>) {
    // Nobody answers on a cable that was pulled.
    if ways.wait_for(|way| *way != Way::Cut).await.is_err() {
        return;
    }
    let Ok(hub) = TcpStream::connect(to).await else { return reset(&client) };
    let (mut client, mut hub) = (client, hub);
    {
        let ((from_client, to_client), (from_hub, to_hub)) = (client.split(), hub.split());
        let mut broken = ways.clone();
        tokio::select! {
            () = pass(from_client, to_hub, ways.clone()) => {}
            () = pass(from_hub, to_client, ways.clone()) => {}
            _ = broken.wait_for(|way| *way == Way::Broken) => {}
        }
    }
    reset(&client);
    reset(&hub);
}

/// Whoever closes a socket that must not linger resets the connection.
fn reset(stream: &TcpStream) {
    // The connection may be gone already.
    let _ = stream.set_zero_linger();
}

async fn pass(mut from: tcp::ReadHalf<'_>, mut to: tcp::WriteHalf<'_>, mut ways: watch::Receiver<Way>) {
    let mut piece = [0; 16 << 10];
    let mut pieces = 0_usize;
    loop {
        let most = if *ways.borrow() == Way::Slow { 256 } else { piece.len() };
        let Ok(length @ 1..) = from.read(&mut piece[..most]).await else { return };
        let Ok(way) = ways.wait_for(|way| *way != Way::Cut).await.map(|way| *way) else { return };
        match way {
            Way::Slow => tokio::time::sleep(Duration::from_millis(5)).await,
            Way::Noisy if pieces % 5 == 4 => piece[length / 2] ^= 0x10,
            _ => {}
        }
        pieces += 1;
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
