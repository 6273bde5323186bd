"""Byte streams for both ends of a connection: what is sent, what came, and how it ended.

Both directions of a connection carry bytes that anybody can make again from a seed, so that either end knows the digest
of what it should have got, or of as much of it as came. An end has a role, which says who closes when:

    first    sends everything and closes its direction; the other end answers after that
    second   hears everything before it sends
    both     sends while it hears
    aborts   sends while it hears, and resets the connection when half has come
    reset    sends while it hears, until the other end aborts
"""

import errno
import hashlib
import json
import random
import select
import socket
import struct
import time

# Not a multiple of anything that a stack likes, so that a piece in the wrong place never looks right.
BLOCK = 1_000_003
PIECES = (1, 100, 1460, 9000, 65536, 262144)
ROLES = {"first": "second", "second": "first", "both": "both", "aborts": "reset", "reset": "aborts"}
# What a call says on a connection that was reset: the first one, and those that come after it.
RESET = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)
PATIENCE = 15.0


class Stream:
    """So many bytes from a seed."""

    def __init__(self, seed, size):
        self.random, self.size = random.Random(seed), size
        self.block = bytearray(self.random.randbytes(BLOCK))

    def piece(self, start):
        """What follows from `start` on: as much as lies in one piece."""
        number, within = divmod(start, BLOCK)
        self.block[:8] = number.to_bytes(8, "big")
        length = min(self.random.choice(PIECES), self.size - start)
        return memoryview(self.block)[within : within + length]

    def digest(self, length):
        """Of its first bytes."""
        digest = hashlib.sha256()
        for start in range(0, length, BLOCK):
            self.block[:8] = (start // BLOCK).to_bytes(8, "big")
            digest.update(memoryview(self.block)[: length - start])
        return digest.hexdigest()


class End:
    """One end of a connection. `paused` says that it does not read for now."""

    def __init__(self, connection, role, sends, hears):
        self.connection, self.role, self.sends, self.hears = connection, role, sends, hears
        self.sent = self.received = 0
        self.digest = hashlib.sha256()
        self.has_closed = self.has_heard_close = self.paused = False
        self.how = None
        connection.setblocking(False)

    def run(self):
        """Plays its role to the end, and says what came of it."""
        try:
            while self.how is None:
                self.step()
        except OSError as error:
            if error.errno not in RESET:
                raise
            self.how = "reset"
        self.connection.close()
        digest, expected = self.digest.hexdigest(), self.hears.digest(self.received)
        bytes_are = "right" if digest == expected else "WRONG"
        return {"how": self.how, "sent": self.sent, "received": self.received, "bytes": bytes_are, "at": time.time()}

    def step(self):
        paused = self.paused
        wanted = 0 if paused or self.has_heard_close else select.POLLIN
        wanted |= select.POLLOUT if self.may_send() else 0
        poll = select.poll()
        poll.register(self.connection, wanted)
        events = poll.poll(100 if paused else PATIENCE * 1000)
        if not events and not paused:
            self.how = "stalled"
        for _, event in events:
            if event & ~select.POLLOUT and not paused:
                self.hear()
            if event & select.POLLOUT and self.how is None:
                self.send()
        if self.has_closed and self.has_heard_close:
            self.how = "closed"

    def may_send(self):
        if self.role == "aborts" and self.sent == self.sends.size:
            return False
        return not self.has_closed and (self.role != "second" or self.has_heard_close)

    def hear(self):
        piece = self.connection.recv(1 << 18)
        self.digest.update(piece)
        self.received += len(piece)
        self.has_heard_close = not piece
        if self.role == "aborts" and self.received >= self.hears.size // 2:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.how = "aborts"

    def send(self):
        if self.sent < self.sends.size:
            self.sent += self.connection.send(self.sends.piece(self.sent))
        if self.sent == self.sends.size and self.role != "aborts":
            self.connection.shutdown(socket.SHUT_WR)
            self.has_closed = True


def say(connection, **words):
    """A line of JSON: what is said before a stream, or instead of one."""
    connection.sendall(json.dumps(words).encode() + b"\n")


def hear(connection):
    """The line that the other end says, and not a byte more."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError("the other end closed instead of speaking")
        line += byte
    return json.loads(line)


def ask(host, port, **words):
    """Asks the server something about a stream, on a connection for this alone."""
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        say(connection, **words)
        return hear(connection)


def call(host, port, name, role, seed, size, paused=False):
    """Opens a stream to the server, which plays the other role; with `paused`, it begins without reading."""
    connection = socket.create_connection((host, port), timeout=PATIENCE)
    say(connection, stream=name, role=ROLES[role], seed=seed, size=size, paused=paused)
    return End(connection, role, Stream(seed, size), Stream(seed + 1, size))


def answer(connection, words):
    """The server's end of a stream that `call` has opened."""
    seed, size = words["seed"], words["size"]
    end = End(connection, words["role"], Stream(seed + 1, size), Stream(seed, size))
    end.paused = words["paused"]
    return end
