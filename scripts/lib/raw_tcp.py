"""TCP by hand: ends of connections that send what they are told to, and look at every packet that comes."""

import select
import socket
import time

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from inject import Injector
from namespaces import inside

ETH_P_ALL = 3
PATIENCE = 2.0
MODULUS = 1 << 32


class Broken(Exception):
    """A rule does not hold."""


class Wire:
    """What sidegate's device in a namespace brings, and a way to put packets there, for an address that no kernel has."""

    def __init__(self, namespace, device, own, theirs):
        self.own, self.theirs = own, theirs
        self.layer = IPv6 if ":" in own else IP
        self.injector = Injector(namespace, device)
        with inside(namespace):
            self.ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            self.ear.bind((device, ETH_P_ALL))
        self.kept = []

    def send(self, segment):
        self.injector.send(bytes(self.layer(src=self.own, dst=self.theirs) / segment))

    def hear(self, wanted, patience=PATIENCE):
        """The first segment that is `wanted`, or None; others are kept for whoever wants them."""
        deadline = time.monotonic() + patience
        while True:
            for place, segment in enumerate(self.kept):
                if wanted(segment):
                    return self.kept.pop(place)
            if not select.select([self.ear], [], [], max(0.0, deadline - time.monotonic()))[0]:
                return None
            packet = self.layer(self.ear.recv(1 << 16))
            if TCP in packet and packet.src == self.theirs and packet.dst == self.own:
                self.kept.append(packet[TCP])


class End:
    """One end of a connection. It keeps count of what it has sent and heard, and answers nothing by itself."""

    def __init__(self, wire, port, their_port, sequence):
        self.wire, self.port, self.their_port = wire, port, their_port
        self.sent = sequence
        self.heard = 0

    def send(self, flags, payload=b"", at=None, acks=None, window=60000, options=()):
        """Sends a segment: the next one, unless it is told to lie elsewhere or to acknowledge something else."""
        segment = TCP(
            sport=self.port,
            dport=self.their_port,
            flags=flags,
            seq=(self.sent if at is None else at) % MODULUS,
            ack=(self.heard if acks is None else acks) % MODULUS if "A" in flags else 0,
            window=window,
            options=list(options),
        )
        self.wire.send(segment / Raw(payload))
        if at is None:
            self.sent = (self.sent + len(payload) + ("S" in flags) + ("F" in flags)) % MODULUS

    def expect(self, flags, what, patience=PATIENCE):
        """The next segment with exactly these flags, apart from PSH; whatever else comes is passed over."""
        segment = self.wire.hear(lambda segment: self.is_ours(segment) and flags_of(segment) == flags, patience)
        if segment is None:
            others = [f"{flags_of(segment)} {len(payload_of(segment))}" for segment in self.wire.kept]
            raise Broken(f"{what}: no {flags} came; kept: {others}")
        self.heard = (segment.seq + len(payload_of(segment)) + ("S" in flags) + ("F" in flags)) % MODULUS
        return segment

    def expect_bytes(self, expected, what):
        """Segments that hold exactly these bytes, some perhaps twice; they are acknowledged."""
        came = b""
        while len(came) < len(expected):
            segment = self.wire.hear(lambda segment: self.is_ours(segment) and payload_of(segment))
            if segment is None:
                raise Broken(f"{what}: {came} came, and no more")
            known = (self.heard - segment.seq) % MODULUS
            if known < len(payload_of(segment)):
                came += payload_of(segment)[known:]
                self.heard = (segment.seq + len(payload_of(segment))) % MODULUS
        if came != expected:
            raise Broken(f"{what}: {came} came, not {expected}")
        self.send("A")

    def expect_ack(self, what, of=None):
        """A bare ACK of everything that was sent, or of less if so told."""
        wanted = self.sent if of is None else of
        segment = self.wire.hear(
            lambda segment: self.is_ours(segment) and flags_of(segment) == "A" and segment.ack == wanted
        )
        if segment is None:
            raise Broken(f"{what}: no ACK of {wanted}")
        return segment

    def expect_silence(self, what, patience=0.3, wanted=lambda segment: True):
        segment = self.wire.hear(lambda segment: self.is_ours(segment) and wanted(segment), patience)
        if segment is not None:
            raise Broken(f"{what}: {segment.summary()}")

    def forget(self):
        """Passes over everything that has come so far."""
        while self.wire.hear(self.is_ours, 0.05) is not None:
            pass

    def is_ours(self, segment):
        return segment.dport == self.port and segment.sport == self.their_port


def flags_of(segment):
    return str(segment.flags).replace("P", "")


def payload_of(segment):
    return bytes(segment.payload)
