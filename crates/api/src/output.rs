//! The canonical bytes of what a task produced: stdout, stderr and its files.
//!
//! Workers agree on a result when the BLAKE3 hashes of these bytes agree, so the same output has exactly
//! one encoding and [`TaskOutput::decode`] refuses any other. Layout of version 1, integers little-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 4 | magic `PMSO` |
//! | 1 | version, 1 |
//! | 8 + n | length of stdout, stdout |
//! | 8 + n | length of stderr, stderr |
//! | 4 | number of files |
//! | 2 + n, 8 + n | per file, in ascending byte order of the paths: path length, path, length, content |

pub mod parts;

use std::fmt;

use bytes::Bytes;
use pumasi_types::Hash;

const MAGIC: [u8; 4] = *b"PMSO";
const VERSION: u8 = 1;
/// Bytes of magic, version, both lengths and the number of files.
const FIXED_LEN: usize = 4 + 1 + 8 + 8 + 4;
/// The least a file takes: a path length, one byte of path and a length.
const FILE_LEN_MIN: usize = 2 + 1 + 8;

/// The longest path below /out, in bytes.
pub const PATH_LEN_MAX: usize = 4095;
/// The longest name of one file or folder, in bytes.
pub const NAME_LEN_MAX: usize = 255;

/// The encoding of an output without any bytes or files.
pub const EMPTY: [u8; FIXED_LEN] = *b"PMSO\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// BLAKE3 of [`EMPTY`], so that tasks without output need no hashing.
pub const EMPTY_HASH: Hash = Hash::from_bytes([
    0x68, 0x7f, 0x3e, 0x5a, 0x08, 0xb4, 0xab, 0x85, 0xf2, 0xbb, 0xd7, 0x32, 0x7d, 0x15, 0x35, 0xe9, 0x79,
    0xe2, 0xee, 0xf3, 0xc7, 0x90, 0xb4, 0xcf, 0x45, 0x65, 0xbe, 0x62, 0x1b, 0x9f, 0xfa, 0x1f,
]);

/// A file that a task left in /out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutputFile {
    /// Path below /out, as [`check_path`] allows.
    pub path: String,
    /// Content.
    pub bytes: Bytes,
}

/// What a task produced.
///
/// Files are in ascending byte order of their paths; [`TaskOutput::encode`] relies on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskOutput {
    /// Everything written to standard output.
    pub stdout: Bytes,
    /// Everything written to standard error.
    pub stderr: Bytes,
    /// Files below /out.
    pub files: Vec<OutputFile>,
}

/// What is wrong with a path of an output or input file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`PATH_LEN_MAX`], or a name in it longer than [`NAME_LEN_MAX`].
    #[error("it is longer than {PATH_LEN_MAX} bytes, or a name in it is longer than {NAME_LEN_MAX}")]
    TooLong,
    /// Empty, absolute, or with an empty, `.` or `..` part.
    #[error("it is empty, absolute, or has an empty, '.' or '..' part")]
    Escapes,
    /// A control character, which could deceive the terminal of a reader.
    #[error("it has a control character")]
    Control,
}

/// Whether `name` can name one file or folder.
///
/// # Errors
/// Says which rule the name breaks.
pub fn check_name(name: &str) -> Result<(), PathError> {
    match name {
        "" | "." | ".." => Err(PathError::Escapes),
        _ if name.len() > NAME_LEN_MAX => Err(PathError::TooLong),
        _ if name.contains('/') => Err(PathError::Escapes),
        _ if name.chars().any(char::is_control) => Err(PathError::Control),
        _ => Ok(()),
    }
}

/// Whether `path` is relative, below its start, and can be written to any folder of a receiver.
///
/// # Errors
/// Says which rule the path breaks.
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.len() > PATH_LEN_MAX {
        return Err(PathError::TooLong);
    }
    path.split('/').try_for_each(check_name)
}

/// Bytes that are no task output in its one canonical encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task output cannot be read: {problem}; the run must be repeated on another worker")]
pub struct DecodeError {
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with bytes that should be a task output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// They do not start with the magic bytes.
    NotAnOutput,
    /// A version that this program does not know.
    Version(u8),
    /// They end before a length in them is satisfied.
    Truncated,
    /// Bytes follow the last file.
    TrailingBytes(usize),
    /// A path is not UTF-8 or breaks a rule.
    BadPath(Option<PathError>),
    /// Paths do not ascend, or one repeats.
    Unsorted,
    /// A path is both a file and the folder of another file.
    FileIsFolder(String),
    /// More files than are looked for.
    TooManyFiles(u32),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::NotAnOutput => f.write_str("it does not start with PMSO"),
            Problem::Version(version) => write!(f, "its version is {version}, known is {VERSION}"),
            Problem::Truncated => f.write_str("it ends early"),
            Problem::TrailingBytes(count) => write!(f, "{count} bytes follow its end"),
            Problem::BadPath(None) => f.write_str("a path is not UTF-8"),
            Problem::BadPath(Some(error)) => write!(f, "a path is not allowed: {error}"),
            Problem::Unsorted => f.write_str("its paths do not ascend"),
            Problem::FileIsFolder(path) => write!(f, "'{path}' is both a file and a folder"),
            Problem::TooManyFiles(count) => write!(f, "it has {count} files"),
        }
    }
}

impl From<Problem> for DecodeError {
    fn from(problem: Problem) -> DecodeError {
        DecodeError { problem }
    }
}

impl TaskOutput {
    /// Whether the task produced nothing: its encoding is [`EMPTY`].
    pub fn is_empty(&self) -> bool {
        self.stdout.is_empty() && self.stderr.is_empty() && self.files.is_empty()
    }

    /// The length of [`TaskOutput::encode`], in bytes.
    pub fn encoded_len(&self) -> usize {
        let files: usize = self.files.iter().map(|f| 2 + f.path.len() + 8 + f.bytes.len()).sum();
        FIXED_LEN + self.stdout.len() + self.stderr.len() + files
    }

    /// The canonical bytes.
    ///
    /// # Panics
    /// When the files break what [`TaskOutput::decode`] demands of them: that is a mistake of the program
    /// that collected them.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.extend(MAGIC);
        bytes.push(VERSION);
        for stream in [&self.stdout, &self.stderr] {
            bytes.extend((stream.len() as u64).to_le_bytes());
            bytes.extend_from_slice(stream);
        }
        check_paths(&paths_of(&self.files)).expect("files of an output are sorted and their paths checked");
        let count = u32::try_from(self.files.len()).expect("fewer than 2^32 files");
        bytes.extend(count.to_le_bytes());
        for file in &self.files {
            bytes.extend((file.path.len() as u16).to_le_bytes());
            bytes.extend_from_slice(file.path.as_bytes());
            bytes.extend((file.bytes.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&file.bytes);
        }
        bytes
    }

    /// Reads what [`TaskOutput::encode`] wrote; contents share the memory of `encoded`.
    ///
    /// Takes memory in proportion to the bytes given, whatever lengths they claim.
    ///
    /// # Errors
    /// Whatever is not the one canonical encoding of an output.
    pub fn decode(encoded: Bytes) -> Result<TaskOutput, DecodeError> {
        let mut reader = Reader(encoded);
        if reader.array::<4>().ok() != Some(MAGIC) {
            return Err(Problem::NotAnOutput.into());
        }
        match reader.array::<1>()? {
            [VERSION] => {}
            [version] => return Err(Problem::Version(version).into()),
        }
        let stdout = reader.long()?;
        let stderr = reader.long()?;
        let count = u32::from_le_bytes(reader.array()?) as usize;
        if count > reader.0.len() / FILE_LEN_MIN {
            return Err(Problem::Truncated.into());
        }
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            let path_len = u16::from_le_bytes(reader.array()?);
            let path = reader.take(u64::from(path_len))?;
            let path = std::str::from_utf8(&path).map_err(|_| Problem::BadPath(None))?.to_owned();
            files.push(OutputFile { path, bytes: reader.long()? });
        }
        match reader.0.len() {
            0 => {}
            count => return Err(Problem::TrailingBytes(count).into()),
        }
        check_paths(&paths_of(&files))?;
        Ok(TaskOutput { stdout, stderr, files })
    }

    /// BLAKE3 of the canonical bytes: what workers must agree on, and the name of the blob.
    pub fn result_hash(&self) -> Hash {
        if self.is_empty() { EMPTY_HASH } else { Hash::of(&self.encode()) }
    }
}

/// Paths are allowed, ascend strictly, and none is the folder of another.
fn check_paths(paths: &[&str]) -> Result<(), Problem> {
    for path in paths {
        check_path(path).map_err(|error| Problem::BadPath(Some(error)))?;
    }
    if !paths.is_sorted_by(|a, b| a < b) {
        return Err(Problem::Unsorted);
    }
    for path in paths {
        for (slash, _) in path.match_indices('/') {
            let folder = &path[..slash];
            if paths.binary_search(&folder).is_ok() {
                return Err(Problem::FileIsFolder(folder.to_owned()));
            }
        }
    }
    Ok(())
}

fn paths_of(files: &[OutputFile]) -> Vec<&str> {
    files.iter().map(|file| file.path.as_str()).collect()
}

/// What is left of the bytes to decode.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, len: u64) -> Result<Bytes, Problem> {
        match usize::try_from(len) {
            Ok(len) if len <= self.0.len() => Ok(self.0.split_to(len)),
            _ => Err(Problem::Truncated),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.as_ref().try_into().expect("as many bytes as asked for"))
    }

    /// A length and as many bytes.
    fn long(&mut self) -> Result<Bytes, Problem> {
        let len = u64::from_le_bytes(self.array()?);
        self.take(len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, bytes: &'static [u8]) -> OutputFile {
        OutputFile { path: path.to_owned(), bytes: Bytes::from_static(bytes) }
    }

    fn example() -> TaskOutput {
        TaskOutput {
            stdout: Bytes::from_static(b"42\n"),
            stderr: Bytes::from_static(b"!"),
            files: vec![file("a/b", b"xy"), file("c", b"")],
        }
    }

    #[test]
    fn layout_is_fixed() {
        let expected = b"PMSO\x01\
            \x03\0\0\0\0\0\0\x00\x34\x32\n\
            \x01\0\0\0\0\0\0\0!\
            \x02\0\0\0\
            \x03\0a/b\x02\0\0\0\0\0\0\0xy\
            \x01\0c\0\0\0\0\0\0\0\0";
        assert_eq!(example().encode().escape_ascii().to_string(), expected.escape_ascii().to_string());
        assert_eq!(
            example().result_hash().to_string(),
            "f96a83c8a864cb3afb90187c5f399adce4af9831a26fa5101341201df2f1c211"
        );
    }

    #[test]
    fn empty_is_constant() {
        let empty = TaskOutput::default();
        assert!(empty.is_empty());
        assert_eq!(empty.encode(), EMPTY);
        assert_eq!(empty.result_hash(), Hash::of(&EMPTY));
        assert_eq!(TaskOutput::decode(Bytes::from_static(&EMPTY)).unwrap(), empty);
    }

    /// Encodes without the checks of [`TaskOutput::encode`].
    fn forge(files: &[(&[u8], u64, &[u8])], trailing: &[u8]) -> Bytes {
        let mut bytes = EMPTY.to_vec();
        bytes.truncate(FIXED_LEN - 4);
        bytes.extend((files.len() as u32).to_le_bytes());
        for (path, len, content) in files {
            bytes.extend((path.len() as u16).to_le_bytes());
            bytes.extend(*path);
            bytes.extend(len.to_le_bytes());
            bytes.extend(*content);
        }
        bytes.extend(trailing);
        bytes.into()
    }

    #[track_caller]
    fn refused(bytes: Bytes, expected: Problem) {
        assert_eq!(TaskOutput::decode(bytes).unwrap_err().problem, expected);
    }

    #[test]
    fn every_cut_is_refused() {
        let whole = Bytes::from(example().encode());
        for len in 0..whole.len() {
            assert!(TaskOutput::decode(whole.slice(..len)).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        refused(Bytes::new(), Problem::NotAnOutput);
        refused(Bytes::from_static(b"PMSX\x01"), Problem::NotAnOutput);
        refused(Bytes::from_static(b"PMSO\x02"), Problem::Version(2));
        refused(forge(&[], b"??"), Problem::TrailingBytes(2));
        refused(forge(&[(b"b", 0, b""), (b"a", 0, b"")], b""), Problem::Unsorted);
        refused(forge(&[(b"a", 0, b""), (b"a", 0, b"")], b""), Problem::Unsorted);
        refused(forge(&[(b"a", 9, b"x")], b""), Problem::Truncated);
        refused(forge(&[(b"a", u64::MAX, b"x")], b""), Problem::Truncated);
        refused(forge(&[(b"\xff", 0, b"")], b""), Problem::BadPath(None));
        // "a.b" stands between the file and what is in the folder of the same name.
        refused(
            forge(&[(b"a", 0, b""), (b"a.b", 0, b""), (b"a/b", 0, b"")], b""),
            Problem::FileIsFolder("a".to_owned()),
        );
        let mut lying = EMPTY.to_vec();
        lying[FIXED_LEN - 4..].fill(0xff);
        refused(lying.into(), Problem::Truncated);
    }

    #[test]
    fn paths_cannot_escape() {
        for path in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b", "a\nb", "\x1b[2J"] {
            assert!(check_path(path).is_err(), "{path:?}");
            let forged = forge(&[(path.as_bytes(), 0, b"")], b"");
            assert!(TaskOutput::decode(forged).is_err(), "{path:?}");
        }
        assert_eq!(check_path(&"n".repeat(NAME_LEN_MAX + 1)), Err(PathError::TooLong));
        assert_eq!(check_path(&"n/".repeat(PATH_LEN_MAX)), Err(PathError::TooLong));
        for path in ["a", "...", "..a", "a b", "é/ü", &"n".repeat(NAME_LEN_MAX)] {
            assert_eq!(check_path(path), Ok(()), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(
            stdout: Vec<u8>,
            stderr: Vec<u8>,
            files in proptest::collection::btree_map("[a-c]{1,2}(/[x-z]{1,2}){0,2}", any::<Vec<u8>>(), 0..6),
        ) {
            let files: Vec<OutputFile> =
                files.into_iter().map(|(path, bytes)| OutputFile { path, bytes: bytes.into() }).collect();
            prop_assume!(check_paths(&paths_of(&files)).is_ok());
            let output = TaskOutput { stdout: stdout.into(), stderr: stderr.into(), files };
            let encoded = Bytes::from(output.encode());
            prop_assert_eq!(encoded.len(), output.encoded_len());
            prop_assert_eq!(Hash::of(&encoded), output.result_hash());
            prop_assert_eq!(TaskOutput::decode(encoded).unwrap(), output);
        }

        /// Whatever decodes is the only encoding of what it decodes to.
        #[test]
        fn decoding_is_strict(position in 0_usize..200, byte: u8) {
            let mut bytes = example().encode();
            if let Some(old) = bytes.get_mut(position) {
                *old = byte;
            }
            if let Ok(output) = TaskOutput::decode(bytes.clone().into()) {
                prop_assert_eq!(output.encode(), bytes);
            }
        }

        #[test]
        fn noise_never_panics(noise: Vec<u8>) {
            let _ = TaskOutput::decode(noise.into());
        }
    }
}
