"""Smooth pictures share very many short runs with any memory: the probe must neither drown in
them nor overlook a piece among them."""

from collections import Counter

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.probe.needles import COUNT_UP_TO, PIECE, Index, Kind, Needle
from gate.probe.windows import WindowTable, distinct, ladder

RNG = np.random.default_rng(11)
SIZE, DISTINCT = PIECE[Kind.IMAGE].min_bytes, PIECE[Kind.IMAGE].min_distinct


def gradient(step: float) -> bytes:
    """Light that falls off from a corner, in three colours: 240 x 320."""
    y, x = np.mgrid[0:240, 0:320]
    light = (x + y * 1.37)[..., None] * step * [1.0, 0.83, 0.61] + [20.0, 31.0, 47.0]
    return bytes(np.clip(light, 0, 255).astype(np.uint8))


def blurred(rng: np.random.Generator) -> bytes:
    """Noise out of focus, with large flat areas where it is over or under exposed."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (240, 320, 3)), (0, 0), 9)
    return np.clip(128 + 4000 * noise, 0, 255).astype(np.uint8).tobytes()


SMOOTH = [
    Needle("gradient", Kind.IMAGE, gradient(0.41)),
    Needle("steep gradient", Kind.IMAGE, gradient(1.93)),
    *(Needle(f"blurred {i}", Kind.IMAGE, blurred(RNG)) for i in range(4)),
]
INDEX = Index(SMOOTH)


def ordinary_memory() -> bytes:
    """Counters, tables, pointers, flat buffers and other gradients: 6 MB."""
    low = 0x7F3A_0000_0000
    parts = [
        bytes(500_000),
        b"\xff" * 500_000,
        bytes(range(256)) * 2000,
        np.arange(60_000, dtype="<i8").tobytes(),
        np.arange(120_000, dtype="<f4").tobytes(),
        np.repeat(np.arange(256, dtype=np.uint8), 12).tobytes() * 100,
        np.sort(RNG.integers(0, 256, 500_000).astype(np.uint8)).tobytes(),
        (low + 48 * RNG.integers(0, 9000, 60_000)).astype("<i8").tobytes(),
        b"\x01\x02\x03\x04\x05\x06\x07\x08\x09" * 50_000,
        gradient(0.72),
        blurred(RNG),
        np.frombuffer(SMOOTH[2].data, np.uint8)[::-1].tobytes(),
    ]
    return b"".join(parts)


MEMORY = ordinary_memory()


def telling_pieces(needle: Needle, count: int) -> list[bytes]:
    starts = RNG.integers(0, len(needle.data) - SIZE, 40 * count)
    pieces = [needle.data[s : s + SIZE] for s in starts.tolist()]
    return [piece for piece in pieces if len(set(piece)) >= DISTINCT][:count]


def test_every_planted_piece_of_a_smooth_picture_is_found_at_any_alignment() -> None:
    planted = found = 0
    for needle in SMOOTH:
        pieces = telling_pieces(needle, 100)
        assert len(pieces) >= 50
        for turn, piece in enumerate(pieces):
            start = int(RNG.integers(0, len(MEMORY) - 4096))
            at = 1000 + turn % 8
            around = bytearray(MEMORY[start : start + 4096])
            around[at : at + SIZE] = piece
            hits = INDEX.search(around, "memory")
            planted += 1
            found += any(h.offset <= at and h.offset + h.length >= at + SIZE for h in hits)
    assert found >= 0.98 * planted


def test_memory_full_of_gradients_is_no_residue_and_little_work() -> None:
    index = Index(SMOOTH)
    assert index.search(MEMORY, "memory") == []
    # Compared byte by byte: a handful of places, not the hundreds of thousands of shared grams.
    assert index.compared < 2000


def test_decoys_are_not_found_beside_real_residues() -> None:
    decoys = [Needle(f"decoy {i}", Kind.IMAGE, blurred(RNG)) for i in range(4)]
    index = Index([*SMOOTH, *decoys])
    around = b"".join(
        MEMORY[i * 900 : i * 900 + 900 + i % 8] + piece
        for i, piece in enumerate(p for n in SMOOTH for p in telling_pieces(n, 20))
    )
    names = {hit.needle for hit in index.search(around, "memory")}
    assert names == {needle.name for needle in SMOOTH}


def test_whole_and_damaged_pictures_are_found_with_little_work() -> None:
    picture = np.frombuffer(SMOOTH[3].data, np.uint8)
    index = Index(SMOOTH)
    (hit, *_) = index.search(b"12345" + picture.tobytes(), "memory")
    assert hit.needle == "blurred 1"
    assert index.compared < 2000
    damaged = picture.copy()
    damaged[::101] ^= 0x55
    found: Counter[str] = Counter()
    index = Index(SMOOTH)
    hits = index.search(damaged.tobytes(), "memory", found=found)
    assert Counter(hit.needle for hit in hits) == found
    assert found["blurred 1"] == COUNT_UP_TO
    # Counting stopped, but another picture is still looked for, and the work stays small.
    after = index.search(damaged.tobytes() + SMOOTH[4].data, "memory", found=found)
    assert {hit.needle for hit in after} == {"blurred 2"}
    assert index.compared < 20_000


def test_a_pattern_that_stands_very_often_in_a_needle_is_found() -> None:
    tile = RNG.bytes(96)
    needle = Needle("tiles", Kind.IMAGE, tile * 3000 + RNG.bytes(500))
    index = Index([needle])
    for start in range(0, 96, 7):
        (hit,) = index.search(bytes(50 + start) + (tile * 2)[start : start + SIZE], "memory")
        assert hit.length >= SIZE
    # Nearly a piece, everywhere: each different place is compared once.
    index = Index([needle])
    nearly = (tile[:70] + b"\x00\x00") * 4000
    assert index.search(nearly, "memory") == []
    assert index.compared < 100_000


@settings(deadline=None)
@given(st.binary(min_size=64, max_size=400), st.sampled_from([8, 16, 64]))
def test_windows_and_different_bytes_are_counted_right(data: bytes, size: int) -> None:
    raw = np.frombuffer(data, np.uint8)
    windows = [data[s : s + size] for s in range(len(data) - size + 1)]
    assert distinct(raw, size).tolist() == [len(set(window)) for window in windows]
    table = WindowTable([data], size, 2)
    words = raw[: len(data) // 8 * 8].view("<u8")
    hashes = dict(ladder(words))[size]
    found = table.find(hashes)
    assert found.tolist() == [
        i for i in range(hashes.size) if len(set(data[8 * i : 8 * i + size])) > 1
    ]
    for i in found.tolist():
        same = [s for s, window in enumerate(windows) if window == data[8 * i : 8 * i + size]]
        assert table.positions(hashes[i]).tolist() == same
