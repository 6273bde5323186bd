"""Reads headers of the proxy protocol with the parser of PyPI's `proxy-protocol`, and compares what it finds with what they
ought to say.

    header_judge.py

On the standard input, a line for each: SOURCE PORT DESTINATION PORT aws|gcp|azure ID HEADER, the header in hexadecimal
digits. Ends with an error at the first that says something else; prints how many there were.

That parser checks no CRC32C here: it would do so on values in an order of its own. google-crc32c does.
"""

import socket
import sys
from ipaddress import ip_address

import google_crc32c
from proxyprotocol.v2 import ProxyProtocolV2

CRC32C, NOOP, GCP, AWS, AZURE = 0x03, 0x04, 0xE0, 0xEA, 0xEE
FIXED, KIND_AND_LENGTH = 16, 3
AWS_LENGTH = 100


def main():
    number = 0
    for number, line in enumerate(sys.stdin, 1):
        *expected, header = line.split()
        found = said_by(bytes.fromhex(header))
        if found != expected:
            sys.exit(f"header {number}: {header} says {found}, not {expected}")
    if not number:
        sys.exit("there are no headers")
    print(number)


def said_by(header):
    """What a header says, in the words of a line."""
    result = ProxyProtocolV2().unpack(header)
    if not result.proxied or result.protocol != socket.SOCK_STREAM:
        return [repr(result)]
    (source, source_port), (destination, port) = result.source, result.dest
    return [str(source), str(source_port), str(destination), str(port), *endpoint_in(header, source, dict(result.tlv))]


def endpoint_in(header, source, values):
    """The endpoint's id, if there is nothing else than ought to be beside it."""
    match sorted(values.items()):
        case [(kind, number)] if kind == GCP and len(number) == 8:
            return ["gcp", str(int.from_bytes(number, "big"))]
        case [(kind, number)] if kind == AZURE and len(number) == 5 and number[0] == 1:
            return ["azure", str(int.from_bytes(number[1:], "little"))]
        case [(crc, stored), (noop, filling), (kind, name)] if (crc, noop, kind) == (CRC32C, NOOP, AWS):
            is_right = len(header) == AWS_LENGTH and not any(filling) and name[0] == 1 and stored == crc_of(header, source)
            return ["aws", name[1:].decode() if is_right else f"? {values}"]
    return [repr(values)]


def crc_of(header, source):
    """Of the whole header with zeroes where its checksum stands: behind the addresses and ports."""
    start = FIXED + 2 * (len(ip_address(source).packed) + 2) + KIND_AND_LENGTH
    return google_crc32c.value(header[:start] + bytes(4) + header[start + 4 :]).to_bytes(4, "big")


main()
