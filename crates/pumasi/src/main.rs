//! pumasi
fn main() {}
