//! The verifiers agree about a log that aics-tlog itself built, and both notice damage: so what they say of
//! ours means something.

use std::path::Path;

use super::*;

/// Builds a mirror of so many entries with a key of its own; prints the verifier key.
const BUILD: &str = r#"
import sys, pathlib, aics_tlog as t
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
out, entries = pathlib.Path(sys.argv[1]), [b"entry %d" % i for i in range(int(sys.argv[2]))]
key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
t.TileWriter(entries).write_to(out)
tree = t.MerkleTree(entries)
checkpoint = t.Checkpoint("log.example/pumasi", len(entries), tree.root(), ("pumasi-log 1 AAAA",))
(out / "checkpoint").write_bytes(t.sign_checkpoint(checkpoint, key, checkpoint.origin).to_bytes())
print(t.format_vkey(t.vkey_from_ed25519(checkpoint.origin, key.public_key())))
"#;

/// Writes a receipt of entry 7 and a cosigned checkpoint beside the log; prints the witness's verifier key.
const ADD: &str = r#"
import sys, pathlib, time, base64, aics_tlog as t
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
out = pathlib.Path(sys.argv[1])
text = (out / "checkpoint").read_text()
note = t.parse_note(text)
checkpoint = t.parse_checkpoint(note.text)
proof = t.inclusion_proof_from_tiles(t.FileSystemTileReader(out), 7, checkpoint.size)
lines = ["c2sp.org/tlog-proof@v1", "index 7", *(base64.b64encode(p).decode() for p in proof), "", text]
(out / "receipt").write_text("\n".join(lines))
(out / "leaf").write_bytes(b"entry 7")
key, name = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))), "witness.example/w"
head = (checkpoint.origin, checkpoint.size, checkpoint.root, checkpoint.extension_lines)
_, line = t.sign_cosignature(key, name, int(time.time()), *head)
(out / "cosigned").write_bytes(t.Note(text=note.text, signatures=(*note.signatures, line)).to_bytes())
print(t.format_vkey(t.cosignature_vkey(name, key.public_key())))
"#;

fn build(verifiers: &Verifiers, mirror: &Path, entries: u32) -> String {
    let mut command = with(verifiers.python(), &["-c", BUILD]);
    command.arg(mirror).arg(entries.to_string());
    verdict(command).expect("a log is built")
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("it can be written");
}

#[test]
fn verifiers_pass_a_good_log_and_notice_damage() {
    let verifiers = Verifiers::get().expect("the verifiers can be installed");
    let dir = tempfile::tempdir().expect("a folder");
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    build(verifiers, &old, 300);
    let vkey = build(verifiers, &new, 700);
    let olds = [old.join("checkpoint")];
    for verdict in verifiers.log(&new, &vkey, &olds) {
        assert_eq!(verdict.as_deref(), Ok("ok: 700 entries"));
    }
    for verdict in verifiers.log(&old, &vkey, &[new.join("checkpoint")]) {
        assert!(verdict.expect_err("a log that shrank").contains("fork"));
    }
    for damaged in ["tile/entries/001", "tile/0/000", "tile/0/002.p/188", "checkpoint"] {
        let copy = tempfile::tempdir().expect("a folder");
        let mirror = copy.path().join("mirror");
        must(Command::new("cp").arg("-r").arg(&new).arg(&mirror)).expect("a copy");
        damage(&mirror.join(damaged));
        for verdict in verifiers.log(&mirror, &vkey, &[]) {
            verdict.expect_err(damaged);
        }
    }
}

#[test]
fn verifiers_pass_good_receipts_and_cosignatures_and_no_others() {
    let verifiers = Verifiers::get().expect("the verifiers can be installed");
    let dir = tempfile::tempdir().expect("a folder");
    let vkey = build(verifiers, dir.path(), 700);
    let mut add = with(verifiers.python(), &["-c", ADD]);
    add.arg(dir.path());
    let witness = verdict(add).expect("a receipt and a cosignature are made");
    let [receipt, leaf, cosigned] = ["receipt", "leaf", "cosigned"].map(|name| dir.path().join(name));
    assert_eq!(verifiers.receipt(&receipt, &leaf, &vkey).as_deref(), Ok("ok: entry 7 of 700"));
    verifiers.receipt(&receipt, &cosigned, &vkey).expect_err("another leaf");
    assert_eq!(verifiers.cosigned(&cosigned, &vkey, 1, &[&witness]).as_deref(), Ok("ok: 700 entries"));
    verifiers.cosigned(&cosigned, &vkey, 2, &[&witness]).expect_err("one witness is not two");
    verifiers.cosigned(&dir.path().join("checkpoint"), &vkey, 1, &[&witness]).expect_err("no cosignature");
}
