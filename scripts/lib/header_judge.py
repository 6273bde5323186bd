"""Reads headers of the proxy protocol with the parser of PyPI's `proxy-protocol`, and compares what it finds with what they
ought to say.

    header_judge.py right|wrong

On the standard input, a line for each: SOURCE PORT DESTINATION PORT aws|gcp|azure ID HEADER, the header in hexadecimal
digits. Ends with an error at the first that says something else or, if they are to be wrong, at the first that says just that;
prints how many there were.

That parser checks no CRC32C here: it would do so on values in an order of its own. google-crc32c does. Nor does it mind
lengths that do not fit, or a value that comes twice: so the values are walked here once more.
"""

import socket
import sys
from ipaddress import ip_address

import google_crc32c
from proxyprotocol.v2 import ProxyProtocolV2

CRC32C, NOOP, GCP, AWS, AZURE = 0x03, 0x04, 0xE0, 0xEA, 0xEE
FIXED, KIND_AND_LENGTH = 16, 3
AWS_LENGTH = 100


def main(verdict):
    number = 0
    for number, line in enumerate(sys.stdin, 1):
        *expected, header = line.split()
        found = understood(bytes.fromhex(header))
        if (found == expected) != (verdict == "right"):
            sys.exit(f"header {number}: {header} says {found}; is it {verdict} that it says {expected}?")
    if not number:
        sys.exit("there are no headers")
    print(number)


def understood(header):
    """What a header says, in the words of a line, or why it says nothing."""
    try:
        return said_by(header)
    except Exception as error:  # the parser has many kinds of them
        return [repr(error)]


def said_by(header):
    result = ProxyProtocolV2().unpack(header)
    if not result.proxied or result.protocol != socket.SOCK_STREAM:
        return [repr(result)]
    (source, source_port), (destination, port) = result.source, result.dest
    start = FIXED + 2 * (len(ip_address(source).packed) + 2)
    values = values_from(header, start)
    if dict(values) != dict(result.tlv):
        return [f"{values}, or {result.tlv}"]
    return [str(source), str(source_port), str(destination), str(port), *endpoint_in(header, start, values)]


def values_from(header, start):
    """Each kind and value from there on, in their order. They end where the header says, which is its last byte."""
    values = []
    while start < len(header):
        kind, length = header[start], int.from_bytes(header[start + 1 : start + KIND_AND_LENGTH], "big")
        start += KIND_AND_LENGTH + length
        values.append((kind, header[start - length : start]))
    if not start == len(header) == FIXED + int.from_bytes(header[FIXED - 2 : FIXED], "big"):
        raise ValueError("a length does not fit")
    return values


def endpoint_in(header, start, values):
    """The endpoint's id, if there is nothing else than ought to be beside it."""
    match values:
        case [(kind, number)] if kind == GCP and len(number) == 8:
            return ["gcp", str(int.from_bytes(number, "big"))]
        case [(kind, number)] if kind == AZURE and len(number) == 5 and number[0] == 1:
            return ["azure", str(int.from_bytes(number[1:], "little"))]
        case [(crc, stored), (kind, name), (noop, filling)] if (crc, kind, noop) == (CRC32C, AWS, NOOP):
            is_right = len(header) == AWS_LENGTH and not any(filling) and name[0] == 1 and stored == crc_of(header, start)
            return ["aws", name[1:].decode() if is_right else f"? {values}"]
    return [repr(values)]


def crc_of(header, start):
    """Of the whole header with zeroes where its checksum stands: behind the addresses and ports."""
    start += KIND_AND_LENGTH
    return google_crc32c.value(header[:start] + bytes(4) + header[start + 4 :]).to_bytes(4, "big")


main(sys.argv[1])
