//! Whether our memory grows with what is stored: noise that lies nowhere but in the store.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::contender::watched;
use super::fs;
use super::sets::Noise;
use crate::Outcome;
use crate::build::{self, Profile};

/// Bytes of the noise that are made at once.
const BLOCK: usize = 1 << 20;

/// Peak memory of storing and of restoring a tenth of so many MiB, and all of them.
pub(super) fn measure(dir: &Path, mib: u64) -> Outcome<Value> {
    let program = build::given_or(Profile::Release)?;
    println!("{:>10} {:>9} {:>9} {:>9} {:>9}", "MiB", "ingest", "restore", "peak in", "out MB");
    let mut all = Vec::new();
    for mib in [mib / 10, mib] {
        let repository = dir.join("repository");
        let mut put = Command::new(&program);
        put.args(["store", "put", "-", "--name", "noise", "--dir"]).arg(&repository);
        let (put_seconds, put_mb, _) = watched(put, move |pipe| feed(pipe, mib), io::read_to_string)?;
        let mut get = Command::new(&program);
        get.args(["store", "get", "noise", "-", "--dir"]).arg(&repository);
        let (get_seconds, get_mb, ()) = watched(get, |_| Ok(()), move |pipe| compare(pipe, mib))?;
        fs::remove_dir_all(&repository)?;
        let rate = |seconds: f64| (mib as f64 * 1.048_576 / seconds).round();
        let (ingest, restore) = (rate(put_seconds), rate(get_seconds));
        println!("{mib:>10} {ingest:>9} {restore:>9} {put_mb:>9} {get_mb:>9}");
        all.push(json!({ "mib": mib, "piped_ingest_mb_s": ingest, "piped_restore_mb_s": restore,
            "ingest_peak_rss_mb": put_mb, "restore_peak_rss_mb": get_mb, "peak_rss_mb": put_mb.max(get_mb) }));
    }
    Ok(Value::Array(all))
}

fn feed(mut pipe: impl Write, mib: u64) -> io::Result<()> {
    let (mut noise, mut block) = (Noise::new(), vec![0; BLOCK]);
    for _ in 0..mib {
        noise.fill(&mut block);
        pipe.write_all(&block)?;
    }
    Ok(())
}

fn compare(mut pipe: impl Read, mib: u64) -> io::Result<()> {
    let (mut noise, mut block, mut back) = (Noise::new(), vec![0; BLOCK], vec![0; BLOCK]);
    for n in 0..mib {
        noise.fill(&mut block);
        pipe.read_exact(&mut back)?;
        if back != block {
            return Err(io::Error::other(format!("MiB {n} came back as other bytes")));
        }
    }
    match pipe.read(&mut back)? {
        0 => Ok(()),
        _ => Err(io::Error::other("more came back than was stored")),
    }
}
