//! What the hub fetches while it is killed, and what its user is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::scene::{Scene, noise};

/// A web server that sends half of a file and then waits, and the rest when only that is asked for.
struct Halting {
    address: SocketAddr,
    /// From where each request asked for bytes.
    asked: Arc<Mutex<Vec<Option<usize>>>>,
}

impl Halting {
    fn start(body: Vec<u8>) -> Halting {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Halting { address: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (body, asked) = (body.clone(), Arc::clone(&asked));
                std::thread::spawn(move || {
                    let head: Vec<String> = BufReader::new(stream.try_clone().unwrap())
                        .lines()
                        .map_while(Result::ok)
                        .take_while(|line| !line.is_empty())
                        .map(|line| line.to_ascii_lowercase())
                        .collect();
                    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
                    if header("if-none-match: ").is_some() {
                        return stream.write_all(b"HTTP/1.1 304 -\r\netag: \"v1\"\r\n\r\n");
                    }
                    let from = header("range: bytes=").and_then(|from| from.strip_suffix('-')?.parse().ok());
                    asked.lock().unwrap().push(from);
                    let (start, length) = (from.unwrap_or(0), body.len());
                    let status = if from.is_some() { 206 } else { 200 };
                    let range = format!("content-range: bytes {start}-{}/{length}", length - 1);
                    let head = format!(
                        "HTTP/1.1 {status} -\r\netag: \"v1\"\r\n{range}\r\ncontent-length: {}\r\n\r\n",
                        length - start
                    );
                    stream.write_all(head.as_bytes())?;
                    if from.is_some() {
                        return stream.write_all(&body[start..]);
                    }
                    stream.write_all(&body[..length / 2])?;
                    std::thread::sleep(Duration::from_secs(90));
                    Ok(())
                });
            }
        });
        server
    }
}

#[test]
fn a_hub_that_crashes_during_a_download_goes_on_where_it_was() {
    let body = noise(9, 24 << 20);
    let server = Halting::start(body.clone());
    let url = format!("http://{}/data.bin", server.address);
    let mut scene = Scene::with(&["--downloads-from", &server.address.to_string()]);
    let alice = scene.person("alice");
    let (home, token) = (alice.path(""), alice.token());
    let told = alice.ok(&["fetch-url", &url, ":in/"]);
    assert!(told.contains("the hub fetches") && told.contains("pumasi downloads --watch"), "{told}");
    let until = Instant::now() + Duration::from_secs(60);
    let half = || alice.json(&["downloads"])[0]["got_bytes"].as_u64() >= Some(12 << 20);
    while !half() {
        assert!(Instant::now() < until, "half of it comes");
        std::thread::sleep(Duration::from_millis(50));
    }
    let note = scene.hub_folder().join("downloads/1/origin.json");
    let is_noted = || {
        let note = std::fs::read(&note).unwrap_or_default();
        let note: serde_json::Value = serde_json::from_slice(&note).unwrap_or_default();
        note["durable"].as_u64() >= Some(12 << 20)
    };
    while !is_noted() {
        assert!(Instant::now() < until, "half of it is noted as durable");
        std::thread::sleep(Duration::from_millis(50));
    }
    scene.crash();

    let alice = scene.again(&token, &home);
    let told = alice.ok(&["downloads", "--watch"]);
    assert!(told.contains("lies in alice:in (24 MiB)"), "{told}");
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked, [None, Some(12 << 20)]);
    alice.ok(&["get", ":in/data.bin", "back"]);
    assert!(std::fs::read(alice.path("back")).unwrap() == body);

    // The server says that it is the same: nothing is fetched.
    let told = alice.ok(&["fetch-url", &url, ":again.bin", "--wait"]);
    assert!(told.contains("24 MiB of it were here already"), "{told}");
    assert_eq!(server.asked.lock().unwrap().len(), 2);
    assert_eq!(alice.names(":"), ["again.bin", "in/data.bin"]);

    // What was over meanwhile is told once, and left to programs to ask for.
    alice.json(&["downloads"]);
    let told = || String::from_utf8(alice.run(&["downloads"]).stderr).unwrap();
    let news = "Download 2 is done: 1 file (24 MiB) in alice:again.bin. 24 MiB of it were here already.";
    assert_eq!(told(), format!("since you last looked:\n  {news}\n"));
    assert_eq!(told(), "");

    let (code, told) = alice.fails(&["fetch-url", "http://127.0.0.1:1/x"]);
    assert!(code == 5 && told.contains("private address"), "{code} {told}");
    let (code, told) = alice.fails(&["fetch-url", "gopher://files.example/x"]);
    assert!(code == 2 && told.contains("does not fetch"), "{code} {told}");
    let (code, told) = alice.fails(&["downloads", "pause", "77"]);
    assert!(code == 6 && told.contains("no download 77"), "{code} {told}");
}
