//! What an outsider keeps while the hub is being killed: receipts, which must still hold at the end.

use std::path::PathBuf;

use pumasi_api::wire;

use super::Dice;
use crate::Outcome;
use crate::pool::{Pool, block_on};

/// How many receipts are fetched at a time.
const AT_A_TIME: u64 = 5;

/// Somebody who fetches receipts now and then.
#[derive(Default)]
pub(crate) struct Outsider {
    /// The key that the hub signed with at the beginning.
    key: Option<String>,
    folders: Vec<PathBuf>,
    /// How many transfers the largest tree covered that the hub ever showed.
    size: u64,
    /// How many receipts were fetched.
    pub(crate) receipts: u64,
}

impl Outsider {
    /// Fetches receipts of some transfers. The tree may not have shrunk, nor the key changed.
    pub(crate) fn look(&mut self, pool: &Pool, dice: &mut Dice) -> Outcome {
        let info: wire::ProofInfo = block_on(pool.client(&pool.operator)?.get("/v1/proof"))?;
        let key = self.key.get_or_insert_with(|| info.keys[0].clone());
        if *key != info.keys[0] || info.size < self.size {
            return Err(
                format!("the hub proved {} transfers with {key}; now it says {info:?}", self.size).into()
            );
        }
        self.size = info.size;
        if info.size == 0 {
            return Ok(());
        }
        let folder = pool.dir.path().join(format!("receipts-{}", self.folders.len()));
        let numbers: Vec<String> = (0..AT_A_TIME).map(|_| (1 + dice.below(info.size)).to_string()).collect();
        let mut get = pool.cli(&pool.operator);
        get.args(["receipt", "get", "--quiet", "--out"]).arg(&folder).args(&numbers);
        run(&mut get)?;
        self.folders.push(folder);
        self.receipts += AT_A_TIME;
        Ok(())
    }

    /// Checks all of them, without the hub.
    pub(crate) fn verify(&self, pool: &Pool) -> Outcome {
        let Some(key) = self.key.as_ref().filter(|_| !self.folders.is_empty()) else { return Ok(()) };
        let mut verify = pool.cli(&pool.operator);
        verify.env_remove("PUMASI_HUB").args(["receipt", "verify", "--key", key]).args(&self.folders);
        run(&mut verify)
    }
}

fn run(command: &mut std::process::Command) -> Outcome {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&said)).into())
}
