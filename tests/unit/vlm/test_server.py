"""The server backend against a server that misbehaves in every way."""
import base64
import io
import logging
import threading
import time

import pytest
from PIL import Image

from csg.vlm import server as server_module
from csg.vlm.protocol import Question, VisionLanguageModel, VLMError
from csg.vlm.server import ServerVLM
from tests.unit.vlm.chat_server import ChatServer

PICTURE = Image.new("RGB", (60, 60), (200, 10, 10))
SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}}


@pytest.fixture(scope="module")
def server():
    with ChatServer() as running:
        yield running


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(server_module, "FIRST_PAUSE_S", 0.01)


def ask(server, behaviour, *, timeout_s=5.0, key=None, **settings):
    server.requests.clear()
    vlm = ServerVLM(server.url(behaviour), "tiny", api_key=key, timeout_s=timeout_s)
    return vlm.ask(Question("What?", (PICTURE,), **settings))


def test_the_request_carries_everything(server):
    reply = ask(server, "good", schema=SCHEMA, temperature=0.3, max_tokens=99, seed=2**40 + 5, key="sesame")
    assert reply.strip() == "hello world"
    (path, headers, body), = server.requests
    assert path == "/good/v1/chat/completions" and headers["authorization"] == "Bearer sesame"
    assert (body["model"], body["temperature"], body["max_tokens"], body["seed"], body["stream"]) == ("tiny", 0.3, 99, 5, True)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    picture, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "What?"}
    sent = Image.open(io.BytesIO(base64.b64decode(picture["image_url"]["url"].partition(",")[2])))
    assert sent.getpixel((3, 3)) == (200, 10, 10)
    assert isinstance(ServerVLM(server.url(), "tiny"), VisionLanguageModel)


@pytest.mark.parametrize(
    "behaviour",
    ["whole", "thinking", "only-thinking", "no-schema", "breaks-over-schema", "picky", "busy-twice", "drops-once", "in-parts", "declines",
     "pings"],
)  # fmt: skip
def test_servers_with_their_own_ways_are_understood(server, behaviour):
    assert ask(server, behaviour, schema=SCHEMA).strip() == "hello world"


def test_a_refused_setting_is_left_out_from_then_on(server):
    server.requests.clear()
    vlm = ServerVLM(server.url("picky"), "tiny")
    vlm.ask(Question("a", schema=SCHEMA, max_tokens=7))
    assert len(server.requests) == 5 and server.bodies[-1]["max_completion_tokens"] == 7
    vlm.ask(Question("b", schema=SCHEMA))
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("behaviour", "message", "requests"),
    [
        ("too-many", r"busy or failing \(429\): .*slow down.* Asked 4 times", 4),
        ("broken", r"busy or failing \(500\): .*out of memory.* Asked 4 times", 4),
        ("drops", "closed the connection before its answer was complete. Asked 4 times", 4),
        ("slams", "closed the connection|No server answers", 4),
        ("refuses", "refuses the request: this model cannot see images", 1),
        ("forbidden", r"does not accept the API key \(401\). Check api_key_env", 1),
        ("cannot", "refuses the request: not implemented here", 1),
        ("missing", "no model 'tiny'.*model not found", 1),
        ("redirects", "redirects to http.*not followed", 1),
        ("huge", "larger than 8 MB", 1),
        ("huge-whole", "larger than 8 MB", 1),
        ("endless-line", "endless line", 1),
        ("page", "answered with text/html, not a chat completion", 1),
        ("no-json", "no JSON: {oops", 1),
        ("wrong-shape", "JSON that is no chat completion", 1),
        ("wrong-events", r"sent \[1, 2\] where a chat completion", 1),
        ("error-event", "reports: context too long", 1),
    ],
)
def test_each_misbehaviour_gives_one_clear_message(server, behaviour, message, requests):
    with pytest.raises(VLMError, match=message):
        ask(server, behaviour)
    assert len(server.requests) == requests


def test_the_endless_body_of_a_failure_is_not_read_to_its_end(server):
    server.written = 0
    with pytest.raises(VLMError, match="answers 418: xxx"):
        ask(server, "broken-and-huge")
    assert server.written < 500


def test_a_redirect_to_another_server_sends_it_nothing(server):
    with ChatServer() as other:
        server.elsewhere = other.url()
        with pytest.raises(VLMError, match=f"redirects to {other.url()}.*not followed"):
            ask(server, "redirects-elsewhere", key="sesame")
        assert other.requests == []


@pytest.mark.parametrize("behaviour", ["hangs", "hangs-midway"])
def test_a_silent_server_is_given_up_after_the_timeout(server, behaviour):
    start = time.monotonic()
    with pytest.raises(VLMError, match="silent for 0.4 s"):
        ask(server, behaviour, timeout_s=0.4)
    assert time.monotonic() - start < 3 and len(server.requests) == 1


def test_a_server_that_only_drips_is_given_up_in_the_end(server):
    start = time.monotonic()
    with pytest.raises(VLMError, match="has not finished its answer after 3 s"):
        ask(server, "drips", timeout_s=0.3)
    assert time.monotonic() - start < 6


def test_a_packed_answer_is_refused_unread(server):
    with pytest.raises(VLMError, match=r"packs its answer \(gzip\)"):
        ask(server, "packed")
    assert server.requests[0][1]["accept-encoding"] == "identity"


def test_an_interrupt_closes_the_connection(server):
    server.hung_up, start = None, time.monotonic()

    def progress(done, total):
        if time.monotonic() - start > 0.3:
            raise Interrupted

    with pytest.raises(Interrupted):
        ServerVLM(server.url("waits-for-the-other-end"), "tiny", timeout_s=60).ask(Question("a"), progress)
    deadline = time.monotonic() + 5
    while server.hung_up is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.hung_up is True
    assert not [t for t in threading.enumerate() if t.name == "csg-vlm-server" and t.is_alive()]


def test_nobody_there():
    with ChatServer() as gone:
        url = gone.url()
    with pytest.raises(VLMError, match="No server answers at .* Asked 4 times"):
        ServerVLM(url, "tiny").ask(Question("a"))


def test_https_where_only_http_is_spoken_is_told_at_once(server):
    start = time.monotonic()
    with pytest.raises(VLMError, match="no safe connection to https://127.0.0.1.*SSL.*speaks http:// alone"):
        ServerVLM(server.url().replace("http:", "https:"), "tiny").ask(Question("a"))
    assert time.monotonic() - start < 3


def test_a_name_that_nobody_knows_is_told():
    with pytest.raises(VLMError, match=r"No server answers at http://nobody.invalid/v1 \(.+\)\. Is it running"):
        ServerVLM("http://nobody.invalid/v1", "tiny").ask(Question("a"))


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("behaviour", ["hangs", "hangs-midway", "slow", "broken"])
def test_an_interrupt_ends_the_question_at_once(server, behaviour, monkeypatch):
    monkeypatch.setattr(server_module, "FIRST_PAUSE_S", 30)
    behaviour = "broken-for-long" if behaviour == "broken" else behaviour
    start = time.monotonic()

    def progress(done, total):
        if time.monotonic() - start > 0.4:
            raise Interrupted

    with pytest.raises(Interrupted):
        ServerVLM(server.url(behaviour), "tiny", progress=progress).ask(Question("a"))
    assert time.monotonic() - start < 1.5


def test_after_an_interrupt_the_server_need_not_write_on(server):
    def progress(done, total):
        if done >= 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        ServerVLM(server.url("slow"), "tiny").ask(Question("a"), progress)
    time.sleep(0.5)
    written = server.written
    time.sleep(0.3)
    assert server.written == written < 100


def test_progress_counts_the_pieces(server):
    seen = []
    ServerVLM(server.url("good"), "tiny", progress=lambda done, total: seen.append((done, total))).ask(Question("a", max_tokens=50))
    assert seen[0] == (0, 50) and seen[-1] == (2, 50) and seen == sorted(seen)


def test_nothing_of_the_environment_is_sent(server, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "topsecret")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-leak: topsecret\nauthorization: topsecret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    ask(server, "good")
    (_, headers, body), = server.requests
    assert "topsecret" not in str(headers) + str(body)
    assert "authorization" not in {name.lower() for name in headers}
    ask(server, "good", key="mine")
    assert "topsecret" not in str(server.requests) and server.requests[0][1]["authorization"] == "Bearer mine"


def test_a_setting_is_not_given_up_for_a_request_that_fails_all_the_same(server):
    server.requests.clear()
    vlm = ServerVLM(server.url("refuses"), "tiny")
    for _ in range(2):
        with pytest.raises(VLMError, match="refuses the request"):
            vlm.ask(Question("a", schema=SCHEMA))
    assert ["response_format" in body for body in server.bodies] == [True, False, True, False]


IN_BODY = ("tattles", "tattles-in-an-event", "tattles-at-the-cut")
IN_HEADERS = ("tattles-in-its-type", "tattles-in-a-redirect")  # which the network library itself logs when it debugs


@pytest.mark.parametrize(
    ("behaviour", "level"),
    [(each, logging.DEBUG) for each in ("forbidden", "teapot", "broken", *IN_BODY)] + [(each, logging.INFO) for each in IN_HEADERS],
)
def test_a_key_never_reaches_a_message_or_a_log(server, behaviour, level, caplog):
    with caplog.at_level(level), pytest.raises(VLMError) as failure:
        ask(server, behaviour, key="Open-Sesame")  # a content type is read in lower case
    told = str(failure.value) + caplog.text + repr(ServerVLM(server.url(), "m", api_key="Open-Sesame"))
    assert "open-s" not in told.lower()
    assert failure.value.__cause__ is None


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aiohttp", None)
    with pytest.raises(VLMError, match="pip install aiohttp"):
        ServerVLM("http://localhost/v1", "m")
