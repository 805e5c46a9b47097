//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Whether there is somebody to ask.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks and reads a line; none when the input ends. Blocks.
pub(crate) fn ask(question: &str) -> Option<String> {
    let _ = write!(io::stderr(), "{question} ");
    let _ = io::stderr().flush();
    read_line()
}

/// Asks for something that is not shown while it is typed. Blocks.
pub(crate) fn ask_hidden(question: &str) -> Option<String> {
    let stdin = rustix::stdio::stdin();
    let Ok(before) = tcgetattr(stdin) else {
        return ask(question);
    };
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let _ = tcsetattr(stdin, OptionalActions::Now, &hidden);
    let answer = ask(question);
    let _ = tcsetattr(stdin, OptionalActions::Now, &before);
    let _ = writeln!(io::stderr());
    answer
}

/// The next line of standard input without its end; none when there is no more.
pub(crate) fn read_line() -> Option<String> {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}
