"""Types at an echo as one does in a terminal, and times each key until it shows.

    typing_at.py HOST PORT KEYS

Keys are typed in pairs, the second before the first has shown: nothing on the way may wait for more to come. Prints the
median and the 95th percentile in microseconds.
"""

import socket
import sys
import time


def main(host, port, keys):
    with socket.create_connection((host, port), timeout=10) as terminal:
        terminal.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = sorted(type_pair(terminal, bytes([32 + number % 64])) for number in range(int(keys)))
    print(times[len(times) // 2] // 1000, times[len(times) * 95 // 100] // 1000)


def type_pair(terminal, key):
    since = time.monotonic_ns()
    terminal.send(key)
    terminal.send(key)
    shown = b""
    while len(shown) < 2:
        piece = terminal.recv(2)
        if not piece:
            sys.exit("the other end has closed")
        shown += piece
    if shown != 2 * key:
        sys.exit(f"{shown} came back for {2 * key}")
    return time.monotonic_ns() - since


main(*sys.argv[1:])
