"""Serves byte streams, and answers questions about them.

    streams_serve.py PORT

A connection begins with a line of JSON: a stream's plan, or a question about one: `result` waits for its end, `progress`
tells how far it is, `read` ends its pause. Prints a line for every stream that has ended.
"""

import json
import socketserver
import sys
import threading

import streams

changed = threading.Condition()
ends, results = {}, {}


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        words = streams.hear(self.request)
        if "stream" in words:
            self.serve(words)
        else:
            streams.say(self.request, **self.answer(words))

    def serve(self, words):
        end = streams.answer(self.request, words)
        with changed:
            ends[words["stream"]] = end
            changed.notify_all()
        result = end.run()
        print(json.dumps(result), flush=True)
        with changed:
            results[words["stream"]] = result
            changed.notify_all()

    @staticmethod
    def answer(words):
        (question, name), = words.items()
        with changed:
            changed.wait_for(lambda: name in (results if question == "result" else ends), streams.PATIENCE)
            if question == "result":
                return results[name]
            if question == "read":
                ends[name].paused = False
            return {"sent": ends[name].sent, "received": ends[name].received}


class Server(socketserver.ThreadingTCPServer):
    address_family = socketserver.socket.AF_INET6
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 256

    def handle_error(self, request, client_address):
        """A client that goes away before it has said its line is its own affair."""


Server(("::", int(sys.argv[1])), Handler).serve_forever()
