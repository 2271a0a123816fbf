# SPDX-License-Identifier: Apache-2.0
"""The package as source text: its modules, what they import, and in which room they lie."""

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "swiftvla_ros"
ROOT = Path(__file__).parents[1] / PACKAGE
GENERATED = {"msg", "srv", "action"}


@dataclass(frozen=True)
class Import:
    """One import statement, and whether it runs when its module is imported."""

    module: str
    line: int
    target: str
    on_import: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def room_of(module: str) -> str | None:
    """Return the room of a module of the package, None for the package itself and for other packages."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else None


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package that is written by hand."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        if parts[1] not in GENERATED:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


class ImportVisitor(ast.NodeVisitor):
    """Collect the imports of one module, those for the type checker among them, which never run."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.module = module
        self.parents = module.split(".") if is_package else module.split(".")[:-1]
        self.imports: list[Import] = []
        self._later = 0

    def generic_visit(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.expr):  # most of a module, and an import is a statement
                self.visit(child)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._later += 1
        self.generic_visit(node)
        self._later -= 1

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
        self._later += name == "TYPE_CHECKING"
        for child in node.body:
            self.visit(child)
        self._later -= name == "TYPE_CHECKING"
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            base = ".".join([*self.parents[: len(self.parents) - node.level + 1], *([base] if base else [])])
        if base == PACKAGE:  # from swiftvla_ros import model
            for alias in node.names:
                self._add(node, f"{PACKAGE}.{alias.name}")
        else:
            self._add(node, base)

    def _add(self, node: ast.stmt, target: str) -> None:
        self.imports.append(Import(self.module, node.lineno, target, on_import=self._later == 0))


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a file, once for all tests."""
    return ast.parse(path.read_text(), filename=str(path))


def parse_imports(module: str, path: Path) -> list[Import]:
    """Return the imports of one module, the ones inside functions included."""
    visitor = ImportVisitor(module, path.name == "__init__.py")
    visitor.visit(parsed(path))
    return visitor.imports
