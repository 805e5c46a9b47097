//! Compiles the worker link's .proto in pure Rust, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/worker.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto/worker.proto");
    // Whoever needs the messages only gets no service.
    let service = std::env::var_os("CARGO_FEATURE_CLIENT").is_some();
    tonic_prost_build::configure().build_client(service).build_server(service).compile_fds(descriptors)?;
    Ok(())
}
