"""What the suites share: a real ComfyUI server, and no silent skips.

Under CSG_REQUIRE_ALL=1 a test that would be skipped for a missing part fails instead.
"""

import json
import os

import pytest

REQUIRE_ALL = os.environ.get("CSG_REQUIRE_ALL") == "1"


def _fail_instead_of_skip(report):
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, but CSG_REQUIRE_ALL=1 wants every part present: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _fail_instead_of_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _fail_instead_of_skip((yield))


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A ComfyUI server of its own with this pack alone; all that it writes, its LoRAs and its checkpoints lie in a temporary folder."""
    from csg.evaluation.runner.comfy_client import ComfyServer

    workspace = tmp_path_factory.mktemp("comfyui")
    folders = {kind: workspace / kind for kind in ("loras", "checkpoints")}
    for folder in folders.values():
        folder.mkdir()
    models = workspace / "models.yaml"
    models.write_text(json.dumps({"tests": {kind: str(folder) for kind, folder in folders.items()}}), encoding="utf-8")
    with ComfyServer(workspace=workspace, threads=1, extra=("--extra-model-paths-config", str(models))) as running:
        yield running
