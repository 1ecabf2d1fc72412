"""Runs every suite in a process of its own and sums them up: `python .ci/tests.py [suite ...]`.

Two suites run at a time, those with a browser alone.

The suites are kept apart because `nodes` is this pack's package in some and ComfyUI's module in others. A test in the
browser that fails is run once more; if it passes then, it counts as passed and is listed as shaky. The last line is
`N passed, N failed`; the exit code is 1 when anything failed or a suite ended without a result.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "tests" / "web"
REQUIRE_ALL = os.environ.get("CSG_REQUIRE_ALL") == "1"
SUITES = {
    "project": "the house rules: lint, imports, packaging",
    "unit": "the method, without ComfyUI",
    "host": "every node, inside ComfyUI",
    "parity": "the engine against the reference implementation",
    "server": "workflows over HTTP and websocket",
    "web": "the page's own modules: behaviour in Node, types by TypeScript",
    "compat": "the Town workflow in older versions of ComfyUI",
    "browser": "the page, in Chromium",
    "newest": "the core of it in ComfyUI's newest page",
}
PATHS = {"newest": ["tests/browser", "--page", "newest", "-m", "core"]}
ALONE = ("browser", "newest")  # a page is timed by its own clock
FIRST = ("host", "server")  # the long ones
TRIED_AGAIN = ("browser", "newest")  # a busy machine may keep a page waiting for longer than a test does
NOTHING_COLLECTED = 5


def command(suite, report):
    """The command line of a suite that writes JUnit XML to `report`; None when the suite cannot run here."""
    if suite != "web":
        memory = f"cache_dir={report.parent / 'cache'}"
        return [sys.executable, "-m", "pytest", *PATHS.get(suite, [f"tests/{suite}"]), "-q", f"--junitxml={report}", "-o", memory]
    tests = sorted(str(path) for path in WEB.glob("*.test.mjs"))
    node = shutil.which("node")
    if not (node and tests):
        return None
    install_type_checker()
    return [node, "--test", "--test-reporter=junit", f"--test-reporter-destination={report}",
            "--test-reporter=dot", "--test-reporter-destination=stdout", *tests]


def install_type_checker():
    """Fetch the pinned TypeScript compiler, once; where that fails, the test of types says so and is skipped."""
    pinned = json.loads((WEB / "package.json").read_text())["devDependencies"]["typescript"]
    there = WEB / "node_modules" / "typescript" / "package.json"
    if there.is_file() and json.loads(there.read_text())["version"] == pinned:
        return
    npm = shutil.which("npm")
    if npm is None or subprocess.call([npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=str(WEB)):
        print("TypeScript " + pinned + " could not be installed: it needs `npm` and, once, the npm registry", flush=True)


def run(suite, out):
    """Run one suite, telling `out` (None: this program's own output).

    Its counts of passed, failed and skipped tests, and the names of those that needed a second try.
    """
    begin = time.monotonic()
    print(f"\n== {suite}: {SUITES[suite]} ==", file=out, flush=True)
    ends, needed_two = ended(suite, out)
    print(f"-- {suite}: {dict(+ends)} in {time.monotonic() - begin:.0f} s", file=out, flush=True)
    return ends, needed_two


def ended(suite, out):
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        line = command(suite, report)
        if line is None:
            print("not run: it needs Node.js 20 or newer (the program `node`)", file=out)
            return (Counter(failed=1) if REQUIRE_ALL else Counter(skipped=1)), []
        code, ends = result(line, report, out)
        failed = failing(ends)
        if failed and suite in TRIED_AGAIN:
            print(f"\n-- {suite}: {len(failed)} failed and are run once more", file=out, flush=True)
            code, again = result([*line, "--last-failed", "--last-failed-no-failures=none"], report, out)
            ends |= again
        return judged(Counter(ends.values()), code, out), sorted(set(failed) - set(failing(ends)))


def result(line, report, out):
    """Run a suite's command line, its words going to `out`; its exit code, and how each test ended."""
    report.unlink(missing_ok=True)
    code = subprocess.call(line, cwd=ROOT, env={"OMP_NUM_THREADS": "1", **os.environ}, stdout=out, stderr=out and subprocess.STDOUT)
    return code, ends_of(report)


def failing(ends):
    return [name for name, end in ends.items() if end == "failed"]


def ends_of(report):
    """How each test of a JUnit report ended: passed, failed or skipped."""
    ends = {}
    for number, case in enumerate(ElementTree.parse(str(report)).iter("testcase") if report.is_file() else ()):
        name = f"{case.get('classname')}::{case.get('name')}"
        name = f"{name} ({number})" if name in ends else name
        bad = case.find("failure") is not None or case.find("error") is not None
        ends[name] = "failed" if bad else "skipped" if case.find("skipped") is not None else "passed"
    return ends


def judged(found, code, out):
    """A skip is a failure where every part must be present, and so is a bad end that no test explains."""
    if REQUIRE_ALL:
        found["failed"] += found.pop("skipped", 0)
    if code not in (0, NOTHING_COLLECTED) and not found["failed"]:
        print(f"the suite ended with exit code {code}", file=out)
        found["failed"] += 1
    return found


def told_at_its_end(suite):
    """Run a suite beside another one; what it has to say is printed in one piece."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as out:
        outcome = run(suite, out)
        out.seek(0)
        print(out.read(), end="", flush=True)
    return outcome


def outcomes(suites):
    """The outcome of every suite as it ends."""
    together = sorted((suite for suite in suites if suite not in ALONE), key=lambda suite: suite not in FIRST)
    if len(together) > 1:
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            yield from zip(together, pool.map(told_at_its_end, together), strict=True)
        suites = [suite for suite in suites if suite in ALONE]
    for suite in suites:
        yield suite, run(suite, None)


def main():
    total, bad, shaky = Counter(), [], []
    for suite, (found, needed_two) in outcomes(sys.argv[1:] or list(SUITES)):
        total += found
        shaky += [f"{suite}: {name}" for name in needed_two]
        bad += [suite] * bool(found["failed"])
    if shaky:
        print("\nshaky (failed once, passed at the second try):", *shaky, sep="\n  ")
    if bad:
        print(f"\nfailing suites: {', '.join(bad)}")
    tail = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"\n{total['passed']} passed, {total['failed']} failed{tail}")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
