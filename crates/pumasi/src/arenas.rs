//! glibc's malloc gives threads arenas of their own, up to eight for each core, and what is freed stays in its arena: storing a
//! million files then takes three times the memory that it needs, here and in a hub. How many there may be is read from the
//! environment when a program begins, so this one begins again, as the same process.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// What glibc reads (mallopt(3)).
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Begins this program again with an arena for each core, two at least and eight at most, unless somebody has said how many.
/// Where that fails it goes on as it is.
pub(crate) fn share() {
    if std::env::var_os(ARENAS).is_some() {
        return;
    }
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let mut again = Command::new(program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // Only a failure returns.
    let _ = again.args(arguments).env(ARENAS, cores.to_string()).exec();
}
