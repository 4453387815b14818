"""The key file of a TPM key: which PCRs it is bound to, and what only its TPM can use."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PCR_LINE = re.compile(rb"\APCRs sha256:([0-9]{1,2}(?:,[0-9]{1,2}){0,23})\n")


@dataclass(frozen=True)
class TpmBlob:
    """One key file. A changed list of PCRs opens nothing: the policy is in the key."""

    pem: bytes
    pcrs: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """Return the file's content."""
        names = ",".join(map(str, self.pcrs))
        return (f"PCRs sha256:{names}\n".encode() if self.pcrs else b"") + self.pem

    @classmethod
    def decode(cls, data: bytes) -> TpmBlob:
        """Return the blob in a file. Its content is the TPM's to judge, see `load`."""
        found = _PCR_LINE.match(data)
        pcrs = tuple(int(number) for number in found[1].split(b",")) if found else ()
        return cls(data[found.end() :] if found else data, pcrs)
