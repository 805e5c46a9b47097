//! Compiles one guest: for programs that embed the worker and cannot be started again themselves.

fn main() {
    pumasi_worker::engine::compile_guest(std::env::args_os().skip(1))
}
