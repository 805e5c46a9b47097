//! Torrent files, magnet links, what trackers and nodes of the DHT answer, and what peers say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_fetch::{Magnet, Torrent, dht_answer, messages_of, peers_of};

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|data: &[u8]| {
    if let Ok(torrent) = Torrent::parse(data) {
        let names = torrent.files.iter().flat_map(|file| &file.names);
        assert!(names.clone().all(|name| !name.contains('/') && !name.is_empty() && name != ".." && name != "."));
        assert!(torrent.length(&[]).is_ok());
        let again = Torrent::parse(&torrent.file()).expect("what is written is read");
        assert_eq!((again.info_hash, &again.trackers), (torrent.info_hash, &torrent.trackers));
    }
    if let Ok(magnet) = std::str::from_utf8(data).map_or(Err(()), |text| Magnet::parse(text).map_err(drop)) {
        assert_eq!(Magnet::parse(&magnet.bare()).map(|bare| bare.info_hash), Ok(magnet.info_hash));
    }
    let _ = peers_of(data);
    assert!(dht_answer(data).len() <= 2 * (16 + 100));
    RUNTIME.with(|runtime| runtime.block_on(messages_of(data)));
});
