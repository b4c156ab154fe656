"""The shape of the house: reading order, imports, names, docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import coregister as cr

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "coregister"
MODULES = sorted(SOURCE.rglob("*.py"))
PUBLIC = SOURCE / "__init__.py"  # its names come from everywhere
FORBIDDEN = {"utils", "util", "core", "common", "base", "helpers", "misc"}
LAZY = (
    "matplotlib",
    "astropy",
    "click",
    "jinja2",
    "tifffile",
    "PIL",
    "scipy.linalg",
    "scipy.stats",
    "scipy.ndimage",
    # of our own: what a pair does not need
    "coregister.calibration",
    "coregister.chi2",
    "coregister.posterior",
    "coregister.simulate",
    "coregister.sky",
    "coregister.stack",
)


def reading_order() -> list[str]:
    """Names in the table of CONTRIBUTING.md, top to bottom."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return re.findall(r"^\| `([\w.]+)` \|", text, flags=re.MULTILINE)


def entry(dotted: str) -> str:
    """Row of the table that a module belongs to: its own, or that of the nearest folder."""
    order = reading_order()
    parts = dotted.split(".")
    rows = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((row for row in rows if row in order), parts[0])


def place(path: Path) -> str:
    """Row of the table that a source file belongs to."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return entry(".".join(part for part in parts if part != "__init__") or "__init__")


def executed_on_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run, or are type-checked, when the module is imported."""
    pending: list[ast.AST] = list(tree.body)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.stmt):
            yield node
        pending.extend(ast.iter_child_nodes(node))


def type_checking_only(tree: ast.Module) -> set[ast.stmt]:
    guarded: set[ast.stmt] = set()
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) in (
            "TYPE_CHECKING",
            "typing.TYPE_CHECKING",
        ):
            guarded.update(child for child in ast.walk(node) if isinstance(child, ast.stmt))
    return guarded


def imported(statement: ast.stmt) -> list[str]:
    """Dotted names that an import statement asks for."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        assert statement.level == 0, "imports are absolute here"
        assert statement.module is not None
        if statement.module == "coregister":
            return [f"coregister.{alias.name}" for alias in statement.names]
        return [statement.module]
    return []


def test_the_map_in_contributing_is_the_folder() -> None:
    order = reading_order()
    assert len(order) == len(set(order))
    assert set(order) == {place(path) for path in MODULES} - {"__init__"}


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path != PUBLIC],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_a_module_imports_only_from_above(path: Path) -> None:
    order = reading_order()
    own = order.index(place(path))
    for statement in executed_on_import(ast.parse(path.read_text())):
        for name in imported(statement):
            if name.startswith("coregister."):
                other = entry(name.removeprefix("coregister."))
                assert other in order, f"line {statement.lineno}: {name}"
                allowed = order[: own + (path.parent != SOURCE)]
                assert other in allowed, f"line {statement.lineno}: {name} stands below"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_the_standard_library_numpy_and_scipy(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "scipy", "coregister"}
    if place(path).startswith("cli"):
        allowed.add("click")  # nothing imports them but the command itself
    tree = ast.parse(path.read_text())
    guarded = type_checking_only(tree)
    for statement in executed_on_import(tree):
        if statement in guarded:
            continue
        for name in imported(statement):
            assert name.partition(".")[0] in allowed, f"line {statement.lineno}: {name}"


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in MODULES
        if place(path).partition(".")[0] in ("estimator", "stack", "windows")
    ],
    ids=lambda path: str(path.relative_to(SOURCE)),
)
def test_large_products_wake_no_threads(path: Path) -> None:
    """Where other processes keep the cores busy, a thread of BLAS costs milliseconds."""
    calls = re.findall(r"np\.(?:vdot|dot|inner|tensordot|matmul)\(", path.read_text())
    assert not calls, f"{calls}: use those of `products`"


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert not names & FORBIDDEN


def test_only_the_calls_that_have_a_verbose_print() -> None:
    printing = {
        place(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    }
    assert printing <= {"chi2", "image_registration"}


def test_importing_the_package_is_light() -> None:
    code = f"import sys, coregister; print([m for m in {LAZY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_is_sorted_and_complete() -> None:
    assert list(cr.__all__) == sorted(cr.__all__)
    public = {
        name
        for name, value in ((name, getattr(cr, name)) for name in dir(cr))
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "").startswith("coregister")
    }
    assert public == set(cr.__all__)


def public_objects() -> Iterator[tuple[str, object]]:
    for name in cr.__all__:
        thing = getattr(cr, name)
        yield name, thing
        if inspect.isclass(thing):
            for home in (
                kind for kind in thing.__mro__ if kind.__module__.startswith("coregister")
            ):
                for member, value in vars(home).items():
                    if not member.startswith("_") and (
                        inspect.isfunction(value) or isinstance(value, (property, classmethod))
                    ):
                        yield f"{name}.{member}", value


@pytest.mark.parametrize(("name", "thing"), list(public_objects()))
def test_every_public_object_says_what_it_is(name: str, thing: object) -> None:
    assert inspect.getdoc(thing), f"{name} has no docstring"


@pytest.mark.parametrize(
    "name", [name for name in cr.__all__ if inspect.isfunction(getattr(cr, name))]
)
def test_the_docstring_of_a_public_function_names_every_parameter(name: str) -> None:
    function = getattr(cr, name)
    doc = inspect.getdoc(function) or ""
    listed = doc.partition("Parameters\n---")[2]
    missing = [
        p for p in inspect.signature(function).parameters if not re.search(rf"\b{p}\b", listed)
    ]
    assert not missing, f"{name}: {missing} not in the section Parameters"
