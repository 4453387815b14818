/* Numbers of the OSDP command set that this controller knows (IEC 60839-11-5, SIA OSDP 2.2). */
#ifndef OSDP_CODES_H
#define OSDP_CODES_H

enum osdp_command {
    OSDP_POLL = 0x60,
    OSDP_ID = 0x61,
    OSDP_CAP = 0x62,
    OSDP_LSTAT = 0x64,
    OSDP_ISTAT = 0x65,
    OSDP_OSTAT = 0x66,
    OSDP_OUT = 0x68,
    OSDP_CHLNG = 0x76,
    OSDP_SCRYPT = 0x77,
};

enum osdp_reply {
    OSDP_ACK = 0x40,
    OSDP_NAK = 0x41,
    OSDP_PDID = 0x45,
    OSDP_PDCAP = 0x46,
    OSDP_LSTATR = 0x48,
    OSDP_ISTATR = 0x49,
    OSDP_OSTATR = 0x4A,
    OSDP_CCRYPT = 0x76,
    OSDP_RMAC_I = 0x78,
};

enum osdp_nak {
    OSDP_NAK_LENGTH = 2,
    OSDP_NAK_COMMAND = 3,
    OSDP_NAK_SEQUENCE = 4,
    OSDP_NAK_SECURITY_BLOCK = 5,
    OSDP_NAK_ENCRYPTION_REQUIRED = 6,
    OSDP_NAK_UNABLE = 9,
};

enum osdp_security_block {
    SCS_11 = 0x11, /* challenge */
    SCS_12 = 0x12, /* client cryptogram */
    SCS_13 = 0x13, /* server cryptogram */
    SCS_14 = 0x14, /* R-MAC-I */
    SCS_15 = 0x15, /* command with MAC */
    SCS_16 = 0x16, /* reply with MAC */
    SCS_17 = 0x17, /* command with MAC and encrypted data */
    SCS_18 = 0x18, /* reply with MAC and encrypted data */
};

enum {
    OSDP_KEY_TYPE_SCBK = 1, /* 0 would be the public default key */
    OSDP_OUT_TIMED_ON = 5,
    OSDP_BROADCAST = 0x7F,
};

enum osdp_capability {
    OSDP_CAP_CONTACT_STATUS = 1,
    OSDP_CAP_OUTPUT_CONTROL = 2,
    OSDP_CAP_CHECK_CHARACTER = 8,
    OSDP_CAP_COMMUNICATION_SECURITY = 9,
};

#endif
