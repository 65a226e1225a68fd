"""The report in a real browser: it opens offline, without a complaint, and fits a phone. Skipped where there is no browser."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"),
)
#: Puts the two pipes where a browser looks for them (3: commands, 4: answers), and becomes the browser.
START = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(commands, 3), os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def browser_path():
    named = os.environ.get("RESECT_CHROMIUM")
    return named or next((found for found in map(shutil.which, NAMES) if found), None)


class Browser:
    """A headless Chromium that is told what to do over its DevTools pipe. `complaints`: all that went wrong in the page."""

    def __init__(self, profile):
        self.complaints, self._number, self._unread = [], 0, b""
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        theirs, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        command = [browser_path(), *FLAGS, *root, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs), str(answers), *command],
            pass_fds=(theirs, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def call(self, method, **parameters):
        """What the browser answers to a command. What it tells by itself until then is looked through for complaints."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == message["id"]:
                if "error" in told:
                    raise OSError(f"{method}: {told['error']}")
                return told["result"]

    def open(self, path):
        """Open a file and wait until it is loaded."""
        self._is_loaded = False
        self.call("Page.navigate", url=Path(path).resolve().as_uri())
        while not self._is_loaded:
            self._read()
        self.call("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 50))", awaitPromise=True)

    def look(self, width=1280, height=900, dark=False, media="screen"):
        """See the page on a screen of this size, light or dark, or as it is printed."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", media=media, features=scheme)

    def evaluate(self, expression):
        """The value of an expression inside the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _read(self, seconds=60):
        end = time.monotonic() + seconds
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._answers], [], [], max(0, end - time.monotonic()))
            read = os.read(self._answers, 1 << 20) if ready else b""
            if not read:
                raise OSError("the browser does not answer" if not ready else "the browser has ended")
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        told = json.loads(message)
        self._judge(told.get("method"), told.get("params") or {})
        return told

    def _judge(self, event, facts):
        if event == "Page.loadEventFired":
            self._is_loaded = True
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {facts['exceptionDetails'].get('text')}")
        elif event == "Log.entryAdded" and facts["entry"]["level"] in ("warning", "error"):
            self.complaints.append(f"{facts['entry']['source']}: {facts['entry']['text']}")
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{facts['type']}")
        elif event == "Network.requestWillBeSent" and not facts["request"]["url"].startswith(("file:", "data:", "about:")):
            self.complaints.append(f"asked for {facts['request']['url']}")
