# SPDX-License-Identifier: Apache-2.0
"""Ways to damage a folder of files, for ``file_fuzz.py``."""

import json
import math
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

_TEXTS = (".json", ".yaml", ".jsonl", ".urdf")
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 132735\n"
_DAMAGED_ALREADY = (
    *(ArithmeticError, LookupError, OSError, TypeError, ValueError, RecursionError),
    *(struct.error, pa.ArrowException, yaml.YAMLError),
)
_GIANTS = (0, 1, 0x7F, 0xFF, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)
_STRANGE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 10**30, 1e308, -1e308, 1e-320, math.nan, math.inf, 0.5, "", " ", "4",
    "a", "\u00a0", "é", "../..", "/", "{x}", "{0}", "%s", "nan", "x" * 5000, [], [1], ["a"], [[]], {}, {"a": 1}, [None],
)  # fmt: skip


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one or two files of a folder; say which and how."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if not files:
            break
        path = rng.choice(files)
        done.append(f"{path.relative_to(folder)} {_damage_file(path, rng)}")
    return ", ".join(done)


def _damage_file(path: Path, rng: random.Random) -> str:
    share = rng.random()
    if share < 0.06:
        return _exchange(path, rng)
    if share < 0.35:
        content = bytearray(path.read_bytes())
        label = rng.choice(list(_BYTES))
        _BYTES[label](content, rng)
        path.write_bytes(content)
        return label
    structured = {".safetensors": _tensors, ".parquet": _columns}.get(path.suffix)
    if structured is None and path.suffix in _TEXTS:
        structured = _text if rng.random() < 0.25 or path.suffix == ".urdf" else _tree
    if structured is None:
        content = bytearray(path.read_bytes())
        _flip(content, rng)
        path.write_bytes(content)
        return "bits flipped"
    try:
        return structured(path, rng)
    except _DAMAGED_ALREADY:
        return "left, since it is damaged already"


def _exchange(path: Path, rng: random.Random) -> str:
    label = rng.choice(("taken away", "a folder", "empty", "a pointer", "another file"))
    others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
    if label == "another file" and others:
        shutil.copy(rng.choice(others), path)
        return label
    path.unlink()
    if label == "a folder":
        path.mkdir()
    elif label == "empty":
        path.touch()
    elif label == "a pointer":
        path.write_bytes(_POINTER)
    return label


def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 8)):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _span(content: bytearray, rng: random.Random) -> slice:
    at = rng.randrange(len(content) + 1)
    return slice(at, at + int(rng.expovariate(1 / 200)))


def _giant(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) + 1) if rng.random() < 0.8 else 0
    new = rng.choice(_GIANTS).to_bytes(8, "little")[: rng.choice((1, 2, 4, 8))]
    content[at : at + len(new)] = new


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _remove(content: bytearray, rng: random.Random) -> None:
    del content[_span(content, rng)]


def _double(content: bytearray, rng: random.Random) -> None:
    span = _span(content, rng)
    content[span.start : span.start] = content[span]


def _insert(content: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(content) + 1)
    content[at:at] = rng.randbytes(rng.randint(1, 300))


def _rubbish(content: bytearray, rng: random.Random) -> None:
    content[rng.choice((0, 8, 100)) :] = rng.randbytes(rng.randint(0, 3000))


_BYTES: dict[str, Callable[[bytearray, random.Random], None]] = {
    "bits flipped": _flip,
    "a number replaced": _giant,
    "cut": _cut,
    "a part removed": _remove,
    "a part doubled": _double,
    "bytes inserted": _insert,
    "rubbish": _rubbish,
}


def _text(path: Path, rng: random.Random) -> str:
    """Other encodings, lines twice, and nesting without end."""
    text = path.read_text(encoding="utf-8")
    label = rng.choice(("UTF-16", "Latin-1", "BOM", "a line twice", "deep", "long", "NUL", "aliases"))
    if label in ("UTF-16", "Latin-1"):
        path.write_bytes((text + "# é").encode(label, errors="replace"))
    elif label == "a line twice":
        lines = text.splitlines(keepends=True) if "\n" in text else text.replace(",", ",\n").splitlines(keepends=True)
        at = rng.randrange(len(lines))
        path.write_text("".join([*lines[:at], lines[at], *lines[at:]]), encoding="utf-8")
    elif label == "aliases":
        # The billion laughs, in YAML.
        laughs = "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(9))
        path.write_text(f"a0: &a0 [x]\n{laughs}{text}", encoding="utf-8")
    else:
        depth = rng.choice((100, 1000, 100_000))
        inserted = {"BOM": "\ufeff", "deep": "[" * depth, "long": "9" * 10_000, "NUL": "\0"}[label]
        at = 0 if label == "BOM" else rng.randrange(len(text) + 1)
        path.write_text(text[:at] + inserted + text[at:], encoding="utf-8")
    return label


def _tree(path: Path, rng: random.Random) -> str:
    """Keys taken out, doubled, renamed, and values of another type or size."""
    is_yaml = path.suffix in (".yaml", ".yml")
    text = path.read_text(encoding="utf-8")
    data = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if is_yaml else json.loads(text)  # noqa: S506
    labels = [_edit(data, rng) for _ in range(rng.choice((1, 1, 2, 4)))]
    path.write_text(yaml.safe_dump(data, sort_keys=False) if is_yaml else json.dumps(data), encoding="utf-8")
    return " and ".join(labels)


def _edit(data: Any, rng: random.Random, key: str = "") -> str:
    """Change one place of a tree."""
    if isinstance(data, dict) and data:
        name = rng.choice(sorted(data, key=str))
    elif isinstance(data, list) and data:
        name = rng.randrange(len(data))
    else:
        return f"{key} left"
    where = f"{key}.{name}"
    if isinstance(data[name], dict | list) and data[name] and rng.random() < 0.8:
        return _edit(data[name], rng, where)
    what = rng.choice(("deleted", "strange", "strange", "strange", "doubled", "renamed", "another's"))
    if what == "deleted":
        del data[name]
    elif what == "strange":
        data[name] = rng.choice(_STRANGE)
    elif what == "doubled" and isinstance(data, list):
        data.insert(name, data[name])
    elif what == "renamed" and isinstance(data, dict):
        data[f"{name}x"] = data.pop(name)
    else:
        data[name] = data[rng.choice(sorted(data, key=str)) if isinstance(data, dict) else rng.randrange(len(data))]
    return f"{where} {what}"


def _tensors(path: Path, rng: random.Random) -> str:
    """The header's own content, or numbers that no weight has."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, body = json.loads(content[8 : 8 + length]), bytearray(content[8 + length :])
    if rng.random() < 0.3 and body:
        at = rng.randrange(len(body) // 4) * 4
        body[at : at + 4] = struct.pack("<f", rng.choice((math.nan, math.inf, -1e38, 0.0)))
        label = "a number"
    else:
        label = _edit(header, rng)
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)
    return label


def _columns(path: Path, rng: random.Random) -> str:
    """Columns taken out, renamed, reordered, of another type, and cells of another kind."""
    table = pq.read_table(path)
    names = table.column_names
    name = rng.choice(names)
    at = names.index(name)
    what = rng.choice(
        ("deleted", "renamed", "first", "null", "text", "a cell", "a cell", "a cell", "no row", "double", "type")
    )
    if what == "deleted":
        table = table.drop_columns([name])
    elif what == "renamed":
        table = table.rename_columns([f"{n}x" if n == name else n for n in names])
    elif what == "first":
        table = table.select([name, *(n for n in names if n != name)])
    elif what == "null":
        table = table.set_column(at, name, pa.nulls(table.num_rows, table[name].type))
    elif what == "text":
        table = table.set_column(at, name, pa.array(["x"] * table.num_rows))
    elif what == "no row":
        table = table.slice(0, 0)
    elif what == "double":
        table = pa.concat_tables([table, table.slice(rng.randrange(table.num_rows), 1)])
    elif what == "type":
        kinds = (pa.float16(), pa.int8(), pa.uint64(), pa.string(), pa.float64(), pa.binary())
        table = table.set_column(at, name, table[name].cast(rng.choice(kinds), safe=False))
    else:
        cells = table[name].to_pylist()
        row = rng.randrange(len(cells))
        if isinstance(cells[row], list | dict) and cells[row] and rng.random() < 0.7:
            cells[row] = json.loads(json.dumps(cells[row])) if isinstance(cells[row], list) else dict(cells[row])
            inner = rng.choice(list(cells[row]) if isinstance(cells[row], dict) else range(len(cells[row])))
            cells[row][inner] = rng.choice((None, math.nan, math.inf, 1e300, -1.0, b"", b"\xff\xd8\xff", "no/file.png"))
        else:
            cells[row] = rng.choice((None, 0, -1, 1, 7, 2**40, math.nan, 1e300, "", "x", [], [1.0]))
        table = table.set_column(at, name, pa.array(cells, table[name].type))
    pq.write_table(table, path)
    return f"{name} {what}"
