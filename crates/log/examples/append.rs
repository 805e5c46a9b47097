//! Measures how long an append takes until it is durable: `cargo run --release --example append DIR [pause]`.

use std::path::PathBuf;
use std::time::Instant;

use pumasi_log::{FileLog, FileLogOptions, Log, Seq};
use pumasi_types::{CellId, Time};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).map(PathBuf::from).ok_or("name an empty directory to write into")?;
    // With a second argument, with pauses in which the zeroing of the next segment gets ahead.
    let pause = std::env::args().nth(2).is_some();
    let mut log = FileLog::open(&dir, FileLogOptions::new(CellId(0)))?.log;
    for (bytes, rounds) in [(200, 2000), (3900, 2000), (128 << 10, 1000), ((1 << 20) - 200, 400)] {
        // Appends meet a file that has been zeroed, as in a hub that has run for a while.
        std::thread::sleep(std::time::Duration::from_secs(1));
        let payload = vec![7; bytes];
        let mut us: Vec<_> = (0..rounds)
            .map(|round| {
                if pause && round % 8 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(60));
                }
                let start = Instant::now();
                let seq = log.submit(Time(1), &payload)?;
                log.wait(seq)?;
                Ok(start.elapsed().as_nanos() as f64 / 1000.0)
            })
            .collect::<Result<_, pumasi_log::LogError>>()?;
        us.sort_by(f64::total_cmp);
        let (p50, p99) = (us[us.len() / 2], us[us.len() * 99 / 100]);
        println!("{bytes:>8} B alone:        p50 {p50:7.1} us, p99 {p99:7.1} us");
        let start = Instant::now();
        for round in 0..rounds {
            let seq = log.submit(Time(1), &payload)?;
            log.wait(Seq(seq.0.saturating_sub(8)))?;
            if round + 1 == rounds {
                log.wait(seq)?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        let (rate, mb) = (f64::from(rounds) / seconds, f64::from(rounds) * bytes as f64 / seconds / 1e6);
        println!("{bytes:>8} B, 8 in flight: {rate:9.0}/s, {mb:7.1} MB/s");
    }
    let start = Instant::now();
    let bytes: usize =
        log.read(Seq(1))?.map(|entry| entry.map(|entry| entry.payload.len())).sum::<Result<_, _>>()?;
    println!("read back: {:.0} MB/s", bytes as f64 / start.elapsed().as_secs_f64() / 1e6);
    drop(log);
    let start = Instant::now();
    drop(FileLog::open(&dir, FileLogOptions::new(CellId(0)))?);
    println!("open and close: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
