"""The key agent process: `python -I -m gate.template.agent FD PER_MINUTE BURST`.

It holds the site's template key and never sees an encrypted template: wrapped key in, content
key straight into the verifier's pipe. What it can do at all is `Desk`.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import stat
import sys
import time

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate import sandbox
from gate.errors import ConfigError, KeyAgentFault, ProtocolViolation, TemplateRejected
from gate.template import agent_rules
from gate.template.agent_wire import HELLO_MAX, REQUEST_MAX, Operation, Reply, Request, Status
from gate.template.context import Purpose
from gate.template.key_loading import KeyLoading
from gate.template.key_source import KeyPlan
from gate.template.keys import KeyRing, OpeningKey
from gate.template.outcome import KeyCounts
from gate.template.rate import RateLimit
from gate.template.used_sessions import UsedSessions
from gate.template.wrapping import CONTENT_KEY_BYTES

OPEN_FILES = 16


class Desk:
    """Answers requests: what the agent can do at all.

    Args:
        keys: the site's opening keys.
        limit: bounds releases of both kinds.
    """

    def __init__(self, keys: KeyRing, limit: RateLimit) -> None:
        self._keys = keys
        self._limit = limit
        self._used = UsedSessions()
        self.counts = KeyCounts()

    def answer(self, request: Request, pipe_fd: int | None, now_s: float) -> Reply:
        """Return the reply to one well-formed request; write a template's key into `pipe_fd`.

        Args:
            request: as decoded.
            pipe_fd: write end of the verifier's key pipe, for templates only.
            now_s: monotonic time.
        """
        status, key = self._open(request, pipe_fd, now_s)
        self.counts = self.counts.plus_one(Purpose(request.operation), status.outcome)
        return Reply(status, request.serial, self.counts, key)

    def _open(self, request: Request, pipe_fd: int | None, now_s: float) -> tuple[Status, bytes]:
        operation, purpose = request.operation, Purpose(request.operation)
        # The info is what the key was sealed under, so this label cannot be claimed afterwards.
        if not request.info.startswith(purpose.label):
            return Status.WRONG_PURPOSE, b""
        if (pipe_fd is not None) != (operation is Operation.TEMPLATE):
            return Status.NO_PIPE, b""
        if pipe_fd is not None and not _is_write_end(pipe_fd):
            return Status.NO_PIPE, b""
        if self._used.has(request.session_id, purpose):
            return Status.SECOND, b""
        if not self._limit.allow(now_s):
            return Status.RATE_LIMITED, b""
        # Before the attempt: one that fails is not tried again with other bytes either.
        self._used.use(request.session_id, purpose)
        try:
            content_key = self._keys.unwrap(request.kid, request.wrapped, request.info)
        except KeyError:
            return Status.UNKNOWN_KID, b""
        except TemplateRejected:
            return Status.DOES_NOT_OPEN, b""
        except KeyAgentFault:
            return Status.SOURCE_GONE, b""
        if pipe_fd is None:
            return Status.OK, content_key
        try:
            written = os.write(pipe_fd, content_key)
        except OSError:
            return Status.NO_PIPE, b""
        return Status.OK if written == CONTENT_KEY_BYTES else Status.NO_PIPE, b""


def serve_one(link: socket.socket, desk: Desk, now_s: float) -> bool:
    """Answer one datagram, whatever it holds. False: there is nothing more to answer."""
    data, fds, truncated = _receive(link)
    if data == b"":
        return False
    try:
        if truncated or len(fds) > 1:
            raise ProtocolViolation("key request is too large")
        reply = desk.answer(Request.decode(data), fds[0] if fds else None, now_s)
    except ProtocolViolation:
        reply = Reply(Status.MALFORMED, int.from_bytes(data[2:6], "big"), desk.counts)
    finally:
        # Before the reply, so that the verifier's end of file never waits for the gate.
        for fd in fds:
            os.close(fd)
    link.send(reply.encode())
    return reply.status is not Status.SOURCE_GONE


def _receive(link: socket.socket) -> tuple[bytes, list[int], bool]:
    room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
    data, ancillary, flags, _ = link.recvmsg(REQUEST_MAX + 1, room)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, list(fds), bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC))


def _is_write_end(fd: int) -> bool:
    is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    # Non-blocking, so that a full pipe cannot stop the agent.
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return is_pipe and flags & os.O_ACCMODE == os.O_WRONLY and bool(flags & os.O_NONBLOCK)


def _ask_gate(link: socket.socket, what: str) -> str | None:
    """Have the gate ask a person at its terminal for a passphrase, and pass it on unlooked at."""
    link.send(json.dumps({"ask": what}).encode())
    answer = json.loads(link.recv(HELLO_MAX))["passphrase"]
    return answer if isinstance(answer, str) else None


def _hello(keys: KeyRing, landlock_abi: int, *, dumpable: bool) -> bytes:
    named = [[key.kid.hex(), key.kind.value, _pem(key)] for key in keys.keys]
    hello = {"keys": named, "landlock_abi": landlock_abi, "dumpable": dumpable}
    return json.dumps(hello).encode()


def _pem(key: OpeningKey) -> str:
    return key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def main(arguments: list[str]) -> int:
    """Load keys, lock the process, answer until the gate closes its end. Return the exit code."""
    fd, per_minute, burst = (int(argument) for argument in arguments)
    link = socket.socket(fileno=fd)
    try:
        plan = KeyPlan.decode(link.recv(HELLO_MAX))
        # Dumps off before the first secret; files stay readable until the keys are loaded.
        landlock_abi = sandbox.harden(OPEN_FILES, agent_rules.devices(plan))
        dumpable = sandbox.is_dumpable()
        loading = KeyLoading(plan, lambda what: _ask_gate(link, what))
        keys = loading.ring()
        allowed = agent_rules.rules(plan, loading.tpm_fd)
        sandbox.lock(allowed, OPEN_FILES, agent_rules.readable(plan))
        # Once more behind the lock: a source that needs more than it may ends here, not at a door.
        keys.self_test()
    except (ConfigError, KeyAgentFault) as error:
        link.send(json.dumps({"fault": [error.what, error.advice]}).encode())
        return 2
    link.send(_hello(keys, landlock_abi, dumpable=dumpable))
    desk = Desk(keys, RateLimit(per_minute, burst))
    while serve_one(link, desk, time.monotonic()):
        pass
    # An object that closes itself asks for the socket's name first, which the lock forbids.
    link.detach()
    return 0


if __name__ == "__main__":
    # Straight to the kernel: under the lock, an orderly interpreter exit could ask for more.
    try:
        code = main(sys.argv[1:])
    except BaseException:
        code = 1
    os._exit(code)
