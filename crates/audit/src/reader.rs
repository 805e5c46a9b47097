//! From the bytes of a hub's answer to entries.

use bytes::{Buf, Bytes, BytesMut};
use pumasi_log::format::{Malformed, WIRE_HEADER, WireHeader};
use pumasi_log::{Entry, Seq};

use crate::{AuditError, Finding};

/// The longest payload that is taken, in bytes: more than any hub lets into one entry.
const PAYLOAD_MAX: u32 = 64 << 20;

/// Takes in bytes as they come, gives out whole entries.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: BytesMut,
    header: Option<WireHeader>,
    last: Seq,
}

impl Reader {
    /// Takes in the next bytes.
    pub fn push(&mut self, bytes: &Bytes) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next entry; none until more bytes are there. Its hash is that of its content.
    ///
    /// # Errors
    /// When the bytes are not an entry.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, AuditError> {
        if self.header.is_none() {
            let Some((header, _)) = self.bytes.split_first_chunk::<WIRE_HEADER>() else { return Ok(None) };
            let header = WireHeader::decode(header).map_err(|error| self.no_entry(error))?;
            if header.payload_bytes > PAYLOAD_MAX {
                let problem = format!("it has {} bytes", header.payload_bytes);
                return Err(Finding::NoEntry { after: self.last, problem }.into());
            }
            self.bytes.advance(WIRE_HEADER);
            self.header = Some(header);
        }
        let Some(header) = self.header.take_if(|header| self.bytes.len() >= header.payload_bytes as usize)
        else {
            return Ok(None);
        };
        let payload = self.bytes.split_to(header.payload_bytes as usize).freeze();
        let entry = header.with(payload).map_err(|error| self.no_entry(error))?;
        self.last = entry.seq;
        Ok(Some(entry))
    }

    /// There are no more bytes: none may be left over.
    ///
    /// # Errors
    /// When they end within an entry.
    pub fn finish(&self) -> Result<(), AuditError> {
        if self.bytes.is_empty() && self.header.is_none() {
            return Ok(());
        }
        Err(Finding::NoEntry { after: self.last, problem: "it ends within it".to_owned() }.into())
    }

    fn no_entry(&self, error: Malformed) -> Finding {
        let problem = match error {
            Malformed::Newer(version) => {
                format!("it has version {version}, which this program does not read")
            }
            Malformed::Wrong { expected, found } => format!("expected {expected}, found {found}"),
        };
        Finding::NoEntry { after: self.last, problem }
    }
}
