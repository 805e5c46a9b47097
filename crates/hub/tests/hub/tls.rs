//! Certificates: self-made and kept, pinned by clients; the operator's own; connections that say nothing.

use std::time::Duration;

use crate::common::*;
use pumasi_api::client::{ClientError, HubClient};
use pumasi_api::link::{Hello, from_worker};
use pumasi_api::tls::{Fingerprint, MachineIdentity, Pin};
use pumasi_api::wire;
use pumasi_hub::{ServeError, start};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn the_certificate_stays_and_only_the_pinned_one_is_taken() {
    let hub = TestHub::with(|options| options.tls = true).await;
    let print = hub.running.fingerprint().to_owned();
    let info: wire::HubInfo = hub.operator().get("/v1/hub").await.unwrap();
    assert_eq!(info.fingerprint, print);
    let alice = hub.researcher("alice", "10").await;
    let ordered = submit(&alice, 1, "10").await;
    let machine = MachineIdentity::new(&MachineIdentity::generate()).unwrap();
    let bob = hub.owner("bob").await.for_machine(machine.clone());
    FakeWorker::attach(&bob, hello_of(&machine)).await.work(1, |_| Finding::printed(5, "")).await;
    assert_eq!(wait(&alice, &ordered).await.state, "succeeded");

    let wrong = Pin::Known(Fingerprint::of(b"another certificate"));
    let token = hub.operator_token().parse().unwrap();
    let deceived = HubClient::new(alice.address().clone(), wrong, Some(token));
    let error = deceived.get::<wire::Account>("/v1/me").await.unwrap_err();
    assert!(matches!(error, ClientError::Pinned { .. }), "{error}");

    let hub = hub.restarted().await;
    assert_eq!(hub.running.fingerprint(), print, "it is made once");
    let key = std::fs::metadata(hub.data().join("tls.key.pem")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key) & 0o777, 0o600);
    // Plain text is not answered.
    let mut plain = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET /v1/hub HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

fn hello_of(machine: &MachineIdentity) -> Hello {
    Hello { machine_key: machine.machine_key().to_vec(), ..hello(1, 1) }
}

#[tokio::test]
async fn a_stolen_token_cannot_speak_for_a_machine() {
    let hub = TestHub::with(|options| options.tls = true).await;
    let made = || MachineIdentity::new(&MachineIdentity::generate()).unwrap();
    let (machine, thiefs) = (made(), made());
    let bob = hub.owner("bob").await;
    let home = bob.clone().for_machine(machine.clone());
    let first = FakeWorker::attach(&home, hello_of(&machine)).await;

    let attach = async |client: &HubClient, claimed: Hello| {
        let first = message(from_worker::Message::Hello(claimed));
        let (to, mut from) = open_link(client, first).await?;
        let heard = from.message().await;
        drop(to);
        heard
    };
    // Bob's token with the key of the thief's machine, and with none at all.
    for client in [&bob.clone().for_machine(thiefs.clone()), &bob] {
        let status = attach(client, hello_of(&machine)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
        assert!(status.message().contains("certificate"), "{status}");
    }
    // Its own machine the thief can bring, as another worker: what it earns is bob's.
    let thief = bob.clone().for_machine(thiefs.clone());
    let second = FakeWorker::attach(&thief, hello_of(&thiefs)).await;
    assert_ne!(second.id, first.id);
    // The machine is known again by its key, and by nothing else.
    drop(first);
    assert_eq!(FakeWorker::attach(&home, hello_of(&machine)).await.id, 1);
}

#[tokio::test]
async fn programs_without_a_certificate_are_served() {
    let hub = TestHub::with(|options| options.tls = true).await;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let certificate = rustls_pki_types::pem::PemObject::from_pem_file(hub.data().join("tls.cert.pem"));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let mut tls = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        let request = b"GET /v1/hub HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut tls, request).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut answer)).await.expect("it is closed");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn the_operators_own_certificate_is_used_and_a_bad_one_named() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("own.pem"), dir.path().join("own.key"));
    let made = rcgen::generate_simple_self_signed(["hub.example".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut options = options(&dir.path().join("data"));
    options.tls = true;
    options.certificate = Some((certificate.clone(), key.clone()));
    let running = start(options.clone()).await.unwrap();
    assert_eq!(running.fingerprint(), Fingerprint::of(made.cert.der()).to_string());
    running.stop().await.unwrap();
    for (broken, file) in [(&certificate, "own.pem"), (&key, "own.key")] {
        let good = std::fs::read(broken).unwrap();
        std::fs::write(broken, "nothing").unwrap();
        let error = start(options.clone()).await.map(|_| ()).unwrap_err();
        assert!(matches!(error, ServeError::Certificate { .. }), "{error}");
        assert!(error.to_string().contains(file), "{error}");
        std::fs::write(broken, good).unwrap();
    }
    start(options).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_delay_a_stop() {
    for tls in [false, true] {
        let hub = TestHub::with(|options| options.tls = tls).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(tokio::net::TcpStream::connect(hub.address()).await.unwrap());
        }
        hub.operator().get::<wire::Account>("/v1/me").await.unwrap();
        let stopped = tokio::time::timeout(Duration::from_secs(9), hub.running.stop()).await;
        stopped.expect("long before the drain runs out").unwrap();
    }
}
