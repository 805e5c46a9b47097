//! Bytes that came, on their way into the store.

use std::io::{self, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use pumasi_blobs::Writer;
use pumasi_types::{ByteSize, Hash};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::Trouble;

/// What is read at once, in bytes.
const READ_BYTES: u64 = 1 << 20;

/// Puts so many bytes of a file from `start` on into the store; their name and their SHA-256.
pub(super) async fn keep(
    writer: &mut Writer,
    path: &Path,
    start: u64,
    length: u64,
) -> Result<(Hash, Hash), Trouble> {
    let mut hasher = Sha256::new();
    let bytes = bytes_of(path, start, length).inspect_ok(|bytes| hasher.update(bytes));
    let stored = writer.put_stream(bytes, ByteSize(length)).await;
    let (blob, size) = stored?;
    if size.0 != length {
        return Err(Trouble::of_hub(&"what came is shorter than it was"));
    }
    Ok((blob, Hash::from_bytes(hasher.finalize().into())))
}

/// So many bytes of a file from `start` on; fewer when it ends before. Of none, it need not be there.
fn bytes_of(path: &Path, start: u64, length: u64) -> impl Stream<Item = io::Result<Bytes>> + use<> {
    let path = path.to_owned();
    let open = async move {
        if length == 0 {
            return Ok(None);
        }
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(start)).await?;
        io::Result::Ok(Some((file, length)))
    };
    let pieces = |opened: Option<(File, u64)>| {
        stream::try_unfold(opened, |opened| async move {
            let Some((mut file, left)) = opened else { return Ok(None) };
            let most = left.min(READ_BYTES);
            let mut buffer = Vec::with_capacity(most as usize);
            let count = (&mut file).take(most).read_to_end(&mut buffer).await? as u64;
            io::Result::Ok((count > 0).then(|| (Bytes::from(buffer), Some((file, left - count)))))
        })
    };
    stream::once(open).map_ok(pieces).try_flatten()
}
