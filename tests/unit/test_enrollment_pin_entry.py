"""A PIN is never echoed: not even with --pin-stdin when a person types it at a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
ASK = """
from enrollment.conversation import ask_pin, this_terminal
from enrollment.notice import Language
pin = ask_pin(this_terminal(), Language.EN, from_stdin=True)
print("length", len(pin))
"""
PIN = b"60718293"


def test_a_pin_typed_with_pin_stdin_is_not_echoed() -> None:
    terminal, its = pty.openpty()
    asking = subprocess.Popen(
        [sys.executable, "-c", ASK],
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=ROOT,
        start_new_session=True,
    )
    os.close(its)
    shown, typed, end_s = b"", False, time.monotonic() + 60.0
    while time.monotonic() < end_s:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:  # it has ended and closed its side
                break
        if not typed and b"PIN" in shown:  # the prompt stands: echo is off
            os.write(terminal, PIN + b"\n")
            typed = True
    os.close(terminal)
    status = asking.wait(60.0)
    assert typed, shown
    assert (status, b"length 8" in shown) == (0, True), shown
    assert PIN not in shown


def test_a_piped_pin_is_its_first_line() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=PIN + b"\n1\n",
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"length 8\n", b"")
