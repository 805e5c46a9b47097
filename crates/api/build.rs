//! Compiles the worker link's .proto in pure Rust, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/worker.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto/worker.proto");
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
