"""A target that notes the header that each connection begins with, byte for byte, and a consumer that goes there.

    header.py serve PORT
    header.py call HOST PORT

The target greets at once, prints the header in hexadecimal digits as soon as it has come, and then echoes. The consumer
hears the greeting and an echo, and prints the connection's addresses and ports, its own first.
"""

import socket
import socketserver
import sys

FIXED = 16


class Target(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"welcome\n")
        header = self.rfile.read(FIXED)
        if not header:
            return
        header += self.rfile.read(int.from_bytes(header[FIXED - 2 :], "big"))
        print(header.hex(), flush=True)
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = daemon_threads = True

    def handle_error(self, request, client_address):
        """A consumer that resets its connection is no mistake."""


def serve(port):
    Server(("::", int(port)), Target).serve_forever()


def call(host, port):
    with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rwb") as talk:
        heard = [talk.readline()]
        talk.write(b"hello\n")
        talk.flush()
        heard.append(talk.readline())
        if heard != [b"welcome\n", b"hello\n"]:
            sys.exit(f"heard {heard}")
        print(*connection.getsockname()[:2], *connection.getpeername()[:2])


{"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
