//! The table of host functions that every guest can import.

use wasmtime::{Caller, Extern, Linker};

use super::abi::{Answer, Fault, Memory};
use super::{CALL_FUEL, Call, Guest, Halt, clock, fd, path, process};

/// The module name that guests import from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// Runs one host function: pays for it, gives it the guest's memory, turns its answer into a number.
fn enter(
    caller: &mut Caller<'_, Guest>,
    body: impl FnOnce(&mut Call<'_>) -> Answer,
) -> wasmtime::Result<u32> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        // Called by the start function, before the instance is known.
        None => match caller.get_export("memory") {
            Some(Extern::Memory(memory)) => *caller.data_mut().memory.insert(memory),
            _ => return Err(Halt::Host("the module exports no memory".to_owned()).into()),
        },
    };
    let fuel_left = caller.get_fuel()?;
    let (bytes, guest) = memory.data_and_store_mut(&mut *caller);
    guest.fuel_left = fuel_left;
    let answer = guest.spend(CALL_FUEL).and_then(|()| body(&mut Call { memory: Memory(bytes), guest }));
    let fuel_left = caller.data().fuel_left;
    caller.set_fuel(fuel_left)?;
    match answer {
        Ok(()) => Ok(0),
        Err(Fault::Errno(errno)) => Ok(errno as u32),
        Err(Fault::Halt(halt)) => Err(halt.into()),
    }
}

/// Each line offers one host function: its name, its parameters, and what carries it out.
macro_rules! offer {
    ($($name:ident($($arg:ident: $type:ty),* $(,)?) => $body:expr;)*) => {
        /// Names of all functions of preview 1.
        pub(crate) const OFFERED: &[&str] = &["proc_exit", $(stringify!($name)),*];

        /// Offers all of preview 1, so that any program that only imports it can be instantiated.
        pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
            $(linker.func_wrap(
                MODULE,
                stringify!($name),
                |mut caller: Caller<'_, Guest>, $($arg: $type),*| -> wasmtime::Result<u32> {
                    let body: fn(&mut Call<'_>, $($type),*) -> Answer = $body;
                    enter(&mut caller, |call| body(call, $($arg),*))
                },
            )?;)*
            linker.func_wrap(MODULE, "proc_exit", |_: Caller<'_, Guest>, code: u32| -> wasmtime::Result<()> {
                Err(Halt::Exit(code).into())
            })?;
            Ok(())
        }
    };
}

offer! {
    args_get(list: u32, bytes: u32) => process::args_get;
    args_sizes_get(count: u32, size: u32) => process::args_sizes_get;
    environ_get(list: u32, bytes: u32) => process::environ_get;
    environ_sizes_get(count: u32, size: u32) => process::environ_sizes_get;
    proc_raise(signal: u32) => process::raise;
    sched_yield() => |_| Ok(());

    clock_res_get(id: u32, to: u32) => clock::resolution;
    clock_time_get(id: u32, _precision: u64, to: u32) => |call, id, _, to| clock::time(call, id, to);
    poll_oneoff(subscriptions: u32, events: u32, count: u32, to: u32) => clock::poll;
    random_get(to: u32, len: u32) => clock::random;

    fd_advise(fd: u32, _from: u64, _len: u64, _advice: u32) => |call, fd, _, _, _| fd::advise(call, fd);
    fd_allocate(fd: u32, from: u64, len: u64) => fd::allocate;
    fd_close(fd: u32) => fd::close;
    fd_datasync(fd: u32) => fd::sync;
    fd_fdstat_get(fd: u32, to: u32) => fd::fdstat_get;
    fd_fdstat_set_flags(fd: u32, flags: u32) => fd::fdstat_set_flags;
    fd_fdstat_set_rights(fd: u32, base: u64, _inheriting: u64) => |call, fd, base, _| fd::set_rights(call, fd, base);
    fd_filestat_get(fd: u32, to: u32) => fd::filestat_get;
    fd_filestat_set_size(fd: u32, size: u64) => fd::set_size;
    fd_filestat_set_times(fd: u32, access: u64, change: u64, flags: u32) => fd::set_times;
    fd_pread(fd: u32, list: u32, count: u32, at: u64, to: u32) => fd::pread;
    fd_prestat_get(fd: u32, to: u32) => fd::prestat_get;
    fd_prestat_dir_name(fd: u32, to: u32, len: u32) => fd::prestat_dir_name;
    fd_pwrite(fd: u32, list: u32, count: u32, at: u64, to: u32) => fd::pwrite;
    fd_read(fd: u32, list: u32, count: u32, to: u32) => fd::read;
    fd_readdir(fd: u32, buffer: u32, len: u32, cookie: u64, to: u32) => fd::readdir;
    fd_renumber(from: u32, to: u32) => fd::renumber;
    fd_seek(fd: u32, offset: i64, whence: u32, to: u32) => fd::seek;
    fd_sync(fd: u32) => fd::sync;
    fd_tell(fd: u32, to: u32) => fd::tell;
    fd_write(fd: u32, list: u32, count: u32, to: u32) => fd::write;

    path_create_directory(fd: u32, at: u32, len: u32) => path::create_directory;
    path_filestat_get(fd: u32, _flags: u32, at: u32, len: u32, to: u32) =>
        |call, fd, _, at, len, to| path::filestat_get(call, fd, at, len, to);
    path_filestat_set_times(
        fd: u32, _lookup: u32, at: u32, len: u32, access: u64, change: u64, flags: u32
    ) => |call, fd, _, at, len, access, change, flags| {
        path::set_times(call, fd, (at, len), (access, change), flags)
    };
    path_link(from: u32, _flags: u32, at: u32, len: u32, to: u32, to_at: u32, to_len: u32) =>
        |call, from, _, at, len, _, _, _| path::unsupported(call, from, at, len);
    path_open(
        fd: u32, _lookup: u32, at: u32, len: u32, oflags: u32,
        base: u64, _inheriting: u64, fdflags: u32, to: u32
    ) => |call, fd, _, at, len, oflags, base, _, fdflags, to| {
        path::open(call, fd, (at, len), path::OpenFlags { oflags, rights: base, fdflags }, to)
    };
    path_readlink(fd: u32, at: u32, len: u32, _to: u32, _to_len: u32, _used: u32) =>
        |call, fd, at, len, _, _, _| path::readlink(call, fd, at, len);
    path_remove_directory(fd: u32, at: u32, len: u32) => path::remove_directory;
    path_rename(fd: u32, at: u32, len: u32, to_fd: u32, to_at: u32, to_len: u32) =>
        |call, fd, at, len, to_fd, to_at, to_len| path::rename(call, (fd, at, len), (to_fd, to_at, to_len));
    path_symlink(_target: u32, _target_len: u32, fd: u32, at: u32, len: u32) =>
        |call, _, _, fd, at, len| path::unsupported(call, fd, at, len);
    path_unlink_file(fd: u32, at: u32, len: u32) => path::unlink_file;

    sock_accept(fd: u32, _flags: u32, _to: u32) => |call, fd, _, _| fd::not_a_socket(call, fd);
    sock_recv(fd: u32, _list: u32, _count: u32, _flags: u32, _to: u32, _out: u32) =>
        |call, fd, _, _, _, _, _| fd::not_a_socket(call, fd);
    sock_send(fd: u32, _list: u32, _count: u32, _flags: u32, _to: u32) =>
        |call, fd, _, _, _, _| fd::not_a_socket(call, fd);
    sock_shutdown(fd: u32, _how: u32) => |call, fd, _| fd::not_a_socket(call, fd);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_preview_1_is_offered() {
        let names: std::collections::BTreeSet<_> = OFFERED.iter().collect();
        assert_eq!(names.len(), 46, "preview 1 has 46 functions");
        assert_eq!(names.len(), OFFERED.len());
    }
}
