//! Where stdout, stderr and the files of an encoded output lie in it, found without reading them.

use std::ops::Range;

use super::{DecodeError, MAGIC, PATH_LEN_MAX, Problem, VERSION, check_paths};

/// Bytes that are asked for at once: more than stands between two contents.
const WINDOW: u64 = 8 << 10;
const _: () = assert!(WINDOW > 2 + PATH_LEN_MAX as u64 + 8);
/// The most files that are looked for: each takes memory.
pub const FILES_MAX: u32 = 100_000;

/// Where everything lies, in bytes from the beginning of the encoded output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Standard output.
    pub stdout: Range<u64>,
    /// Standard error.
    pub stderr: Range<u64>,
    /// Files below /out by their paths there, which ascend.
    pub files: Vec<(String, Range<u64>)>,
}

/// Where the streams of an output lie, in bytes from the beginning of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Standard output.
    pub stdout: Range<u64>,
    /// Standard error.
    pub stderr: Range<u64>,
}

impl Parts {
    /// Where the file of this path lies.
    pub fn file(&self, path: &str) -> Option<Range<u64>> {
        let at = self.files.binary_search_by(|(other, _)| other.as_str().cmp(path)).ok()?;
        Some(self.files[at].1.clone())
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Magic, version and the length of stdout.
    Begin,
    /// The length of stderr.
    Stderr,
    /// The number of files.
    Count,
    /// So many files.
    Files(u32),
    /// So many that they are not looked for.
    TooMany(u32),
}

/// Finds the parts of an output: give it the bytes that it wants until it wants none.
#[derive(Debug)]
pub struct Finder {
    /// Length of the encoded output.
    length: u64,
    /// How far it is.
    at: u64,
    stage: Stage,
    parts: Parts,
}

impl Finder {
    /// For an encoded output of so many bytes.
    pub fn new(length: u64) -> Finder {
        Finder { length, at: 0, stage: Stage::Begin, parts: Parts::default() }
    }

    /// Which bytes it needs; none when all is found.
    pub fn wants(&self) -> Option<Range<u64>> {
        let is_over = matches!(self.stage, Stage::Files(0) | Stage::TooMany(_));
        (!is_over).then(|| self.at..self.length.min(self.at + WINDOW))
    }

    /// Looks at the bytes that it wanted.
    ///
    /// # Errors
    /// When they are not those of an output.
    pub fn give(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        let begin = self.at;
        while self.wants().is_some() {
            let skipped = usize::try_from(self.at - begin).unwrap_or(usize::MAX);
            let found = bytes.get(skipped..).map(|rest| self.step(rest)).transpose()?;
            if found != Some(true) {
                break;
            }
        }
        if self.at == begin { Err(Problem::Truncated.into()) } else { Ok(()) }
    }

    /// The streams, as soon as they are found: they come first, and however many files are behind them.
    pub fn streams(&self) -> Option<Streams> {
        let found = !matches!(self.stage, Stage::Begin | Stage::Stderr);
        let Parts { stdout, stderr, .. } = &self.parts;
        found.then(|| Streams { stdout: stdout.clone(), stderr: stderr.clone() })
    }

    /// The parts, when it wants nothing any more.
    ///
    /// # Errors
    /// What [`TaskOutput::decode`](super::TaskOutput::decode) says of such an output, or that there are too many files.
    pub fn finish(self) -> Result<Parts, DecodeError> {
        if let Stage::TooMany(count) = self.stage {
            return Err(Problem::TooManyFiles(count).into());
        }
        if self.wants().is_some() {
            return Err(Problem::Truncated.into());
        }
        if self.at < self.length {
            let behind = usize::try_from(self.length - self.at).unwrap_or(usize::MAX);
            return Err(Problem::TrailingBytes(behind).into());
        }
        let paths: Vec<&str> = self.parts.files.iter().map(|(path, _)| path.as_str()).collect();
        check_paths(&paths)?;
        Ok(self.parts)
    }

    /// Takes the next thing at the beginning of these bytes; whether it is there as a whole.
    fn step(&mut self, bytes: &[u8]) -> Result<bool, Problem> {
        let mut rest = bytes;
        match self.stage {
            Stage::Begin => {
                let Some((head, length)) = take::<5>(&mut rest).zip(take::<8>(&mut rest)) else {
                    return Ok(false);
                };
                match head {
                    [a, b, c, d, VERSION] if [a, b, c, d] == MAGIC => {}
                    [a, b, c, d, version] if [a, b, c, d] == MAGIC => return Err(Problem::Version(version)),
                    _ => return Err(Problem::NotAnOutput),
                }
                self.parts.stdout = self.content(5 + 8, length)?;
                self.stage = Stage::Stderr;
            }
            Stage::Stderr => {
                let Some(length) = take::<8>(&mut rest) else { return Ok(false) };
                self.parts.stderr = self.content(8, length)?;
                self.stage = Stage::Count;
            }
            Stage::Count => {
                let Some(count) = take::<4>(&mut rest).map(u32::from_le_bytes) else { return Ok(false) };
                self.at += 4;
                self.stage = if count > FILES_MAX { Stage::TooMany(count) } else { Stage::Files(count) };
            }
            Stage::TooMany(_) => return Ok(false),
            Stage::Files(left) => {
                let Some(path_length) = take::<2>(&mut rest).map(u16::from_le_bytes) else {
                    return Ok(false);
                };
                let path_length = usize::from(path_length);
                if path_length > PATH_LEN_MAX {
                    return Err(Problem::BadPath(Some(super::PathError::TooLong)));
                }
                let Some((path, mut behind)) = rest.split_at_checked(path_length) else { return Ok(false) };
                let Some(length) = take::<8>(&mut behind) else { return Ok(false) };
                let path = std::str::from_utf8(path).map_err(|_| Problem::BadPath(None))?;
                let content = self.content(2 + path_length as u64 + 8, length)?;
                self.parts.files.push((path.to_owned(), content));
                self.stage = Stage::Files(left - 1);
            }
        }
        Ok(true)
    }

    /// Passes over a content of this length, which begins so many bytes from here.
    fn content(&mut self, head: u64, length: [u8; 8]) -> Result<Range<u64>, Problem> {
        let begin = self.at + head;
        let end = begin.checked_add(u64::from_le_bytes(length)).filter(|end| *end <= self.length);
        self.at = end.ok_or(Problem::Truncated)?;
        Ok(begin..self.at)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::{OutputFile, TaskOutput};
    use super::*;

    fn find(encoded: &[u8]) -> Result<Parts, DecodeError> {
        let mut finder = Finder::new(encoded.len() as u64);
        while let Some(wanted) = finder.wants() {
            finder.give(&encoded[wanted.start as usize..wanted.end as usize])?;
        }
        finder.finish()
    }

    /// What lies at the parts must be what decoding finds, and both must find fault with the same.
    fn check(encoded: &[u8]) {
        let cut =
            |range: &Range<u64>| Bytes::copy_from_slice(&encoded[range.start as usize..range.end as usize]);
        let found = find(encoded).map(|parts| TaskOutput {
            stdout: cut(&parts.stdout),
            stderr: cut(&parts.stderr),
            files: parts
                .files
                .iter()
                .map(|(path, at)| OutputFile { path: path.clone(), bytes: cut(at) })
                .collect(),
        });
        assert_eq!(found.ok(), TaskOutput::decode(Bytes::copy_from_slice(encoded)).ok());
    }

    fn output(sizes: &[usize]) -> TaskOutput {
        let bytes = |size: usize| Bytes::from(vec![b'x'; size]);
        let file = |(n, size): (usize, &usize)| OutputFile { path: format!("d/{n:05}"), bytes: bytes(*size) };
        TaskOutput {
            stdout: bytes(sizes.first().copied().unwrap_or(0)),
            stderr: bytes(sizes.last().copied().unwrap_or(0)),
            files: sizes.iter().enumerate().map(file).collect(),
        }
    }

    #[test]
    fn parts_are_found_whatever_lies_between_them() {
        for sizes in [&[][..], &[0], &[8_170, 8_192, 20], &[100_000, 0, 30_000], &[1; 3_000]] {
            let output = output(sizes);
            let encoded = output.encode();
            check(&encoded);
            let parts = find(&encoded).unwrap();
            let named = output.files.first().and_then(|file| parts.file(&file.path));
            assert_eq!(named.is_some(), !sizes.is_empty());
            assert_eq!(parts.file("none"), None);
        }
        let many = [&output(&[]).encode()[..21], &(FILES_MAX + 1).to_le_bytes()].concat();
        assert_eq!(find(&many).unwrap_err().problem, Problem::TooManyFiles(FILES_MAX + 1));
    }

    #[test]
    fn streams_are_found_before_files_and_however_many_there_are() {
        let empty = output(&[]).encode();
        let streams = |stdout: &[u8], stderr: &[u8], files: u32| {
            let length = |bytes: &[u8]| (bytes.len() as u64).to_le_bytes();
            let head = [&empty[..5], &length(stdout), stdout, &length(stderr), stderr].concat();
            let encoded = [&head[..], &files.to_le_bytes()].concat();
            let mut finder = Finder::new(encoded.len() as u64);
            while finder.streams().is_none() {
                let wanted = finder.wants().unwrap();
                finder.give(&encoded[wanted.start as usize..wanted.end as usize]).unwrap();
            }
            let Streams { stdout, stderr } = finder.streams().unwrap();
            let cut = |range: Range<u64>| encoded[range.start as usize..range.end as usize].to_vec();
            (cut(stdout), cut(stderr))
        };
        for files in [0, 1, FILES_MAX + 1] {
            assert_eq!(streams(b"out", b"", files), (b"out".to_vec(), Vec::new()));
            let long = vec![b'x'; 20_000];
            assert_eq!(streams(&long, b"err", files), (long, b"err".to_vec()));
        }
    }

    proptest! {
        #[test]
        fn what_is_changed_or_cut_is_found_as_decoding_finds_it(
            sizes in proptest::collection::vec(0..5_000_usize, 0..6), at: prop::sample::Index, value: u8, cut: bool,
        ) {
            let mut encoded = output(&sizes).encode();
            let at = at.index(encoded.len());
            if cut { encoded.truncate(at) } else { encoded[at] = value }
            check(&encoded);
        }
    }
}
