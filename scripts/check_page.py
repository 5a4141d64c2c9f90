#!/usr/bin/env python3
"""Opens reports in headless Chromium, and checks that they are as promised.

    python scripts/check_page.py --shots /tmp/shots runs/quickstart/report

Nothing but Python and a Chromium is needed: they talk through a pipe (DevTools). Checked for each `index.html`: no request
leaves the page, nothing is complained of on the console, every figure is drawn, every tooltip is filled in, the table sorts and filters, a configuration
can be brought forward by keyboard, the dark theme differs and the switch works, a phone's 400 px hold the page without a
horizontal scroll bar, every control works, it prints, and it can be read without JavaScript. `--text STRING` has to be there as text (and no
element of its making). Prints a line a page with the times measured; exits with 1 and a line for each fault otherwise.
"""

import argparse
import base64
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--disable-sync",
    "--remote-debugging-pipe", "about:blank",
]
MOST_PAGE, MOST_DATA = 8_000_000, 3_000_000


class Browser:
    """A Chromium at the other end of two pipes: commands in, answers and events out, each ended by a zero byte."""

    def __init__(self, path):
        self.folder = tempfile.mkdtemp(prefix="check-page-")
        read_commands, self.commands = os.pipe()
        self.answers, write_answers = os.pipe()
        # The browser wants them as numbers 3 and 4, whatever they are here.
        high = [os.dup2(fd, 60 + place) for place, fd in enumerate((read_commands, write_answers))]
        script = f'exec "$@" 3<&{high[0]} 4>&{high[1]}'
        arguments = ["bash", "-c", script, "browser", path, f"--user-data-dir={self.folder}", *FLAGS]
        self.process = subprocess.Popen(arguments, pass_fds=high, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for fd in (read_commands, write_answers, *high):
            os.close(fd)
        self.buffer, self.events, self.number = b"", [], 0

    def read(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.answers], [], [], left)[0]:
                return None
            part = os.read(self.answers, 1 << 20)
            if not part:
                raise RuntimeError("the browser has gone")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def send(self, method, session=None, limit=60, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.commands, data):]
        deadline = time.monotonic() + limit
        while True:
            answer = self.read(deadline)
            if answer is None:
                raise RuntimeError(f"{method}: no answer in {limit} s")
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def close(self):
        try:
            self.send("Browser.close", limit=10)
        except (RuntimeError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Page:
    """A tab, and everything it asked for or complained of."""

    def __init__(self, browser):
        self.browser, self.faults = browser, []
        self.target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        answer = self.browser.send(method, self.session, **parameters)
        self.listen()
        return answer

    def listen(self):
        for event in self.browser.events:
            parameters = event.get("params", {})
            match event.get("method"):
                case "Network.requestWillBeSent":
                    request = parameters["request"]["url"]
                    if not request.startswith(("data:", "blob:", "about:")) and parameters.get("type") != "Document":
                        self.faults.append(f"it asked for {request[:200]}")
                case "Runtime.exceptionThrown":
                    details = parameters["exceptionDetails"]
                    said = details.get("exception", {}).get("description", details.get("text"))
                    self.faults.append(f"a script failed: {said[:400]}")
                case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "assert", "warning"):
                    said = " ".join(str(a.get("value", a.get("description"))) for a in parameters["args"])
                    self.faults.append(f"on the console: {said[:400]}")
                case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                    self.faults.append(f"on the console: {parameters['entry']['text'][:400]}")
                case "Page.javascriptDialogOpening":
                    self.faults.append(f"a dialog opened: {parameters['message'][:200]}")
                    self.browser.events = []
                    self.browser.send("Page.handleJavaScriptDialog", self.session, accept=False)
        self.browser.events = []

    def look(self, expression):
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression[:80]}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def size(self, width, height=900):
        phone = width < 600
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def scheme(self, name):
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, url):
        start = time.monotonic()
        self.send("Page.navigate", url=url)
        while self.look("document.readyState") != "complete":
            time.sleep(0.02)
        return time.monotonic() - start

    def draw_all(self):
        """Scrolls through the page, since figures are drawn when they come near, and waits until all are."""
        self.look("""(async () => {
            for (const at of document.querySelectorAll(".figure")) {
                at.scrollIntoView(); await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
            }
            scrollTo(0, 0);
        })()""")
        undrawn = """[...document.querySelectorAll(".figure")].filter((at) => !at.querySelector("svg path, svg rect, svg image, canvas"))
            .map((at) => at.getAttribute("aria-label"))"""
        deadline = time.monotonic() + 30
        while (left := self.look(undrawn)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def shot(self, path):
        height = min(16_000, self.look("document.documentElement.scrollHeight"))
        width = self.look("document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        image = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(image["data"]))

    def key(self, key, text=None):
        code = {"Enter": 13, "ArrowDown": 40}.get(key, 0)
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def close(self):
        self.browser.send("Target.closeTarget", targetId=self.target)


def becomes(condition, seconds=10):
    """Whether it holds, now or soon: a page on a busy machine takes its time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def check_table(page, faults, measured):
    """Every heading sorts up and down; words filter; a row comes forward by keyboard."""
    rows = page.look("document.querySelectorAll('#leaderboard tbody tr').length")
    slowest = 0
    for column in range(page.look("document.querySelectorAll('#leaderboard th').length")):
        orders = []
        for _ in range(2):
            result = page.look(f"""(async () => {{
                const heading = document.querySelectorAll("#leaderboard th")[{column}], start = performance.now();
                heading.querySelector("button").click();
                document.body.offsetHeight;
                const spent = performance.now() - start;
                const keys = [...document.querySelectorAll("#leaderboard tbody tr")].map((row) => row.cells[{column}].dataset.sort);
                return {{ spent, keys, up: heading.getAttribute("aria-sort"), number: heading.classList.contains("number") }};
            }})()""")
            slowest = max(slowest, result["spent"])
            orders.append(result["up"])
            keys = [key for key in result["keys"] if key != ""]
            if any(key == "" for key in result["keys"][: len(keys)]):
                faults.append(f"column {column}: empty cells are not last")
            if result["number"]:
                values = [float(key) for key in keys]
                if values != sorted(values, reverse=result["up"] == "descending"):
                    faults.append(f"column {column} is not in order")
        if sorted(orders) != ["ascending", "descending"]:
            faults.append(f"column {column} was sorted {orders}")
    measured["sort"] = slowest
    page.look("document.querySelector('#leaderboard th button').click()")
    word = page.look("document.querySelector('#leaderboard tbody tr').cells[1].textContent.trim().split(/[\\s,;·]+/)[0]")
    start = time.monotonic()
    page.look(f"""(() => {{ const filter = document.getElementById("filter"); filter.value = {json.dumps(word)};
        filter.dispatchEvent(new Event("input")); document.body.offsetHeight; }})()""")
    measured["filter"] = 1000 * (time.monotonic() - start)
    left = page.look("[...document.querySelectorAll('#leaderboard tbody tr')].filter((row) => row.offsetHeight > 0).length")
    if not 1 <= left <= rows:
        faults.append(f"the filter {word!r} leaves {left} of {rows} rows")
    reached = "[...document.querySelectorAll('#leaderboard tbody tr[tabindex=\"0\"]')].map((row) => row.offsetHeight > 0)"
    page.look("""(() => { const filter = document.getElementById("filter"), row = document.querySelector("#leaderboard tbody tr:last-child");
        filter.value = row.cells[1].textContent.trim(); filter.dispatchEvent(new Event("input")); })()""")
    if page.look(reached) != [True]:
        faults.append(f"with a filter that leaves the last row the tab key reaches {page.look(reached)}, not one that is shown")
    if not page.look("document.getElementById('all').hidden"):
        faults.append("with a filter there is still a button for all rows")
    page.look("""(() => { const filter = document.getElementById("filter"); filter.value = "no row has this word";
        filter.dispatchEvent(new Event("input")); })()""")
    if page.look("[...document.querySelectorAll('#leaderboard tbody tr')].some((row) => row.offsetHeight > 0)"):
        faults.append("rows stay that no filter fits")
    page.look("""(() => { const filter = document.getElementById("filter"); filter.value = "";
        filter.dispatchEvent(new Event("input")); document.querySelector("#leaderboard tbody tr[tabindex='0']").focus(); })()""")
    if rows > 40:
        shown = "[...document.querySelectorAll('#leaderboard tbody tr')].filter((row) => row.offsetHeight > 0).length"
        before = page.look(shown)
        page.look("[...document.querySelectorAll('#leaderboard tbody tr')][39].focus()")
        page.key("ArrowDown")
        if page.look("document.activeElement.offsetHeight") == 0 or page.look(reached) != [True]:
            faults.append("after the last row that is shown the keyboard goes on to rows that are not")
        page.send("Emulation.setEmulatedMedia", media="print")
        if page.look(shown) != rows:
            faults.append(f"{page.look(shown)} of {rows} rows are printed")
        page.send("Emulation.setEmulatedMedia", media="")
        start = time.monotonic()
        page.look("document.getElementById('all').click()")
        if (before, page.look(shown)) != (40, rows):
            faults.append(f"{before} rows and then {page.look(shown)} are not 40 and then {rows}")
        measured["all rows"] = 1000 * (time.monotonic() - start)
    if rows > 1:
        page.key("ArrowDown")
    page.key("Enter", "\r")
    selected = lambda: page.look("document.querySelectorAll('tr[aria-selected=true]').length")
    if not becomes(lambda: selected() == 1):
        faults.append("no row came forward by keyboard")
    page.key("Enter", "\r")
    if not becomes(lambda: selected() == 0):
        faults.append("the row did not go back by keyboard")


def check_axes(page, faults):
    """The curves of all configurations but lost ones end within the axes."""
    outside = page.look("""(() => {
        const at = document.getElementById("curves"), axis = at?._fullLayout?.yaxis;
        if (!axis) return [];
        const within = (value) => value >= axis.range[0] && value <= axis.range[1];
        const counts = (number) => places.get(number).place !== null || places.get(number).under_way;
        const lines = at.data.filter((line) => line.mode?.startsWith("lines") && line.fill !== "toself" && counts(line.meta));
        return lines.filter((line) => line.hoverinfo !== "skip" && !within(line.y.findLast((value) => value !== null))).map((line) => named(line.meta));
    })()""")
    faults += [f"its curve ends outside the axes: {name}" for name in outside]


def check_controls(page, faults):
    """Everything that can be chosen is chosen once, with the figures drawn again; whatever fails is heard of as an exception."""
    for control in range(page.look("document.querySelectorAll('#controls input').length")):
        page.look(f"document.querySelectorAll('#controls input')[{control}].click()")
    page.look("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    lines = "document.querySelectorAll('.parallel path[opacity=\"0.06\"]').length"
    if page.look("document.querySelectorAll('.parallel .value').length"):
        page.look("document.querySelector('.parallel .value').dispatchEvent(new Event('click'))")
        if not becomes(lambda: page.look(lines) > 0):
            faults.append("a value that is chosen in the parallel coordinates sets nothing back")
        page.look("document.querySelector('.parallel .value').dispatchEvent(new Event('click'))")
        if not becomes(lambda: page.look(lines) == 0):
            faults.append("a value that is let go keeps others back")
    # A filter that leaves one row, with the figures that follow it.
    page.look("""(() => { const filter = document.getElementById("filter"); filter.value = "1";
        filter.dispatchEvent(new Event("input")); })()""")
    time.sleep(0.4)
    faults += [f"not drawn with a filter: {name}" for name in page.draw_all()]
    page.look("document.querySelector('#leaderboard tbody tr:last-child').click()")


def check_tooltips(page, faults):
    """What somebody points at says what it is: the templates of the drawings are filled in."""
    said = page.look("""(async () => {
        const said = [];
        for (const at of document.querySelectorAll(".figure")) {
            if (!at.data) continue;
            at.scrollIntoView();
            for (const [curveNumber, trace] of at.data.slice(0, 12).entries()) {
                if (trace.hoverinfo === "skip") continue;
                const points = trace.x.length, pointNumber = trace.type === "heatmap" ? [0, 0] : Math.floor(points / 2);
                if (points === 0) continue;
                await new Promise((done) => setTimeout(done, 70));
                Plotly.Fx.hover(at, [{ curveNumber, pointNumber }]);
                const text = [...at.querySelectorAll(".hoverlayer text")].map((label) => label.textContent).join(" ");
                said.push([at.getAttribute("aria-label"), text]);
            }
            Plotly.Fx.unhover(at);
        }
        return said;
    })()""")
    for figure, text in said:
        if any(sign in text for sign in ("%{", "undefined", "null", "NaN")):
            faults.append(f"{figure}: a tooltip says {text!r}")
    if said and not any(text for _, text in said):
        faults.append("nothing has a tooltip")


def check(browser, index, shots, texts):
    page, faults, measured = Page(browser), [], {}
    size = index.stat().st_size
    if size > MOST_PAGE:
        faults.append(f"{size:,} bytes are more than {MOST_PAGE:,}")
    label = index.parent.parent.name if index.parent.name == "report" else index.parent.name
    shot = lambda name: shots and page.shot(shots / f"{label}-{name}.png")
    url = index.resolve().as_uri()

    page.size(1400)
    page.scheme("light")
    measured["open"] = 1000 * page.open(url)
    measured["data"] = page.look("document.getElementById('data').textContent.length") / 1e6
    if measured["data"] > MOST_DATA / 1e6:
        faults.append(f"the data are {measured['data']:.1f} MB")
    faults += [f"not drawn: {name}" for name in page.draw_all()]
    shot("light-1400")
    check_tooltips(page, faults)
    page.draw_all()
    check_axes(page, faults)
    check_table(page, faults, measured)
    if page.look("document.querySelectorAll('img, iframe, object, embed, link').length"):
        faults.append("there is an element that nobody meant")
    # Text of others is to be where people see it, or would when they open what is folded.
    everything = page.look("document.body.textContent")
    faults += [f"not there as text: {text}" for text in texts if text not in everything]

    ground = "getComputedStyle(document.body).backgroundColor"
    ink = "[...document.querySelectorAll('.figure .xtick text')].map((text) => getComputedStyle(text).fill)[0]"
    light, light_ink = page.look(ground), page.look(ink)
    page.scheme("dark")
    if not becomes(lambda: page.look(ground) != light):
        faults.append("the dark theme is as light as the other")
    # Figures are drawn again when the page has a moment.
    if light_ink is not None and not becomes(lambda: page.look(ink) != light_ink):
        faults.append("figures are not drawn again for the dark theme")
    shot("dark-1400")
    page.look("document.getElementById('theme').click()")
    chosen = lambda: page.look(ground) == light and page.look("document.getElementById('theme').textContent") == "light"
    if not becomes(chosen):
        faults.append("the switch does not choose the light theme")
    if not becomes(lambda: page.look(ink) == light_ink):
        faults.append("figures are not drawn again for the light theme")
    page.look("for (let i = 0; i < 2; i++) document.getElementById('theme').click()")
    check_controls(page, faults)

    for scheme in ("light", "dark"):
        page.size(400, 800)
        page.scheme(scheme)
        page.open(url)
        faults += [f"not drawn at 400 px: {name}" for name in page.draw_all()]
        wide = page.look("Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)")
        if wide > 400:
            outside = page.look("""[...document.querySelectorAll("body *")].filter((at) => at.getBoundingClientRect().right > 401
                && !at.closest(".scroll, pre, .figure")).map((at) => at.tagName + "." + at.className).slice(0, 5).join(" ")""")
            faults.append(f"400 px wide it needs {wide} px: {outside}")
        shot(f"{scheme}-400")
    page.size(1400)
    page.scheme("light")
    page.open(url)
    printed = base64.b64decode(page.send("Page.printToPDF", printBackground=False, preferCSSPageSize=True)["data"])
    if shots:
        (shots / f"{label}.pdf").write_bytes(printed)
    if len(printed) < 10_000:
        faults.append("it does not print")
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.send("Page.navigate", url=url)
    time.sleep(0.5)
    shot_path = shots and shots / f"{label}-without-javascript.png"
    readable = page.look("""[document.querySelectorAll("#leaderboard tbody tr").length, document.querySelector(".verdict").offsetHeight,
        document.querySelectorAll(".controls:not([hidden])").length]""")
    if readable[0] < 1 or readable[1] < 1 or readable[2]:
        faults.append(f"without JavaScript it is not to be read: {readable}")
    if shot_path:
        page.shot(shot_path)
    faults += page.faults
    page.close()
    print(
        f"{label}: {size / 1e6:.2f} MB ({measured['data']:.2f} MB data), opened in {measured['open']:.0f} ms, "
        f"slowest sort {measured['sort']:.0f} ms, filter {measured['filter']:.0f} ms, {len(faults)} faults",
        flush=True,
    )
    return [f"{label}: {fault}" for fault in faults]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=pathlib.Path, help="folders with an index.html")
    parser.add_argument("--shots", type=pathlib.Path, help="folder for screenshots and a PDF of each page")
    parser.add_argument("--text", action="append", default=[], help="has to be there as text; may be repeated")
    parser.add_argument("--browser", help="path of a Chromium or Chrome")
    arguments = parser.parse_args()
    names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    path = arguments.browser or next(filter(None, map(shutil.which, names)), None)
    if path is None:
        sys.exit("there is no Chromium: install one, or name it with --browser")
    if arguments.shots:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    browser, faults = Browser(path), []
    try:
        for folder in arguments.reports:
            index = folder / "index.html" if folder.is_dir() else folder
            faults += check(browser, index, arguments.shots, arguments.text)
    finally:
        browser.close()
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
