//! Torrent files, magnet links and what trackers answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pumasi_fetch::{Magnet, Torrent, peers_of};

fuzz_target!(|data: &[u8]| {
    if let Ok(torrent) = Torrent::parse(data) {
        let names = torrent.files.iter().flat_map(|file| &file.names);
        assert!(names.clone().all(|name| !name.contains('/') && !name.is_empty() && name != ".." && name != "."));
        assert!(torrent.length(&[]).is_ok());
    }
    if let Ok(magnet) = std::str::from_utf8(data).map_or(Err(()), |text| Magnet::parse(text).map_err(drop)) {
        assert_eq!(Magnet::parse(&magnet.bare()).map(|bare| bare.info_hash), Ok(magnet.info_hash));
    }
    let _ = peers_of(data);
});
