"""Checks sw.wasm against a plain implementation, a published example and bad input."""

import hashlib
import random
import re
import sys

try:
    from guest import HERE, Guest, read_fasta, to_fasta
except ModuleNotFoundError as error:
    sys.exit(print(f"skipped: {error}; pip install wasmtime"))

LETTERS = "ARNDCQEGHILKMFPSTWYVBZX*"


def read_blosum62():
    rows = re.findall(r"\{((?:-?\d+, ){23}-?\d+)\}", (HERE / "sw.c").read_text())
    assert len(rows) == len(LETTERS)
    scores = {(a, b): int(x) for a, row in zip(LETTERS, rows) for b, x in zip(LETTERS, row.split(","))}
    assert all(scores[a, b] == scores[b, a] for a, b in scores)
    return scores


def plain(query, target, scores, first, next):
    """Smith & Waterman's recurrence as printed, with gaps of any length tried one by one: O(n^3)."""
    cells = [[0] * (len(target) + 1) for _ in range(len(query) + 1)]
    for i in range(1, len(query) + 1):
        for j in range(1, len(target) + 1):
            above = max(cells[i - k][j] - first - (k - 1) * next for k in range(1, i + 1))
            left = max(cells[i][j - k] - first - (k - 1) * next for k in range(1, j + 1))
            match = cells[i - 1][j - 1] + scores[query[i - 1], target[j - 1]]
            cells[i][j] = max(0, match, above, left)
    return max(map(max, cells))


def relative(random, residues):
    """A distant relative: substitutions, insertions and deletions."""
    out = []
    for residue in residues:
        luck = random.random()
        if luck < 0.06:
            continue
        if luck < 0.12:
            out += random.choices(LETTERS[:20], k=random.randint(1, 14))
        out.append(random.choice(LETTERS[:23]) if luck > 0.6 else residue)
    return "".join(out) or "A"


def test_plain_gives_the_published_score():
    # Durbin, Eddy, Krogh & Mitchison 1998, figure 2.6: BLOSUM50, gap cost 8, AWGHE / AW-HE scores 28.
    rows = {
        "P": "-2 -1 -1 -2 -4", "A": "-2 -1 5 0 -3", "W": "-3 -3 -3 -3 15", "H": "10 0 -2 -2 -3", "E": "0 6 -1 -3 -3",
    }
    scores = {(a, b): int(x) for a, row in rows.items() for b, x in zip("HEAGW", row.split())}
    assert plain("PAWHEAE", "HEAGAWGHEE", scores, 8, 8) == 28


def test_scores_are_exact(guest, scores):
    rng = random.Random(1)
    checked = gapped = 0
    for length in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 48, 64, 70]:
        query = "".join(rng.choices(LETTERS[:20], k=length))
        targets = {f"t{n}": relative(rng, query) for n in range(5)}
        fasta = to_fasta(targets.items())
        out, err, code, _ = guest.run(to_fasta([("q", query)]), fasta, "1e300")
        assert code == 0, err
        found = [line.split("\t") for line in out.splitlines()]
        expected = {t: plain(query, residues, scores, 12, 1) for t, residues in targets.items()}
        assert {row[1]: int(row[2]) for row in found} == {t: s for t, s in expected.items() if s > 0}, length
        ranks = [(-expected[row[1]], row[1]) for row in found]
        assert ranks == sorted(ranks)
        for row in found:
            q_from, q_to, t_from, t_to = map(int, row[6:10])
            aligned = query[q_from - 1 : q_to], targets[row[1]][t_from - 1 : t_to]
            assert plain(*aligned, scores, 12, 1) == int(row[2])
            if len(aligned[0]) == len(aligned[1]) and sum(scores[p] for p in zip(*aligned)) == int(row[2]):
                identical = sum(a == b for a, b in zip(*aligned))
                assert row[5] == f"{100 * identical / len(aligned[0]):.1f}"
            else:
                gapped += 1
            checked += 1
    assert checked > 50 and gapped > 10, (checked, gapped)


def test_scores_beyond_8_and_16_bits(guest):
    for n in [23, 24, 2978, 2979, 5957, 5958, 6200]:  # a W that matches scores 11
        out, err, code, _ = guest.run(f">q\n{'W' * n}\n", f">t\nAA{'W' * n}AA\n")
        assert code == 0, err
        assert out.split("\t")[2] == str(11 * n)
        assert out.split("\t")[5:10] == ["100.0", "1", str(n), "3", str(n + 2)]


def test_statistics(guest):
    out, _, _, _ = guest.run(">q\n" + "W" * 10, ">t\n" + "W" * 10 + "\n>u\n" + "A" * 90, "10")
    # bits = (0.267 * 110 - ln 0.041) / ln 2; E = 10 * 100 / 2^bits
    assert out.split("\t")[2:5] == ["110", "47.0", "7.2e-12"], out


def test_input_is_taken_as_it_comes(guest):
    odd = guest.run(">q\tone  protein OS=Some one GN=g\r\nwwww wwww\r\n\r\nWWWW*\r\n>\n>empty", ">t x\n" + "W" * 12)
    assert odd[2] == 0, odd
    row = odd[0].rstrip("\n").split("\t")
    assert row[:3] == ["q", "t", "132"] and row[10:] == ["one  protein", "x", ""], row
    assert guest.run(">q OS=A b=c XX=y\nWWWWWWWWWWWW", ">t", "10")[0] == ""


def test_bad_input_ends_with_a_reason(guest):
    for queries, targets, reason in [
        (">q\nA\n", None, "/in/targets.fasta"),
        (">q\nA\n", "", "no FASTA sequence in /in/targets.fasta"),
        ("", ">t\nA\n", "no FASTA sequence in stdin"),
        ("ACDE\n>q\nA\n", ">t\nA\n", "no FASTA header at the start of stdin"),
        ("\x7fELF\n", ">t\nA\n", "no FASTA sequence in stdin"),
    ]:
        out, err, code, _ = guest.run(queries, targets)
        assert (out, code) == ("", 1) and reason in err, (queries, targets, err)
    assert guest.run(">q\nA\n", ">t\nA\n", "lots")[2] == 1


def test_the_whole_job_gives_the_known_result(guest):
    targets = (HERE / "targets.fasta").read_text()
    files = sorted((HERE / "queries").glob("*.fasta"))
    table = "".join(guest.run(file.read_text(), targets)[0] for file in files)
    digest = hashlib.sha256(table.encode()).hexdigest()
    assert digest == (HERE / "result.sha256").read_text().split()[0], digest


if __name__ == "__main__":
    fixtures = {"guest": Guest(), "scores": read_blosum62()}
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test(*(fixtures[argument] for argument in test.__code__.co_varnames[: test.__code__.co_argcount]))
            print("ok", name)
