//! `pumasi fetch-url` and `downloads`: what the hub fetches while nobody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use pumasi_api::client::{ClientError, HubClient, Source};
use pumasi_api::wire::downloads::{Download, DownloadNotice, DownloadState, Downloads, NewDownload};
use pumasi_fetch::{TORRENT_BYTES, Torrent};
use pumasi_types::{ByteSize, DownloadId, Hash, NoticeId};
use serde_json::json;

use crate::connect::HubArgs;
use crate::drive::place::Place;
use crate::drive::remote;
use crate::error::CliError;
use crate::exit::Exit;
use crate::job::watch::Interrupt;
use crate::output::{Output, Style, Table};
use crate::progress::{Count, Progress};
use crate::units;

/// How often it is looked how far downloads are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a hub that cannot be reached is waited for by who watches.
const PATIENCE: Duration = Duration::from_secs(600);
/// Downloads that are over and told of one by one.
const NEWS: usize = 20;

const FETCH_EXAMPLES: &str = "\
Examples:
  pumasi fetch-url https://files.example/data.tar.zst          into your home
  pumasi fetch-url https://files.example/data.tar.zst lab:in/ --wait
  pumasi fetch-url https://files.example/x.iso :iso/x.iso --sha256 8b1a…
  pumasi fetch-url linux.torrent --list                        its files and their numbers
  pumasi fetch-url linux.torrent :iso/ --files 0,3-5
  pumasi fetch-url 'magnet:?xt=urn:btih:…' :films/ --limit 20GiB

The hub goes on when you leave: `pumasi downloads` shows how far it is, `pumasi downloads --watch` until all are done. \
A place that ends with / is a folder; any other is the file itself, unless a folder lies there.";

/// Have the hub fetch a URL or torrent into a space, whether you wait or not
#[derive(Args, Debug)]
#[command(after_help = FETCH_EXAMPLES)]
pub(crate) struct FetchUrlArgs {
    /// https://…, http://…, ftp://…, magnet:…, or a torrent file of this machine
    #[arg(value_name = "URL|FILE")]
    source: String,
    /// Where to put it: SPACE:path, or :path for your home
    #[arg(default_value = ":", value_name = "SPACE:PATH")]
    to: Place,
    /// The SHA-256 that the file must have; anything else is thrown away
    #[arg(long, value_name = "HEX")]
    sha256: Option<Hash>,
    /// Which files of a torrent, by their numbers from 0, such as 0,3-5; all when it is not given
    #[arg(long, value_name = "NUMBERS", value_parser = parse_numbers)]
    files: Option<Numbers>,
    /// Fetch nothing, only list the files of a torrent file with their numbers
    #[arg(long, conflicts_with_all = ["sha256", "files", "limit", "wait"])]
    list: bool,
    /// Give it up when it is longer
    #[arg(long, value_name = "SIZE")]
    limit: Option<ByteSize>,
    /// Wait until it is done
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    hub: HubArgs,
}

const DOWNLOADS_EXAMPLES: &str = "\
Examples:
  pumasi downloads
  pumasi downloads --watch                         until all are done
  pumasi downloads pause 12
  pumasi downloads resume 12                       go on, or try again what failed
  pumasi downloads cancel 12                       give it up, or forget one that is over";

/// List what the hub fetches for you, and how far it is
#[derive(Args, Debug)]
#[command(after_help = DOWNLOADS_EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct DownloadsArgs {
    /// Go on until all are done
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(subcommand)]
    command: Option<DownloadsCommand>,
}

#[derive(Debug, Subcommand)]
enum DownloadsCommand {
    /// Stop a download, to go on later
    Pause {
        /// Its number
        download: DownloadId,
    },
    /// Go on with a download, or try again what failed
    Resume {
        /// Its number
        download: DownloadId,
    },
    /// Give a download up, or forget one that is over
    Cancel {
        /// Its number
        download: DownloadId,
    },
}

/// Numbers of files in a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbers(Vec<u32>);

/// Reads `0,3-5`.
fn parse_numbers(text: &str) -> Result<Numbers, String> {
    const MOST: usize = 100_000;
    let bad = || format!("'{text}' does not name files: write their numbers from 0, such as 0,3-5");
    let mut numbers = Vec::new();
    for piece in text.split(',') {
        let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
        let (first, last): (u32, u32) =
            (first.trim().parse().map_err(|_| bad())?, last.trim().parse().map_err(|_| bad())?);
        if first > last || (last - first) as usize >= MOST - numbers.len() {
            return Err(bad());
        }
        numbers.extend(first..=last);
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(Numbers(numbers))
}

impl FetchUrlArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let begins = |scheme: &&str| {
            self.source.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        };
        let is_magnet = begins(&"magnet:");
        let is_url = is_magnet || ["http:", "https:", "ftp:"].iter().any(begins);
        if self.list {
            return match is_url {
                true => Err(CliError::usage(
                    "--list tells what a torrent file of this machine says",
                    "fetch the torrent file first; what a magnet link leads to is known only to its peers",
                )),
                false => list_files(Path::new(&self.source), out),
            };
        }
        let client = self.hub.client()?;
        if !is_url && self.source.contains("://") {
            let hint = "give https://…, http://…, ftp://…, magnet:…, or a torrent file";
            return Err(CliError::usage(format!("the hub does not fetch {}", self.source), hint));
        }
        let is_web = is_url && !is_magnet;
        if is_web && self.files.is_some() {
            let hint = "leave --files out";
            return Err(CliError::usage("--files chooses files of a torrent", hint));
        }
        let torrent = if is_url { None } else { Some(send_torrent(&client, Path::new(&self.source)).await?) };
        let new = NewDownload {
            url: is_url.then(|| self.source.clone()),
            torrent,
            space: self.to.space().to_owned(),
            path: self.to.path.clone(),
            // A torrent is a folder, or knows how its file is called.
            named: is_web && !self.to.folder && !is_folder(&client, &self.to).await?,
            sha256: self.sha256,
            limit_bytes: self.limit.map(|limit| limit.0),
            files: self.files.map(|numbers| numbers.0).unwrap_or_default(),
        };
        let failed = CliError::hub(format!("have the hub fetch {}", self.source));
        let added = client.add_download(&new, None).await.map_err(failed)?;
        if !self.wait {
            let text = format!(
                "download {}: the hub fetches {} into {}; `pumasi downloads --watch` shows how far it is",
                added.id, self.source, self.to
            );
            out.told(&added, &text)?;
            return Ok(Exit::Ok);
        }
        let waiting = wait(&client, out, added.id, &self.source);
        let done = Interrupt::listen().guard(waiting).await.inspect_err(|error| {
            if matches!(error, CliError::Interrupted) {
                out.note(&format!("download {} goes on; `pumasi downloads cancel {0}` ends it", added.id));
            }
        })?;
        tell(out, &done)
    }
}

/// Whether a folder lies there.
async fn is_folder(client: &HubClient, place: &Place) -> Result<bool, CliError> {
    Ok(remote::find(client, place).await?.is_some_and(|entry| entry.folder.is_some()))
}

/// The bytes of a torrent file of this machine.
fn read_torrent(path: &Path) -> Result<Vec<u8>, CliError> {
    let length = std::fs::metadata(path).map_err(CliError::file("read", path))?.len();
    if length > TORRENT_BYTES as u64 {
        let problem = format!("{} is too long to be a torrent file", path.display());
        return Err(CliError::usage(problem, "give the torrent file, and not what it describes"));
    }
    std::fs::read(path).map_err(CliError::file("read", path))
}

/// Sends a torrent file; its blob.
async fn send_torrent(client: &HubClient, path: &Path) -> Result<Hash, CliError> {
    let bytes = read_torrent(path)?;
    let (hash, source) = (Hash::of(&bytes), Source::Bytes(bytes.into()));
    let failed = CliError::hub(format!("send {}", path.display()));
    client.put_blob(&source, hash, Arc::new(|_| ())).await.map_err(failed)?;
    Ok(hash)
}

/// Tells which files a torrent file describes, with the numbers by which `--files` chooses them.
fn list_files(path: &Path, out: &Output) -> Result<Exit, CliError> {
    let torrent = Torrent::parse(&read_torrent(path)?).map_err(CliError::content(path))?;
    let files = torrent.chosen(&[]).map_err(CliError::content(path))?;
    let told = files.iter().map(
        |(number, file)| json!({ "number": number, "bytes": file.length, "path": file.names.join("/") }),
    );
    let value = json!({ "name": torrent.name, "files": told.collect::<Vec<_>>() });
    out.show(&value, "it has no files", || {
        let mut table = Table::new(&[">NUMBER", ">SIZE", "FILE"]);
        for (number, file) in &files {
            table.row([number.to_string(), ByteSize(file.length).to_string(), file.names.join("/")]);
        }
        table
    })?;
    Ok(Exit::Ok)
}

/// Asks, and goes on asking while the hub cannot be reached: downloads outlive its restarts.
async fn patiently<T, F>(out: &Output, ask: impl Fn() -> F) -> Result<T, CliError>
where
    F: Future<Output = Result<T, CliError>>,
{
    let (started, mut said) = (Instant::now(), false);
    loop {
        match ask().await {
            Err(CliError::Hub { source: ClientError::Unreachable { address, .. }, .. })
                if started.elapsed() < PATIENCE =>
            {
                if !said {
                    out.note(&format!("the hub at {address} does not answer; trying on"));
                    said = true;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            done => return done,
        }
    }
}

/// Waits until a download is over.
async fn wait(client: &HubClient, out: &Output, id: DownloadId, what: &str) -> Result<Download, CliError> {
    let mut progress: Option<(u64, Progress)> = None;
    let mut speed = Speed::default();
    loop {
        let wait_ms = LOOK_EVERY.as_millis() as u64;
        let look = || async move {
            let state = client.download_state(id, wait_ms).await;
            state.map_err(CliError::hub(format!("look at download {id}")))
        };
        let now = patiently(out, look).await?;
        let total = now.total_bytes.unwrap_or(0);
        if progress.as_ref().is_none_or(|(of, _)| *of != total) {
            if let Some((_, old)) = &progress {
                old.clear();
            }
            progress = Some((total, Progress::start(out, what, Count::Bytes, total)));
        }
        if let Some((_, bar)) = &progress {
            bar.set(now.got_bytes.unwrap_or(0), &speed.details(&now));
            if now.state.is_over() || now.state == DownloadState::Paused {
                bar.clear();
                return Ok(now);
            }
        }
    }
}

/// Says what became of a download.
fn tell(out: &Output, download: &Download) -> Result<Exit, CliError> {
    out.told(download, &outcome(download))?;
    Ok(if download.state == DownloadState::Done { Exit::Ok } else { Exit::Failed })
}

fn outcome(download: &Download) -> String {
    let Download { id, source, space, path, .. } = download;
    match download.state {
        DownloadState::Done => {
            let bytes = ByteSize(download.got_bytes.unwrap_or(0));
            let files = match download.files {
                Some(count) if count != 1 => format!("{count} files, "),
                _ => String::new(),
            };
            let saved = match download.saved_bytes {
                Some(saved) if saved > 0 => format!("; {} of it were here already", ByteSize(saved)),
                _ => String::new(),
            };
            format!("download {id}: {source} lies in {space}:{path} ({files}{bytes}{saved})")
        }
        DownloadState::Failed => {
            let why = download.reason.as_deref().unwrap_or("it cannot be had");
            format!("download {id} of {source} failed: {why}; `pumasi downloads resume {id}` tries it again")
        }
        state => format!("download {id} of {source} is {}", state.name()),
    }
}

impl DownloadsArgs {
    pub(crate) async fn run(self, out: &Output) -> Result<Exit, CliError> {
        let client = self.hub.client()?;
        let (done, text) = match self.command {
            None if self.watch => {
                tell_news(&client, out, &BTreeSet::new()).await?;
                return watch(&client, out).await;
            }
            None => {
                tell_news(&client, out, &BTreeSet::new()).await?;
                let all = all(&client).await?;
                let none = "the hub fetches nothing for you: `pumasi fetch-url URL` asks for something";
                out.show(&all, none, || table(&all))?;
                return Ok(Exit::Ok);
            }
            Some(DownloadsCommand::Pause { download }) => (
                client.pause_download(download).await.map_err(CliError::hub(format!("pause {download}"))),
                format!("download {download} is paused: `pumasi downloads resume {download}` goes on"),
            ),
            Some(DownloadsCommand::Resume { download }) => (
                client.resume_download(download).await.map_err(CliError::hub(format!("resume {download}"))),
                format!("download {download} goes on"),
            ),
            Some(DownloadsCommand::Cancel { download }) => (
                client.cancel_download(download).await.map_err(CliError::hub(format!("cancel {download}"))),
                format!("download {download} is given up"),
            ),
        };
        done?;
        out.done(&text)?;
        Ok(Exit::Ok)
    }
}

/// Says what became of downloads since this was last said, but of those that were told, and notes that it is known. Programs
/// that read JSON ask for it themselves.
async fn tell_news(client: &HubClient, out: &Output, told: &BTreeSet<DownloadId>) -> Result<(), CliError> {
    if out.json {
        return Ok(());
    }
    let (mut news, mut after, mut seen) = (Vec::new(), None, NoticeId(0));
    loop {
        let page = client.download_notices(after, 0).await.map_err(CliError::hub("look what is over"))?;
        news.extend(page.notices);
        (after, seen) = (Some(page.next), if after.is_none() { page.seen } else { seen });
        if !page.more {
            break;
        }
    }
    let last = after.filter(|last| *last > seen);
    news.retain(|one| !told.contains(&one.download.id));
    if let Some(text) = since_last_look(&news) {
        out.note(&text);
    }
    if let Some(last) = last {
        client.see_download_notices(last).await.map_err(CliError::hub("note what is known"))?;
    }
    Ok(())
}

/// What became of downloads, the last ones at the end.
fn since_last_look(news: &[DownloadNotice]) -> Option<String> {
    if news.is_empty() {
        return None;
    }
    let left_out = news.len().saturating_sub(NEWS);
    let mut text = "since you last looked:".to_owned();
    if left_out > 0 {
        text += &format!("\n  {left_out} more, which `pumasi downloads` lists");
    }
    for one in &news[left_out..] {
        text += &format!("\n  {}", one.notice.en);
    }
    Some(text)
}

/// All downloads of the caller's.
async fn all(client: &HubClient) -> Result<Vec<Download>, CliError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page: Downloads = client.downloads(after).await.map_err(CliError::hub("list downloads"))?;
        all.extend(page.downloads);
        after = page.next;
        if after.is_none() {
            return Ok(all);
        }
    }
}

/// Shows how far all are until none runs or waits, and says when each is over.
async fn watch(client: &HubClient, out: &Output) -> Result<Exit, CliError> {
    let is_open = |one: &Download| matches!(one.state, DownloadState::Waiting | DownloadState::Running);
    let mut open: BTreeMap<DownloadId, Download> =
        all(client).await?.into_iter().filter(is_open).map(|one| (one.id, one)).collect();
    let progress = Progress::start(out, "downloads", Count::Things, open.len() as u64);
    let (mut over, mut exit, mut speeds) = (0, Exit::Ok, BTreeMap::<DownloadId, Speed>::new());
    let mut told = BTreeSet::new();
    while !open.is_empty() {
        let running = open.values().find(|one| one.state == DownloadState::Running);
        let details = running.map(|one| {
            let details = speeds.entry(one.id).or_default().details(one);
            format!("{}: {} {details}", one.id, far(one))
        });
        progress.set(over, &details.unwrap_or_default());
        tokio::time::sleep(LOOK_EVERY).await;
        let now = patiently(out, || all(client)).await?;
        let now: BTreeMap<DownloadId, Download> = now.into_iter().map(|one| (one.id, one)).collect();
        for id in open.keys().copied().collect::<Vec<_>>() {
            match now.get(&id) {
                Some(one) if is_open(one) => {
                    open.insert(id, one.clone());
                }
                other => {
                    open.remove(&id);
                    over += 1;
                    if let Some(one) = other {
                        told.insert(id);
                        let ended = progress.suspend(|| tell(out, one))?;
                        exit = if ended == Exit::Ok { exit } else { ended };
                    }
                }
            }
        }
    }
    progress.clear();
    tell_news(client, out, &told).await?;
    if over == 0 {
        out.note("the hub fetches nothing for you now");
    }
    Ok(exit)
}

/// How fast bytes come, from two looks.
#[derive(Default)]
struct Speed(Option<(Instant, u64)>);

impl Speed {
    fn details(&mut self, download: &Download) -> String {
        let got = download.got_bytes.unwrap_or(0);
        let now = Instant::now();
        let before = self.0.replace((now, got));
        let speed = before.map(|(at, bytes)| {
            let seconds = now.duration_since(at).as_secs_f64().max(0.001);
            ByteSize((got.saturating_sub(bytes) as f64 / seconds) as u64)
        });
        match (speed, download.peers) {
            (Some(speed), Some(peers)) if peers > 1 => format!("{speed}/s from {peers}"),
            (Some(speed), _) if download.state == DownloadState::Running => format!("{speed}/s"),
            _ => download.state.name().to_owned(),
        }
    }
}

/// How far a download is.
fn far(download: &Download) -> String {
    let got = match (download.got_bytes, download.total_bytes) {
        (Some(got), Some(total)) if total > 0 && download.state != DownloadState::Done => {
            format!("{}% of {}", got.saturating_mul(100) / total, ByteSize(total))
        }
        (Some(got), _) => ByteSize(got).to_string(),
        _ => String::new(),
    };
    match download.given_bytes {
        Some(given) => format!("{got}, {} given", ByteSize(given)),
        None => got,
    }
}

fn table(downloads: &[Download]) -> Table {
    let mut table = Table::new(&[">DOWNLOAD", "STATE", "FAR", "INTO", "FROM", "ASKED"]);
    for one in downloads {
        let plain = |text: String| (text, Style::Plain);
        let style = match one.state {
            DownloadState::Done => Style::Good,
            DownloadState::Failed => Style::Bad,
            DownloadState::Running => Style::Busy,
            DownloadState::Waiting | DownloadState::Paused => Style::Plain,
        };
        let state = match (one.state, one.again_ms) {
            (DownloadState::Waiting, Some(again_ms)) => format!("waiting until {}", units::moment(again_ms)),
            (state, _) => state.name().to_owned(),
        };
        table.styled_row([
            plain(one.id.to_string()),
            (state, style),
            plain(one.reason.clone().unwrap_or_else(|| far(one))),
            plain(format!("{}:{}", one.space, one.path)),
            plain(one.source.clone()),
            plain(units::moment(one.asked_ms)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use pumasi_types::FilePath;

    use super::*;

    fn download(state: DownloadState) -> Download {
        Download {
            id: DownloadId(7),
            source: "https://files.example/a.iso".to_owned(),
            space: "lab".to_owned(),
            path: FilePath::root(),
            named: false,
            asked_ms: 0,
            state,
            again_ms: None,
            got_bytes: Some(512 << 20),
            total_bytes: Some(1 << 30),
            peers: None,
            given_bytes: None,
            over_ms: None,
            files: None,
            saved_bytes: None,
            reason: None,
        }
    }

    #[test]
    fn what_became_of_a_download_is_said_in_one_line() {
        let done = Download { files: Some(1), saved_bytes: Some(512 << 20), ..download(DownloadState::Done) };
        assert_eq!(
            outcome(&done),
            "download 7: https://files.example/a.iso lies in lab: (512 MiB; 512 MiB of it were here already)"
        );
        let reason = Some("files.example answered 404".to_owned());
        let failed = Download { reason, ..download(DownloadState::Failed) };
        assert!(outcome(&failed).contains("failed: files.example answered 404; `pumasi downloads resume 7`"));
        assert_eq!(far(&download(DownloadState::Running)), "50% of 1 GiB");
        let given = Download { given_bytes: Some(1 << 20), ..download(DownloadState::Done) };
        assert_eq!(far(&given), "512 MiB, 1 MiB given");
        let shown = Output::plain().text_of(&table(&[failed, download(DownloadState::Paused)]));
        assert!(shown.contains("answered 404") && shown.contains("paused"), "{shown}");
    }

    #[tokio::test]
    async fn a_hub_that_is_away_is_asked_again_and_one_that_refuses_is_not() {
        let asked = std::cell::Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            let away = ClientError::Unreachable {
                address: "http://127.0.0.1:1".parse().unwrap(),
                source: "nobody listens".into(),
            };
            let answer = match asked.get() {
                1 => Err(CliError::hub("list downloads")(away)),
                2 => Ok(7),
                _ => Err(CliError::Missing { what: "download 7".to_owned() }),
            };
            std::future::ready(answer)
        };
        assert_eq!(patiently(&Output::plain(), ask).await.unwrap(), 7);
        assert!(matches!(patiently(&Output::plain(), ask).await, Err(CliError::Missing { .. })));
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn numbers_of_files_are_read() {
        assert_eq!(parse_numbers("5,0,3-4,4"), Ok(Numbers(vec![0, 3, 4, 5])));
        for bad in ["", "a", "3-1", "-1", "0-4294967295", "1,,2"] {
            assert!(parse_numbers(bad).is_err(), "{bad}");
        }
    }
}
