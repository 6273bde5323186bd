"""Holds connections open, and says what becomes of them.

    held.py HOST PORT:TARGETS…

Opens connections to each port until several are held to each of so many targets, which say their address first (named.py).
Every other one talks all the time, the rest are silent. Says `PORT TARGET opened`, then `ready`, and `PORT TARGET closed` or
`PORT TARGET reset` as it happens. On SIGUSR1 all of them talk: `PORT TARGET answered`.
"""

import collections
import select
import signal
import socket
import sys
import time

EACH = 4
MOST = 400
PAUSE = 0.1
PATIENCE = 5.0


class Held:
    """One connection."""

    def __init__(self, host, port, talks):
        self.port, self.talks = port, talks
        self.connection = socket.create_connection((host, port), timeout=PATIENCE)
        self.target = self.hear()

    def say(self, what):
        print(self.port, self.target, what, flush=True)

    def ask(self):
        """Whether it answers."""
        try:
            self.connection.sendall(b"still there\n")
            return self.hear() == "still there" or self.end("closed")
        except ConnectionError:
            return self.end("reset")
        except TimeoutError:
            return self.end("silent")

    def end(self, how):
        self.say(how)
        self.connection.close()
        return False

    def hear(self):
        """A line."""
        line = b""
        while not line.endswith(b"\n"):
            piece = self.connection.recv(100)
            if not piece:
                return None
            line += piece
        return line.decode().strip()

    def has_ended(self):
        """Without a word from here."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return not self.end("spoke" if self.connection.recv(1) else "closed")
        except ConnectionError:
            return not self.end("reset")


def main(host, *ports):
    all_talk = []
    signal.signal(signal.SIGUSR1, lambda *_: all_talk.append(True))
    held = [one for port in ports for one in open_to(host, *map(int, port.split(":")))]
    print("ready", flush=True)
    while held:
        held = [one for one in held if (one.ask() if one.talks else not one.has_ended())]
        if all_talk:
            all_talk.clear()
            held = [one for one in held if one.ask()]
            for one in held:
                one.say("answered")
        time.sleep(PAUSE)


def open_to(host, port, targets):
    """Connections to this port, several to each of so many targets."""
    by_target = collections.defaultdict(list)
    for number in range(MOST):
        one = Held(host, port, number % 2 == 0)
        one.say("opened")
        by_target[one.target].append(one)
        if len(by_target) == targets and all(len(some) >= EACH for some in by_target.values()):
            return [one for some in by_target.values() for one in some]
    sys.exit(f"port {port}: {MOST} connections, and {dict(by_target)}")


main(*sys.argv[1:])
