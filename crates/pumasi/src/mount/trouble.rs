//! Why something was not done, as programs are told by the kernel.

use std::io;

use fuser::Errno;
use pumasi_api::client::ClientError;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// Nothing lies there.
    #[error("nothing lies there")]
    Missing,
    /// Something lies there already.
    #[error("something lies there already")]
    Exists,
    /// A folder, where a file is needed.
    #[error("it is a folder")]
    IsFolder,
    /// A file, where a folder is needed.
    #[error("it is no folder")]
    NotAFolder,
    /// A folder in which something lies.
    #[error("the folder is not empty")]
    NotEmpty,
    /// The account may not.
    #[error("your account may not")]
    NotAllowed,
    /// The space is full.
    #[error("the space is full")]
    Full,
    /// Somebody else changed it meanwhile.
    #[error("somebody else changed it")]
    Changed,
    /// It makes no sense, such as moving a folder into itself.
    #[error("it makes no sense")]
    Invalid,
    /// A name that is too long or not UTF-8.
    #[error("its name is too long, or not UTF-8")]
    BadName,
    /// No such thing is possible here.
    #[error("it is not offered here")]
    Unsupported,
    /// An encrypted file that is not what was encrypted.
    #[error("its encrypted bytes were changed")]
    Damaged,
    /// The hub or this machine failed.
    #[error("the hub or this machine failed")]
    Io,
}

impl Trouble {
    /// The trouble that a code of the hub tells of.
    pub(super) fn of_code(code: &str) -> Trouble {
        match code {
            "no_file" | "no_version" => Trouble::Missing,
            "exists" => Trouble::Exists,
            "is_folder" => Trouble::IsFolder,
            "not_a_folder" => Trouble::NotAFolder,
            "folder_not_empty" => Trouble::NotEmpty,
            "no_access" | "no_space" => Trouble::NotAllowed,
            "quota_exceeded" => Trouble::Full,
            "changed" => Trouble::Changed,
            "into_itself" => Trouble::Invalid,
            _ => Trouble::Io,
        }
    }

    /// The number that programs know.
    pub(super) fn errno(self) -> Errno {
        match self {
            Trouble::Missing => Errno::ENOENT,
            Trouble::Exists => Errno::EEXIST,
            Trouble::IsFolder => Errno::EISDIR,
            Trouble::NotAFolder => Errno::ENOTDIR,
            Trouble::NotEmpty => Errno::ENOTEMPTY,
            Trouble::NotAllowed => Errno::EACCES,
            Trouble::Full => Errno::EDQUOT,
            Trouble::Changed => Errno::ESTALE,
            Trouble::Invalid => Errno::EINVAL,
            Trouble::BadName => Errno::ENAMETOOLONG,
            Trouble::Unsupported => Errno::ENOTSUP,
            Trouble::Damaged | Trouble::Io => Errno::EIO,
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Trouble {
        match &error {
            ClientError::Refused { status, body } => match (status.as_u16(), Trouble::of_code(&body.code)) {
                (401 | 403, Trouble::Io) => Trouble::NotAllowed,
                (_, trouble) => trouble,
            },
            _ => Trouble::Io,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        if error.kind() == io::ErrorKind::StorageFull { Trouble::Full } else { Trouble::Io }
    }
}
