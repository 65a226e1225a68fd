"""The report in a real browser: it opens offline, without a complaint, and fits a phone. Skipped where there is no browser."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from report import language_folder as languages
from report.matrix_folder import analyses, composed, reduced
from report.run_folder import COMPARISON, RECIPE, example, finished, measured, with_trials
from resect.core.exhibits import SHARE, Curve, HeatMap
from resect.report.charts.curve_chart import curve_chart
from resect.report.charts.heat_map import heat_map
from resect.report.charts.interval_chart import IntervalRow, interval_chart
from resect.report.charts.svg import standalone
from resect.report.page.html import write

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


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the browser is spoken to over inherited pipes, which Windows has not"),
    pytest.mark.skipif(
        browser_path() is None, reason=f"no browser: none of {', '.join(NAMES)} is installed, and RESECT_CHROMIUM is not set"
    ),
]
#: Texts of drawings that run out of their frame, or over each other.
COLLISIONS = """
[...document.querySelectorAll('svg.chart')].flatMap(svg => {
  const frame = svg.viewBox.baseVal, found = [], boxes = [];
  for (const text of svg.querySelectorAll('text')) {
    const box = text.getBBox();
    if (!box.width) continue;
    if (box.x < -1 || box.y < -1 || box.x + box.width > frame.width + 1 || box.y + box.height > frame.height + 1)
      found.push('out of the frame: ' + text.textContent);
    for (const [other, what] of boxes)
      if (box.x + 1 < other.x + other.width && other.x + 1 < box.x + box.width
          && box.y + 4 < other.y + other.height && other.y + 4 < box.y + box.height)
        found.push(what + ' / ' + text.textContent);
    boxes.push([box, text.textContent]);
  }
  return found;
})
"""
#: Elements that make the page wider than the screen, but for those that scroll by themselves.
TOO_WIDE = """
[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll') && !one.closest('svg')
  && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(one => one.tagName + ' ' + one.className)
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def reports(folder):
    """A report of each sort: whole, of several trials, broken, with text that means harm."""
    whole, several, broken = finished(folder / "whole"), with_trials(folder / "several"), finished(folder / "broken")
    for name in ("comparison.json", "plan.json", "scores.safetensors"):
        (broken.folder / name).write_text("{")
    wide = "W" * 300 + "</style><script>console.log(1)</script><img src=x onerror=alert(1)>"
    rows = [
        example(number, wide, "nobody", prompt=f"{wide} {'word ' * 400}", instruction=wide) | {"tags": [wide], "id": wide}
        for number in range(3)
    ]
    told = {**COMPARISON, "task": wide, "base": measured(0.6, 0.55, 0.65) | {"by_tag": {wide: 0.5}}}
    recipe = RECIPE.with_settings(model=wide.replace("/", ""), locate_on=[wide])
    laser = reduced(folder / "laser", analysed=analyses()), composed(folder / "composed")
    lape = languages.whole(folder / "lape"), hostile_languages(folder / "tongues", wide)
    return [write(run) for run in (whole, several, broken, *laser, *lape, finished(folder / "hostile", told, examples=rows, recipe=recipe))]


def hostile_languages(folder, wide):
    """A run of many languages, with names and answers that mean harm, in a deep model of two stacks."""
    long = "zh_Hant-TW-x-as-long-as-names-go"
    names = [long, *(f"l{number}" for number in range(29))]
    sites = [f"{stack}.{layer}.act" for stack in ("encoder", "decoder") for layer in range(60)]
    held = languages.analyses()
    held["layers"] = {"sites": sites, "width": [4096] * 120, "units": {name: [place % 7 for place in range(120)] for name in names}}
    held["similarity"] |= {"layers": list(range(81)), "mean": [0.5] * 81, "unrelated": [0.4] * 81, "pairs": {f"{long}-{long}": [0.5] * 81}}
    table = [[-123.4567 if row == column else 0.01 for column in range(30)] for row in range(30)]
    found = {"languages": names, "units": [9] * 30, "neg_logprob": {"base": [3.0] * 30, "change": table}}
    rows = [{"id": wide, "language": wide, "deactivated": off, "prompt": wide, "answer": wide, "identified": wide} for off in (None, wide)]
    result = {**languages.steered(), "to": wide, "from": wide}
    return languages.spoken(folder, found=found, analysed=held, asked=rows, steerings=[("x", result)])


def test_the_report_opens_without_a_complaint_and_fits(tmp_path, browser):
    for path in reports(tmp_path):
        browser.complaints.clear()
        for width, dark in ((360, False), (1280, True)):
            browser.look(width, 900, dark)
            browser.open(path)
            assert browser.complaints == []
            assert browser.evaluate("document.querySelectorAll('h2').length") >= 3
            assert browser.evaluate(TOO_WIDE) == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            assert browser.evaluate(COLLISIONS) == []


def test_light_dark_and_print_differ_as_they_should(tmp_path, browser):
    path = write(finished(tmp_path / "run"))
    seen = {}
    for name, dark, media in (("light", False, "screen"), ("dark", True, "screen"), ("print", True, "print")):
        browser.look(1000, 900, dark, media)
        browser.open(path)
        seen[name] = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert seen["light"] == seen["print"] == "rgb(255, 255, 255)" != seen["dark"]


def test_folded_things_open_by_keyboard(tmp_path, browser):
    browser.look()
    browser.open(write(finished(tmp_path / "run")))
    browser.evaluate("document.querySelector('summary').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r", windowsVirtualKeyCode=13)
    assert browser.evaluate("document.querySelector('details').open") is True


def test_drawings_stand_alone(tmp_path, browser):
    labels = (
        "crispr-bbq-llama-bbq-disability",
        "crispr-bbq-t5-bbq-age",
        "bbq/religion & <all others>",
        "glue/mrpc",
        "glue/rte",
        "glue/qnli",
    )
    cells = [[0.01 * (row - column) for column in range(6)] for row in range(6)]
    texts = [[f"{100 * value:+.1f}" for value in row] for row in cells]
    points = [(n, 0.5 + 0.01 * n) for n in (0, 3, 9, 10, 11, 12, 18, 27)]
    many = {f"series {k} of many, with a long name": [(n, 0.1 * k + (n % 5) / 7) for n in range(12)] for k in range(5)}
    gained = {"became right": [(n, 3 * n % 11) for n in range(9)], "became wrong": [(n, -(n % 4)) for n in range(9)]}
    names = [f"place {n}" for n in range(9)]
    drawn = {
        "intervals": interval_chart([IntervalRow("control: random cuts of the same size", 0.6, (0.5, 0.7))], title="t"),
        "curve": curve_chart(Curve("t", "neurons", "accuracy", {"accuracy": points}, unit=SHARE, x_log=True, marked=("n", 11.0))),
        "many": curve_chart(Curve("t", "layer", "value", many, reference=("the model without an edit", 0.4))),
        "bars": curve_chart(Curve("t", "step", "answers", gained, x_names=names, bars=True)),
        "heat": heat_map(HeatMap("t", labels, labels, cells, texts=texts, corner="found on")),
    }
    for name, svg in drawn.items():
        path = tmp_path / f"{name}.svg"
        path.write_text(standalone(svg), encoding="utf-8")
        browser.complaints.clear()
        browser.open(path)
        assert browser.complaints == []
        assert browser.evaluate("document.documentElement.tagName") == "svg"
        assert browser.evaluate(COLLISIONS) == []


def test_a_complaint_would_be_heard(tmp_path, browser):
    path = tmp_path / "bad.html"
    path.write_text("<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><script>alert(1)</script>")
    browser.complaints.clear()
    browser.open(path)
    assert any("Content Security Policy" in told for told in browser.complaints)
    texts = '<text y="20">one</text><text x="9" y="22">other</text><text x="90" y="20">wide</text>'
    path.write_text(f"<svg class=chart viewBox='0 0 99 40' width=99>{texts}</svg><p style='width:200vw'>wide</p>")
    browser.open(path)
    assert browser.evaluate(COLLISIONS) == ["one / other", "out of the frame: wide"]
    assert browser.evaluate(TOO_WIDE) == ["P "]
