"""What a device says it is: osdp_PDID and osdp_PDCAP."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.osdp_codes import Capability, Reply
from firmware_bridge.osdp_panel import Answer


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """Identity and wiring of a controller, for the admin. Zero or empty: it did not say."""

    vendor: str = ""
    """IEEE OUI, six hexadecimal digits."""
    model: int = 0
    version: int = 0
    serial: int = 0
    firmware: str = ""
    inputs: int = 0
    outputs: int = 0

    @classmethod
    def from_answers(cls, identity: Answer, capabilities: Answer) -> DeviceIdentity:
        """Read the two answers; what is malformed stays unsaid."""
        counts: dict[int, int] = {}
        if capabilities.code == Reply.PDCAP:
            data = capabilities.data
            for start in range(0, len(data) - 2, 3):
                counts[data[start]] = data[start + 2]
        inputs = counts.get(Capability.CONTACT_STATUS, 0)
        outputs = counts.get(Capability.OUTPUT_CONTROL, 0)
        if identity.code != Reply.PDID or len(identity.data) < 12:
            return cls(inputs=inputs, outputs=outputs)
        data = identity.data
        return cls(
            vendor=data[:3].hex(),
            model=data[3],
            version=data[4],
            serial=int.from_bytes(data[5:9], "little"),
            firmware=".".join(str(part) for part in data[9:12]),
            inputs=inputs,
            outputs=outputs,
        )
