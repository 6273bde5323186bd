"""Spoils headers of the proxy protocol in all kinds of ways, for header_judge.py to notice.

    header_spoilt.py

Takes lines such as the judge takes, and prints many for each: its words, and a header that does not say them.
"""

import sys
from ipaddress import ip_address

import google_crc32c

FIXED, KIND_AND_LENGTH, CRC = 16, 3, 4
NOOP = 0x04


def main():
    for line in sys.stdin:
        *words, digits = line.split()
        header = bytes.fromhex(digits)
        for spoilt in spoilt_forms(header, ip_address(words[0]), words[4]):
            if spoilt != header:
                print(*words, spoilt.hex())


def spoilt_forms(header, source, cloud):
    """With each bit turned over; with things the other way round; with less or more than belongs to it. What has a checksum
    comes with the one that belonged to it, and with the one that belongs to it now."""
    address = len(source.packed)
    start = FIXED + 2 * (address + 2)
    forms = [turned_over(header, bit) for bit in range(8 * len(header))]
    forms += [swapped(header, FIXED, address), swapped(header, start - 4, 2)]
    if cloud == "aws":
        forms += refilled(header, start + KIND_AND_LENGTH + CRC)
        yield from (sealed(form, start + KIND_AND_LENGTH) for form in forms)
    else:
        number = 8 if cloud == "gcp" else 4
        forms += [header[:-number] + header[-number:][::-1], measured(header + header[start:])]
    yield from forms
    yield from (header[:length] for length in range(1, len(header)))
    yield header + b"\0"


def turned_over(header, bit):
    byte = header[bit // 8] ^ 1 << bit % 8
    return header[: bit // 8] + bytes([byte]) + header[bit // 8 + 1 :]


def swapped(header, at, length):
    """What stands there, and what is as long and stands behind it."""
    middle, end = at + length, at + 2 * length
    return header[:at] + header[middle:end] + header[at:middle] + header[end:]


def refilled(header, at):
    """The endpoint's id stands there. It comes behind what fills the header, twice, or with more, less or nothing to fill it."""
    filling = at + KIND_AND_LENGTH + header[at + 2]
    room = len(header) - filling - KIND_AND_LENGTH
    yield header[:at] + header[filling:] + header[at:filling]
    yield measured(header[:filling] + header[at:])
    yield measured(header[:filling])
    for length in (room - 1, room + 1):
        yield measured(header[:filling] + bytes([NOOP, 0, length]) + bytes(length))


def measured(header):
    """With the length that it has."""
    return header[: FIXED - 2] + (len(header) - FIXED).to_bytes(2, "big") + header[FIXED:]


def sealed(header, at):
    """With the checksum, which stands there, of what it is."""
    crc = google_crc32c.value(header[:at] + bytes(CRC) + header[at + CRC :])
    return header[:at] + crc.to_bytes(CRC, "big") + header[at + CRC :]


main()
