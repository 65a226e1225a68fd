"""A Hub with one data set on localhost, for code that reads the Hub through the real packages. Serves no model."""

import http.server
import json
import os
import re
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs

_REVISION = "a" * 40


def card(configs):
    """Returns a README.md with the file pattern of each split of each configuration."""
    lines = ["---", "configs:"]
    for config, splits in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, pattern in splits.items():
            lines += [f"  - split: {split}", f'    path: "{pattern}"']
    return "\n".join([*lines, "---", ""]).encode()


@contextmanager
def serving(dataset, files):
    """Serve `files` (path -> bytes; None: listed, but not available) as `dataset`. Yields folder -> environment of a process."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"dataset": dataset, "files": files}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()

    def environment(folder):
        here = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
        return os.environ | here | {"no_proxy": "*", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}

    try:
        yield environment
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    dataset, files = "", {}

    def log_message(self, *_):
        pass

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if match := re.fullmatch(rf"/datasets/{self.dataset}/resolve/[^/]+/(.*)", path):
            return self._file(self.files.get(match[1]))
        if re.fullmatch(rf"/api/datasets/{self.dataset}(/revision/[^/]+)?", path):
            names = [{"rfilename": name} for name in self.files]
            return self._json({"id": self.dataset, "sha": _REVISION, "private": False, "gated": False, "tags": [], "siblings": names})
        if match := re.fullmatch(rf"/api/datasets/{self.dataset}/tree/[^/]+/?(.*)", path):
            return self._json(self._entries(match[1]))
        if re.fullmatch(rf"/api/datasets/{self.dataset}/paths-info/[^/]+", path):
            requested = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
            return self._json([entry for entry in self._entries("") if entry["path"] in requested])
        return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815  # http.server asks for these names

    def _entries(self, inside):
        folders = {name.rpartition("/")[0] for name in self.files} - {""}
        entries = [{"type": "directory", "oid": "d" * 40, "size": 0, "path": folder} for folder in sorted(folders)]
        entries += [
            {"type": "file", "oid": "b" * 40, "size": len(content or b"gone"), "path": name} for name, content in self.files.items()
        ]
        return [entry for entry in entries if entry["path"].startswith(inside)]

    def _file(self, content):
        if content is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        headers = {"ETag": f'"{"c" * 40}"', "X-Repo-Commit": _REVISION, "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
            return self._send(206, content[first : last + 1], headers | {"Content-Range": f"bytes {first}-{last}/{len(content)}"})
        return self._send(200, content, headers)

    def _json(self, value):
        return self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
