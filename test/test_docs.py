# SPDX-License-Identifier: Apache-2.0
"""Hold the documentation to the code: commands, options, launch arguments, files and modules that it names."""

import ast
import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import typer

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "models").rglob("*.md"))]
STARTS = ("swiftvla ", "python benchmarks/", "python -m pytest ", "pytest ", "make ", "ros2 launch swiftvla_ros ")


@dataclass(frozen=True)
class Example:
    """One command that a page shows."""

    page: str
    line: int
    command: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.command}"


def examples_of(text: str, page: str) -> list[Example]:
    """Return the commands in a page's code blocks and code spans, continued lines joined."""
    found: list[Example] = []
    fenced, joined = False, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if not fenced:
            spans = re.findall(r"`([^`]+)`", line)
        elif line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        else:
            spans, joined = [joined + line], ""
        for span in spans:
            for part in re.split(r"&&|\s\|\s|;", span.partition(" #")[0]):
                words = part.strip().removeprefix("$ ").removeprefix(".venv/bin/")
                if words.startswith(STARTS):
                    found.append(Example(page, number, words))
    return found


EXAMPLES = [example for page in PAGES for example in examples_of(page.read_text(), str(page.relative_to(ROOT)))]


def of_kind(start: str) -> list[Example]:
    """Return the examples that start so."""
    return [example for example in EXAMPLES if example.command.startswith(start)]


def options_in(command: str) -> list[str]:
    """Return the ``--options`` of a command line."""
    return [match.rstrip(".,") for match in re.findall(r"(?<!\S)\[?(--[a-z0-9][a-z0-9-]*)", command)]


def test_the_pages_show_commands():
    """A parser that sees nothing would pass everything below."""
    assert len(of_kind("swiftvla ")) > 40
    assert len(of_kind("python benchmarks/")) > 10


@pytest.fixture(scope="module")
def commands():
    """The options of every ``swiftvla`` command."""
    from swiftvla_ros.cli.main import app

    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for name, command in group.commands.items()
    }


def test_every_swiftvla_command_exists(commands):
    """What a page tells to type is a command with those options."""
    wrong = []
    for example in of_kind("swiftvla "):
        name = example.command.split()[1].strip("|,")
        if name.startswith("-"):
            continue
        if name not in commands:
            wrong.append(f"{example} (no such command)")
            continue
        known = commands[name] | {"--help"}
        wrong += [f"{example} (no {option})" for option in options_in(example.command) if option not in known]
    assert wrong == []


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a file, once for all examples."""
    return ast.parse(path.read_text())


def benchmark_options(path: Path) -> set[str]:
    """Return the options that a benchmark's parser, or that of a module beside it, declares."""
    sources = [path, *(ROOT / "benchmarks").glob("_*.py")]
    return {
        argument.value
        for source in sources
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in {"add_argument", "Option"}
        for argument in node.args
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    } | {"--help"}


def test_every_benchmark_exists_with_its_options():
    """A number's command prints that number only if it runs."""
    wrong = []
    for example in of_kind("python benchmarks/"):
        words = shlex.split(example.command.replace("…", "X"))
        path = ROOT / words[1]
        if not path.is_file():
            wrong.append(f"{example} (no such file)")
            continue
        known = benchmark_options(path)
        wrong += [f"{example} (no {option})" for option in options_in(example.command) if option not in known]
    assert wrong == []


def test_every_tested_file_exists():
    """A page that points to a test points to one that is there."""
    words = {
        (example, word)
        for kind in ("pytest ", "python -m pytest ")
        for example in of_kind(kind)
        for word in example.command.split()
        if word.startswith("test")
    }
    assert [f"{example}" for example, word in words if not (ROOT / word.partition("::")[0]).exists()] == []


def test_every_make_target_exists():
    """So do the targets of make."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    wrong = [
        str(example)
        for example in of_kind("make ")
        for word in example.command.split()[1:]
        if re.fullmatch(r"[a-z-]+", word) and word not in targets
    ]
    assert wrong == []


FOLDERS = "swiftvla_ros|benchmarks|docs|test|config|launch|msg|srv|action|scripts|docker|integrations"


def is_there(name: str) -> bool:
    """Say whether a dotted name begins with a module of the package; what comes after it may be a class."""
    parts = name.split(".")
    paths = ["/".join(parts[:n]) for n in range(2, len(parts) + 1)]
    return (
        parts[1] in {"msg", "srv", "action"}
        or any((ROOT / f"{p}.py").exists() for p in paths)
        or (ROOT / paths[-1]).is_dir()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_module_named_exists(page):
    """A page that leads a reader into the code leads to a file, folder or module that is there."""
    text = page.read_text()
    paths = [path for path in re.findall(rf"`((?:{FOLDERS})/[\w./-]*)", text) if "NAME" not in path]
    names = re.findall(r"`(swiftvla_ros(?:\.[a-z_0-9]+)+)", text)
    messages = {
        f"swiftvla_ros/{path.stem}" for path in ROOT.glob("[a-z]*/*.*") if path.suffix in {".msg", ".srv", ".action"}
    }
    wrong = [path for path in paths if path not in messages and not (ROOT / path.rstrip(".")).exists()]
    assert wrong + [name for name in names if not is_there(name)] == []


def test_the_map_leads_to_files_that_are_there():
    """docs/architecture.md writes paths from the package on, such as `motion/chunk.py`: each is there."""
    package = ROOT / "swiftvla_ros"
    rooms = "|".join(path.name for path in package.iterdir() if (path / "__init__.py").exists())
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(rf"`((?:{rooms})/[\w./-]+|\w+\.py)`", text)
    assert len(named) > 100
    there = [path for path in named if (package / path).exists() or (ROOT / path).exists()]
    assert [path for path in named if "NAME" not in path and path not in there] == []


def test_the_map_is_the_codes_own():
    """docs/architecture.md lists every folder with what its own docstring says."""
    shown = re.findall(
        r"^\| `([a-z_/]+)/` \| (.*) \|$", (ROOT / "docs" / "architecture.md").read_text(), flags=re.MULTILINE
    )
    package = ROOT / "swiftvla_ros"
    told = {}
    for path in package.rglob("__init__.py"):
        folder = str(path.parent.relative_to(package))
        if folder != "." and folder.partition("/")[0] not in {"msg", "srv", "action"}:
            told[folder] = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    assert dict(shown) == told
