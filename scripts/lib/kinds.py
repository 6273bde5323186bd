"""Hostile packets by kind: what they are, how sidegate may count them, and the packets."""

from scapy.compat import raw
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_Redirect,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw
from scapy.utils import checksum

BULK = Raw(bytes(range(256)) * 4)


class Kinds:
    """What there is for both families. SOURCE sends, DESTINATION is sidegate's."""

    def __init__(self, source, destination, from_consumer):
        self.source, self.destination = source, destination
        # What would be let in, and what would open nothing: where nothing is let in it ends as one-way.
        self.let_in = ("forwarded",) if from_consumer else ("one_way",)
        self.reset = ("no_flow_reset" if from_consumer else "one_way_reset", "no_flow", "reset_limited")
        self.first_fragment = ("fragment_forwarded",) if from_consumer else ("one_way",)
        self.after_first = ("fragment_overlap",) if from_consumer else ("fragment_refused",)

    def all(self):
        yield from self.lengths()
        yield from self.transports()
        yield from self.sources()
        yield from self.fragments()
        yield from self.icmp()
        yield from self.own()

    def lengths(self):
        whole = raw(self.ip() / self.udp() / BULK)
        yield "cut anywhere", ("malformed",), [whole[:length] for length in range(1, 120)]
        yield "longer than they say", ("malformed",), [whole + bytes(extra) for extra in (1, 7, 1000)]
        right = int.from_bytes(whole[self.length_at : self.length_at + 2], "big")
        yield "that lie about their length", ("malformed",), [
            changed(whole, self.length_at, length.to_bytes(2, "big"))
            for length in (0, 1, 19, 20, 27, 40, right - 1, right + 1, 0x7FFF, 0xFFFF)
        ]
        versions = (bytes([version << 4 | 5]) for version in range(16) if version not in (4, 6))
        yield "of unknown versions", ("malformed",), [changed(whole, 0, version) for version in versions]
        too_long = (whole + bytes(8501 - len(whole)), whole + bytes(9001 - len(whole)))
        yield "longer than the path carries", ("over_mtu",), [
            raw(self.ip() / self.udp() / Raw(packet[self.header + 8 :])) for packet in too_long
        ]

    def transports(self):
        udp, tcp = raw(self.ip() / self.udp() / BULK), raw(self.ip() / self.tcp("S"))
        at = self.header
        yield "UDP with wrong lengths", ("malformed",), [
            changed(udp, at + 4, length.to_bytes(2, "big")) for length in (0, 7, 8, 1031, 1033, 0xFFFF)
        ]
        yield "TCP with wrong header lengths", ("malformed",), [
            changed(tcp, at + 12, bytes([words << 4])) for words in (0, 1, 2, 3, 4, 6, 15)
        ]
        yield "ports 0", ("malformed",), [
            changed(packet, at + port, bytes(2)) for packet in (udp, tcp) for port in (0, 2)
        ]
        yield "wrong checksums", ("bad_checksum",), [
            changed(packet, at + place, value)
            for packet, place in ((udp, 6), (tcp, 16))
            for value in (b"\x12\x34", b"\xff\xff")
        ]
        flags = ("", "F", "FPU", "SF", "SFPU", "SA", "A", "R", "SR", "SFRPAUEC")
        yield "TCP with odd flags", self.reset, [self.ip() / self.tcp(those) for those in flags]
        yield "TCP with broken options", self.let_in, [
            self.syn_with(options, source_port) for source_port, options in enumerate(BROKEN_TCP_OPTIONS, 3000)
        ]
        nobody = self.ip(dst=self.elsewhere) / self.udp() / BULK
        yield "to nobody", ("unknown_address",), [nobody]

    def sources(self):
        for reason, addresses in self.impossible_sources.items():
            yield f"from {' and '.join(addresses)}", (reason,), [
                self.ip(src=address) / self.tcp("A") for address in addresses
            ]
        yield "from the address that they are for", ("source_ours",), [
            self.ip(src=self.destination) / self.tcp("A", source_port=80)
        ]

    def fragments(self):
        datagram = raw(self.ip() / self.udp() / BULK)[self.header :]
        pieces = {start: datagram[start : start + 344] for start in (0, 344, 688)}
        yield "first fragments", self.first_fragment, [self.fragment(n, 0, pieces[0]) for n in range(10, 20)]
        yield "fragments that overlap the first", self.after_first, [
            self.fragment(n, start, pieces[344]) for n, start in enumerate((8, 40, 336), 10)
        ]
        yield "fragments that overlap, the first missing", ("fragment_overlap",), [
            self.fragment(n, start, pieces[344]) for n in range(20, 30) for start in (344, 400)
        ]
        yield "teardrops: one fragment within another", self.after_first, [
            self.fragment(n, 24, b"teardrop", more=False) for n in range(13, 16)
        ]
        yield "datagrams with two ends", ("fragment_overlap",), [
            self.fragment(n, start, pieces[688], more=False) for n in range(30, 35) for start in (688, 2000)
        ]
        yield "fragments beyond 64 KB", ("malformed",), [self.fragment(40, 65528, pieces[344], more=False)]
        yield "fragments of odd length, with more to come", ("malformed",), [self.fragment(41, 344, b"odd")]
        yield "fragments without a byte", ("malformed",), [self.fragment(42, 344, b"")]
        yield "first fragments without a whole UDP header", ("malformed",), [
            self.fragment(43, 0, datagram[:length], more=False) for length in range(1, 8)
        ]
        yield "fragments of TCP", ("fragment_tcp",), [
            self.fragment(44, start, raw(self.tcp("S")) + bytes(4), protocol=6) for start in (0, 8, 16)
        ]
        yield "fragments of ICMP", ("other_protocol",), [
            self.fragment(45, start, bytes(64), protocol=self.icmp_protocol) for start in (0, 64)
        ]

    def icmp(self):
        sent_by_us = self.ip(src=self.destination, dst=self.source)
        stranger = raw(sent_by_us / UDP(sport=4321, dport=4321) / BULK)
        yield "pings", ("ping",), [self.ip() / self.ping() / Raw(bytes(length)) for length in (0, 1, 1000)]
        yield "errors about no flow", ("icmp_no_flow",), [self.error(stranger)]
        yield "errors that quote next to nothing", ("icmp_no_flow",), [
            self.error(stranger[:length]) for length in range(self.header + 8)
        ]
        yield "errors about errors", ("icmp_no_flow",), [
            self.error(raw(sent_by_us / self.error_header() / Raw(stranger))),
            self.error(raw(sent_by_us / self.error_header() / Raw(raw(self.error(stranger))))),
            self.error(raw(self.error(raw(self.error(stranger))))),
        ]
        yield "errors about somebody else's packet", ("icmp_no_flow",), [self.error(raw(self.ip() / self.udp()))]
        yield "errors with a wrong checksum", ("bad_checksum",), [
            changed(raw(self.error(stranger)), self.header + 2, b"\x12\x34")
        ]
        yield "packet too big, with an MTU that is too small", ("icmp_small_mtu",), [
            self.error(stranger, mtu) for mtu in (0, 1, 68, self.least_mtu - 1)
        ]
        yield "other ICMP", ("icmp_kind",), self.other_icmp(stranger)

    def syn_with(self, options, source_port):
        options += bytes(-len(options) % 4)
        syn = TCP(sport=source_port, dport=80, flags="S", dataofs=5 + len(options) // 4)
        return self.ip() / syn / Raw(options)

    @staticmethod
    def udp():
        return UDP(sport=2000, dport=7)

    @staticmethod
    def tcp(flags, source_port=2001):
        return TCP(sport=source_port, dport=80, flags=flags, seq=1, ack=1)


# Kind, length, value: lengths that are 0, too short, too long, or missing.
BROKEN_TCP_OPTIONS = (
    b"\x02\x00\x05\xb4",
    b"\x02\x01\x05\xb4",
    b"\x02\x03\x05\x00",
    b"\x02\xff\x05\xb4",
    b"\x01\x01\x01\x02",
    b"\x01\x01\x02\x04",
    b"\x02\x04\x00\x00",
    b"\x05\xff" + bytes(38),
    b"\x08\x0a\x01\x02",
    b"\xfd\x00\x00\x00",
    b"\x00\x02\x04\xff",
    b"\x01" * 40,
)


class KindsV4(Kinds):
    header, length_at, icmp_protocol, least_mtu, elsewhere = 20, 2, 1, 576, "10.99.0.1"
    impossible_sources = {
        "source_unspecified": ["0.0.0.0"],
        "source_loopback": ["127.0.0.1", "127.255.255.254"],
        "source_multicast": ["224.0.0.1", "255.255.255.255"],
    }

    def ip(self, **fields):
        return IP(**{"src": self.source, "dst": self.destination, **fields})

    def fragment(self, identification, start, piece, more=True, protocol=17):
        return self.ip(id=identification, frag=start // 8, flags="MF" if more else 0, proto=protocol) / Raw(piece)

    @staticmethod
    def ping():
        return ICMP(type=8)

    @staticmethod
    def error_header(mtu=None):
        return ICMP(type=3, code=1) if mtu is None else ICMP(type=3, code=4, nexthopmtu=mtu)

    def error(self, quoted, mtu=None):
        return self.ip() / self.error_header(mtu) / Raw(quoted)

    def other_icmp(self, quoted):
        kinds = (0, 4, 5, 6, 9, 10, 11, 12, 13, 14, 17, 30, 255)
        return [self.ip() / ICMP(type=kind) / Raw(quoted) for kind in kinds]

    def own(self):
        whole = raw(self.ip() / self.udp() / BULK)
        yield "with wrong header lengths", ("malformed",), [
            changed(whole, 0, bytes([0x40 | words])) for words in (0, 1, 2, 3, 4)
        ]
        yield "with broken options", self.let_in, [self.with_options(options) for options in BROKEN_IP_OPTIONS]
        protocols = (0, 3, 4, 41, 46, 47, 50, 51, 58, 89, 132, 253, 255)
        yield "of other protocols", ("other_protocol",), [
            self.ip(proto=protocol) / Raw(bytes(length)) for protocol in protocols for length in (0, 40)
        ]

    def with_options(self, options):
        packet = raw(self.ip() / self.udp() / BULK)
        header = bytearray(packet[:20] + options)
        header[0] += len(options) // 4
        header[2:4] = (len(packet) + len(options)).to_bytes(2, "big")
        header[10:12] = bytes(2)
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
        return bytes(header) + packet[20:]


# Record route, loose and strict source route, timestamp, security; lengths that are 0, 1, too long; padding.
BROKEN_IP_OPTIONS = (
    b"\x07\x07\x04\x00\x00\x00\x00\x00",
    b"\x83\x07\x04\x0a\x01\x00\x02\x00",
    b"\x89\x07\x04\x0a\x01\x00\x02\x00",
    b"\x44\x08\x05\x00\x00\x00\x00\x00",
    b"\x82\x00\x00\x00",
    b"\x07\x01\x00\x00",
    b"\x83\xff\x04\x00",
    b"\x01\x01\x01\x83",
    b"\x01" * 40,
    b"\x00" * 40,
)


class KindsV6(Kinds):
    header, length_at, icmp_protocol, least_mtu, elsewhere = 40, 4, 58, 1280, "fd99::1"
    impossible_sources = {
        "source_unspecified": ["::"],
        "source_loopback": ["::1"],
        "source_multicast": ["ff02::1", "ff0e::1"],
        "malformed": ["::ffff:10.1.0.2"],
    }

    def ip(self, **fields):
        return IPv6(**{"src": self.source, "dst": self.destination, **fields})

    def fragment(self, identification, start, piece, more=True, protocol=17):
        header = IPv6ExtHdrFragment(id=identification, offset=start // 8, m=int(more), nh=protocol)
        return self.ip() / header / Raw(piece)

    @staticmethod
    def ping():
        return ICMPv6EchoRequest()

    @staticmethod
    def error_header(mtu=None):
        return ICMPv6DestUnreach(code=3) if mtu is None else ICMPv6PacketTooBig(mtu=mtu)

    def error(self, quoted, mtu=None):
        return self.ip() / self.error_header(mtu) / Raw(quoted)

    def other_icmp(self, quoted):
        kinds = (ICMPv6TimeExceeded(), ICMPv6ParamProblem(code=1), ICMPv6ParamProblem(code=2))
        return [self.ip() / kind / Raw(quoted) for kind in kinds]

    def own(self):
        udp = self.udp() / BULK
        options, routing = IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(addresses=[self.source])
        chains = (IPv6ExtHdrHopByHop(), options, routing, options / routing / options, IPv6ExtHdrHopByHop() / options)
        yield "with extension headers", ("other_protocol",), [self.ip() / chain / udp for chain in chains]
        endless = options
        for _ in range(60):
            endless = endless / IPv6ExtHdrDestOpt()
        yield "with sixty extension headers", ("other_protocol",), [self.ip() / endless / udp]
        yield "with fragment headers in each other", ("other_protocol",), [
            self.ip() / IPv6ExtHdrFragment(nh=44, m=1) / IPv6ExtHdrFragment(nh=17, m=1) / Raw(bytes(64)),
            self.ip() / options / IPv6ExtHdrFragment(nh=17, m=1) / Raw(bytes(64)),
            self.ip() / IPv6ExtHdrFragment(nh=60, m=1) / options / Raw(bytes(64)),
        ]
        yield "cut in an extension header", ("malformed",), [self.ip(nh=44) / Raw(bytes(size)) for size in range(8)]
        yield "without a next header, and unknown ones", ("other_protocol",), [
            self.ip(nh=protocol) / Raw(bytes(length)) for protocol in (1, 4, 41, 47, 50, 51, 59, 132, 135, 255)
            for length in (0, 40)
        ]
        yield "redirects", ("housekeeping",), [self.ip() / ICMPv6ND_Redirect()]


def changed(packet, at, value):
    return packet[:at] + value + packet[at + len(value) :]
