//! Very many small files on a hub: how fast they go there and come back, and how long a page of their names takes.

use std::path::Path;
use std::time::Instant;

use pumasi_api::client::ListOf;
use pumasi_api::wire::files::HOME;
use serde_json::{Value, json};

use super::contender::{ran, succeed};
use super::sets::size_of;
use crate::Outcome;
use crate::bench::quantile;
use crate::build::{self, Profile};
use crate::pool::{Pool, block_on};

/// Names of a page.
const PAGE: usize = 1_000;

/// Puts a tree into a hub by the command line, asks for a page of each of its folders, and gets it back.
pub(super) fn measure(tree: &Path) -> Outcome<Value> {
    let pool =
        Pool::start(&build::given_or(Profile::Release)?, &["--no-tls", "--requests-per-s", "10000000"])?;
    let token = pool.open_account("bench", "researcher")?;
    let (files, _) = size_of(tree)?;
    let mut put = pool.cli(&token);
    put.arg("put").arg(tree).arg(":many");
    let put = ran(put)?;
    let mut times = block_on(list(&pool, &token, files))?;
    let back = pool.dir.path().join("back");
    let mut get = pool.cli(&token);
    get.args(["get", ":many"]).arg(&back);
    let get = ran(get)?;
    succeed(std::process::Command::new("diff").arg("-r").arg(tree).arg(&back))?;
    let rate = |seconds: f64| (files as f64 / seconds).round();
    let figures = json!({
        "put_files_s": rate(put.seconds), "get_files_s": rate(get.seconds), "pages": times.len(), "page_names": PAGE,
        "page_p50_ms": quantile(&mut times, 0.5), "page_p99_ms": quantile(&mut times, 0.99),
    });
    println!("{:>10} {figures}", "a hub");
    Ok(figures)
}

/// How long each page of up to 1,000 names took, in milliseconds, of all folders one after the other.
async fn list(pool: &Pool, token: &str, files: u64) -> Outcome<Vec<f64>> {
    let client = pool.client(token)?;
    let top = "many".parse()?;
    let (mut times, mut seen, mut after) = (Vec::new(), 0, None::<String>);
    loop {
        let of = ListOf { after: after.as_deref(), limit: Some(PAGE) };
        let folders = client.list_folder(HOME, &top, of).await?;
        for folder in folders.entries {
            let asked = Instant::now();
            let of = ListOf { after: None, limit: Some(PAGE) };
            let page = client.list_folder(HOME, &folder.path, of).await?;
            times.push(asked.elapsed().as_secs_f64() * 1000.0);
            seen += page.entries.len() as u64;
        }
        after = folders.next;
        if after.is_none() {
            break;
        }
    }
    match seen == files {
        true => Ok(times),
        false => Err(format!("the pages have {seen} names of {files}").into()),
    }
}
