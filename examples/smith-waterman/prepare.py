"""Makes targets.fasta and queries/ from the Debian package mmseqs2-examples; README.md says how."""

import gzip
import re
import shutil
from pathlib import Path

from guest import HERE, Guest, read_fasta, to_fasta

SOURCE = Path("/usr/share/doc/mmseqs2/example-data")
QUERIES, QUERY_LENGTHS = 300, range(40, 451)
TARGET_RESIDUES, TARGET_LENGTHS = 320_000, range(60, 301)


def load(name):
    # "Split=0" is a trace of MMseqs2's own tools and not part of the UniProt header.
    records = read_fasta(gzip.decompress((SOURCE / name).read_bytes()).decode())
    return [(re.sub(r" Split=\d+ *$", "", header).strip(), residues) for header, residues in records]


def relatives(queries, targets):
    """Ids of the targets that are among the best five of any query."""
    guest, text, found = Guest(), to_fasta(targets), set()
    for at in range(0, len(queries), 20):
        out, err, code, _ = guest.run(to_fasta(queries[at : at + 20]), text)
        assert code == 0, err
        found |= {line.split("\t")[1] for line in out.splitlines()}
        print(f"{at + 20} of {len(queries)} queries, {len(found)} relatives", flush=True)
    return found


queries = [record for record in load("QUERY.fasta.gz") if len(record[1]) in QUERY_LENGTHS][:QUERIES]
assert len(queries) == QUERIES
# A query that finds itself says nothing.
asked = {residues for _, residues in queries}
targets = [t for t in load("DB.fasta.gz") if len(t[1]) in TARGET_LENGTHS and t[1] not in asked]
found = relatives(queries, targets)
others = [target for target in targets if target[0].split()[0] not in found]
room = TARGET_RESIDUES - sum(len(r) for header, r in targets if header.split()[0] in found)
step = sum(len(r) for _, r in others) / room
chosen = found | {others[int(n * step)][0].split()[0] for n in range(int(len(others) / step))}

(HERE / "targets.fasta").write_text(to_fasta(t for t in targets if t[0].split()[0] in chosen))
shutil.rmtree(HERE / "queries", ignore_errors=True)
(HERE / "queries").mkdir()
for header, residues in queries:
    accession = header.split("|")[1]
    (HERE / f"queries/{accession}.fasta").write_text(to_fasta([(header, residues)]))
