"""The house rules, as tests: who imports whom, what is pure, how large a file may be, what has a docstring.

ARCHITECTURE.md has the same table in words. An exception to a rule stands here, by name, or it does not exist.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "skate"
FILES = sorted(PACKAGE.rglob("*.py"))

PURE = (
    "client/chains.py",
    "client/submitter.py",
    "client/lineage.py",
    "node/scheduler.py",
    "node/resources.py",
    "node/directory.py",
    "node/fresh.py",
    "node/pulls.py",
    "node/seeds.py",
    "node/spilling.py",
    "node/memory_policy.py",
    "node/sums.py",
    "node/exposition.py",
    "data/execution/executor.py",
    "data/execution/mixing.py",
    "data/execution/operators.py",
    "data/execution/stats.py",
    "head/actors.py",
    "head/bundles.py",
    "head/groups.py",
    "head/jobs.py",
    "head/labels.py",
    "head/nodes.py",
    "head/policy.py",
    "wire/environments.py",
    "wire/labels.py",
    "store/ranges.py",
    "store/space.py",
    "data/execution/operators.py",
    "data/shares.py",
    "dashboard/federation.py",
    "dashboard/flames.py",
    "dashboard/guard.py",
    "dashboard/patches.py",
    "dashboard/ray_api.py",
    "dashboard/samples.py",
    "dashboard/tables.py",
)
"""They decide, and get all they know as arguments."""

IMPURE = {
    "asyncio",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
}

ROOMS: dict[str, set[str]] = {
    "api": {"client", "exceptions", "version"},
    "inline": {"client", "exceptions"},
    "client": {"store", "wire", "exceptions", "version"},
    "worker": {"client", "store", "wire", "exceptions"},
    "node": {"head", "store", "wire", "exceptions", "version"},
    "head": {"wire"},
    "store": set(),
    "wire": set(),
    "util": {"api", "client", "exceptions"},
    "data": {"api", "client", "exceptions"},
    "testing": {"api", "client", "head", "node", "wire", "exceptions", "version"},
    "dashboard": {"client", "exceptions", "version"},
    "cli": {"dashboard", "api", "client", "exceptions", "job_submission", "version"},
}
"""What each folder may import, besides itself: other folders, and modules at the top."""

EXCEPTIONS: dict[str, set[str]] = {
    "api/lifecycle.py": {"inline"},  # init(mode="inline") starts it
    "client/jobs.py": {"api.labels", "api.environments"},  # read where they are given, by REST as well
    "client/start.py": {"__init__"},  # the version
    "node/service.py": {"client.errors", "__init__"},  # errors that the node makes travel like all others
    "node/transfer.py": {"client.errors"},
    "node/environments.py": {"client.errors"},
    "node/packages.py": {"client.package_files"},  # one folder for all processes of a machine
    "node/spills.py": {"client.errors"},
    "node/main.py": {"worker.zygote"},  # the zygote is forked from the node's own warm interpreter
    "worker/start.py": {"api.alias"},  # `import ray` means skate in workers, too
    "worker/output.py": {"node.logs"},  # the mark at the start of a line
}

LINES_MAX = 600
TOO_LONG: dict[str, int] = {}
"""Files that are over the limit, and how long they may be: each is to be split."""


def name_of(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name, relative to skate) of all that a file imports, at run time or for types only."""
    package = ["skate", *file.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from absolute(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from absolute(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            base = package[1 : len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                yield ".".join([*base, alias.name] if is_module([*base, alias.name]) else base or ["__init__"]), True


def absolute(name: str) -> Iterator[tuple[str, bool]]:
    if name == "skate" or name.startswith("skate."):
        yield name.removeprefix("skate").lstrip(".") or "__init__", True
    else:
        yield name, False


def is_module(parts: list[str]) -> bool:
    path = PACKAGE.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").exists()


def matches(name: str, allowed: set[str]) -> bool:
    return any(name == each or name.startswith(each + ".") for each in allowed)


@pytest.mark.parametrize("name", PURE)
def test_what_decides_does_no_io(name: str) -> None:
    used = {module.partition(".")[0] for module, own in imports(PACKAGE / name) if not own}
    assert not used & IMPURE, f"{name} must stay pure: take what {used & IMPURE} gives as an argument"


def test_every_room_has_a_rule_and_a_sign_on_its_door() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    for folder in folders:
        assert ast.get_docstring(ast.parse((PACKAGE / folder / "__init__.py").read_text())), f"what is {folder}/ for?"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_go_downwards(room: str) -> None:
    wrong = []
    for file in sorted((PACKAGE / room).rglob("*.py")):
        allowed = ROOMS[room] | {room} | EXCEPTIONS.get(name_of(file), set())
        wrong += [
            f"{name_of(file)} imports {each}" for each, own in imports(file) if own and not matches(each, allowed)
        ]
    assert not wrong, "\n".join(wrong)


def test_every_exception_is_needed() -> None:
    for name, allowed in EXCEPTIONS.items():
        used = {module for module, own in imports(PACKAGE / name) if own}
        unused = {each for each in allowed if not any(matches(module, {each}) for module in used)}
        assert not unused, f"{name} does not import {unused} any more: take the exception away"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_is_not_too_long(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines <= TOO_LONG.get(name_of(file), LINES_MAX), f"{lines} lines: this file is two files"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_what_is_public_says_what_it_is(file: Path) -> None:
    tree = ast.parse(file.read_text())
    name = name_of(file)
    silent = [] if ast.get_docstring(tree) else [name]
    silent += [f"{name}:{line} {what}" for what, line in undocumented(tree, "")]
    assert not silent, "without a docstring: " + ", ".join(silent)


def undocumented(node: ast.AST, outer: str) -> Iterator[tuple[str, int]]:
    """Public functions of modules and of public classes that have no docstring.

    Not asked of protocol methods that are one line, overloads, and functions inside functions.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If):
            yield from undocumented(child, outer)
        elif isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield from undocumented(child, f"{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            says = ast.get_docstring(child) is not None or child.name.startswith("_") or is_declaration(child)
            if not says and not inherits_docstring(child, node):
                yield outer + child.name, child.lineno


def is_declaration(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    last = function.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...


def inherits_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef, owner: ast.AST) -> bool:
    """Methods of a class with bases may implement what a base has described."""
    return isinstance(owner, ast.ClassDef) and bool(owner.bases)
