//! What a stranger shows as its certificate, and what stands for keys in files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_api::tls::{Fingerprint, MachineIdentity, machine_key};

fuzz_target!(|data: &[u8]| {
    let certificate = rustls_pki_types::CertificateDer::from(data);
    assert_eq!(machine_key(&certificate), machine_key(&certificate));
    let _ = Fingerprint::of(data);
    if let Ok(machine) = MachineIdentity::new(data) {
        assert_eq!(MachineIdentity::new(data).expect("it was one").machine_key(), machine.machine_key());
    }
});
