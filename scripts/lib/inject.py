"""Writes raw packets to a sidegate device, as if the kernel had routed them there."""

import errno
import socket
import time

from namespaces import inside


class Injector:
    def __init__(self, namespace, device):
        with inside(namespace):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.socket.bind((device, 0))

    def send(self, packet):
        """Sends one IP packet; waits while the device's queue is full."""
        while True:
            try:
                self.socket.send(packet)
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                time.sleep(0.0002)
