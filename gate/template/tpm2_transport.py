"""An already opened TPM: commands in, answers out, through one file descriptor.

The library's own transports open the device by name or reconnect at every command, which a locked
agent may not. A resource-managed device (/dev/tpmrm0) and the data socket of a software TPM both
take one command a write and give one answer a read.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from pathlib import Path
from typing import Any

from tpm2_pytss import TSS2_Exception
from tpm2_pytss.constants import TSS2_RC
from tpm2_pytss.TCTI import PyTCTI

from gate.errors import ConfigError

ANSWER_MAX = 4096
ANSWER_S = 5.0
"""Longest wait for one answer; hardware needs up to a second to make a key."""


class OpenTpm(PyTCTI):  # type: ignore[misc] # the library is untyped
    """The transport below the TPM library, over `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        super().__init__(max_size=ANSWER_MAX)

    def do_transmit(self, command: bytes) -> None:
        """Send one whole command."""
        try:
            written = os.write(self._fd, command)
        except OSError:
            written = -1
        if written != len(command):
            raise TSS2_Exception(TSS2_RC.TCTI_RC_IO_ERROR)

    def do_receive(self, timeout: int) -> bytes:
        """Return one whole answer."""
        del timeout  # the library asks to wait for ever; nobody at a door does
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        try:
            answer = os.read(self._fd, ANSWER_MAX) if ready.poll(ANSWER_S * 1000) else b""
        except OSError:
            answer = b""
        if not answer:
            raise TSS2_Exception(TSS2_RC.TCTI_RC_IO_ERROR)
        return answer

    def do_cancel(self) -> None:
        """Never needed: one command at a time."""
        raise TSS2_Exception(TSS2_RC.TCTI_RC_NOT_IMPLEMENTED)

    def do_get_poll_handles(self) -> list[Any]:
        """None to give."""
        return []

    def do_set_locality(self, locality: int) -> None:
        """Only locality 0."""
        if locality != 0:
            raise TSS2_Exception(TSS2_RC.TCTI_RC_NOT_IMPLEMENTED)

    def do_finalize(self) -> None:
        """The descriptor is the opener's to close."""


def open_tpm(path: str) -> int:
    """Return a descriptor of the TPM at `path`: a device, or the socket of a software TPM.

    Raises:
        ConfigError: there is none, or it is not for this user.
    """
    try:
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                link.connect(path)
            except OSError:
                link.close()
                raise
            return link.detach()
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"the TPM {path} cannot be opened ({error.strerror})",
            "check [keys] tpm; this user must be in the group 'tss'",
        ) from None
