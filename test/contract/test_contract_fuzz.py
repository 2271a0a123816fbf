# SPDX-License-Identifier: Apache-2.0
"""Spoiled contracts of every kind."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swiftvla_ros.contract import ContractError, contract_from_text, load_contract
from swiftvla_ros.contract.checks.questions import questions

CONTRACT = load_contract("so101_sim")
DATA = yaml.safe_load(CONTRACT.text)
MOST_LINES = 21

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=20),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["x" * 5000, "1e308", "~", "/", "rad", "null", ".nan", "a\nb"]),
)
values = st.recursive(
    scalars,
    lambda inside: st.one_of(st.lists(inside, max_size=4), st.dictionaries(scalars, inside, max_size=3)),
    max_leaves=12,
)


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """List the paths of everything in a tree, itself aside."""
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for step, child in steps for place in [(*path, step), *places(child, (*path, step))]]


PLACES = places(DATA)


def refused_or_read(text: str) -> None:
    """Hold that a text is a contract or is refused in sentences that name the file."""
    try:
        contract = contract_from_text(text, CONTRACT.path.parent / "mine.yaml")
    except ContractError as error:
        told = str(error)
    else:
        told = "\n".join(f"mine.yaml: {question}" for question in questions(contract)) or "mine.yaml: "
    lines = told.encode().decode().splitlines()
    assert [line for line in lines if "mine.yaml: " not in line or len(line) > 900] == []
    assert len(lines) <= MOST_LINES


@given(st.sampled_from(PLACES), values, st.sampled_from(["replace", "delete", "add", "repeat"]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@example(("joints",), [1] * 300, "replace")
@example(("joints", 0, "velocity"), 10**400, "replace")
@example(("cameras",), [DATA["cameras"][0]] * 30, "replace")
@example(("kinematics", "urdf"), "so101_sim.yaml", "replace")
@example(("kinematics", "urdf"), "..", "replace")
@example(("joints", 4), {**DATA["joints"][4], "continuous": True}, "replace")
@example(("joints", 4), {key: value for key, value in DATA["joints"][4].items() if key != "position"}, "replace")
@example(("kinematics", "urdf"), "a\0b", "replace")
def test_a_spoiled_contract_is_read_or_refused_in_sentences(place: tuple, value: Any, how: str) -> None:
    """No contract ends in a traceback (report E): other types, missing, huge, nested and additional values."""
    data = copy.deepcopy(DATA)
    here = data
    for step in place[:-1]:
        here = here[step]
    if how == "replace":
        here[place[-1]] = value
    elif how == "delete":
        del here[place[-1]]
    elif isinstance(here, dict):
        here["another" if how == "add" else "name"] = value
    else:
        here += [copy.deepcopy(here[0]) if how == "repeat" else value]
    refused_or_read(yaml.safe_dump(data))


@given(st.integers(0, len(CONTRACT.text) - 1), st.integers(0, 60), st.text(max_size=6))
@settings(max_examples=20)
def test_a_spoiled_text_is_read_or_refused_in_sentences(begin: int, length: int, instead: str) -> None:
    """No contract ends in a traceback (report E): characters cut out, exchanged and put in anywhere."""
    refused_or_read(CONTRACT.text[:begin] + instead + CONTRACT.text[begin + length :])


URDFS = {
    "latin-1": "<robot name='é'/>".encode("latin-1"),
    "no XML": b"# a xacro",
    "a list": b"",
    "numbers": b"<robot><joint name='a' type='fixed'><parent link='b'/><child link='gripper_frame'/>"
    b"<origin xyz='0 a 0'/></joint></robot>",
    "two numbers": b"<robot><joint name='a' type='fixed'><parent link='b'/><child link='gripper_frame'/>"
    b"<origin xyz='0 1'/></joint></robot>",
    "no axis": b"<robot><joint name='gripper' type='revolute'><parent link='b'/><child link='gripper_frame'/>"
    b"<axis xyz='0 0 0'/></joint></robot>",
    "no child": b"<robot><joint name='a'/></robot>",
    "laughs": b"<!DOCTYPE r [<!ENTITY a 'haha'>"
    + b"".join(b"<!ENTITY a%d '%s'>" % (k, (b"&a%d;" % (k - 1) if k else b"&a;") * 9) for k in range(12))
    + b"]><robot>&a11;</robot>",
}


@pytest.mark.parametrize("case", URDFS)
def test_a_spoiled_urdf_is_refused_in_a_sentence(tmp_path: Path, case: str) -> None:
    """Protects: the file beside a contract is handed over with it, and is refused like it."""
    (tmp_path / "so101.urdf").write_bytes(URDFS[case])
    with pytest.raises(ContractError, match=r"mine.yaml: kinematics: .*so101\.urdf|mine.yaml: kinematics: ") as caught:
        contract_from_text(CONTRACT.text, tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)
