"""A target that says where it was reached, and then echoes.

    named.py PORT
"""

import ipaddress
import socketserver
import sys


class Named(socketserver.StreamRequestHandler):
    def handle(self):
        address = ipaddress.ip_address(self.request.getsockname()[0])
        self.wfile.write(f"{address.ipv4_mapped or address}\n".encode())
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    address_family = socketserver.socket.AF_INET6
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128


Server(("::", int(sys.argv[1])), Named).serve_forever()
