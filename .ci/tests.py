"""Runs every suite in a process of its own and sums them up: `python .ci/tests.py [suite ...]`.

The suites are kept apart because `nodes` is this pack's package in some and ComfyUI's module in others. The last line
is `N passed, N failed`; the exit code is 1 when anything failed or a suite ended without a result.
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
    "browser": "the page, in Chromium",
}
NOTHING_COLLECTED = 5


def command(suite, report):
    """The command line of a suite that writes JUnit XML to `report`; None when the suite cannot run here."""
    if suite != "web":
        return [sys.executable, "-m", "pytest", str(ROOT / "tests" / suite), "-q", f"--junitxml={report}"]
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
    """Run one suite; its counts of passed, failed and skipped tests."""
    print(f"\n== {suite}: {SUITES[suite]} ==", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        line = command(suite, report)
        if line is None:
            print("not run: it needs Node.js 20 or newer (the program `node`)")
            return Counter(failed=1) if REQUIRE_ALL else Counter(skipped=1)
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        code = subprocess.call(line, cwd=ROOT, env=environment)
        return judged(counts(report), code)


def counts(report):
    if not report.is_file():
        return Counter()
    found = Counter()
    for case in ElementTree.parse(str(report)).iter("testcase"):
        bad = case.find("failure") is not None or case.find("error") is not None
        found["failed" if bad else "skipped" if case.find("skipped") is not None else "passed"] += 1
    return found


def judged(found, code):
    """A skip is a failure where every part must be present, and so is a bad end that no test explains."""
    if REQUIRE_ALL:
        found["failed"] += found.pop("skipped", 0)
    if code not in (0, NOTHING_COLLECTED) and not found["failed"]:
        print(f"the suite ended with exit code {code}")
        found["failed"] += 1
    return found


def main():
    total, failing = Counter(), []
    for suite in sys.argv[1:] or SUITES:
        begin = time.monotonic()
        found = run(suite)
        total += found
        failing += [suite] * bool(found["failed"])
        print(f"-- {suite}: {dict(+found)} in {time.monotonic() - begin:.0f} s", flush=True)
    if failing:
        print(f"\nfailing suites: {', '.join(failing)}")
    tail = f", {total['skipped']} skipped" if total["skipped"] else ""
    print(f"\n{total['passed']} passed, {total['failed']} failed{tail}")
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main())
