"""The probe finds by itself where something could remain, and names what it cannot search."""

import os
import subprocess
import sys
import time
from pathlib import Path

from gate.probe import places
from gate.probe.processes import (
    AGENT,
    OTHER,
    VERIFIER,
    _role,
    all_processes,
    family,
    holders_of,
    readable,
)

GRANDCHILD = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
print("+", flush=True)
sys.stdin.read()
"""


def test_a_forgotten_grandchild_is_family() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"+"
        relatives = family(os.getpid())
        assert child.pid in {process.pid for process in relatives}
        (grandchild,) = [process for process in relatives if process.parent == child.pid]
        assert grandchild.role == OTHER
        assert str(grandchild.pid) in grandchild.name
        assert readable(grandchild.pid) is None
        assert os.getpid() not in {process.pid for process in relatives}


def test_processes_are_named_by_what_they_run() -> None:
    assert _role([b"python", b"-m", b"gate.template.agent", b"3"]) == AGENT
    assert _role([b"python", b"-m", b"gate.verifier.worker"]) == VERIFIER
    assert _role([b"bash", b"\xff"]) == OTHER
    assert os.getpid() in {process.pid for process in all_processes()}


def test_a_process_that_is_gone_is_not_readable() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert readable(child.pid) is not None


def test_only_what_was_written_since_is_searched(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    while time.time() <= (tmp_path / "old").stat().st_ctime + 0.02:
        time.sleep(0.01)
    since_s = time.time()
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    (deep / "new").write_text("new")
    (deep / "empty").touch()
    os.utime(deep / "new", (0, 0))  # an old date on a new file
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "picture").write_text("on purpose")
    (tmp_path / "link").symlink_to(deep / "new")
    os.mkfifo(tmp_path / "pipe")
    found = places.written_since([tmp_path, deep], since_s, [tmp_path / "secret"])
    assert found.files == (deep / "new",)
    assert found.passed_over == ()
    assert places.written_since([tmp_path / "absent"], 0.0).files == ()


def test_a_file_without_a_name_is_found(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("w+b") as file:
        file.write(b"held")
        file.flush()
        (tmp_path / "gone").unlink()
        found = places.open_but_deleted([os.getpid()])
        assert b"held" in {path.read_bytes() for path in found.files if path.exists()}
    memory = os.memfd_create("held")
    try:
        os.write(memory, b"in memory")
        found = places.open_but_deleted([os.getpid()])
        assert b"in memory" in {path.read_bytes() for path in found.files if path.exists()}
    finally:
        os.close(memory)


def test_who_holds_a_file_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.touch()
    code = "import sys; held = open(sys.argv[1]); print('+', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.read(1) == b"+"
        assert holders_of(path) == [child.pid]


def test_swap_areas_are_searched_or_named(tmp_path: Path) -> None:
    head = "Filename\tType\tSize\tUsed\tPriority\n"
    area = tmp_path / "swap file"
    area.write_bytes(b"swapped")
    swaps = tmp_path / "swaps"
    swaps.write_text(f"{head}{str(area).replace(' ', chr(92) + '040')} file 8 0 -2\n")
    assert places.swap(swaps).files == (area,)
    swaps.write_text(f"{head}/dev/absent partition 8 0 -2\n")
    ((what, why),) = places.swap(swaps).passed_over
    assert what == "swap /dev/absent"
    assert "root" in why
    swaps.write_text(head)
    assert places.swap(swaps) == places.Found()
    assert places.swap(tmp_path / "absent").passed_over


def test_core_dumps_are_found_where_the_kernel_puts_them(tmp_path: Path) -> None:
    pattern, dumps = tmp_path / "pattern", tmp_path / "dumps"
    dumps.mkdir()
    (dumps / "core.77").write_bytes(b"dump")
    (dumps / "other").write_bytes(b"no dump")
    (dumps / "core.78.zst").write_bytes(b"packed")
    pattern.write_text("core\n")
    found = places.core_dumps(0.0, [dumps], pattern)
    assert dumps / "core.77" in found.files
    assert dumps / "other" not in found.files
    assert (str(dumps / "core.78.zst"), "a compressed core dump") in found.passed_over
    pattern.write_text(f"{dumps}/core.%p\n")
    assert dumps / "core.77" in places.core_dumps(0.0, [], pattern).files
    assert dumps / "core.77" not in places.core_dumps(time.time() + 60, [], pattern).files
    pattern.write_text("|/usr/lib/systemd/systemd-coredump %P\n")
    assert dumps / "core.77" not in places.core_dumps(0.0, [dumps], pattern).files
    assert places.core_dumps(0.0, [], tmp_path / "absent").passed_over


def test_a_missing_journal_is_said() -> None:
    export = places.journal(time.time())
    if isinstance(export, str):
        assert "journal" in export
        return
    with export:
        assert export.stdout is not None
        export.stdout.read()


def test_a_folder_too_deep_for_a_path_is_named_and_ends_nothing(tmp_path: Path) -> None:
    name, depth = "x" * 200, 25
    longest = 4095 - len(str(tmp_path)) - len(name) - 1
    (tmp_path / "residue").write_bytes(b"here")
    fd = os.open(tmp_path, os.O_RDONLY)
    for level in range(depth):
        if level == longest // (len(name) + 1):  # the last folder whose own path still fits
            os.close(os.open("y" * 250, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    found = places.written_since([tmp_path], 0.0)
    subprocess.run(["rm", "-rf", str(tmp_path / name)], check=True)  # pytest cannot remove it
    assert [path.name for path in found.files] == ["residue"]
    assert {why for _, why in found.passed_over} == {"file name too long"}
    assert len(found.passed_over) == 2, "the folder and the file that no path reaches"
