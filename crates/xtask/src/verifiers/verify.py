"""Verifies a mirrored log, or a receipt, with the PyPI package aics-tlog, which knows nothing of Pumasi.

    verify.py log MIRROR VKEY [OLD-CHECKPOINT]...
    verify.py receipt FILE LEAF VKEY
    verify.py cosigned CHECKPOINT VKEY QUORUM WITNESS-VKEY...
    verify.py feed MIRROR WITNESS-URL WITNESS-VKEY

Prints one line and ends with 0 when everything holds, else says on stderr what does not and ends with 1.
"""

import base64
import sys
from pathlib import Path

import aics_tlog as t


def opened(note_text: bytes, vkey, witnesses=(), quorum=0):
    note = t.parse_note(note_text)
    result = t.verify_checkpoint(note, vkey, list(witnesses), quorum, expected_origin=vkey.name)
    if not result.ok:
        raise ValueError(f"checkpoint: {result.error or 'not signed as required'}")
    return t.parse_checkpoint(note.text)


def log(mirror, vkey_text, *olds):
    vkey = t.parse_vkey(vkey_text)
    now = opened((Path(mirror) / "checkpoint").read_bytes(), vkey)
    reader = t.FileSystemTileReader(mirror)
    report = t.audit_tiles(reader, now.size, now.root)
    for path in olds:
        old = opened(Path(path).read_bytes(), vkey)
        if old.size > now.size:
            raise ValueError(f"fork: an older checkpoint has {old.size} entries, this one {now.size}")
        if old.size == 0:
            continue
        proof = t.consistency_proof_from_tiles(reader, old.size, now.size)
        if not t.verify_consistency(old.size, now.size, old.root, now.root, proof):
            raise ValueError(f"fork: {Path(path).name} does not lead to this tree")
    return f"ok: {report.size} entries"


def receipt(path, leaf, vkey_text):
    """c2sp.org/tlog-proof: header, optional extra line, index, proof hashes, empty line, checkpoint."""
    head, checkpoint = Path(path).read_text().split("\n\n", 1)
    lines = head.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1":
        raise ValueError("receipt: not a tlog-proof")
    rest = [line for line in lines[1:] if not line.startswith("extra ")]
    index = int(rest[0].removeprefix("index "))
    proof = [base64.b64decode(line, validate=True) for line in rest[1:]]
    tree = opened(checkpoint.encode(), t.parse_vkey(vkey_text))
    leaf_hash = t.leaf_hash(Path(leaf).read_bytes())
    if not t.verify_inclusion(leaf_hash, index, tree.size, proof, tree.root):
        raise ValueError(f"receipt: entry {index} is not in the tree")
    return f"ok: entry {index} of {tree.size}"


def cosigned(path, vkey_text, quorum, *witnesses):
    keys = [t.parse_vkey(text) for text in witnesses]
    tree = opened(Path(path).read_bytes(), t.parse_vkey(vkey_text), keys, int(quorum))
    return f"ok: {tree.size} entries"


def feed(mirror, url, witness):
    from aics_witness.feeder import WitnessClient

    reader = t.FileSystemTileReader(mirror)
    text = (Path(mirror) / "checkpoint").read_bytes()
    proof = lambda old, new: t.consistency_proof_from_tiles(reader, old, new)
    # Raises unless the witness gives a cosignature that its key vouches for.
    WitnessClient(url, witness).submit(text, proof)
    return f"ok: {t.parse_checkpoint(t.parse_note(text).text).size} entries cosigned"


if __name__ == "__main__":
    try:
        print({"log": log, "receipt": receipt, "cosigned": cosigned, "feed": feed}[sys.argv[1]](*sys.argv[2:]))
    except Exception as error:  # whatever the package raises is its verdict
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
