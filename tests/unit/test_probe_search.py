"""The probe finds every piece that counts, wherever it lies, and nothing that is not there."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.probe.faults import ProbeFault
from gate.probe.needles import PIECE, Hit, Index, Kind, Needle, fragments
from gate.probe.processes import all_processes, family, readable
from gate.probe.search import probe, scan_files, scan_process

RNG = np.random.default_rng(7)
HOLDER = """
import os, sys
from pathlib import Path
held = bytearray(5) + bytearray(Path(sys.argv[1]).read_bytes())
print("+", flush=True)
sys.stdin.read()
"""


def photo(rng: np.random.Generator) -> bytes:
    """Smooth shapes with sensor noise, and a flat white background: 120 x 160 BGR."""
    y, x = np.mgrid[0:120, 0:160]
    frame = np.full((120, 160, 3), 255.0)
    for _ in range(12):
        cy, cx, r = rng.uniform(20, 100), rng.uniform(20, 140), rng.uniform(8, 40)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < r * r
        shade = rng.uniform(30, 220, 3) + (y[inside] - cy)[:, None] * rng.uniform(-1, 1, 3)
        frame[inside] = shade + rng.normal(0, 3, (int(inside.sum()), 3))
    return np.clip(frame, 0, 255).astype(np.uint8).tobytes()


def vector(rng: np.random.Generator) -> bytes:
    raw = rng.normal(size=512).astype(np.float32)
    return (raw / np.linalg.norm(raw)).astype(np.float32).tobytes()


FRAME = Needle("frame", Kind.IMAGE, photo(RNG))
EMBEDDING = Needle("embedding", Kind.VECTOR, vector(RNG))
SECRET = Needle("key", Kind.KEY, RNG.bytes(32))
TEXT = Needle("text", Kind.TEXT, "홍길동 님".encode())
ALL = [FRAME, EMBEDDING, SECRET, TEXT]
INDEX = Index(ALL)
DECOYS = [
    Needle("another frame", Kind.IMAGE, photo(RNG)),
    Needle("another embedding", Kind.VECTOR, vector(RNG)),
]
NOISE = random.Random(3).randbytes(4096)


@settings(deadline=None)
@given(st.sampled_from(ALL), st.integers(0, 300), st.integers(0, 10**6), st.booleans())
def test_every_smallest_piece_is_found_at_any_place(
    needle: Needle, place: int, which: int, noise: bool
) -> None:
    pieces = fragments(needle)
    piece = pieces[which % len(pieces)]
    around = NOISE if noise else bytes(4096)
    data = around[:place] + piece.data + around[place : 2 * place]
    (hit,) = INDEX.search(data, "memory", base=1000)
    assert (hit.needle, hit.target) == (needle.name, "memory")
    # Bytes around may happen to go on as the needle does.
    assert hit.offset <= 1000 + place
    assert hit.offset + hit.length >= 1000 + place + len(piece.data)
    assert hit.length <= len(piece.data) + 4


def test_pieces_at_any_place_of_a_frame_are_found() -> None:
    size, found, telling = PIECE[Kind.IMAGE].min_bytes, 0, 0
    index = Index([FRAME])
    for start in range(0, len(FRAME.data) - size, 211):
        piece = FRAME.data[start : start + size]
        if len(set(piece)) < PIECE[Kind.IMAGE].min_distinct:
            continue
        telling += 1
        found += bool(index.search(NOISE[: start % 64] + piece, "memory"))
    assert telling > 100
    # A few pieces differ only where they repeat a pattern, as a background does.
    assert found >= 0.98 * telling


@settings(deadline=None)
@given(st.integers(0, 2000 - 24), st.integers(0, 40))
def test_pieces_at_any_place_of_a_vector_are_found(start: int, place: int) -> None:
    data = NOISE[:place] + EMBEDDING.data[start : start + 24] + NOISE[place:100]
    assert [hit.needle for hit in INDEX.search(data, "memory")] == ["embedding"]


def test_smaller_pieces_flat_pieces_and_other_things_are_no_hits() -> None:
    for needle in (FRAME, EMBEDDING, SECRET):
        size = PIECE[needle.kind].min_bytes - 1
        middle = len(needle.data) // 2
        assert not INDEX.search(NOISE + needle.data[middle : middle + size] + NOISE, "memory")
    assert b"\xff" * 200 in FRAME.data  # the flat background
    assert all(len(set(piece.data)) > 1 for piece in fragments(FRAME))
    for data in (bytes(1 << 20), b"\xff" * (1 << 20), b"\x80\x7f\x80" * 50_000, NOISE, b"", b"x"):
        assert INDEX.search(data, "memory") == []
    for decoy in DECOYS:
        assert INDEX.search(decoy.data, "memory") == []


def test_a_whole_frame_is_one_hit() -> None:
    hits = INDEX.search(NOISE[:3] + FRAME.data + NOISE + EMBEDDING.data * 2, "memory")
    assert hits[0] == Hit("embedding", "memory", 3 + len(FRAME.data) + 4096, 2048) or hits
    assert {hit.needle for hit in hits} == {"frame", "embedding"}
    assert max(hit.length for hit in hits) > len(FRAME.data) * 0.9


def test_needles_and_hits_never_show_their_data() -> None:
    shown = repr(TEXT) + repr(fragments(TEXT)) + repr(INDEX.search(TEXT.data, "memory"))
    assert "홍" not in shown
    assert "\\x" not in shown


def test_needles_that_cannot_be_told_apart_are_refused() -> None:
    for kind, size in [(Kind.IMAGE, 71), (Kind.VECTOR, 23), (Kind.KEY, 15), (Kind.TEXT, 3)]:
        with pytest.raises(ValueError, match="shorter"):
            Needle("x", kind, bytes(size))
    with pytest.raises(ValueError, match="one name"):
        Index([FRAME, FRAME])


@contextmanager
def holder(folder: Path, data: bytes) -> Iterator[int]:
    """A process that holds `data` in its memory."""
    (folder / "data").write_bytes(data)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDER, str(folder / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"+"
        try:
            yield child.pid
        finally:
            child.kill()


def test_a_residue_in_another_process_is_found(tmp_path: Path) -> None:
    piece = fragments(EMBEDDING)[3].data
    with holder(tmp_path, NOISE * 20 + piece + NOISE) as pid:
        report = probe(ALL, [pid], random=os.urandom, decoys=DECOYS)
        assert {hit.needle for hit in report.hits} == {"embedding"}
        assert report.decoy_hits == ()
        assert report.controls_found == report.controls_planted == 8
        assert not report.ok
        assert report.record().residues == len(report.hits)
        # However the memory is cut into chunks.
        for chunk in (4096, 65_536):
            assert scan_process(pid, INDEX, chunk_bytes=chunk).hits


def test_a_process_whose_first_thread_ended_is_searched_like_any_other() -> None:
    needle = Needle("a key", Kind.KEY, os.urandom(32))
    code = (
        "import ctypes, sys, threading, time\n"
        "held = sys.stdin.buffer.read(32)\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "sys.stdout.write('+'); sys.stdout.flush()\n"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(needle.data)
            child.stdin.flush()
            assert child.stdout.read(1) == b"+"
            stat = Path(f"/proc/{child.pid}/stat")
            while ") Z " not in stat.read_text():
                time.sleep(0.01)
            assert child.pid in [process.pid for process in family(os.getpid())]
            assert readable(child.pid) is None
            assert scan_process(child.pid, Index([needle])).hits
        finally:
            child.kill()
    assert child.pid not in [process.pid for process in all_processes()]


def test_a_clean_process_and_clean_files_are_clean(tmp_path: Path) -> None:
    with holder(tmp_path, NOISE) as pid:
        report = probe(ALL, [pid], [tmp_path], random=os.urandom, decoys=DECOYS)
    assert report.ok
    assert report.hits == report.decoy_hits == ()
    assert report.targets == (f"process {pid}", "files")
    assert report.bytes_scanned > 1_000_000
    record = report.record()
    assert (record.needles, record.controls_found, record.residues) == (4, 8, 0)


def test_residues_in_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    piece = fragments(FRAME)[5].data
    (tmp_path / "deep" / "log").write_bytes(NOISE[:4000] + piece + NOISE)
    (tmp_path / "other").write_bytes(NOISE)
    (tmp_path / "link").symlink_to("deep/log")
    os.mkfifo(tmp_path / "pipe")
    for chunk in (64, 4000, 4030, 4072, 1 << 20):
        (hit,) = scan_files([tmp_path], INDEX, chunk_bytes=chunk).hits
        assert (hit.needle, hit.target) == ("frame", str(tmp_path / "deep" / "log"))
        assert hit.offset <= 4000 <= 4072 <= hit.offset + hit.length
    assert scan_files([tmp_path], INDEX).bytes_scanned == 4000 + 72 + 2 * 4096


def test_what_cannot_be_searched_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ProbeFault, match="itself"):
        scan_process(os.getpid(), INDEX)
    with holder(tmp_path, NOISE) as pid:
        pass
    with pytest.raises(ProbeFault, match="ended"):
        scan_process(pid, INDEX)
    with pytest.raises(ProbeFault, match="cannot search"):
        scan_files([tmp_path / "absent"], INDEX)
    with subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        # A process that nobody waited for yet; only root is told that it has ended.
        with pytest.raises(ProbeFault, match=r"ended|no right"):
            scan_process(child.pid, INDEX)


AS_ANOTHER_USER = """
import os, sys
from gate.probe.needles import Index, Kind, Needle
from gate.probe.faults import ProbeFault
from gate.probe.search import scan_process
index = Index([Needle("x", Kind.KEY, bytes(range(16)))])
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    scan_process(1, index)
except ProbeFault as fault:
    print(fault.diagnostics())
"""


def test_no_right_to_read_is_a_fault_and_never_zero() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("no right to read the memory of process 1; run the probe as root")
