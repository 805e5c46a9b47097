"""Runs sw.wasm in this process, for prepare.py and test.py; needs `pip install wasmtime`."""

import tempfile
from pathlib import Path

import wasmtime

HERE = Path(__file__).parent
FUEL = 10**15


class Guest:
    def __init__(self, wasm=HERE / "sw.wasm"):
        config = wasmtime.Config()
        config.consume_fuel = True
        self.engine = wasmtime.Engine(config)
        self.module = wasmtime.Module.from_file(self.engine, str(wasm))
        self.linker = wasmtime.Linker(self.engine)
        self.linker.define_wasi()

    def run(self, queries: str, targets: str | None, *args: str):
        """Returns stdout, stderr, exit code and fuel; without targets there is no /in at all."""
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            (folder / "in").mkdir()
            (folder / "stdin").write_text(queries)
            wasi = wasmtime.WasiConfig()
            wasi.argv = ["sw.wasm", *args]
            wasi.stdin_file = folder / "stdin"
            wasi.stdout_file = folder / "stdout"
            wasi.stderr_file = folder / "stderr"
            if targets is not None:
                (folder / "in/targets.fasta").write_text(targets)
                wasi.preopen_dir(str(folder / "in"), "/in")
            store = wasmtime.Store(self.engine)
            store.set_fuel(FUEL)
            store.set_wasi(wasi)
            code = 0
            try:
                self.linker.instantiate(store, self.module).exports(store)["_start"](store)
            except wasmtime.ExitTrap as end:
                code = end.code
            fuel = FUEL - store.get_fuel()
            return (folder / "stdout").read_text(), (folder / "stderr").read_text(), code, fuel


def read_fasta(text: str):
    """Pairs of header and residues."""
    records = text.split(">")[1:]
    return [(header, "".join(lines)) for header, *lines in (record.splitlines() for record in records)]


def to_fasta(records) -> str:
    return "".join(f">{header}\n{residues}\n" for header, residues in records)
