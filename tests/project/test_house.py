"""The house rules that a linter does not know: sizes, docstrings, words that must not appear."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = ("csg", "nodes", "benchmarks")
MAX_FILE, MAX_FUNCTION, MAX_MEDIAN = 500, 60, 12
SCHEMAS = ("define_schema", "INPUT_TYPES")  # long by nature: they are the node's interface, spelt out
MACHINE_PATHS = re.compile(r"""(?<![\w.>/])/(?:work|root|home|tmp|mnt|Users)/\w""")
REGISTRY_HOSTS = re.compile(r"py" + r"pi\.org|python" + r"hosted|npm" + r"js\.|deb\." + r"debian|download\.py" + r"torch")
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|Not" + r"ImplementedError)\b")
TEXTS = {".py", ".md", ".json", ".toml", ".txt", ".mjs", ".js", ".css", ".html", ".yml", ".yaml", ".ts", ""}


def listed_files():
    """Every file of the repository that git does not ignore."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def modules():
    return [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]


def functions(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(function):
    """Lines of a function without its decorators and docstring."""
    first = function.body[0].end_lineno if ast.get_docstring(function) else function.lineno
    return function.end_lineno - first + (0 if ast.get_docstring(function) else 1)


def named(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


def test_no_file_is_too_long():
    long = {str(path.relative_to(ROOT)): lines for path in modules()
            if (lines := len(path.read_text(encoding="utf-8").splitlines())) > MAX_FILE}
    assert not long, f"files over {MAX_FILE} lines: {long}"


def test_no_function_is_too_long():
    long = [named(path, f) for path in modules() for f in functions(path)
            if f.name not in SCHEMAS and f.end_lineno - f.lineno + 1 > MAX_FUNCTION]
    assert not long, f"functions over {MAX_FUNCTION} lines: {long}"


def test_functions_are_short_as_a_rule():
    lengths = [length(f) for path in modules() for f in functions(path) if f.name not in SCHEMAS]
    assert median(lengths) < MAX_MEDIAN


def _public_parts(path):
    """The module's own functions and classes, and their methods, that carry no underscore."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    top = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    inner = [part for node in top if isinstance(node, ast.ClassDef) for part in node.body
             if isinstance(part, kinds) and not part.name.startswith("_")]
    return tree, top, inner


def test_everything_public_in_the_method_has_a_docstring():
    bare = []
    for path in sorted((ROOT / "csg").rglob("*.py")):
        tree, top, inner = _public_parts(path)
        if tree.body and not ast.get_docstring(tree):
            bare.append(str(path.relative_to(ROOT)))
        bare += [named(path, node) for node in [*top, *inner] if not ast.get_docstring(node)]
    assert not bare, f"without a docstring: {bare}"


def test_modules_of_nodes_say_what_they_hold():
    bare = [path.name for path in (ROOT / "nodes").glob("*.py") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not bare


def test_importing_the_method_loads_nothing_heavy():
    """The causal core and the client stay light, so that a command answers at once."""
    code = ("import sys; import csg.causal.graph, csg.causal.counterfactual, csg.evaluation.runner.comfy_client; "
            "print([name for name in ('torch', 'transformers', 'aiohttp') if name in sys.modules])")
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("pattern", [MACHINE_PATHS, REGISTRY_HOSTS, UNFINISHED],
                         ids=["paths of a machine", "registry hosts", "unfinished work"])
def test_words_that_do_not_belong(pattern):
    found = []
    for path in listed_files():
        if path.suffix not in TEXTS or path.name in ("LICENSE", "package-lock.json") or "vendor" in path.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)
