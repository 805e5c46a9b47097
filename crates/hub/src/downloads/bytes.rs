//! Bytes of a file as a stream, for the store.

use std::io::{self, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// What is read at once, in bytes.
const READ_BYTES: u64 = 1 << 20;

/// So many bytes of a file from `start` on; fewer when it ends before.
pub(super) fn bytes_of(
    path: &Path,
    start: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let path = path.to_owned();
    let open = async move {
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(start)).await?;
        io::Result::Ok((file, length))
    };
    let pieces = |opened: (File, u64)| {
        stream::try_unfold(opened, |(mut file, left)| async move {
            let most = left.min(READ_BYTES);
            let mut buffer = Vec::with_capacity(most as usize);
            let count = (&mut file).take(most).read_to_end(&mut buffer).await? as u64;
            io::Result::Ok((count > 0).then(|| (Bytes::from(buffer), (file, left - count))))
        })
    };
    stream::once(open).map_ok(pieces).try_flatten()
}
