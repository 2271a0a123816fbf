# SPDX-License-Identifier: Apache-2.0
"""YAML that people write: what is refused, and how."""

import time
from pathlib import Path

import pytest

from swiftvla_ros.contract import ContractError, contract_from_text, load_contract
from swiftvla_ros.contract.checks.yaml_text import YamlError, parse_yaml

CONTRACT = load_contract("so101_sim")

FILES = {
    "Latin-1": (CONTRACT.text.replace("simulated", "simulé", 1).encode("latin-1"), ["line 2", "0xe9", "UTF-8"]),
    "UTF-16": (CONTRACT.text.encode("utf-16"), ["UTF-16", "save it as UTF-8"]),
    "UTF-16 without a mark": (CONTRACT.text.encode("utf-16-le"), ["no text", "UTF-8"]),
    "a bag": (b"\x89MCAP0\r\n" + bytes(100), ["no text"]),
    "another file": (b"#" * (1 << 20), ["larger than"]),
    "nothing": (b"", ["is empty"]),
    "comments": (b"# to do\n", ["is empty"]),
    "a list": (b"- joints\n", ["a list, not keys"]),
    "a word": (b"so101", ["holds no keys"]),
    "a tab": (b"policy:\n\tstep_s: 0.1\n", ["line 2", "a tab; indent with spaces"]),
    "two documents": (b"a: 1\n---\na: 2\n", ["line 2", "another document"]),
    "no such day": (b"robot: 2026-13-45\n", ["line 1", "2026-13-45", "in quotes"]),
    "a tag": (b"robot: !!python/object:os.system x\n", ["line 1", "tag"]),
    "a bell": (b"robot: \x07\n", ["line 1", "U+0007", "remove it"]),
    "a list as a key": (b"? [a]\n: 1\n", ["line 1", "plain word"]),
    "deep": (b"[" * 60_000, ["line 1", "nested"]),
    "deep keys": (b"- " * 30_000, ["nested"]),
    "a snake": (b"a: &a [*a]\n", ["line 1", "holds itself"]),
    "laughs": (
        b"a0: &a0 [ha]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (k, k, b",".join([b"*a%d" % (k - 1)] * 9)) for k in range(1, 12)),
        ["line 6", "aliases counted"],
    ),
    "merged laughs": (
        b"a0: &a0 {h: a}\n"
        + b"".join(b"a%d: &a%d {<<: [%s]}\n" % (k, k, b",".join([b"*a%d" % (k - 1)] * 9)) for k in range(1, 12)),
        ["aliases counted"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_contract_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    """A contract in Latin-1 or UTF-16 ended in UnicodeDecodeError (report E); bombs and depth take no time either."""
    data, expected = FILES[case]
    file = tmp_path / "mine.yaml"
    file.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(ContractError) as caught:
        load_contract(file)
    assert time.monotonic() - began < 2
    message = str(caught.value)
    assert "\n" not in message
    for part in ["mine.yaml: ", *expected]:
        assert part in message, message


def test_folders_and_names_are_told_apart(tmp_path: Path) -> None:
    """Protects: a folder names the file in it, a misspelt name the right one."""
    (tmp_path / "arm.yaml").write_text("robot: arm\n")
    with pytest.raises(ContractError, match=r"is a folder; name a YAML file in it, such as .*arm\.yaml"):
        load_contract(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ContractError, match="Is a directory"):
        load_contract(tmp_path / "folder.yaml")
    with pytest.raises(ContractError, match="did you mean 'so101_sim'"):
        load_contract("so101-sim")
    with pytest.raises(ContractError, match=r"there is no such file; did you mean '.*/arm\.yaml'"):
        load_contract(tmp_path / "arn.yaml")
    with pytest.raises(ContractError, match="did you mean the shipped 'so101'"):
        load_contract("so101.yaml")
    with pytest.raises(ContractError, match="no such contract"):
        load_contract("")


def test_a_byte_order_mark_is_harmless(tmp_path: Path) -> None:
    """Protects: what Windows' editors write at the start of UTF-8 makes no other contract, and the text is kept."""
    text = "\ufeff" + CONTRACT.text.replace("urdf: so101.urdf", f"urdf: {CONTRACT.urdf_path}")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    contract = load_contract(tmp_path / "mine.yaml")
    assert contract.joints == CONTRACT.joints
    assert contract.text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a is given twice, first in line 1"),
        ("a:\n  b: 1\n  c: [{d: 1, e: {f: 1, f: 2}}]\n", r"line 3: a\.c\.0\.e\.f is given twice"),
        ("yes: 1\ntrue: 2\n", "line 2: true is given twice"),
        ("a: 1\n'a': 1\n", "line 2: a is given twice"),
    ],
)
def test_a_key_that_is_given_twice_is_refused(text: str, expected: str) -> None:
    """A lone contract key given twice: the last one won silently (report B); at every depth, and the line is named."""
    with pytest.raises(YamlError, match=expected):
        parse_yaml(text, "mine.yaml")


def test_what_was_recorded_is_read_as_it_ran() -> None:
    """Protects old bags: their contracts mean what they meant, twice-given keys and limits of no arm included."""
    twice = CONTRACT.text.replace("jerk: 150.0", "jerk: 140.0, jerk: 150.0", 1).replace(
        "velocity: 2.5", "velocity: 143"
    )
    with pytest.raises(ContractError, match="twice"):
        contract_from_text(twice, CONTRACT.path)
    recorded = contract_from_text(twice, CONTRACT.path, recorded=True)
    assert (recorded.joints[0].jerk, recorded.joints[0].velocity) == (150.0, 143.0)


def test_anchors_and_merged_keys_go_on_working() -> None:
    """Protects contracts that write shared limits once."""
    text = CONTRACT.text.replace("acceleration: 12.0", "acceleration: &a 12.0", 1).replace(": 12.0", ": *a")
    assert contract_from_text(text, CONTRACT.path).joints == CONTRACT.joints
    assert parse_yaml("base: &b {x: 1, y: 2}\nit: {<<: *b, x: 3}\n", "mine.yaml")["it"] == {"x": 3, "y": 2}
