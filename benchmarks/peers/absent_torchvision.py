# SPDX-License-Identifier: Apache-2.0
"""lerobot without torchvision: it wants it for data sets, not for policies."""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types


class _Absent(types.ModuleType):
    """A module that only has to be importable."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _AbsentFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        del target
        # transformers must see that it is absent.
        if name.split(".", maxsplit=1)[0] == "torchvision" and (path is not None or "lerobot" in sys.modules):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        del module


def make_torchvision_importable() -> None:
    """Where it is not installed; call this before lerobot is imported."""
    if importlib.util.find_spec("torchvision") is None:
        import transformers.utils.import_utils  # noqa: F401

        sys.meta_path.append(_AbsentFinder())
