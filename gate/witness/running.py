"""`gate witness run`: until a signal."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gate import sandbox
from gate.console.serve import serve
from gate.exit_codes import ExitCode
from gate.ledger.cosignature import Cosigner, parse_witness_skey
from gate.ledger.keys import read_secret
from gate.ledger.verify.proofs import Key, parse_vkey
from gate.witness.app import create_app
from gate.witness.judge import Witness
from gate.witness.state import Seen, WitnessState


def open_witness(key: Path, state: Path) -> tuple[Cosigner, WitnessState]:
    """Return a witness's key and memory.

    Raises:
        ConfigError: one is absent, cannot be read, or they do not belong together.
    """
    text = read_secret(key, "witness", "make one with: gate witness keygen")
    cosigner = parse_witness_skey(text)
    return cosigner, WitnessState.open(state, cosigner.vkey)


def known_logs(vkeys: Sequence[str]) -> dict[str, list[Key]]:
    """Return the keys that may sign for each origin; a log that changes its key has two.

    Raises:
        ConfigError: one is no verifier key of a log.
    """
    logs: dict[str, list[Key]] = {}
    for key in (parse_vkey(vkey) for vkey in vkeys):
        logs.setdefault(key.name, []).append(key)
    return logs


def run_until_signal(
    key: Path, state: Path, vkeys: Sequence[str], host: str, port: int
) -> ExitCode:
    """Serve one witness.

    Raises:
        ConfigError: a key, the memory or the address does not allow it.
    """
    sandbox.leave_no_core()
    logs = known_logs(vkeys)
    cosigner, memory = open_witness(key, state)
    with closing(memory):
        witness = Witness(
            cosigner,
            logs,
            memory,
            time_s=lambda: int(time.time()),
            monotonic_s=time.monotonic,
            on_refused=lambda seen, proven: _alarm(seen, proven, state),
        )
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        with serve(create_app(witness), host, port) as line:
            _say(f"witness {cosigner.key.name} of {len(logs)} logs at {line.url}; Ctrl-C ends it")
            _say(cosigner.vkey)
            ended.wait()
    _say("witness stopped")
    return ExitCode.OK


def _alarm(seen: Seen, proven: bool, state: Path) -> None:
    what = (
        "that is of ANOTHER HISTORY than what was co-signed"
        if proven
        else "with a proof that does not lead to it: two histories, or somebody else sent it"
    )
    _say(
        f"ALARM: a checkpoint of {seen.size} records came, signed by {seen.origin}, {what}; "
        f"it is kept in {state}; ask its operator why"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 -- the command's own messages
