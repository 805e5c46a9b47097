//! Peers that connect to us, if we listen: each is brought to the torrent that it asks for.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::address::canonical;
use crate::client::Client;
use crate::peer::{Greeting, read_greeting};

/// Peers whose greeting is waited for at once.
const GREETING: usize = 64;
/// Peers that wait at one door.
const WAITING: usize = 8;
/// How long is waited after a connection could not be taken: for want of files, usually.
const PAUSE: Duration = Duration::from_millis(200);

/// A peer that asks for a torrent.
pub(crate) struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) stream: TcpStream,
    pub(crate) greeting: Greeting,
}

/// Torrents by info-hash, and a number for each time that one is opened.
type Open = BTreeMap<([u8; 20], u64), mpsc::Sender<Caller>>;

/// Which torrents can be asked for.
#[derive(Default)]
pub(crate) struct Doors {
    open: Mutex<Open>,
    last: AtomicU64,
    listening: OnceLock<Listening>,
}

struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A torrent that can be asked for, as long as this is there.
pub(crate) struct Door {
    doors: Arc<Doors>,
    key: ([u8; 20], u64),
}

impl Drop for Door {
    fn drop(&mut self) {
        self.doors.open().remove(&self.key);
    }
}

impl Doors {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets peers ask for a torrent.
    pub(crate) fn add(self: &Arc<Doors>, info_hash: [u8; 20]) -> (Door, mpsc::Receiver<Caller>) {
        let (sender, callers) = mpsc::channel(WAITING);
        let key = (info_hash, self.last.fetch_add(1, Ordering::Relaxed));
        self.open().insert(key, sender);
        (Door { doors: Arc::clone(self), key }, callers)
    }

    /// The port at which peers can connect.
    pub(crate) fn port(&self) -> Option<u16> {
        self.listening.get().map(|listening| listening.address.port())
    }

    /// Brings a peer to what it asks for. One that asks for anything else, or waits behind too many, is left.
    fn bring(&self, caller: Caller) {
        let hash = caller.greeting.info_hash;
        let door = self.open().range((hash, 0)..=(hash, u64::MAX)).next().map(|(_, door)| door.clone());
        if let Some(door) = door {
            let _ = door.try_send(caller);
        }
    }
}

impl Client {
    /// Lets peers connect to us, at this address; where it is.
    ///
    /// # Errors
    /// When the address cannot be listened at, or another one is.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        // The listener must not keep alive what it is kept in.
        let doors = Arc::downgrade(&self.doors);
        let task = tokio::spawn(async move {
            let room = Arc::new(Semaphore::new(GREETING));
            loop {
                let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
                let (mut stream, address) = match listener.accept().await {
                    Ok((stream, address)) => (stream, canonical(address)),
                    Err(error) => {
                        tracing::debug!("cannot take a connection of a peer: {error}");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                let doors = doors.clone();
                tokio::spawn(async move {
                    let greeting = read_greeting(&mut stream).await;
                    drop(place);
                    if let (Ok(greeting), Some(doors)) = (greeting, doors.upgrade()) {
                        doors.bring(Caller { address, stream, greeting });
                    }
                });
            }
        });
        let taken = self.doors.listening.set(Listening { address, task });
        taken.map_err(|_| io::Error::new(io::ErrorKind::AddrInUse, "it listens already"))?;
        Ok(address)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::client::Options;

    #[tokio::test]
    async fn whoever_comes_over_ipv4_has_an_address_of_it() {
        let client = Client::new(Options::default()).unwrap();
        // A machine without IPv6 has no socket of both kinds.
        let Ok(address) = client.listen("[::]:0".parse().unwrap()).await else { return };
        let (_door, mut callers) = client.doors.add([7; 20]);
        let mut stream = TcpStream::connect(("127.0.0.1", address.port())).await.unwrap();
        let greeting = [&b"\x13BitTorrent protocol"[..], &[0; 8], &[7; 20], &[b'p'; 20]].concat();
        stream.write_all(&greeting).await.unwrap();
        assert_eq!(callers.recv().await.unwrap().address, stream.local_addr().unwrap());
    }
}
