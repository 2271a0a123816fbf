# SPDX-License-Identifier: Apache-2.0
"""How commands ask for a bag, and open it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from swiftvla_ros.episodes.bags.bag import Bag

BAG_HELP = "A bag: the folder with metadata.yaml, such as runs/demo-…/bag, a folder with one bag in it, or a lone file."
NAMESPACE_HELP = "Of bags with several robots: the ROS namespace of the one that is meant; / is the root."

BagArgument = Annotated[Path, typer.Argument(help=BAG_HELP)]
BagRobotOption = Annotated[
    str | None, typer.Option(help="The robot's contract: a file or a name.", show_default="the one in the bag")
]
InstructionOption = Annotated[
    str, typer.Option(help="What was done in bags that a person drove, whatever they say themselves.")
]
NamespaceOption = Annotated[str | None, typer.Option(help=NAMESPACE_HELP, show_default="the only one")]


def open_bag(path: Path, robot: str | None, namespace: str | None) -> Bag:
    """Open the bag that a path names, with a contract where one is named; raises BagError, ContractError."""
    from swiftvla_ros.contract import load_contract
    from swiftvla_ros.episodes.bags.bag import Bag
    from swiftvla_ros.episodes.datasets.bag_folders import the_bag

    return Bag(the_bag(path), load_contract(robot) if robot else None, namespace=namespace)
