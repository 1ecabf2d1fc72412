"""A chat-completions server on this machine that can misbehave in every way.

The first part of the path says how: `http://127.0.0.1:PORT/<behaviour>/v1`.
"""
from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class ChatServer:
    """Serves `reply_to(request)` in a background thread and keeps what it was asked in `requests`."""

    def __init__(self, reply_to: Callable[[dict], str] = lambda request: "hello world"):
        self.reply_to = reply_to
        self.requests: list[tuple[str, dict, dict]] = []
        self.written, self.elsewhere = 0, ""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.chat = self
        self._http.daemon_threads = True
        Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    def url(self, behaviour: str = "good") -> str:
        return f"http://127.0.0.1:{self.port}/{behaviour}/v1"

    @property
    def bodies(self) -> list[dict]:
        return [body for _, _, body in self.requests]


def prompt_of(request: dict) -> str:
    """The text of a chat request."""
    return "".join(part.get("text", "") for part in request["messages"][-1]["content"])


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self._send(200, {"visited": self.path})
        self.server.chat.requests.append((self.path, dict(self.headers), {}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.chat.requests.append((self.path, dict(self.headers), body))
        behaviour = self.path.split("/")[1].replace("-", "_")
        try:
            getattr(self, behaviour)(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    # ----------------------------------------------------------------------- good manners

    def good(self, body):
        self._stream_head()
        for word in self.server.chat.reply_to(body).split(" "):
            self._event({"choices": [{"delta": {"content": word + " "}}]})
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def whole(self, body):
        self._send(200, {"choices": [{"message": {"content": self.server.chat.reply_to(body)}, "finish_reason": "stop"}]})

    def thinking(self, body):
        self._stream_head()
        self._event({"choices": [{"delta": {"reasoning_content": "hm, "}}]})
        self._event({"choices": [{"delta": {"content": self.server.chat.reply_to(body)}, "finish_reason": "stop"}]})

    def only_thinking(self, body):
        self._stream_head()
        self._event({"choices": [{"delta": {"reasoning": self.server.chat.reply_to(body)}, "finish_reason": "stop"}]})

    def no_schema(self, body):
        if "response_format" in body:
            self._send(400, {"error": {"message": "unknown field"}})
        else:
            self.good(body)

    def breaks_over_schema(self, body):
        if "response_format" in body:
            self._send(500, {"error": "failed to load model vocabulary required for format"}, {"retry-after": "0.01"})
        else:
            self.good(body)

    def in_parts(self, body):
        self._stream_head("Text/Event-Stream; charset=utf-8")
        parts = [{"type": "text", "text": word} for word in (None, self.server.chat.reply_to(body), "")]
        self._event({"choices": [{"delta": {"content": parts}, "finish_reason": "stop"}]})

    def declines(self, body):
        self._stream_head()
        self._event({"choices": [{"delta": {"content": None, "refusal": self.server.chat.reply_to(body)}}]})
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})

    def pings(self, body):
        self._stream_head()
        for _ in range(3):
            self.wfile.write(b": keep-alive\n\nevent: ping\n\n")
            self.wfile.flush()
        self._event({"choices": [], "usage": {"total_tokens": 3}})
        self._event({"choices": [{"delta": {"content": self.server.chat.reply_to(body)}, "finish_reason": "stop"}]})

    def picky(self, body):
        refused = [key for key in ("seed", "temperature", "response_format", "max_tokens") if key in body]
        if refused:
            self._send(422, {"error": {"message": f"'{refused[0]}' is not supported"}})
        else:
            self.good(body)

    def busy_twice(self, body):
        mine = [path for path, _, _ in self.server.chat.requests if "/busy-twice/" in path]
        self.good(body) if len(mine) > 2 else self._send(429, {"error": {"message": "slow down"}}, {"retry-after": "0.05"})

    def drops_once(self, body):
        mine = [path for path, _, _ in self.server.chat.requests if "/drops-once/" in path]
        self.good(body) if len(mine) > 1 else self.drops(body)

    def slow(self, body):
        self._stream_head()
        for self.server.chat.written in range(200):
            self._event({"choices": [{"delta": {"content": "x"}}]})
            time.sleep(0.05)

    # ------------------------------------------------------------------------ bad manners

    def too_many(self, body):
        self._send(429, {"error": {"message": "slow down"}}, {"retry-after": "0.01"})

    def broken(self, body):
        self._send(500, {"error": {"message": "out of memory"}}, {"retry-after": "0.01"})

    def broken_for_long(self, body):
        self._send(503, {"error": {"message": "come back later"}})

    def refuses(self, body):
        self._send(400, {"error": {"message": "this model cannot see images"}})

    def forbidden(self, body):
        self._send(401, {"error": {"message": f"bad key {self.headers['authorization']}"}})

    def teapot(self, body):
        self._send(418, {"error": {"message": f"bad key {self.headers['authorization']}"}})

    def cannot(self, body):
        self._send(501, {"error": {"message": "not implemented here"}})

    def missing(self, body):
        self._send(404, {"error": {"message": "model not found"}})

    def tattles(self, body):
        self._send(429, {"detail": f"bad {self.headers['authorization']}"}, {"retry-after": "0.01"})

    def tattles_in_an_event(self, body):
        self._raw(200, json.dumps({"error": {"message": self.headers["authorization"]}}).encode(), "application/json")

    def tattles_at_the_cut(self, body):
        self._raw(200, b"x" * 280 + self.headers["authorization"].encode(), "application/json")

    def tattles_in_its_type(self, body):
        self._raw(200, b"", self.headers["authorization"])

    def tattles_in_a_redirect(self, body):
        self._send(302, {}, {"location": f"https://elsewhere.example/{self.headers['authorization']}"})

    def broken_and_huge(self, body):
        self.send_response(418)
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x" * 100_000)
            self.server.chat.written = self.server.chat.written + 1

    def hangs(self, body):
        time.sleep(20)

    def hangs_midway(self, body):
        self._stream_head()
        self._event({"choices": [{"delta": {"content": "x"}}]})
        time.sleep(20)

    def packed(self, body):
        self._raw(200, gzip.compress(b" " * 50_000_000), "application/json", {"content-encoding": "gzip"})

    def drips(self, body):
        self._stream_head()
        for _ in range(100):
            self.wfile.write(b": still here\n\n")
            self.wfile.flush()
            time.sleep(0.1)

    def waits_for_the_other_end(self, body):
        self.connection.settimeout(10)
        self.server.chat.hung_up = self.connection.recv(1) == b""

    def drops(self, body):
        self._stream_head()
        self._event({"choices": [{"delta": {"content": "half an ans"}}]})

    def slams(self, body):
        self.connection.close()

    def redirects_elsewhere(self, body):
        self._send(302, {}, {"location": f"{self.server.chat.elsewhere}/chat/completions"})

    def redirects(self, body):
        self._send(307, {}, {"location": f"http://127.0.0.1:{self.server.chat.port}/good/v1/chat/completions"})

    def huge(self, body):
        self._stream_head()
        event = {"choices": [{"delta": {"content": "x" * 100_000}}]}
        for _ in range(1000):
            self._event(event)

    def endless_line(self, body):
        self._stream_head()
        for _ in range(1000):
            self.wfile.write(b"x" * 100_000)

    def huge_whole(self, body):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b" " * 100_000)

    def page(self, body):
        self._raw(200, b"<html>Welcome</html>", "text/html")

    def no_json(self, body):
        self._raw(200, b"data: {oops\n\n", "text/event-stream")

    def wrong_shape(self, body):
        self._send(200, {"answer": 42})

    def wrong_events(self, body):
        self._raw(200, b"data: [1, 2]\n\n", "text/event-stream")

    def error_event(self, body):
        self._raw(200, b'data: {"error": {"message": "context too long"}}\n\n', "text/event-stream")

    # ------------------------------------------------------------------------------ pieces

    def _stream_head(self, kind="text/event-stream"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()

    def _event(self, data):
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
        self.wfile.flush()

    def _send(self, status, data, headers=None):
        self._raw(status, json.dumps(data).encode(), "application/json", headers)

    def _raw(self, status, body, kind, headers=None):
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
