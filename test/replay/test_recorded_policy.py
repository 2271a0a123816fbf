# SPDX-License-Identifier: Apache-2.0
"""A policy that gives the chunks of a bag again."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from swiftvla_ros.contract import contract_from_text, load_contract
from swiftvla_ros.episodes.bags.bag import Bag
from swiftvla_ros.episodes.bags.message_types import BagError, message_types
from swiftvla_ros.episodes.bags.writer import BagWriter
from swiftvla_ros.policy import InstructionError, Observation
from swiftvla_ros.replay.recorded import read_run
from swiftvla_ros.replay.recorded_policy import RecordedPolicy


def test_chunks_come_in_order_and_again(stored: Path) -> None:
    """Protects what the bag says: rows to the bit, joints by name, the first chunk again after the last."""
    contract = load_contract("so101_sim")
    data = yaml.safe_load(contract.text)
    data["joints"] = data["joints"][::-1]
    turned = contract_from_text(yaml.safe_dump(data), contract.path.with_name("turned.yaml"))
    recorded = read_run(Bag(stored)).chunks
    policies = RecordedPolicy(stored, contract), RecordedPolicy(stored, turned)
    seen = Observation({}, contract.rest, recorded[0].instruction)
    for old in [*recorded, recorded[0]]:
        plain, backward = (policy.infer(seen) for policy in policies)
        np.testing.assert_array_equal(plain, old.positions)
        np.testing.assert_array_equal(backward, old.positions[:, ::-1])
    assert policies[0].checkpoint_sha256 == f"recorded:{recorded[0].checkpoint_sha256}"
    with pytest.raises(InstructionError, match="it has"):
        policies[0].check_instruction("water the plants")


def test_a_bag_of_another_arm_is_refused(stored: Path) -> None:
    """Protects the arm from another's rows."""
    contract = load_contract("so101_sim")
    data = yaml.safe_load(contract.text)
    data.pop("kinematics")
    data["joints"][0]["name"] = "base_yaw"
    other = contract_from_text(yaml.safe_dump(data), contract.path)
    with pytest.raises(BagError, match=r"shoulder_pan.*base_yaw"):
        RecordedPolicy(stored, other)


def test_of_two_arms_the_systems_own_chunks_are_played(stored: Path, tmp_path: Path) -> None:
    """Protects an arm from the other's chunks: the namespace of the node decides, never the order in the bag (A1)."""
    source, folder = Bag(stored), tmp_path / "two"
    types = message_types()
    with BagWriter(folder, source.contract) as writer:
        for raw in source.raw(["action_chunk", "observation/state"]):
            for namespace, offset in (("/b", 0.1), ("/a", 0.0)):
                data = raw.data
                if raw.topic == "/action_chunk":
                    message = types.deserialize_cdr(data, raw.msgtype)
                    message.positions = message.positions + offset
                    data = bytes(types.serialize_cdr(message, raw.msgtype))
                writer.write(namespace + raw.topic, raw.msgtype, raw.received_ns, data)
    contract = load_contract("so101_sim")
    first = read_run(source).chunks[0]
    seen = Observation({}, contract.rest, first.instruction)
    np.testing.assert_array_equal(RecordedPolicy(folder, contract, "/a").infer(seen), first.positions)
    assert np.allclose(RecordedPolicy(folder, contract, "/b").infer(seen), first.positions + 0.1)
    with pytest.raises(BagError, match="several namespaces: /a, /b"):
        RecordedPolicy(folder, contract, "/")
    np.testing.assert_array_equal(RecordedPolicy(stored, contract, "/a").infer(seen), first.positions)
