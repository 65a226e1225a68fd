"""The LLM judge: requests to a real server on localhost, parsing of replies, retries, and errors."""

import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from resect.core.errors import Failure, InputError
from resect.evaluation.llm_judge import PROMPT, LLMJudge


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the next of `replies`: (status, body) or (status, body, headers), None to hang up, or a function of the request."""

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, body, dict(self.headers)))
        replies = self.server.replies
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if callable(reply):
            reply = reply(body)
        if reply is None:
            return self.connection.close()
        status, content, *headers = reply
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers[0] if headers else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return self.wfile.write(content)

    do_GET = do_POST  # noqa: N815  # http.server asks for these names


@contextmanager
def serve(*replies):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.replies, server.requests = list(replies), []
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def judge_at(server, key="secret-key", **settings):
    return LLMJudge(f"http://127.0.0.1:{server.server_port}/v1", "judge-1", key, pause=0.01, **settings)


def completion(text):
    return 200, {"choices": [{"message": {"role": "assistant", "content": text}}]}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for name in ("RESECT_JUDGE_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_the_request():
    with serve(completion("4")) as server:
        assert judge_at(server).rate("Où {est} la mer ?", " Là.\n", "fr") == 4
    [(path, body, headers)] = server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer secret-key" and headers["Content-Type"] == "application/json"
    assert body["model"] == "judge-1" and body["temperature"] == 0
    [message] = body["messages"]
    assert message == {"role": "user", "content": PROMPT.format(language="fr", question="Où {est} la mer ?", answer="Là.")}
    assert "Où {est} la mer ?\n" in message["content"] and "\nLà.\n" in message["content"] and "language fr" in message["content"]


@pytest.mark.parametrize(
    ("reply", "quality"),
    [
        *((f"{number}", number) for number in range(1, 6)),
        (" **3**\n", 3),
        ("Rating: 4.", 4),
        ("4/5", 4),
        ("I give it 2 out of 5.", 2),
        ("5, since 5 is right", 5),
        ("<think>A 1? A 2? No.</think>\n3", 3),
        ("<think>It is a 2 and then", None),
        ("0", None),
        ("6", None),
        ("10", None),
        ("-3", None),
        ("3.5", None),
        ("3,5", None),
        ("between 3 and 4", None),
        ("On a scale from 1 to 5: 4", None),
        ("good", None),
        ("", None),
        (None, None),
    ],
)
def test_the_rating_is_the_one_number_of_the_reply(reply, quality):
    with serve(completion(reply)) as server:
        assert judge_at(server).rate("Q", "A", "en") == quality


def test_the_key_comes_from_the_environment(monkeypatch):
    with serve(completion("1")) as server:
        judge_at(server, None).rate("Q", "A", "en")
        monkeypatch.setenv("OPENAI_API_KEY", "general\n")
        judge_at(server, None).rate("Q", "A", "en")
        monkeypatch.setenv("RESECT_JUDGE_KEY", "own")
        judge_at(server, None).rate("Q", "A", "en")
        judge_at(server, "").rate("Q", "A", "en")
    assert [headers.get("Authorization") for _, _, headers in server.requests] == [None, "Bearer general", "Bearer own", None]


@pytest.mark.parametrize(
    "transient", [None, (429, {"error": {"message": "slow down"}}, {"Retry-After": "0"}), (503, b""), (500, b"<html>")]
)
def test_transient_errors_are_retried(transient):
    with serve(transient, transient, transient, completion("3")) as server:
        assert judge_at(server).rate("Q", "A", "en") == 3
        assert len(server.requests) == 4
    assert all(body == server.requests[0][1] for _, body, _ in server.requests)


@pytest.mark.parametrize(
    ("transient", "reason"), [(None, ""), ((429, {"error": {"message": "slow down"}}), "429 slow down"), ((503, b""), "503")]
)
def test_errors_that_persist_are_a_failure(transient, reason):
    with serve(transient) as server:
        with pytest.raises(Failure, match=f"gave no reply after 3 tries.*{reason}"):
            judge_at(server, retries=2).rate("Q", "A", "en")
        assert len(server.requests) == 3


def test_no_server_and_no_reply_within_the_timeout():
    with serve(completion("1")) as server:
        gone = judge_at(server, retries=1)
    with pytest.raises(Failure, match=r"gave no reply after 2 tries .*refused"):
        gone.rate("Q", "A", "en")
    silent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)  # accepts the connection, and sends nothing
    try:
        with pytest.raises(Failure, match=r"gave no reply at the first try .*timed out"):
            judge_at(silent, retries=0, timeout=0.2).rate("Q", "A", "en")
    finally:
        silent.server_close()


PERMANENT = [
    ((401, {"error": {"message": "bad key secret-key"}}), r"rejects the key \(401: bad key …\).*\$RESECT_JUDGE_KEY or \$OPENAI_API_KEY"),
    ((403, b""), "rejects the key"),
    ((404, {"error": {"message": "The model judge-1 does not exist"}}), r"no model 'judge-1' \(404: The model.*before /chat/completions"),
    ((404, {"detail": "Not Found"}), "404: .*Not Found"),
    ((400, {"error": "too\nlong"}), r"rejects the request \(400: too long\)"),
    ((302, b"", {"Location": "http://127.0.0.1:1/"}), r"redirects to another address \(HTTP 302\)"),
    ((200, b"<html>hello"), "not reply as an OpenAI-compatible server does, but with '<html>hello'"),
    ((200, {"choices": []}), "OpenAI-compatible"),
    ((200, ["x"]), "OpenAI-compatible"),
]


@pytest.mark.parametrize(("reply", "message"), PERMANENT)
def test_permanent_errors_are_not_retried(reply, message):
    with serve(reply) as server:
        with pytest.raises(InputError, match=message) as caught:
            judge_at(server).rate("Q", "A", "en")
        assert len(server.requests) == 1
    assert "secret-key" not in str(caught.value)


def test_a_missing_key_is_named():
    with serve((401, b"")) as server, pytest.raises(InputError, match="requires a key, and none is set"):
        judge_at(server, None).rate("Q", "A", "en")


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_sends_neither_key_nor_questions_to_another_host(status):
    with serve(completion("1")) as other:
        location = f"http://localhost:{other.server_port}/v1/chat/completions"
        with serve((status, b"", {"Location": location})) as server, pytest.raises(InputError, match="redirects to another address"):
            judge_at(server).rate("Q", "A", "en")
        assert other.requests == []


def test_a_token_of_the_hub_is_not_sent(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve(completion("1")) as server:
        judge_at(server, None).rate("Q", "A", "en")
    assert "hf_secret" not in str(server.requests[0][2])


def test_parameters_that_the_server_rejects_are_left_out():
    no_limit = (400, {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}})
    no_zero = (400, {"error": {"message": "'temperature' does not support 0 with this model."}})
    with serve(no_limit, no_zero, completion("2"), completion("5")) as server:
        judge = judge_at(server)
        assert [judge.rate("Q", "A", "en"), judge.rate("Q", "A", "en")] == [2, 5]
    assert [sorted(set(body) - {"model", "messages"}) for _, body, _ in server.requests] == [
        ["max_tokens", "temperature"],
        ["temperature"],
        [],
        [],
    ]


def test_threads_share_a_judge():
    no_zero = (400, {"error": {"message": "'temperature' does not support 0 with this model."}})
    with serve(lambda body: no_zero if "temperature" in body else completion("4")) as server, ThreadPoolExecutor(8) as threads:
        judge = judge_at(server)
        assert list(threads.map(lambda number: judge.rate(f"Q{number}", "A", "en"), range(16))) == [4] * 16
    assert len([body for _, body, _ in server.requests if "temperature" not in body]) == 16


@pytest.mark.parametrize("end", ["/v1", "/v1/", "/v1/chat/completions", " "])
def test_the_end_of_the_address_may_vary(end):
    with serve(completion("1")) as server:
        LLMJudge(f"http://127.0.0.1:{server.server_port}{end}", "m").rate("Q", "A", "en")
    assert server.requests[0][0].endswith("/chat/completions") and server.requests[0][0].count("/chat") == 1


@pytest.mark.parametrize(
    "url", ["", "localhost:8000/v1", "ftp://host/v1", "http://", "http://host:port/v1", "http://a:b@host/v1", "http://h/v1?x=1"]
)
def test_an_invalid_address_is_refused(url):
    with pytest.raises(InputError, match="is no valid address of a judge"):
        LLMJudge(url, "m")


def test_a_key_that_cannot_be_sent_is_refused_and_not_shown():
    with pytest.raises(InputError, match="characters that no key has") as caught:
        LLMJudge("http://host/v1", "m", "secret\nkey")
    assert "secret" not in str(caught.value)
