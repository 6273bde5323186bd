"""Sends large datagrams to an echo from several namespaces at once, and compares what comes back byte for byte.

    fragments.py whole|forged ROUNDS HOST PORT MTU NAMESPACE…

`whole`: the kernel cuts the datagrams, as the route's MTU says. `forged`: cut here, to the MTU, the nth datagram of
every namespace with n as its identification, and all fragments of a round sent in turns: in order in even rounds,
shuffled in odd ones. Ends with an error that names the first datagram that did not come back whole.
"""

import random
import socket
import struct
import sys

from namespaces import inside

SIZE = 20_000
PATIENCE = 2.0
SO_RCVBUFFORCE = 33
IPV6_HEADER, FRAGMENT_HEADER = 40, 8
MORE_FRAGMENTS = 0x2000


def main(how, rounds, host, port, mtu, *namespaces):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    random.seed(seed)
    speakers = [Speaker(namespace, host, int(port), int(mtu)) for namespace in namespaces]
    for number in range(1, int(rounds) + 1):
        for speaker in speakers:
            speaker.payload = struct.pack("!I", number) + random.randbytes(SIZE - 4)
        if how == "whole":
            for speaker in speakers:
                speaker.udp.send(speaker.payload)
        else:
            send_in_turns([(speaker, speaker.fragments(number)) for speaker in speakers], number % 2 == 1)
        for speaker in speakers:
            speaker.await_echo(number)


def send_in_turns(shares, shuffled):
    if shuffled:
        for _, fragments in shares:
            random.shuffle(fragments)
    for turn in zip(*(fragments for _, fragments in shares)):
        for (speaker, _), fragment in zip(shares, turn):
            speaker.raw.sendto(fragment, speaker.raw_address)


class Speaker:
    """A client in one namespace: a UDP socket, and a raw one that sends in its name."""

    def __init__(self, namespace, host, port, mtu):
        self.namespace, self.mtu = namespace, mtu
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with inside(namespace):
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            self.raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        self.udp.settimeout(PATIENCE)
        self.udp.connect(address)
        self.v6 = family == socket.AF_INET6
        self.source, self.source_port = self.udp.getsockname()[:2]
        self.destination, self.port = self.udp.getpeername()[:2]
        self.raw_address = (self.destination, 0)
        self.payload = b""

    def await_echo(self, number):
        try:
            echo = self.udp.recv(1 << 16)
        except TimeoutError:
            sys.exit(f"{self.namespace}: datagram {number} did not come back")
        if echo != self.payload:
            sys.exit(f"{self.namespace}: datagram {number} came back changed, {len(echo)} bytes long")

    def fragments(self, number):
        """The datagram as packets that fit the MTU."""
        headers = IPV6_HEADER + FRAGMENT_HEADER if self.v6 else 20
        step = (self.mtu - headers) // 8 * 8
        datagram = self.datagram()
        pieces = [(offset, datagram[offset : offset + step]) for offset in range(0, len(datagram), step)]
        return [self.packet(number, offset, piece, offset + step < len(datagram)) for offset, piece in pieces]

    def datagram(self):
        length = 8 + len(self.payload)
        start = struct.pack("!HHH", self.source_port, self.port, length)
        pseudo = self.addresses() + struct.pack("!II", length, socket.IPPROTO_UDP)
        # The ones' complement of the ones' complement sum, which is what is left modulo 65535.
        checksum = 0xFFFF - int.from_bytes(pseudo + start + b"\0\0" + self.payload, "big") % 0xFFFF
        return start + struct.pack("!H", checksum) + self.payload

    def packet(self, number, offset, piece, more):
        if self.v6:
            fixed = struct.pack("!IHBB", 6 << 28, FRAGMENT_HEADER + len(piece), socket.IPPROTO_FRAGMENT, 64)
            extension = struct.pack("!BBHI", socket.IPPROTO_UDP, 0, offset | more, number)
            return fixed + self.addresses() + extension + piece
        flags = offset // 8 | (MORE_FRAGMENTS if more else 0)
        # The kernel fills in the length and the checksum.
        fixed = struct.pack("!BBHHHBBH", 0x45, 0, 0, number, flags, 64, socket.IPPROTO_UDP, 0)
        return fixed + self.addresses() + piece

    def addresses(self):
        family = socket.AF_INET6 if self.v6 else socket.AF_INET
        return socket.inet_pton(family, self.source) + socket.inet_pton(family, self.destination)


main(*sys.argv[1:])
