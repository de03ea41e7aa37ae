"""The rules of the house that no linter knows, over every file of the project.

Each test lists what is amiss as "path:line: what", so that one run tells all of it.
"""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("relay", "tests", "benchmarks", "twisted", "docs", "etc", ".ci")
CODE = ("relay", "tests", "benchmarks", "twisted")
TEXT_SUFFIXES = {".py", ".rst", ".md", ".toml", ".cfg", ".smtp", ".service", ".relay", ".txt", ""}

MAX_DOCSTRING_LINES = 8
MAX_FUNCTION_LINES = 60
NAMELESS = {"util", "utils", "helper", "helpers", "common", "misc"}

MAY_PRINT = {"relay/admin/cli.py"}
"""What talks to people on a terminal."""

FRONTS = {"relay/config/__init__.py"}
"""Packages that lend their name to what their modules make."""

# written so that this file does not hold what it forbids
MACHINE_PATH = re.compile(
    r"(?<![\w.\-{}$/])/(?:" + "|".join(("work", "root", "home", "Users")) + r")/\w"
)
MARKER = re.compile(r"#.*\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")

TESTING_CLASS = re.compile(r"^_|(?:Tests?|Contract|Case)$")
"""Of tests, or of what several classes of tests have in common: its own name, or one it is of."""

RST_LINK = re.compile(
    r"`[^`<]*<([^`>]+)>`__?|^\.\. (?:include|image|figure|_[^:]+)::? *(\S+)", re.M
)
FILE_NAMED = re.compile(
    r"(?<![\w./\-])((?:relay|tests|docs|etc|benchmarks)/[\w./\-]+\.(?:py|rst|toml))"
)


@cache
def files() -> tuple[Path, ...]:
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found = [path for path in (*ROOT.iterdir(), *below) if path.is_file()]
    return tuple(sorted(p for p in found if p.suffix in TEXT_SUFFIXES and _is_ours(p)))


def _is_ours(path: Path) -> bool:
    """Not what tools leave behind."""
    parts = path.relative_to(ROOT).parts
    return not any(
        part == "__pycache__" or part.startswith("_trial_temp") or part.endswith(".egg-info")
        for part in parts
    ) and not (len(parts) == 1 and parts[0] in {".git", ".coverage"})


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8", "replace")


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Every Python file by its path from the root, parsed."""
    return tuple(
        (name, ast.parse(text_of(path)))
        for path in files()
        if path.suffix == ".py" and (name := _name(path)).partition("/")[0] in CODE
    )


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _is_bare(name: str, tree: ast.Module) -> bool:
    """Empty; a front has a docstring, and may name what it shows and where that comes from."""
    return not tree.body or (name in FRONTS and all(map(_shows, tree.body[1:])))


def _shows(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] == ["__all__"]
    return isinstance(node, ast.ImportFrom)


def _docstring_faults(name: str, tree: ast.Module) -> Iterator[str]:
    text = ast.get_docstring(tree)
    if text is None:
        yield f"{name}:1: no docstring"
        return
    sentence = re.split(r"(?<=[.?])(?:\s|$)", text, maxsplit=1)[0]
    if not sentence.endswith((".", "?")) or len(sentence.split()) < 3:
        yield f"{name}:1: the docstring does not begin with a sentence"
    if len(text.splitlines()) > MAX_DOCSTRING_LINES:
        yield f"{name}:1: the docstring has {len(text.splitlines())} lines"


def _long_functions(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {lines} lines"


def _is_testing(node: ast.Module | ast.ClassDef) -> bool:
    if isinstance(node, ast.Module):
        return False
    names = [node.name, *map(ast.unparse, node.bases)]
    return any(TESTING_CLASS.search(name) for name in names)


def _lost_tests(name: str, tree: ast.Module) -> Iterator[str]:
    """Those that nobody runs, for where they stand."""
    for owner in (tree, *tree.body):
        if not isinstance(owner, ast.ClassDef | ast.Module) or _is_testing(owner):
            continue
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                yield f"{name}:{node.lineno}: {node.name} is in no class of tests"


def _prints(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ):
            yield f"{name}:{node.lineno}: prints"


def _lines_with(pattern: re.Pattern[str], path: Path) -> Iterator[str]:
    for number, line in enumerate(text_of(path).splitlines(), 1):
        match = pattern.search(line)
        if match:
            yield f"{_name(path)}:{number}: {match[0]}"


def _dead_links(path: Path) -> Iterator[str]:
    """Links of a document to files, from where it stands."""
    text = text_of(path)
    for match in RST_LINK.finditer(text):
        target = (match[1] or match[2] or "").partition("#")[0]
        if target and not re.match(r"[a-z]+:|.*_$", target) and not (path.parent / target).exists():
            line = text.count("\n", 0, match.start()) + 1
            yield f"{_name(path)}:{line}: {target} does not exist"


def _missing_files(path: Path) -> Iterator[str]:
    """Files of the project that a text names."""
    for number, line in enumerate(text_of(path).splitlines(), 1):
        for named in FILE_NAMED.findall(line):
            if not (ROOT / named).exists():
                yield f"{_name(path)}:{number}: {named} does not exist"


class CodeTests(SynchronousTestCase):
    def test_packages_hold_no_code(self) -> None:
        full = [n for n, tree in modules() if n.endswith("/__init__.py") and not _is_bare(n, tree)]
        self.assertEqual(full, [])

    def test_twisted_plugins_are_no_package(self) -> None:
        """One `__init__.py` there would hide all other plugins from Twisted."""
        self.assertEqual([n for n, _ in modules() if re.match(r"twisted/.*__init__", n)], [])

    def test_each_module_says_its_job(self) -> None:
        faults = [
            fault
            for name, tree in modules()
            if not name.endswith("/__init__.py")
            for fault in _docstring_faults(name, tree)
        ]
        self.assertEqual(faults, [])

    def test_names_say_something(self) -> None:
        nameless = [_name(p) for p in files() if NAMELESS & {p.stem, p.parent.name}]
        self.assertEqual(nameless, [])

    def test_functions_are_short(self) -> None:
        self.assertEqual([fault for n, t in modules() for fault in _long_functions(n, t)], [])

    def test_no_test_stands_where_it_is_not_run(self) -> None:
        tests = [(name, tree) for name, tree in modules() if name.startswith("tests/")]
        self.assertEqual([fault for n, t in tests for fault in _lost_tests(n, t)], [])

    def test_the_relay_does_not_print(self) -> None:
        printing = [
            fault
            for name, tree in modules()
            if name.startswith("relay/") and name not in MAY_PRINT
            for fault in _prints(name, tree)
        ]
        self.assertEqual(printing, [])

    def test_nothing_is_left_for_later(self) -> None:
        left = [fault for p in files() if p.suffix == ".py" for fault in _lines_with(MARKER, p)]
        self.assertEqual(left, [])


class TextTests(SynchronousTestCase):
    def test_links_lead_somewhere(self) -> None:
        documents = [path for path in files() if path.suffix == ".rst"]
        self.assertTrue(documents)
        self.assertEqual([fault for p in documents for fault in _dead_links(p)], [])

    def test_files_that_are_named_exist(self) -> None:
        named_in = [p for p in files() if p.suffix in {".rst", ".toml", ".cfg"} or _is_code(p)]
        self.assertEqual([fault for p in named_in for fault in _missing_files(p)], [])

    def test_no_machine_is_named(self) -> None:
        named = [fault for p in files() for fault in _lines_with(MACHINE_PATH, p)]
        self.assertEqual(named, [])


def _is_code(path: Path) -> bool:
    return _name(path).startswith("relay/") and path.suffix == ".py"


class MakefileTests(SynchronousTestCase):
    def test_the_number_of_seeds_reaches_the_simulation(self) -> None:
        """A SEED that another target sets would turn every run of many into a run of one."""
        for wish, told in (("SEEDS=7", "--seeds 7"), ("SEED=9", "--seed 9 --trace")):
            commands = subprocess.run(
                ["make", "-n", "sim", wish], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout
            self.assertIn(f"tests.sim.run {told}", commands)
