//! Exit codes, as `pumasi --help` and the documents list them.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok,
    /// A task or job failed, or a check found damage.
    Failed,
    /// The command line is wrong.
    Usage,
    /// The hub cannot be reached, or cannot be believed to be itself.
    Unreachable,
    /// No valid token, or one that may not do this.
    NotAllowed,
    /// Not enough money, a conflict, a limit.
    Refused,
    /// No such thing.
    NotFound,
    /// A file of this machine cannot be read or written.
    LocalFile,
    /// Ctrl-C.
    Interrupted,
    /// The exit code of the one task that was run.
    Program(u8),
}

/// The list for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  a task or job failed, or a check found damage
    2  the command line is wrong
    3  the hub cannot be reached, or shows a wrong certificate
    4  not allowed: no valid token, or one without the role
    5  refused: not enough money, a conflict, a limit
    6  not found
    7  a file of this machine cannot be read or written
  130  interrupted with Ctrl-C

`pumasi run` of one task ends with that task's own exit code.";

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::NotAllowed => 4,
            Exit::Refused => 5,
            Exit::NotFound => 6,
            Exit::LocalFile => 7,
            Exit::Interrupted => 130,
            Exit::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
