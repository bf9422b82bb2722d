"""What the command-line tests share: running the program, reading safetensors, finding reference files."""
import array
import json
import os
import struct
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["MICROTOME_PROGRAM"]
SOURCE = os.environ["MICROTOME_SOURCE_DIR"]
GOLDEN = os.environ.get("MICROTOME_GOLDEN", "")
LLAMA = os.path.join(SOURCE, "resources/models/zoo-llama")
DELTA = os.path.join(SOURCE, "resources/models/zoo-gated_deltanet")


def golden(relative):
    for root in ([GOLDEN] if GOLDEN else []) + [os.path.join(SOURCE, "tests"), os.path.join(SOURCE, "tests/golden"), os.path.join(SOURCE, "resources")]:
        path = os.path.join(root, relative)
        if os.path.exists(path):
            return path
    return None


def call(*args, code=0, timeout=300, **kw):
    """Runs the program; returns (stdout, stderr). Fails on another exit status."""
    r = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=timeout, errors="replace", **kw)
    assert r.returncode == code, f"{args}: exit {r.returncode}, expected {code}\n{r.stdout[-2000:]}\n{r.stderr[-2000:]}"
    return r.stdout, r.stderr


def error_of(*args, code=2, **kw):
    """The one error sentence of a failing call."""
    _, err = call(*args, code=code, **kw)
    lines = [l for l in err.splitlines() if l.startswith("microtome: error: ")]
    assert len(lines) == 1, err
    return lines[0]


def read_tensors(path):
    """name → (shape, list of numbers); and the metadata."""
    with open(path, "rb") as f:
        blob = f.read()
    (n,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + n])
    meta = header.pop("__metadata__", {})
    out = {}
    for name, e in header.items():
        a, b = e["data_offsets"]
        code = {"F32": "f", "F64": "d", "I64": "q", "BF16": "H", "F16": "H"}.get(e["dtype"])   # 16 bits as they are
        if code:
            values = array.array(code)
            values.frombytes(blob[8 + n + a : 8 + n + b])
            out[name] = (e["shape"], list(values))
    return out, meta


def write_ids(path, rows):
    with open(path, "w") as f:
        json.dump(rows, f)


class CliCase(unittest.TestCase):
    def setUp(self):
        self._dir = tempfile.TemporaryDirectory()
        self.dir = self._dir.name

    def tearDown(self):
        self._dir.cleanup()

    def path(self, name):
        return os.path.join(self.dir, name)

    def assert_close(self, got, want, atol, rtol, what=""):
        self.assertEqual(got[0], want[0], what)
        for i, (a, b) in enumerate(zip(got[1], want[1])):
            if not abs(a - b) <= atol + rtol * abs(b):
                self.fail(f"{what}: {a} against {b} at {i}")
