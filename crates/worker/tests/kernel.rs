//! The calibration kernel that is checked in is the one that its text says.

#[test]
fn kernel_is_its_text() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/calibrate");
    let text = wat::parse_file(format!("{folder}/kernel.wat")).unwrap();
    let path = format!("{folder}/kernel.wasm");
    if std::env::var_os("PUMASI_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert!(kept == text, "write it anew: PUMASI_BLESS=1 cargo test -p pumasi-worker --test kernel");
}
