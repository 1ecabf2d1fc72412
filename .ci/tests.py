"""Runs every suite in a process of its own and sums them up: `python .ci/tests.py [suite ...]`.

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


def run(suite):
    """Run one suite; its counts of passed, failed and skipped tests, and the names of those that needed a second try."""
    print(f"\n== {suite}: {SUITES[suite]} ==", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        line = command(suite, report)
        if line is None:
            print("not run: it needs Node.js 20 or newer (the program `node`)")
            return (Counter(failed=1) if REQUIRE_ALL else Counter(skipped=1)), []
        code, ends = result(line, report)
        failed = failing(ends)
        if failed and suite in TRIED_AGAIN:
            print(f"\n-- {suite}: {len(failed)} failed and are run once more", flush=True)
            code, again = result([*line, "--last-failed", "--last-failed-no-failures=none"], report)
            ends |= again
        return judged(Counter(ends.values()), code), sorted(set(failed) - set(failing(ends)))


def result(line, report):
    """Run a suite's command line; its exit code, and how each test ended."""
    report.unlink(missing_ok=True)
    code = subprocess.call(line, cwd=ROOT, env={"OMP_NUM_THREADS": "1", **os.environ})
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


def judged(found, code):
    """A skip is a failure where every part must be present, and so is a bad end that no test explains."""
    if REQUIRE_ALL:
        found["failed"] += found.pop("skipped", 0)
    if code not in (0, NOTHING_COLLECTED) and not found["failed"]:
        print(f"the suite ended with exit code {code}")
        found["failed"] += 1
    return found


def main():
    total, bad, shaky = Counter(), [], []
    for suite in sys.argv[1:] or SUITES:
        begin = time.monotonic()
        found, needed_two = run(suite)
        total += found
        shaky += [f"{suite}: {name}" for name in needed_two]
        bad += [suite] * bool(found["failed"])
        print(f"-- {suite}: {dict(+found)} in {time.monotonic() - begin:.0f} s", flush=True)
    if shaky:
        print("\nshaky (failed once, passed at the second try):", *shaky, sep="\n  ")
    if bad:
        print(f"\nfailing suites: {', '.join(bad)}")
    tail = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"\n{total['passed']} passed, {total['failed']} failed{tail}")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
