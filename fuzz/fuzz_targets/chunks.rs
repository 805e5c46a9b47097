//! Recipes, in pieces of any length, and lists of chunks.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pumasi_chunks::list;
use pumasi_chunks::recipe::{Decoder, Encoder, Step};

/// What a recipe copies and brings, or nothing when it is none.
fn read(recipe: &Bytes, piece: usize) -> Option<Vec<Step>> {
    let (mut decoder, mut steps) = (Decoder::default(), Vec::new());
    for at in (0..recipe.len()).step_by(piece) {
        decoder.push(recipe.slice(at..recipe.len().min(at + piece)));
        while let Some(step) = decoder.step().ok()? {
            steps.push(step);
        }
    }
    decoder.finish().ok()?;
    Some(steps)
}

fuzz_target!(|data: &[u8]| {
    if let Ok(chunks) = list::decode(data) {
        assert_eq!(list::encode(&chunks), data);
    }
    let data = Bytes::copy_from_slice(data);
    let Some(steps) = read(&data, data.len().max(1)) else { return };
    assert!(read(&data, 1).is_some() && read(&data, 7).is_some());
    // What was understood means the same when it is written again.
    let bases = match steps.first() {
        Some(Step::Bases(bases)) => bases.clone(),
        other => panic!("a recipe begins with {other:?}"),
    };
    let mut encoder = Encoder::new(&bases);
    for step in &steps {
        match step {
            Step::Bases(_) => {}
            Step::Data(bytes) => encoder.data(bytes),
            Step::Copy { base, range } => {
                let number = bases.iter().position(|known| known == base).expect("a blob of the head");
                encoder.copy(number as u8, range.clone());
            }
        }
    }
    let again = encoder.finish();
    assert!(again.len() <= data.len());
    assert!(read(&again, again.len()).is_some());
});
