# SPDX-License-Identifier: Apache-2.0
"""Bags are found wherever they lie in a folder, and what can't be read is named (report A4)."""

import os
from pathlib import Path

import pytest

from swiftvla_ros.episodes.bags.message_types import BagError
from swiftvla_ros.episodes.datasets.bag_folders import bag_labels, find_bags, the_bag

METADATA = "rosbag2_bagfile_information: {}\n"


def make(root: Path, *files: str) -> Path:
    """Write files; those called metadata.yaml are rosbag2's."""
    for name in files:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(METADATA if file.name == "metadata.yaml" else "")
    return root


def found(root: Path) -> list[str]:
    """Name the bags below a folder."""
    return [str(bag.relative_to(root)) for bag in find_bags(root).bags]


def test_every_kind_of_bag_is_found(tmp_path: Path) -> None:
    """Protects from silent skips: packed files, lone files, deep folders, links, and what lost its files."""
    root = make(
        tmp_path / "bags", "packed/x_0.db3.zstd", "packed/metadata.yaml", "killed/killed.mcap", "lost/metadata.yaml",
        "split/run_0.mcap", "split/run_1.mcap", "lone.mcap", "other.db3", "a/b/c/d/e/deep.mcap", "notes/readme.txt",
        "bag/metadata.yaml", "bag/bag.mcap", "bag/inner/inner.mcap",
    )  # fmt: skip
    make(tmp_path / "elsewhere", "metadata.yaml", "far.mcap")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "file.mcap").symlink_to(tmp_path / "elsewhere" / "far.mcap")
    assert found(root) == [
        "a/b/c/d/e", "bag", "bag/inner", "file.mcap", "killed", "linked", "lone.mcap", "lost", "other.db3", "packed",
        "split",
    ]  # fmt: skip
    assert not find_bags(root).problems
    assert bag_labels(root, find_bags(root).bags)[3] == "file"
    assert found(root / "bag" / "inner") == ["."]


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    """Protects from reading for ever, or twice: a second way to a folder is told."""
    root = make(tmp_path / "bags", "run/run.mcap")
    (root / "again").symlink_to(root / "run")
    (root / "run" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    assert found(root) == ["again"]
    assert len(find_bags(root).notes) == 2
    assert find_bags(root).problems == [
        f"{root}/self: is a link to nothing; restore what it leads to, or delete the link"
    ]


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from less data than there is: closed folders, broken links, ROS 1, and data of another kind."""
    root = make(tmp_path / "bags", "run/run.mcap", "old.bag", "data/meta/info.json", "closed/x.mcap")
    (root / "gone").symlink_to(root / "nowhere")
    listed = Path.iterdir
    # As root, which no permission keeps out, tests can't close a folder.
    monkeypatch.setattr(Path, "iterdir", lambda p: _closed(p) if p.name == "closed" else listed(p))
    told = find_bags(root)
    assert [bag.name for bag in told.bags] == ["run"]
    assert [line.split(": ")[0] for line in told.problems] == [f"{root}/{n}" for n in ("gone", "old.bag", "closed")]
    assert told.notes == [f"{root}/data: holds episodes that are no bags; name it by itself to read them"]


def _closed(path: Path) -> list[Path]:
    raise PermissionError(13, os.strerror(13), str(path))


def test_one_bag_is_taken_from_a_folder(tmp_path: Path) -> None:
    """Protects plot, view, replay and check-motion: they take what export takes, if it is one bag (report A12)."""
    root = make(tmp_path / "run", "bag/bag.mcap", "log/policy.txt")
    assert the_bag(root) == root / "bag"
    assert the_bag(root / "bag") == root / "bag"
    assert the_bag(root / "bag" / "bag.mcap") == root / "bag" / "bag.mcap"
    assert the_bag(tmp_path / "none") == tmp_path / "none"
    make(root, "second/second.mcap")
    with pytest.raises(BagError, match=r"holds 2 bags; name one of them: bag, second"):
        the_bag(root)
