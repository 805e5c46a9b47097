//! Disks that are full, read-only, closed or in use: a clear error, and nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pumasi_api::client::ClientError;
use pumasi_api::wire;
use pumasi_types::RequestId;
use serde_json::{Value, json};

use super::{Scene, example, program, start_error};
use crate::faults::{Dice, orders};
use crate::pool::{Pool, block_on};
use crate::process::Guarded;

/// A small disk that only its own processes see: a tmpfs in a mount namespace of its own.
pub(super) struct SmallDisk {
    holder: Guarded,
    place: PathBuf,
}

impl SmallDisk {
    /// Mounts it where the pool's hub has its data; none where the system does not allow that.
    pub(super) fn mount(pool: &mut Pool, mib: u32) -> Option<SmallDisk> {
        let place = pool.data.clone();
        std::fs::create_dir(&place).expect("a folder");
        let mount = format!("mount -t tmpfs -o size={mib}m pumasi '{}'", place.display());
        let ready = pool.dir.path().join("mounted");
        let script = format!("{mount} && touch '{}' && exec sleep 600", ready.display());
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        let mut holder = Guarded::spawn(command.stderr(Stdio::null())).ok()?;
        while !ready.exists() {
            if !holder.is_alive() {
                println!("skipped: this system allows no mounts of one's own");
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = holder.id().to_string();
        pool.launcher = ["nsenter", "--user", "--mount", "--preserve-credentials", "--target", &pid, "--"]
            .map(str::to_owned)
            .to_vec();
        pool.data =
            PathBuf::from(format!("/proc/{pid}/root")).join(place.strip_prefix("/").expect("absolute"));
        Some(SmallDisk { holder, place })
    }

    fn remount(&self, pool: &Pool, options: &str) {
        let mut command = Command::new(&pool.launcher[0]);
        command
            .args(&pool.launcher[1..])
            .args(["mount", "-o", &format!("remount,{options}")])
            .arg(&self.place);
        assert!(command.status().expect("mount runs").success());
        assert!(self.holder.id() > 0);
    }
}

/// Orders with much text, so that the log grows; every one that was acknowledged with its id.
pub(super) fn order_until_refused(
    scene: &Scene,
    first: u64,
    most: u64,
) -> (BTreeMap<u64, u64>, Option<ClientError>) {
    let client = scene.pool.client(&scene.researcher).expect("a client");
    let put = std::fs::read(example("noop/noop.wasm")).expect("the example");
    let module = pumasi_types::Hash::of(&put);
    let mut done = BTreeMap::new();
    let refused = block_on(async {
        let source = pumasi_api::client::Source::Bytes(put.into());
        if let Err(error) = client.put_blob(&source, module, std::sync::Arc::new(|_| ())).await {
            return Some(error);
        }
        for few in (first..first + most).collect::<Vec<_>>().chunks(8) {
            let orders = few.iter().map(|n| {
                let body = order(module);
                let client = &client;
                async move {
                    (
                        *n,
                        client
                            .post::<Value, wire::Job>("/v1/jobs", &body, Some(RequestId((*n).into())))
                            .await,
                    )
                }
            });
            for (n, answer) in futures_util::future::join_all(orders).await {
                match answer {
                    Ok(job) => assert!(done.insert(n, job.id.0).is_none()),
                    Err(error) => return Some(error),
                }
            }
        }
        None
    });
    (done, refused)
}

/// A job that no machine takes.
fn order(module: pumasi_types::Hash) -> Value {
    json!({
        "name": "large", "module": module, "args": ["x".repeat(120_000)], "tasks": 1, "budget": "0.01",
        "engine": "nobody-has-this", "limits": {"fuel": 1000},
    })
}

/// Everything that was acknowledged is answered as before.
pub(super) fn check_orders(scene: &Scene, done: &BTreeMap<u64, u64>) {
    let client = scene.pool.client(&scene.researcher).expect("a client");
    let module = pumasi_types::Hash::of(&std::fs::read(example("noop/noop.wasm")).expect("the example"));
    block_on(async {
        for few in done.iter().collect::<Vec<_>>().chunks(16) {
            let again = few.iter().map(|(n, id)| {
                let body = order(module);
                let client = &client;
                async move {
                    let id_of_request = Some(RequestId((**n).into()));
                    let job: wire::Job =
                        client.post("/v1/jobs", &body, id_of_request).await.expect("it is there");
                    assert_eq!(job.id.0, **id, "order {n} became another job");
                }
            });
            futures_util::future::join_all(again).await;
        }
    });
}

#[test]
fn a_full_disk_stops_the_cell_with_a_clear_error_and_loses_nothing() {
    let mut pool = Pool::prepare(&program(), &["--requests-per-s", "100000"]).expect("a pool");
    // Room for one segment of the log, not for two.
    let Some(disk) = SmallDisk::mount(&mut pool, 110) else { return };
    pool.start_hub().expect("the hub starts");
    let mut scene = Scene::on(pool, 0);
    let (mut done, refused) = order_until_refused(&scene, 0, 2000);
    let refused = refused.expect("64 MiB of log do not hold so many orders").to_string();
    assert!(refused.contains("the disk is full") && refused.contains("free space"), "{refused}");
    assert!(done.len() > 300, "only {} orders were taken", done.len());
    let output = scene.cli(&["jobs"]);
    assert!(!output.status.success() && super::stderr(&output).contains("the disk is full"));
    assert!(scene.pool.hub().expect("a hub").is_alive(), "it says why to everybody who asks");
    // Without room it does not pretend to work after a restart either.
    let status = scene.pool.hub().expect("a hub").stop(Duration::from_secs(60)).expect("it ends");
    assert!(status.is_some_and(|status| !status.success()), "{status:?}");
    disk.remount(&scene.pool, "size=400m");
    scene.pool.start_hub().expect("with room it starts");
    check_orders(&scene, &done);
    let (more, refused) = order_until_refused(&scene, 10_000, 80);
    assert!(refused.is_none(), "{refused:?}");
    done.extend(more);
    check_to_the_last_byte(&mut scene, &done);
}

/// The id of a payment's request, which is none of an order's.
fn payment(n: usize) -> RequestId {
    RequestId((1 << 100) + n as u128)
}

/// Not even a piece of a journal can be written: then space is freed and the hub started again.
fn check_to_the_last_byte(scene: &mut Scene, done: &BTreeMap<u64, u64>) {
    let balloon = scene.pool.data.join("balloon");
    let mut file = File::create(&balloon).expect("a file");
    let mut piece = vec![1; 1 << 20];
    while piece.len() >= 512 {
        if file.write_all(&piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
    drop(file);
    let upload = scene.file("upload", &vec![7; 100_000]);
    let output = scene.cli(&["put", &upload]);
    assert!(super::stderr(&output).contains("disk"), "{}", super::stderr(&output));
    let client = scene.pool.client(&scene.researcher).expect("a client");
    let mut paid: Vec<u64> = Vec::new();
    let pay = json!({"to": "operator", "amount": "0.01"});
    let refused = block_on(async {
        // A journal is written in pieces of two thousand transfers.
        for n in 0..5_000_usize {
            match client.post::<_, wire::Transferred>("/v1/transfers", &pay, Some(payment(n))).await {
                Ok(transferred) => paid.push(transferred.transfer.0),
                Err(error) => return Some(error.to_string()),
            }
        }
        None
    });
    let refused = refused.expect("a journal without room does not take all transfers");
    assert!(refused.contains("transfers.journal"), "{refused}");
    scene.pool.hub().expect("a hub").stop(Duration::from_secs(60)).expect("it ends");
    std::fs::remove_file(balloon).expect("it is there");
    scene.pool.start_hub().expect("with room it starts");
    check_orders(scene, done);
    let client = scene.pool.client(&scene.researcher).expect("a client");
    block_on(async {
        for (n, transfer) in paid.iter().enumerate() {
            let id = Some(payment(n));
            let again: wire::Transferred = client.post("/v1/transfers", &pay, id).await.expect("it is there");
            assert_eq!(again.transfer.0, *transfer);
        }
    });
    let statement: wire::Statement =
        scene.pool.ask(&scene.researcher, &["statement", "--limit", "10000"]).expect("a statement");
    let mine = statement.lines.iter().filter(|line| line.cause == "transfer").count();
    assert!((paid.len()..=paid.len() + 1).contains(&mine), "{} acknowledged, {mine} there", paid.len());
    scene.check_books();
    scene.check_hub_log();
}

/// The disk fills while four connections place orders as fast as they can: in the middle of journals, not of the log,
/// which has its room set aside.
#[test]
fn a_disk_that_fills_under_a_load_of_orders_loses_none() {
    let arguments = ["--snapshot-every", "1MiB", "--requests-per-s", "1000000"];
    let mut pool = Pool::prepare(&program(), &arguments).expect("a pool");
    let Some(disk) = SmallDisk::mount(&mut pool, 90) else { return };
    pool.start_hub().expect("the hub starts");
    let seed = Dice::fresh_seed();
    println!("seed {seed}");
    let report = orders::amid(&mut pool, Dice::new(seed), |pool| {
        let client = pool.client(&pool.operator)?;
        let until = Instant::now() + Duration::from_secs(120);
        let said = loop {
            match block_on(client.get::<Value>("/v1/me")) {
                Err(error) => break error.to_string(),
                Ok(_) if Instant::now() > until => return Err("the disk does not fill".into()),
                Ok(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        if !said.contains("the disk is full") || !said.contains("free space") {
            return Err(format!("it does not say why: {said}").into());
        }
        let status = pool.hub()?.stop(Duration::from_secs(60))?;
        assert!(status.is_some_and(|status| !status.success()), "{status:?}");
        disk.remount(pool, "size=1g");
        pool.start_hub()?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(())
    });
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    println!("{report}");
    assert!(report.placed > 10_000 && report.twice > 0, "{report}");
}

#[test]
fn a_disk_that_becomes_read_only_is_named() {
    let mut pool = Pool::prepare(&program(), &[]).expect("a pool");
    let Some(disk) = SmallDisk::mount(&mut pool, 200) else { return };
    pool.start_hub().expect("the hub starts");
    pool.hub().expect("a hub").stop(Duration::from_secs(60)).expect("it ends");
    disk.remount(&pool, "ro");
    let said = start_error(&mut pool);
    assert!(said.contains("error: ") && said.contains("Read-only file system"), "{said}");
    assert!(said.contains("/hub/"), "it does not say where: {said}");
    disk.remount(&pool, "rw");
    pool.start_hub().expect("it starts again");
}

#[test]
fn a_folder_or_port_that_cannot_be_used_is_named() {
    let mut scene = Scene::new(0);
    let mut second = Pool::prepare(&program(), &[]).expect("a pool");
    second.address.clone_from(&scene.pool.address);
    let said = start_error(&mut second);
    assert!(said.contains(&second.address) && said.contains("--listen"), "{said}");

    let mut second = Pool::prepare(&program(), &[]).expect("a pool");
    std::os::unix::fs::symlink(&scene.pool.data, &second.data).expect("a link");
    let said = start_error(&mut second);
    let holder = format!("in use by process {}", scene.pool.hub().expect("a hub").id());
    assert!(said.contains(&holder) && said.contains("stop it"), "{said}");

    let mut second = Pool::prepare(&program(), &[]).expect("a pool");
    std::fs::write(&second.data, "not a folder").expect("a file");
    let said = start_error(&mut second);
    assert!(said.contains("cannot create") && said.contains("/hub"), "{said}");

    if rustix::process::geteuid().is_root() {
        let mut second = Pool::prepare(&program(), &[]).expect("a pool");
        second.launcher =
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"].map(str::to_owned).to_vec();
        let said = start_error(&mut second);
        assert!(said.contains("ermission denied") && said.contains("/hub"), "{said}");
    }
    scene.succeed(&["jobs"]);
}
