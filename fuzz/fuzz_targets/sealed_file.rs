//! Encrypted files: as they arrive, and a whole one that is changed in one place.
#![no_main]

use std::io::{Cursor, Read};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pumasi_seal::{Header, Key, Opener, Seal, SealedReader};

fuzz_target!(|data: &[u8]| {
    let key = Key::new([7; 32]);
    if let Ok(header) = Header::decode(data) {
        assert_eq!(header.to_string().parse(), Ok(header.clone()));
        if let Ok(seal) = Seal::open(&key, &header) {
            let mut opener = Opener::new(Arc::new(seal));
            let _ = data.chunks(777).try_for_each(|piece| opener.push(piece).map(drop));
            let _ = opener.finish();
        }
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = text.parse::<Key>()
    {
        assert_eq!(key.recovery_text().parse::<Key>().unwrap().id(), key.id());
    }
    // The first bytes say what is changed where, the rest is the content.
    let Some((&[place, change], content)) = data.split_first_chunk() else { return };
    let seal = Arc::new(Seal::of(&key, content).unwrap());
    let mut sealed = Vec::new();
    SealedReader::new(Cursor::new(content), seal.clone()).read_to_end(&mut sealed).unwrap();
    let at = usize::from(place) * sealed.len() / 256;
    sealed[at] ^= change;
    let mut opener = Opener::new(seal);
    let opened = opener.push(&sealed).and_then(|plain| opener.finish().map(|()| plain));
    assert_eq!(opened.is_ok(), change == 0);
    assert!(opened.is_err() || opened.as_deref() == Ok(content));
});
