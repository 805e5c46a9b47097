//! Keys of objects and what they name.

use pumasi_core::{FileKind, FileView};
use pumasi_types::FilePath;
use s3s::{S3Result, s3_error};

/// What a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A file.
    File(FilePath),
    /// A folder that stays though nothing lies in it: an empty object whose key ends with `/`.
    Folder(FilePath),
}

impl Key {
    /// The key of something that is to be put.
    ///
    /// # Errors
    /// `KeyTooLongError`, and `InvalidArgument` for what cannot be the path of a file.
    pub(crate) fn of_new(text: &str) -> S3Result<Key> {
        if text.len() > FilePath::BYTES {
            return Err(s3_error!(KeyTooLongError, "a key can have 1024 bytes"));
        }
        let (is_folder, path) = text.strip_suffix('/').map_or((false, text), |path| (true, path));
        let path: FilePath = path.parse().map_err(|error| s3_error!(InvalidArgument, "{error}"))?;
        if path.is_root() {
            return Err(s3_error!(InvalidArgument, "'{text}' cannot be the key of an object"));
        }
        Ok(if is_folder { Key::Folder(path) } else { Key::File(path) })
    }

    /// The key of something that may be there; none when nothing of the kind can be.
    pub(crate) fn of_old(text: &str) -> Option<Key> {
        Key::of_new(text).ok()
    }

    pub(crate) fn path(&self) -> &FilePath {
        match self {
            Key::File(path) | Key::Folder(path) => path,
        }
    }

    /// The path of a file.
    ///
    /// # Errors
    /// `InvalidArgument` for the key of a folder.
    pub(crate) fn into_file(self) -> S3Result<FilePath> {
        match self {
            Key::File(path) => Ok(path),
            Key::Folder(path) => {
                Err(s3_error!(InvalidArgument, "'{path}/' is the key of a folder: it has no bytes"))
            }
        }
    }
}

/// The key of what lies in a space; that of a folder ends with `/`.
pub(crate) fn key_of(view: &FileView) -> String {
    match view.kind {
        FileKind::File(_) => view.path.as_str().to_owned(),
        FileKind::Folder(_) => format!("{}/", view.path),
    }
}

/// A key as `encoding-type=url` wants it.
pub(crate) fn encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// What was written as in a query: `%XX` and `+` for a space; none when it is no text.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_or_folders() {
        let path = |text: &str| text.parse::<FilePath>().expect("a path");
        assert_eq!(Key::of_new("a/b").ok(), Some(Key::File(path("a/b"))));
        assert_eq!(Key::of_new("a/b/").ok(), Some(Key::Folder(path("a/b"))));
        for bad in ["", "/", "/a", "a//b", "a//", "../a", "a/./b", "a\0"] {
            assert!(Key::of_new(bad).is_err(), "{bad:?}");
        }
        let code = |text: &str| Key::of_new(text).expect_err("too long").code().as_str().to_owned();
        assert_eq!(code(&"x/".repeat(600)), "KeyTooLongError");
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let key = "a b/물%+&=~.txt\u{1}";
        assert_eq!(encoded(key), "a%20b/%EB%AC%BC%25%2B%26%3D~.txt%01");
        assert_eq!(decoded(&encoded(key)).as_deref(), Some(key));
        assert_eq!(decoded("a+b").as_deref(), Some("a b"));
        assert_eq!((decoded("%"), decoded("%4"), decoded("%zz"), decoded("%ff")), (None, None, None, None));
    }
}
