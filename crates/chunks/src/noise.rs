//! Telling what cannot be compressed from a few samples of it: pictures, archives, and what is encrypted.

/// Bytes that are looked at, in four places.
pub const SAMPLE: usize = 4096;
/// The sum of the squares of how often each byte value occurs in a sample. Of random bytes it is 69,616 on average, with a
/// deviation of 361; 84,000 is what bytes of 7.8 bits of entropy have.
const SQUARES_MAX: u32 = 84_000;

/// Whether the values of the bytes are spread as evenly as those of noise. Fewer than [`SAMPLE`] tell nothing.
///
/// The samples lie at the beginning, at the end and at both thirds. A text that repeats is never taken for noise, noise that
/// repeats is. Only whole numbers are reckoned with, as what is cut depends on the answer, on any machine.
pub fn looks_like_noise<P: AsRef<[u8]>>(parts: &[P]) -> bool {
    const PIECE: usize = SAMPLE / 4;
    let parts = || parts.iter().map(AsRef::as_ref);
    let total: usize = parts().map(<[u8]>::len).sum();
    if total < SAMPLE {
        return false;
    }
    let mut counts = [0_u32; 256];
    for quarter in 0..4 {
        let (mut at, mut left) = ((total - PIECE) * quarter / 3, PIECE);
        for part in parts() {
            if at >= part.len() {
                at -= part.len();
                continue;
            }
            let end = part.len().min(at + left);
            part[at..end].iter().for_each(|byte| counts[usize::from(*byte)] += 1);
            left -= end - at;
            at = 0;
            if left == 0 {
                break;
            }
        }
    }
    counts.iter().map(|count| count * count).sum::<u32>() <= SQUARES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn noise_is_told_from_what_compresses() {
        let bytes = noise(100_000);
        assert!(looks_like_noise(&[&bytes]));
        assert!(looks_like_noise(&[&bytes[..SAMPLE]]));
        assert!(!looks_like_noise(&[&bytes[..SAMPLE - 1]]), "too short to tell");
        let text: Vec<u8> = (0..20_000_u32).flat_map(|n| format!("{n} pumasi\n").into_bytes()).collect();
        // 7 of 8 bits carry something.
        let letters: Vec<u8> = bytes.iter().map(|byte| byte & 0x7f).collect();
        for dull in [&text, &letters, &vec![0; 50_000]] {
            assert!(!looks_like_noise(&[dull]));
        }
    }

    #[test]
    fn parts_count_as_what_they_are_together() {
        let bytes = noise(40_000);
        let mut mixed = bytes.clone();
        mixed[12_000..15_000].fill(b' ');
        for whole in [&bytes, &mixed] {
            for cut in [1, 700, 13_000, 39_999] {
                let (first, second) = whole.split_at(cut);
                assert_eq!(looks_like_noise(&[first, second]), looks_like_noise(&[whole]), "cut at {cut}");
            }
        }
        assert!(!looks_like_noise(&[&mixed]), "a third is dull");
    }
}
