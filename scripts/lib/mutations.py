"""Sends random mutations of captured packets to sidegate's devices: each device gets those of its own capture.

    mutations.py COUNT SEED NAMESPACE DEVICE CAPTURE [NAMESPACE DEVICE CAPTURE…]

Most are mended afterwards (lengths and checksums made right again), so that they get past the first checks.
"""

import itertools
import random
import struct
import sys

from scapy.utils import RawPcapReader

from inject import Injector

LARGEST = 9001
MENDED = 0.7
WORDS = (0, 1, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
# IP protocol: where its checksum is.
CHECKSUMS = {1: 2, 6: 16, 17: 6, 58: 2}
EXTENSIONS = (0, 43, 44, 60)


def main(count, seed, *sides):
    random.seed(int(seed))
    doors = [
        (Injector(namespace, device), captured(capture))
        for namespace, device, capture in zip(*[iter(sides)] * 3)
    ]
    for injector, packets in itertools.islice(itertools.cycle(doors), int(count)):
        injector.send(mutation(packets))


def captured(capture):
    packets = [packet for packet, _ in RawPcapReader(capture) if len(packet) <= LARGEST]
    if len(packets) < 50:
        sys.exit(f"{capture} has only {len(packets)} packets")
    return packets


def mutation(packets):
    packet = bytearray(random.choice(packets))
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        random.choice(MUTATIONS)(packet, packets)
    del packet[LARGEST:]
    if random.random() < MENDED:
        mend(packet)
    return bytes(packet) or b"\0"


def flip_bit(packet, _):
    if packet:
        packet[place(packet)] ^= 1 << random.randrange(8)


def set_byte(packet, _):
    if packet:
        packet[place(packet)] = random.randrange(256)


def set_word(packet, _):
    if len(packet) >= 2:
        word = random.choice((*WORDS, len(packet), len(packet) - 20, random.randrange(1 << 16)))
        struct.pack_into("!H", packet, min(place(packet), len(packet) - 2), word & 0xFFFF)


def cut(packet, _):
    del packet[random.randrange(len(packet) + 1) :]


def lengthen(packet, _):
    packet += random.randbytes(random.choice((1, 4, 8, 100)))


def splice(packet, packets):
    other = random.choice(packets)
    packet[place(packet) if packet else 0 :] = other[random.randrange(len(other)) :]


def repeat(packet, _):
    if packet:
        at = place(packet)
        packet[at:at] = packet[at : at + 8]


def extend_header(packet, _):
    """IPv4: an option more; IPv6: an extension header more."""
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        packet[40:40] = bytes([packet[6], 0]) + random.randbytes(6)
        packet[6] = random.choice(EXTENSIONS)
    elif len(packet) >= 20 and packet[0] & 0x0F < 15:
        packet[20:20] = random.randbytes(4)
        packet[0] += 1


def quote(packet, packets):
    """An ICMP error's header and the packet behind a network header of the same capture."""
    other = random.choice(packets)
    if packet and len(other) >= 40 and packet[0] >> 4 == other[0] >> 4:
        v4 = packet[0] >> 4 == 4
        network = bytearray(other[: 20 if v4 else 40])
        if v4:
            network[0], network[9] = 0x45, 1
        else:
            network[6] = 58
        kind = random.choice((3, 4, 5, 11, 12) if v4 else (1, 2, 3, 4))
        packet[0:0] = network + struct.pack("!BBHHH", kind, random.randrange(6), 0, 0, random.choice(WORDS))


MUTATIONS = (flip_bit, flip_bit, set_byte, set_word, set_word, cut, lengthen, splice, repeat, extend_header, quote)


def place(packet):
    """Anywhere, but mostly in the headers."""
    return random.randrange(len(packet) if random.random() < 0.2 else min(len(packet), 64))


def mend(packet):
    """Makes the lengths and checksums right, as far as there are any."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        header = max(packet[0] & 0x0F, 5) * 4
        struct.pack_into("!H", packet, 2, len(packet))
        struct.pack_into("!H", packet, 10, 0)
        struct.pack_into("!H", packet, 10, checksum(packet[:header]))
        mend_transport(packet, header, packet[9], packet[12:20])
    elif len(packet) >= 40 and packet[0] >> 4 == 6:
        struct.pack_into("!H", packet, 4, len(packet) - 40)
        mend_transport(packet, 40, packet[6], packet[8:40])


def mend_transport(packet, start, protocol, addresses):
    at = start + CHECKSUMS.get(protocol, len(packet))
    if at + 2 > len(packet):
        return
    if protocol == 17 and start + 6 <= len(packet):
        struct.pack_into("!H", packet, start + 4, len(packet) - start)
    struct.pack_into("!H", packet, at, 0)
    pseudo = b"" if protocol == 1 else addresses + struct.pack("!II", len(packet) - start, protocol)
    segment = packet[start:]
    struct.pack_into("!H", packet, at, checksum(pseudo + segment + b"\0" * (len(segment) % 2)))


def checksum(words):
    """The ones' complement of the ones' complement sum, which is what is left modulo 65535."""
    return 0xFFFF - int.from_bytes(words, "big") % 0xFFFF


main(*sys.argv[1:])
