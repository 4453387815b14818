"""Names and widths of tiles, and tiles of a log file against those of its export."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from gate.console.app import create_app
from gate.console.deps import ConsoleDeps
from gate.errors import LedgerFault
from gate.ledger.checkpoint import Signer, open_note
from gate.ledger.export import export
from gate.ledger.merkle import leaf_hash, root_of
from gate.ledger.reading import reading
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.tile_source import (
    COMPUTING_MAX,
    Busy,
    FolderTiles,
    LogFileTiles,
    Subtrees,
)
from gate.ledger.tiles import (
    WIDTH,
    TileName,
    bundle,
    bundle_entry,
    hashes_at,
    parse_path,
    tiles_of,
)
from gate.ledger.verify import verify_export, verify_store
from gate.ledger.verify.folder import split_bundle, tile_path
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
REASONS = list(DenyReason)

levels = st.none() | st.integers(0, 63)
numbers = st.integers(0, 10**12)
widths = st.integers(1, 256)


def fill(path: Path, size: int) -> None:
    """Append until the log has `size` records."""
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        if ledger.size() == 0 < size:
            ledger.append(Started(Mode.DEMO, Pack.EDGE, "ab" * 32, True, True), NOON)
        while ledger.size() < size:
            reason = REASONS[ledger.size() % len(REASONS)]
            ledger.append(Decided(False, reason, Lane.FACE), NOON)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 600 records."""
    path = tmp_path_factory.mktemp("log") / "ledger.db"
    fill(path, 600)
    return path


@given(levels, numbers, widths)
def test_a_name_and_its_path_are_one(level: int | None, number: int, width: int) -> None:
    name = TileName(level, number, width)
    assert parse_path(name.path()) == name
    assert "tile/" + name.path() == tile_path(level, number, width)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("0/000", TileName(0, 0)),
        ("63/999", TileName(63, 999)),
        ("0/x001/x234/067", TileName(0, 1_234_067)),
        ("entries/x001/x234/067.p/1", TileName(None, 1_234_067, 1)),
        ("1/000.p/255", TileName(1, 0, 255)),
    ],
)
def test_the_examples_of_the_specification(path: str, name: TileName) -> None:
    assert parse_path(path) == name


OTHER_SPELLINGS = """
0 0/ 0/0 0/00 0/0000 00/000 -1/000 64/000 100/000 x/000 entries entries/ Entries/000 0/x000/000
0/001/000 0/x01/000 0/x001/x000 0/000.p/0 0/000.p/00 0/000.p/01 0/000.p/256 0/000.p/257 0/000.p/999
0/000.p/ 0/000.p 0/000.P/1 0/000.p/1/ /0/000 0//000 0/../000 0/000%00 ٠/000 0/٠٠٠ 0/000.p/١
0/x001/x001/x001/x001/x001/x001/000
"""


@pytest.mark.parametrize("path", OTHER_SPELLINGS.split())
def test_other_spellings_name_nothing(path: str) -> None:
    assert parse_path(path) is None


@given(st.text(alphabet="0123456789xp./entris", max_size=40))
def test_any_text_is_a_path_in_one_form_or_none(text: str) -> None:
    name = parse_path(text)
    assert name is None or name.path() == text


def test_a_tree_of_70_000_has_the_tiles_of_the_specification() -> None:
    names = list(tiles_of(70_000))
    assert len(names) == 273 + 1 + 1 + 1 + 1
    assert [name for name in names if name.width < WIDTH] == [
        TileName(0, 273, 112),
        TileName(1, 1, 17),
        TileName(2, 0, 1),
    ]
    assert list(tiles_of(256)) == [TileName(0, 0), TileName(1, 0, 1)]
    assert list(tiles_of(0)) == []


@given(st.integers(0, 70_000))
def test_a_tree_has_each_of_its_tiles_and_nothing_beyond(size: int) -> None:
    for name in tiles_of(size):
        assert name.within(size)
        wider = TileName(name.level, name.number, name.width + 1)
        assert name.width == WIDTH or not wider.within(size)
    for level in range(4):
        count = hashes_at(size, level)
        assert not TileName(level, count // WIDTH, count % WIDTH + 1).within(size)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    raw = bundle(entries)
    assert [bundle_entry(raw, place) for place in range(len(entries))] == entries
    assert split_bundle(raw, len(entries)) == entries
    assert split_bundle(raw, len(entries) + 1) is None
    assert split_bundle(raw + b"\0", len(entries)) is None
    assert split_bundle(raw[:-1], len(entries)) is None
    with pytest.raises(ValueError, match="too early"):
        bundle_entry(raw, len(entries))


@given(st.binary(max_size=600), st.integers(1, 256))
def test_a_bundle_has_one_encoding(raw: bytes, width: int) -> None:
    entries = split_bundle(raw, width)
    assert entries is None or bundle(entries) == raw


def test_an_entry_that_a_bundle_cannot_hold() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        bundle([b"x" * 65_536])


def test_the_file_and_its_export_give_the_same_tiles(log: Path, tmp_path: Path) -> None:
    export(log, tmp_path / "export")
    file, folder = LogFileTiles(log), FolderTiles(tmp_path / "export")
    bundles = [TileName(None, name.number, name.width) for name in tiles_of(600) if not name.level]
    names = [*tiles_of(600), *bundles]
    assert len(names) == 4 + 3
    for name in names:
        found = file.tile(name)
        assert found is not None
        assert found == folder.tile(name) == (tmp_path / "export/tile" / name.path()).read_bytes()
    assert {
        path.as_posix() for path in (tmp_path / "export/tile").rglob("*") if path.is_file()
    } == {f"{tmp_path}/export/tile/{name.path()}" for name in names}


def test_every_part_of_the_tree_from_tiles(log: Path) -> None:
    with reading(log) as view:
        leaves = [leaf for _, leaf in view.entries(0, 600)]
        bodies = [body for body, _ in view.entries(0, 600)]
        assert open_note(view.newest_note(), view.vkey()).root == root_of(leaves)
    assert [leaf_hash(body or b"") for body in bodies] == leaves
    cuts = [0, 1, 2, 3, 254, 255, 256, 257, 384, 511, 512, 513, 599, 600]
    for size in cuts[1:]:
        tree = Subtrees(LogFileTiles(log), size)
        for start, end in pairwise([cut for cut in cuts if cut <= size]):
            assert tree.mth(start, end) == root_of(leaves[start:end])
        assert tree.mth(0, size) == root_of(leaves[:size])


def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"x" * 5000)
    for path, told in ((tmp_path / "none", "no log"), (tmp_path / "bad", "cannot read")):
        for name in (TileName(0, 0, 1), TileName(1, 0, 1)):
            with pytest.raises(LedgerFault, match=told):
                LogFileTiles(path).tile(name)


def test_a_log_begun_anew_is_not_answered_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 256)
    tiles = LogFileTiles(path)
    before = tiles.tile(TileName(1, 0, 1))
    path.rename(tmp_path / "away.db")
    assert before is not None
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        for _ in range(256):
            ledger.append(Started(Mode.DEMO, Pack.EDGE, "cd" * 32, True, True), NOON)
    after = tiles.tile(TileName(1, 0, 1))
    assert after is not None
    assert after != before


def test_many_expensive_questions_at_once_do_not_queue_up(log: Path) -> None:
    tiles = LogFileTiles(log)
    held = [tiles._waiting.acquire(blocking=False) for _ in range(COMPUTING_MAX)]
    assert all(held)
    with pytest.raises(Busy):
        tiles.tile(TileName(1, 0, 1))
    assert tiles.tile(TileName(0, 0)) is not None, "cheap ones are always answered"
    client = serve(log)
    answers: list[int] = []
    ask: Callable[[], None] = lambda: answers.append(client.get("/log/tile/1/000.p/2").status_code)  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 503}
    assert 200 in answers


def test_a_pruned_log_keeps_its_tree(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    fill(path, 600)
    before = {name: LogFileTiles(path).tile(name) for name in tiles_of(600)}
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        ledger.prune(512, NOON)
        tiles, client = LogFileTiles(path), serve(path)
        for name in [TileName(0, 0), TileName(0, 1), TileName(1, 0, 2), TileName(0, 2, 88)]:
            assert tiles.tile(name) == before[name]
            assert client.get(f"/log/tile/{name.path()}").content == before[name]
        for path_404 in ("entries/000", "entries/001", "entries/001.p/17"):
            assert client.get(f"/log/tile/{path_404}").status_code == 404
        assert client.get("/log/tile/entries/002.p/89").status_code == 200
        assert verify_store(path, SIGNER.vkey).ok
    export(path, tmp_path / "export")
    report = verify_export(tmp_path / "export", SIGNER.vkey)
    assert report.ok, report.problems
    assert report.size == 601
    assert not (tmp_path / "export/tile/entries/001").exists()
    lines = (tmp_path / "export/entries.jsonl").read_bytes().split(b"\n")
    assert lines[:512] == [b""] * 512
    assert len(lines) == 602
    # A bundle that is missing where nothing was pruned is a problem.
    (tmp_path / "export/tile/entries/002.p/89").unlink()
    assert not verify_export(tmp_path / "export", SIGNER.vkey).ok


def serve(path: Path) -> TestClient:
    return TestClient(create_app(ConsoleDeps(path, SIGNER.vkey, None, demo=False)))


def test_served_as_the_specification_says(log: Path) -> None:
    client = serve(log)
    answer = client.get("/log/checkpoint")
    assert (answer.status_code, answer.headers["content-type"]) == (
        200,
        "text/plain; charset=utf-8",
    )
    assert answer.headers["cache-control"] == "no-store"
    assert open_note(answer.text, SIGNER.vkey).size == 600
    for path in ("0/000", "0/002.p/88", "0/002.p/1", "1/000.p/2", "entries/001", "entries/002.p/3"):
        answer = client.get(f"/log/tile/{path}")
        assert (answer.status_code, answer.headers["content-type"]) == (
            200,
            "application/octet-stream",
        )
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert len(client.head(f"/log/tile/{path}").content) == 0
    absent = "0/002 0/002.p/89 0/003.p/1 1/000 1/000.p/3 2/000.p/1 entries/002 entries/003"
    absent += " 0/000.p/256 0/000.p/257 0/0 zzz entries/002.p/89"
    for path in ["", *absent.split(" ")]:
        answer = client.get(f"/log/tile/{path}")
        assert answer.status_code == 404, path
        assert answer.headers["cache-control"] == "no-store"
    assert client.get("/log/cosigned").status_code == 404
    assert client.post("/log/checkpoint").status_code == 403


def test_bundles_are_compressed_for_those_who_can(log: Path) -> None:
    client = serve(log)
    plain = client.get("/log/tile/entries/000", headers={"accept-encoding": "identity"})
    small = client.get("/log/tile/entries/000", headers={"accept-encoding": "gzip, deflate"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.headers["vary"] == "Accept-Encoding"
    assert small.content == plain.content
    assert int(small.headers["content-length"]) < len(plain.content) / 4
    assert gzip.compress(plain.content, mtime=0) == gzip.compress(small.content, mtime=0)


def test_no_log_is_a_clear_line_not_a_page(tmp_path: Path) -> None:
    client = serve(tmp_path / "none")
    for path in ("checkpoint", "cosigned", "tile/0/000", "tile/1/000", "tile/entries/000"):
        answer = client.get(f"/log/{path}")
        assert answer.status_code == 503
        assert answer.text.startswith("there is no log")


def test_tiles_while_the_gate_writes(tmp_path: Path) -> None:
    """Each checkpoint that is served can be checked with the tiles served after it."""
    path = tmp_path / "ledger.db"
    fill(path, 500)
    client = serve(path)
    stop = threading.Event()

    def write() -> None:
        with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
            while not stop.is_set():
                ledger.append(Decided(False, DenyReason.NO_FACE, Lane.FACE), NOON)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            checkpoint = open_note(client.get("/log/checkpoint").text, SIGNER.vkey)
            leaves = b""
            for name in tiles_of(checkpoint.size):
                if name.level == 0:
                    leaves += client.get(f"/log/tile/{name.path()}").content
            hashes = [leaves[at : at + 32] for at in range(0, len(leaves), 32)]
            assert (len(hashes), root_of(hashes)) == (checkpoint.size, checkpoint.root)
    finally:
        stop.set()
        writer.join()
    assert verify_store(path, SIGNER.vkey).size > 500


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257])
def test_an_export_of_any_size_verifies(tmp_path: Path, size: int) -> None:
    fill(tmp_path / "ledger.db", size)
    told: list[tuple[int, int]] = []
    assert export(tmp_path / "ledger.db", tmp_path / "out", lambda *now: told.append(now)) == size
    assert told[-1:] == ([(size, size)] if size else [])
    report = verify_export(tmp_path / "out", SIGNER.vkey)
    assert (report.ok, report.size) == (True, size), report.problems
    for name in ("entries.jsonl", "checkpoints.jsonl", "cosigned.jsonl", "vkey", "README.txt"):
        (tmp_path / "out" / name).unlink()
    mirror = verify_export(tmp_path / "out", SIGNER.vkey)
    assert (mirror.ok, mirror.size) == (True, size), mirror.problems


def test_what_is_damaged_in_a_folder_is_found(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(log, folder)
    tiles = sorted(path for path in (folder / "tile").rglob("*") if path.is_file())
    assert len(tiles) == 7
    for path in tiles:
        raw = path.read_bytes()
        for changed in (
            raw[:-1],
            raw + b"\0",
            b"",
            bytes([raw[0] ^ 1]) + raw[1:],
            raw[:-1] + bytes([raw[-1] ^ 1]),
            raw[32:] + raw[:32],
            None,
        ):
            path.unlink()
            if changed is not None:
                path.write_bytes(changed)
            report = verify_export(folder, SIGNER.vkey)
            assert not report.ok, path
            path.write_bytes(raw)
    assert verify_export(folder, SIGNER.vkey).ok


def test_a_mirror_may_hold_what_it_fetched_before(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(log, folder)
    tiles = LogFileTiles(log)
    for name in (TileName(0, 2, 5), TileName(0, 0, 255), TileName(None, 1, 9), TileName(1, 0, 1)):
        earlier = folder / "tile" / name.path()
        earlier.parent.mkdir(parents=True, exist_ok=True)
        earlier.write_bytes(tiles.tile(name) or b"")
        assert verify_export(folder, SIGNER.vkey).ok
        earlier.write_bytes((tiles.tile(name) or b"")[:-1] + b"?")
        assert not verify_export(folder, SIGNER.vkey).ok
        earlier.unlink()
    for path in ("more", "0/003", "0/002.p/99", "2/000.p/1", "0/000.p/00"):
        other = folder / "tile" / path
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(bytes(32))
        problems = verify_export(folder, SIGNER.vkey).problems
        assert any("does not belong" in line for line in problems)
        other.unlink()


def test_a_folder_cannot_keep_the_auditor_waiting(log: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(log, folder)
    for name in ("checkpoint", "entries.jsonl", "tile/0/000", "tile/entries/000", "vkey"):
        raw = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(LedgerFault, match="not a plain file"):
            verify_export(folder, SIGNER.vkey)
        (folder / name).unlink()
        (folder / name).write_bytes(raw)
    assert verify_export(folder, SIGNER.vkey).ok
    note = (folder / "checkpoint").read_text().replace("\n600\n", "\n9999999999999999\n")
    (folder / "checkpoint").write_text(note)
    assert not verify_export(folder, SIGNER.vkey).ok
