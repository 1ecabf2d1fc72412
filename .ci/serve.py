"""Opens ComfyUI with this pack in the foreground: `python .ci/serve.py --port 8188`. Ctrl-C ends it."""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from csg.evaluation.runner.comfy_client import ComfyError, find_comfyui, server_command  # noqa: E402


def command(port):
    workspace = ROOT / ".comfy"
    database = workspace / "user" / "comfyui.db"
    extra = ["--database-url", f"sqlite:///{database}"]
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        extra.append("--auto-launch")
    return server_command(port, workspace, ROOT / "output", only_this_pack=False, extra=extra)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8188)
    port = parser.parse_args().port
    try:
        line = command(port)
        print(f"ComfyUI opens at http://127.0.0.1:{port}  (templates: Workflow > Browse Templates; Ctrl-C ends it)")
        sys.stdout.flush()
        os.chdir(find_comfyui())
        os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.execv(line[0], line)
    except ComfyError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
