"""Ask one witness for one co-signature: C2SP tlog-witness, add-checkpoint. No schedule here."""

from __future__ import annotations

import base64
import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gate.errors import LedgerFault
from gate.ledger.signed_note import SignatureLine, parse_lines

TIMEOUT_S: Final = 10.0
"""For one answer, as a whole."""
ANSWER_BYTES_MAX: Final = 16 * 1024
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,15})\n")


class WitnessFault(LedgerFault):
    """A witness cannot be reached, or its answer is not of the protocol."""


@dataclass(frozen=True)
class Cosigned:
    """The witness signed. The lines are not verified here."""

    lines: tuple[SignatureLine, ...]


@dataclass(frozen=True)
class OtherSize:
    """The newest tree that the witness co-signed has this size, not the one we took."""

    size: int


@dataclass(frozen=True)
class Refused:
    """The witness does not co-sign. `status` is its HTTP status."""

    status: int


Answer = Cosigned | OtherSize | Refused


def request_body(old_size: int, proof: Sequence[bytes], note: str) -> bytes:
    """Return the body of add-checkpoint. Source: C2SP tlog-witness."""
    lines = "".join(base64.b64encode(node).decode() + "\n" for node in proof)
    return f"old {old_size}\n{lines}\n{note}".encode()


def ask(url: str, body: bytes, timeout_s: float = TIMEOUT_S) -> Answer:
    """Send one request and return what the witness says.

    Redirects are not followed and no proxy is used: the configuration names the witness.

    Args:
        url: the submission prefix, from `gate.ledger.witness_site`.
        body: from `request_body`.
        timeout_s: for connecting and the whole answer, each.

    Raises:
        WitnessFault: no connection, no answer in time, or none of the protocol.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection = (
        http.client.HTTPConnection(host, port, timeout=timeout_s)
        if parts.scheme == "http"
        else http.client.HTTPSConnection(
            host, port, timeout=timeout_s, context=ssl.create_default_context()
        )
    )
    end_s = time.monotonic() + timeout_s
    late = threading.Timer(timeout_s, _hang_up, (connection,))
    late.daemon = True
    try:
        connection.connect()
        late.start()
        connection.request(
            "POST",
            f"{parts.path}/add-checkpoint",
            body,
            {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "consentgate"},
        )
        answer = connection.getresponse()
        content = b""
        while chunk := answer.read1(ANSWER_BYTES_MAX + 1 - len(content)):
            content += chunk
            if len(content) > ANSWER_BYTES_MAX:
                break
        if len(content) > ANSWER_BYTES_MAX or time.monotonic() > end_s:
            raise WitnessFault("its answer is too long or too slow")
    except ssl.SSLCertVerificationError:
        raise WitnessFault("its certificate is not trusted", "see SSL_CERT_FILE") from None
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise WitnessFault(f"it cannot be reached ({said})", "check address and network") from None
    except http.client.HTTPException as error:
        raise WitnessFault(f"it does not speak HTTP ({type(error).__name__})") from None
    finally:
        late.cancel()
        connection.close()
    return parse_answer(answer.status, answer.headers.get_content_type(), content)


def _hang_up(connection: http.client.HTTPConnection) -> None:
    """End an answer that is late: endless "100 Continue" or a byte now and then has no timeout."""
    with contextlib.suppress(OSError, AttributeError):  # it may be closed at this moment
        connection.sock.shutdown(socket.SHUT_RDWR)


def parse_answer(status: int, content_type: str, content: bytes) -> Answer:
    """Return what an HTTP answer of add-checkpoint says.

    Raises:
        WitnessFault: it is not of the protocol.
    """
    if status == 200:
        try:
            return Cosigned(tuple(parse_lines(content.decode("utf-8"))))
        except (UnicodeDecodeError, LedgerFault):
            raise WitnessFault("its answer holds no signature lines") from None
    if status == 409 and content_type == "text/x.tlog.size":
        size = _SIZE.fullmatch(content)
        if size is None:
            raise WitnessFault("its answer names no size")
        return OtherSize(int(size[1]))
    if 400 <= status < 500:
        return Refused(status)
    raise WitnessFault(f"it answered with HTTP status {status}")
