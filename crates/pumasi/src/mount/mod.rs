//! A folder of a space mounted through FUSE, so that programs use the store as a folder.
//!
//! Reading asks the hub for what is read; what is written lies on this machine until the file is closed, and close
//! answers whether the hub has it. There are no links, owners and extended attributes: files belong to whoever mounted.

mod body;
mod drive;
mod fs;
mod surroundings;
mod tree;
mod trouble;

use std::path::Path;
use std::sync::Arc;

use fuser::{Config, MountOption, Session};
use pumasi_api::client::HubClient;

pub(crate) use self::drive::Ciphers;
use self::drive::Drive;
use self::fs::Mounted;
use crate::drive::place::Place;
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Output;

/// Mounts a folder of a space, and returns when `stop` resolves or somebody else unmounts it.
pub(crate) async fn mount(
    client: HubClient,
    out: &Output,
    place: &Place,
    dir: &Path,
    read_only: bool,
    ciphers: Ciphers,
    stop: impl Future<Output = ()>,
) -> Result<Exit, CliError> {
    let failed = || CliError::file("mount a folder at", dir);
    let (space, base) = (place.space().to_owned(), place.path.clone());
    let drive = Arc::new(Drive::new(client, space, base, read_only, ciphers, *out));
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let runtime = tokio::runtime::Handle::current();
    let mounted = Mounted { drive: drive.clone(), runtime, uid, gid };
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("pumasi".to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoDev,
        MountOption::NoSuid,
        if read_only { MountOption::RO } else { MountOption::RW },
    ];
    let mut session = Session::new(mounted, dir, &config).map_err(failed())?;
    let mut unmounter = session.unmount_callable();
    let mut running = tokio::task::spawn_blocking(move || session.run());
    out.line(&format!("{place} is mounted at {}", dir.display()))?;
    let ended = tokio::select! {
        ended = &mut running => ended,
        () = stop => {
            // Programs that still have files open lose nothing that they wrote until now.
            let stored = drive.store_all().await;
            unmounter.unmount().map_err(failed())?;
            if !stored {
                return Ok(Exit::Refused);
            }
            running.await
        }
    };
    ended.map_err(std::io::Error::other).and_then(|ended| ended).map_err(failed())?;
    Ok(Exit::Ok)
}
