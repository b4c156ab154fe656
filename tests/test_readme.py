"""The documents run: their code is executed, and the outputs they show are the true ones.

In README.md and docs/*.md every fence marked ``python`` is executed, one file after the other from
top to bottom in an empty folder, and so is every fence marked ``sh run``. A fence marked ``output``
right after one of them is what it prints. ``make docs`` runs this file as a script, which renews
the outputs.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import pytest

import coregister as cr

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?P<kind>[^\n]*)\n(?P<body>.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def run_python(code: str, namespace: dict[str, object]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, namespace)
    return printed.getvalue()


def run_shell(code: str) -> str:
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env={**os.environ, "PATH": scripts, "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{code}\nexit {done.returncode}: {done.stderr}"
    return done.stdout


def executed(document: Path) -> str:
    """The document as it reads with the outputs that its code gives now; runs in a new folder."""
    text = document.read_text()
    namespace: dict[str, object] = {"__name__": "__main__"}
    pieces, end, printed = [], 0, ""
    for fence in FENCE.finditer(text):
        kind, body = fence["kind"], fence["body"]
        if kind == "python":
            line = text.count("\n", 0, fence.start("body"))
            code = compile("\n" * line + body, str(document), "exec", dont_inherit=True)
            printed = run_python(code, namespace)
        elif kind == "sh run":
            printed = run_shell(body)
        elif kind == "output":
            pieces += [text[end : fence.start("body")], printed]
            end = fence.end("body")
    return "".join([*pieces, text[end:]])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_code_runs_and_prints_what_is_shown(document, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the documents draw: extra report")
    pytest.importorskip("click", reason="the documents use the command: extra cli")
    monkeypatch.chdir(tmp_path)
    assert executed(document) == document.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_inside_the_project_lead_somewhere(document):
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    inside = [link for link in links if not re.match(r"\w+:", link)]
    missing = [link for link in inside if not (document.parent / link).exists()]
    assert not missing


def test_every_flag_is_explained_in_its_own_words_and_in_order():
    sections = re.split(r"^## ", (ROOT / "docs" / "trust.md").read_text(), flags=re.MULTILINE)[1:]
    quoted = []
    for section in sections:
        name, *lines = section.splitlines()
        sentence = " ".join(line.removeprefix("> ") for line in lines if line.startswith("> "))
        quoted.append((name, sentence))
    assert quoted == [(status.name, status.value) for status in cr.Status]


def test_an_output_that_is_not_the_true_one_is_seen(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = tmp_path / "page.md"
    document.write_text("```python\nprint(1 + 1)\n```\nprints\n```output\n3\n```\nend\n")
    assert executed(document) == "```python\nprint(1 + 1)\n```\nprints\n```output\n2\n```\nend\n"


def renew() -> None:
    for document in DOCUMENTS:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            document.write_text(executed(document))


if __name__ == "__main__":
    renew()
