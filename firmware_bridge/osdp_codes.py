"""Numbers of the OSDP command set that the gate speaks (IEC 60839-11-5, SIA OSDP 2.2)."""

from __future__ import annotations

from enum import IntEnum


class Command(IntEnum):
    """What a control panel (CP) asks. Not here: KEYSET, so this panel has no install mode."""

    POLL = 0x60
    ID = 0x61
    CAP = 0x62
    LSTAT = 0x64
    ISTAT = 0x65
    OSTAT = 0x66
    OUT = 0x68
    CHLNG = 0x76
    SCRYPT = 0x77


class Reply(IntEnum):
    """What a peripheral device (PD) answers."""

    ACK = 0x40
    NAK = 0x41
    PDID = 0x45
    PDCAP = 0x46
    LSTATR = 0x48
    ISTATR = 0x49
    OSTATR = 0x4A
    CCRYPT = 0x76
    RMAC_I = 0x78
    BUSY = 0x79


class Nak(IntEnum):
    """First data byte of a NAK."""

    BAD_CHECK = 1
    BAD_LENGTH = 2
    UNKNOWN_COMMAND = 3
    BAD_SEQUENCE = 4
    SECURITY_BLOCK_UNSUPPORTED = 5
    ENCRYPTION_REQUIRED = 6
    BIO_TYPE = 7
    BIO_FORMAT = 8
    UNABLE = 9


class Scs(IntEnum):
    """Security block types. 11..14 build the Secure Channel, 15..18 use it."""

    CHLNG = 0x11
    CCRYPT = 0x12
    SCRYPT = 0x13
    RMAC_I = 0x14
    COMMAND_MAC = 0x15
    REPLY_MAC = 0x16
    COMMAND_MAC_ENC = 0x17
    REPLY_MAC_ENC = 0x18


class OutputControl(IntEnum):
    """Control codes of osdp_OUT."""

    NOP = 0
    OFF_ABORT_TIMED = 1
    ON_ABORT_TIMED = 2
    OFF_AFTER_TIMED = 3
    ON_AFTER_TIMED = 4
    TIMED_ON = 5
    TIMED_OFF = 6


class Capability(IntEnum):
    """Function codes of PDCAP that matter here."""

    CONTACT_STATUS = 1
    OUTPUT_CONTROL = 2
    CHECK_CHARACTER = 8
    COMMUNICATION_SECURITY = 9


SCBK_DEFAULT = bytes(range(0x30, 0x40))
"""The key printed in the standard. Here only to be refused."""

KEY_TYPE_SCBK = 1
"""Third byte of a handshake security block: a site's own key (0 would be the default key)."""
