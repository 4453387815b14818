"""A probe that is ended early takes its pictures, keys and rules with it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import os, tempfile
from dataclasses import fields
from pathlib import Path
from gate.probe.command import Options, _Hold, _leaving_nothing
from gate.probe.conduct import Standing
from gate.probe.needles import Kind, Needle
from rich.console import Console

words = dict.fromkeys((field.name for field in fields(Options)), None) | {"hold": True}
picture = Needle("a picture", Kind.IMAGE, os.urandom(4096))
with _leaving_nothing(), tempfile.TemporaryDirectory(prefix="probe-") as folder:
    Path(folder, "owner.jpg").write_bytes(picture.data)
    _Hold(Options(**words), Console(quiet=True))(Standing([picture], []))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_of_a_probe_stays_when_it_is_ended(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROBE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"TMPDIR": str(tmp_path)},
        process_group=0,
    ) as probe:
        assert probe.stdout is not None
        assert b"are held" in probe.stdout.readline()
        there = [path.name for path in tmp_path.iterdir()]
        assert len(there) == 2, "its folder and its rules"
        probe.send_signal(number)
        assert probe.wait(30) != 0
    assert list(tmp_path.iterdir()) == []
