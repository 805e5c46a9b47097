//! Connections on which nothing moves give their place to others.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that counts how often bytes moved.
pub(crate) struct Watched<S> {
    stream: S,
    moves: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    pub(crate) fn new(stream: S) -> (Watched<S>, Arc<AtomicU64>) {
        let moves = Arc::new(AtomicU64::new(0));
        (Watched { stream, moves: Arc::clone(&moves) }, moves)
    }

    fn moved(&self, bytes: usize) {
        if bytes > 0 {
            self.moves.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Resolves when no bytes moved for `span`, or up to twice as long.
pub(crate) async fn standstill(moves: Arc<AtomicU64>, span: Duration) {
    let mut before = None;
    loop {
        let now = moves.load(Ordering::Relaxed);
        if before.replace(now) == Some(now) {
            return;
        }
        tokio::time::sleep(span).await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.moved(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.moved(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.moved(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_moves_is_left_alone_and_what_stands_still_is_noticed() {
        let (near, mut far) = tokio::io::duplex(64);
        let (mut near, moves) = Watched::new(near);
        let span = Duration::from_millis(20);
        let still = tokio::spawn(standstill(moves, span));
        for _ in 0..10 {
            far.write_all(b"x").await.unwrap();
            near.read_u8().await.unwrap();
            tokio::time::sleep(span / 4).await;
        }
        assert!(!still.is_finished());
        still.await.unwrap();
    }
}
