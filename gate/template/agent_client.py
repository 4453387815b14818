"""The gate's side of the key agent: start it, ask it, notice when it is gone."""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gate.errors import ConfigError, KeyAgentFault, ProtocolViolation, TemplateRejected
from gate.template.agent_wire import (
    HELLO_MAX,
    REPLY_MAX,
    SESSION_ID_BYTES,
    Operation,
    Reply,
    Request,
    Status,
)
from gate.template.key_source import KeyPlan, SourceKind
from gate.template.outcome import KeyCounts
from gate.template.wrapping import CONTENT_KEY_BYTES, KID_BYTES, WRAPPED_BYTES

START_S = 10.0
EXCHANGE_S = 0.5
Ask = Callable[[str], str | None]
_RESTART = "restart the gate; if it happens again, check the key agent's host"


@dataclass(frozen=True)
class HeldKey:
    """One key of the agent: what everybody may know of it."""

    kid: bytes
    kind: SourceKind
    public_pem: str


class KeyAgent:
    """A running key agent. Thread safe. Use `start`, and `close` at the end."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        link: socket.socket,
        keys: tuple[HeldKey, ...],
        exchange_s: float,
    ) -> None:
        self._process = process
        self._link = link
        self._exchange_s = exchange_s
        self._serial = 0
        self._turn = threading.Lock()
        self.keys = keys
        """What the agent says of the keys that it holds, newest first."""
        self.counts = KeyCounts()
        """Totals as the agent gave them with its last reply."""

    @classmethod
    def start(
        cls,
        keys: KeyPlan | Sequence[Path],
        *,
        ask: Ask = lambda _what: None,
        per_minute: int = 120,
        burst: int = 20,
        exchange_s: float = EXCHANGE_S,
    ) -> KeyAgent:
        """Start the agent process and wait until it has loaded its keys and locked itself.

        Args:
            keys: where the keys are, or just key files: PEM PKCS#8, mode 0600. Read by the
                agent, never by this process.
            ask: asks a person for a passphrase or PIN that is in no file; None when nobody is
                there. The answer goes to the agent and is not kept.
            per_minute: sustained releases a minute.
            burst: releases at once.
            exchange_s: longest wait for one answer.

        Raises:
            ConfigError: a key is unusable, or the host cannot sandbox.
            KeyAgentFault: the agent did not come up.
        """
        plan = keys if isinstance(keys, KeyPlan) else KeyPlan.of_files(keys)
        if not plan.sources:
            raise ConfigError("no template key is configured", "name at least one in [keys]")
        process, link = _spawn(per_minute, burst)
        agent = cls(process, link, (), exchange_s)
        try:
            link.settimeout(START_S)
            link.send(plan.encode())
            agent.keys = _greet(link, ask)
        except (OSError, ValueError, KeyError):
            agent.close()
            raise KeyAgentFault("key agent did not start", _did_not_start(process)) from None
        except BaseException:
            agent.close()
            raise
        return agent

    @property
    def kids(self) -> tuple[bytes, ...]:
        """Names of the opening keys that the agent holds."""
        return tuple(key.kid for key in self.keys)

    @property
    def pid(self) -> int:
        """Process id, for health pages and tests."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the agent still holds its end of the link."""
        if self._link.fileno() < 0:
            return False
        link = select.poll()
        link.register(self._link, 0)
        # A dead process closes its end a moment before it can be reaped.
        return not link.poll(0) and self._process.poll() is None

    def release_template_key(
        self, kid: bytes, wrapped: bytes, info: bytes, fd: int, *, session_id: bytes
    ) -> None:
        """Have the agent write a template's content key into the verifier's key pipe.

        The key never enters this process. The caller still closes its own copy of `fd`.

        Args:
            kid: from the envelope.
            wrapped: from the envelope.
            info: `SealContext.hpke_info()` of this card.
            fd: write end of the verifier's key pipe.
            session_id: 16 bytes that name the card session; each gets one answer of each purpose.

        Raises:
            TemplateRejected: does not open at this site in this context.
            KeyAgentFault: refused, no answer in time, or gone. Its `outcome` says which.
        """
        self._ask(Request(Operation.TEMPLATE, 0, session_id, kid, wrapped, info), fd)

    def open_pin_key(self, kid: bytes, wrapped: bytes, info: bytes, *, session_id: bytes) -> bytes:
        """Return the content key of a PIN envelope, 32 bytes.

        Args, Raises: see `release_template_key`.
        """
        key = self._ask(Request(Operation.PIN, 0, session_id, kid, wrapped, info), None)
        if len(key) != CONTENT_KEY_BYTES:
            raise KeyAgentFault("key agent broke its protocol", _RESTART)
        return key

    def close(self) -> None:
        """End the agent. Idempotent."""
        self._link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
            return
        self._process.kill()
        self._process.wait()

    def _ask(self, request: Request, fd: int | None) -> bytes:
        assert len(request.session_id) == SESSION_ID_BYTES
        if len(request.kid) != KID_BYTES or len(request.wrapped) != WRAPPED_BYTES:
            raise TemplateRejected("sealed object has a malformed key")
        with self._turn:
            self._serial = (self._serial + 1) & 0xFFFFFFFF
            reply = self._exchange(replace(request, serial=self._serial), fd)
            self.counts = reply.counts
        if reply.key and request.operation is Operation.TEMPLATE:
            raise KeyAgentFault("key agent broke its protocol", _RESTART)
        return _result(reply)

    def _exchange(self, request: Request, fd: int | None) -> Reply:
        deadline = time.monotonic() + self._exchange_s
        ancillary = []
        if fd is not None:
            os.set_blocking(fd, False)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        try:
            self._link.settimeout(self._exchange_s)
            self._link.sendmsg([request.encode()], ancillary)
            while True:
                self._link.settimeout(max(0.001, deadline - time.monotonic()))
                data = self._link.recv(REPLY_MAX + 1)
                if data == b"":
                    raise KeyAgentFault("key agent is gone", _RESTART)
                reply = Reply.decode(data)
                # A late answer to a question we gave up on is dropped, key and all.
                if reply.serial == request.serial:
                    return reply
        except TimeoutError:
            raise KeyAgentFault("key agent did not answer in time", _RESTART) from None
        except OSError:
            raise KeyAgentFault("key agent is gone", _RESTART) from None
        except ProtocolViolation:
            raise KeyAgentFault("key agent broke its protocol", _RESTART) from None


def _spawn(per_minute: int, burst: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = theirs.fileno()
    command = [sys.executable, "-I", "-m", "gate.template.agent"]
    try:
        process = subprocess.Popen(  # noqa: S603 - our own module, fixed arguments
            [*command, str(fd), str(per_minute), str(burst)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            pass_fds=(fd,),
            process_group=0,  # Ctrl-C at the terminal is for the gate to hear
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _greet(link: socket.socket, ask: Ask) -> tuple[HeldKey, ...]:
    """Answer what the agent asks for while it loads, and return what it holds then."""
    while True:
        hello = json.loads(link.recv(HELLO_MAX))
        if "fault" in hello:
            what, advice = hello["fault"]
            raise ConfigError(what, advice)
        if "ask" not in hello:
            break
        link.send(json.dumps({"passphrase": ask(hello["ask"])}).encode())
    if hello["dumpable"]:
        raise KeyAgentFault("key agent could not protect its memory", _RESTART)
    return tuple(
        HeldKey(bytes.fromhex(kid), SourceKind(kind), pem) for kid, kind, pem in hello["keys"]
    )


def _did_not_start(process: subprocess.Popen[bytes]) -> str:
    if process.returncode == -signal.SIGSYS:
        return "its sandbox ended it: this PKCS#11 module needs more than it may; see docs/keys.md"
    return _RESTART


def _result(reply: Reply) -> bytes:
    match reply.status:
        case Status.OK:
            return reply.key
        case Status.DOES_NOT_OPEN:
            raise TemplateRejected("sealed object does not open in this context")
        case Status.UNKNOWN_KID:
            raise TemplateRejected(
                "sealed to a template key that this site does not hold",
                "add the old opening key, or issue the card again",
            )
        case Status.RATE_LIMITED:
            raise KeyAgentFault(
                "too many keys asked for",
                "wait; if nobody is tapping, look why",
                reply.status.outcome,
            )
        case Status.SECOND:
            raise KeyAgentFault(
                "this card session had its key already", "tap again", reply.status.outcome
            )
        case Status.SOURCE_GONE:
            raise KeyAgentFault(
                "the token or TPM that holds the template key does not answer",
                "see that it is plugged in; the gate tries again by itself",
            )
        case Status.NO_PIPE:
            raise KeyAgentFault("the verifier took no key", "see the verifier's fault")
        case Status.WRONG_PURPOSE | Status.MALFORMED:
            raise KeyAgentFault("key agent refused the request", "report this as a defect")
