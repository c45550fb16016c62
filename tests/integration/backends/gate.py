"""A proxy in front of an HTTP server that can refuse a share of the requests, or all of them."""

import http.client
import http.server
import random
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes a request on as it is: its signature covers the headers."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        if not self._dropped():
            super().handle_one_request()

    def forward(self):
        gate = self.server.gate
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._dropped():
            return
        if gate.chance.random() < gate.share_refused:
            gate.refused += 1
            self.reply(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        onward = http.client.HTTPConnection("127.0.0.1", gate.target_port, timeout=60)
        onward.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            onward.putheader(name, value)
        onward.endheaders(body or None)
        answer = onward.getresponse()
        self.reply(answer.status, dict(answer.getheaders()), answer.read())
        onward.close()

    def reply(self, status, headers, body):
        self.send_response_only(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass

    def _dropped(self):
        if self.server.gate.away:
            self.server.gate.dropped += 1
            self.close_connection = True
        return self.server.gate.away


for method in ("GET", "PUT", "POST", "HEAD", "DELETE"):
    setattr(Handler, f"do_{method}", Handler.forward)


class Gate:
    """The proxy, in a thread.

    Attributes:
        share_refused: Share of the requests that are answered 503.
        away: Connections are closed without an answer.
        refused: Requests that were answered 503.
        dropped: Connections that were closed.
    """

    def __init__(self, target_port):
        self.target_port, self.chance = target_port, random.Random(5)
        self.share_refused, self.away, self.refused, self.dropped = 0.0, False, 0, 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.gate = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
