"""Sends SYNs to one of sidegate's devices, each as if from somebody else, as fast as it can.

    flood.py DEVICE FIRST_SOURCE DESTINATION PORT NUMBER

The senders' addresses begin at FIRST_SOURCE; nobody has them. Prints how many SYNs a second there were.
"""

import errno
import ipaddress
import random
import socket
import struct
import sys
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6


def main(device, first, destination, port, number):
    first, number = ipaddress.ip_address(first), int(number)
    layer, network = (IP, 20) if first.version == 4 else (IPv6, 40)
    tcp = TCP(sport=0, dport=int(port), flags="S", seq=0, window=65535, options=[("MSS", 1460)])
    packet = bytearray(bytes(layer(src=str(first), dst=destination) / tcp))
    source = network - 2 - len(ipaddress.ip_address(destination).packed)
    # What the checksums are made of, but for that which varies.
    sums = [~struct.unpack_from("!H", packet, place)[0] & 0xFFFF for place in (10, network + 16)]
    mouth = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    mouth.bind((device, 0))
    since = time.monotonic()
    for sender, sport, low in triples(number):
        struct.pack_into("!H", packet, source, sender)
        struct.pack_into("!H", packet, network, sport)
        struct.pack_into("!H", packet, network + 6, low)
        if layer is IP:
            struct.pack_into("!H", packet, 10, inverted(sums[0] + sender))
        struct.pack_into("!H", packet, network + 16, inverted(sums[1] + sender + sport + low))
        say(mouth, packet)
    print(int(number / (time.monotonic() - since)))


def triples(number):
    """The low half of a sender's address, its port, and the low half of its SYN's number."""
    dice = random.Random(number)
    for _ in range(number):
        drawn = dice.getrandbits(48)
        yield drawn & 0xFFFF, drawn >> 16 & 0xFFFF | 1024, drawn >> 32


def inverted(total):
    """A checksum, of the sum of its words."""
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def say(mouth, packet):
    """Whatever finds the device's queue full is lost, as in any flood."""
    try:
        mouth.send(packet)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise


main(*sys.argv[1:])
