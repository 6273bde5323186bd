"""Echoes datagrams, each from the address that was asked.

    echo.py PORT ADDRESS…
"""

import selectors
import socket
import sys

SO_RCVBUFFORCE = 33


def main(port, *addresses):
    selector = selectors.DefaultSelector()
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        listener.bind((address, int(port)))
        selector.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            datagram, sender = key.fileobj.recvfrom(1 << 16)
            key.fileobj.sendto(datagram, sender)


main(*sys.argv[1:])
