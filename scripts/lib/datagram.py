"""Sends one datagram that must not be fragmented, and prints what came of it:
`echoed`, `silence`, `refused`, or `too big: MTU`.

    datagram.py HOST PORT BYTES
"""

import errno
import random
import socket
import sys

# Of <linux/in.h> and <linux/in6.h>; the socket module does not know them.
IP_MTU_DISCOVER, IP_MTU = 10, 14
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_DONTFRAG = 23, 24, 62
PMTUDISC_DO = 2
PATIENCE = 0.5


def main(host, port, size):
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        forbid_fragments(sender)
        sender.settimeout(PATIENCE)
        sender.connect(address)
        print(outcome(sender, random.randbytes(int(size))))


def forbid_fragments(sender):
    if sender.family == socket.AF_INET:
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_DO)
    else:
        sender.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_DO)
        sender.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)


def outcome(sender, payload):
    try:
        sender.send(payload)
        answer = sender.recv(65536)
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return f"too big: {learnt_mtu(sender)}"
    return "echoed" if answer == payload else "other bytes came back"


def learnt_mtu(sender):
    if sender.family == socket.AF_INET:
        return sender.getsockopt(socket.IPPROTO_IP, IP_MTU)
    return sender.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)


main(*sys.argv[1:])
