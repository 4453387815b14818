"""Careless design 3, the process: `python -I -m gate.probe.designs.reused_process PACK DIR FD`."""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path

from gate.errors import ProtocolViolation
from gate.probe.designs.looking import look
from gate.verifier.job import JOB_MAX, Job
from gate.verifier.wire import Answer, Kind, encode
from models.pack import load_pack


def main(arguments: list[str]) -> int:
    """Serve one passage after another until the gate closes its end."""
    pack_name, pack_dir, fd = arguments
    pack = load_pack(pack_name, Path(pack_dir))
    link = socket.socket(fileno=int(fd))
    link.send(b"+")
    while True:
        data, fds, _, _ = socket.recv_fds(link, JOB_MAX + 1, 1)
        if not data:
            return 0
        try:
            job = Job.decode(data)
        except ProtocolViolation:
            return 1
        camera_on = partial(_say, link, Answer(Kind.CAMERA_ON, 0, job.nonce))
        verdict = look(job, fds[0], pack, camera_on=camera_on, stopped=lambda: False, zeroing=False)
        _say(link, Answer(Kind.VERDICT, verdict, job.nonce))


def _say(link: socket.socket, answer: Answer) -> None:
    link.send(encode(answer))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
