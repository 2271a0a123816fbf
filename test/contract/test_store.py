# SPDX-License-Identifier: Apache-2.0
"""A contract's copy in a bag or a checkpoint."""

from pathlib import Path

import yaml

from swiftvla_ros.contract import Contract, load_contract
from swiftvla_ros.contract.store import contract_digest, digest_of, store_contract


def in_subfolder(contract: Contract, folder: Path) -> Contract:
    """Return the contract with its URDF in a folder of its own, as a user may lay it out."""
    assert contract.urdf_path is not None
    (folder / "urdf").mkdir(parents=True)
    (folder / "urdf" / contract.urdf_path.name).write_bytes(contract.urdf_path.read_bytes())
    data = yaml.safe_load(contract.text)
    data["kinematics"]["urdf"] = f"urdf/{contract.urdf_path.name}"
    (folder / "robot.yaml").write_text(yaml.safe_dump(data))
    return load_contract(folder / "robot.yaml")


def test_a_copy_loads_wherever_its_urdf_lay(tmp_path: Path) -> None:
    """Protects checkpoints and bags: the URDF lies beside the copy, and the copy says so; nothing else changes."""
    contract = in_subfolder(load_contract("so101_sim"), tmp_path / "robot")
    (tmp_path / "copy").mkdir()
    text, urdf = store_contract(contract, tmp_path / "copy" / "contract.yaml")
    copy = load_contract(tmp_path / "copy" / "contract.yaml")
    assert copy.urdf_path == tmp_path / "copy" / "so101.urdf"
    assert (copy.text, copy.urdf_path.read_text()) == (text, urdf)
    assert copy.file.model_copy(update={"kinematics": None}) == contract.file.model_copy(update={"kinematics": None})
    assert len(contract_digest(text, urdf)) == 64
    assert digest_of(contract) == digest_of(copy) == contract_digest(text, urdf), "one hash"


def test_a_copy_that_needs_no_change_has_none(tmp_path: Path) -> None:
    """Protects the hash of a checkpoint: comments and layout of the file stay."""
    contract = load_contract("so101_sim")
    text, _ = store_contract(contract, tmp_path / "contract.yaml")
    assert text == (tmp_path / "contract.yaml").read_text() == contract.text


def test_another_urdf_is_another_contract(tmp_path: Path) -> None:
    """Protects what is put together of parts: a URDF that was changed is not missed where the contract's text stays."""
    contract = in_subfolder(load_contract("so101_sim"), tmp_path)
    before = digest_of(contract)
    assert contract.urdf_path is not None
    contract.urdf_path.write_text(contract.urdf_path.read_text() + "<!-- moved -->\n")
    assert digest_of(contract) != before


def test_what_lies_behind_a_link_is_the_same_contract(tmp_path: Path) -> None:
    """Protects data sets whose files are links into a store, under the names of their hashes."""
    contract, (store, linked) = load_contract("so101_sim"), (tmp_path / "store", tmp_path / "linked")
    store.mkdir()
    linked.mkdir()
    store_contract(contract, store / "contract.yaml")
    for number, file in enumerate(sorted(store.iterdir())):
        (linked / file.name).symlink_to(file.rename(store / f"blob{number}"))
    assert digest_of(load_contract(linked / "contract.yaml")) == digest_of(contract)
