# SPDX-License-Identifier: Apache-2.0
"""What a deployment chooses, described once: launch arguments, ``swiftvla up`` and docs/system.md are made from it.

A new option is a field here and its use in :mod:`swiftvla_ros.bringup.processes`.
"""
# ruff: noqa: RUF009 - option() is dataclasses.field

from __future__ import annotations

import types
from collections.abc import Collection
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from swiftvla_ros.resources import DEFAULT_CHECKPOINT, DEFAULT_ROBOT
from swiftvla_ros.runtime_registry import RUNTIMES, devices


def option(
    default: Any, text: str, *, page: str = "", metavar: str | None = None, choices: tuple[str, ...] = ()
) -> Any:
    """Describe a field: its default, what it does, the page of docs/ that tells more, and how a value is written."""
    return field(default=default, metadata={"help": text, "page": page, "metavar": metavar, "choices": choices})


@dataclass(frozen=True)
class SystemOptions:
    """The choices of a system of policy, executor, sensors and what watches them."""

    robot: str = option(DEFAULT_ROBOT, "The robot's contract: a YAML file, or the name of a shipped one.")
    checkpoint: str = option(
        DEFAULT_CHECKPOINT,
        "The policy's checkpoint folder; empty: none, where only people, or LeRobot, move the arm.",
    )
    policy_from: Path | None = option(
        None, "Play the chunks of this bag instead of a checkpoint's: a graph without weights.", metavar="BAG"
    )
    runtime: str = option(
        "auto",
        "What computes the policy; auto takes the best that can run the checkpoint here, and the node says which.",
        page="performance.md",
        choices=("auto", *RUNTIMES),
    )
    device: str = option(
        "auto", "Where the policy computes; cuda without a GPU is refused.", choices=("auto", *devices())
    )
    namespace: str = option(
        "", "ROS namespace of all nodes, for two arms on one network; a contract's absolute topics stay what they are."
    )
    sim: bool = option(False, "Start the simulated robot, too.")
    loopback: bool = option(False, "Start an arm that is where it is told to be, with moving grey pictures, too.")
    drivers: bool = option(
        False, "Start this package's own drivers of what the contract's `drivers` names, too.", page="so101.md"
    )
    emulated_bus: bool = option(
        False,
        "Start those drivers on emulated servos, follower and leader, with grey pictures for cameras without a film.",
        page="so101.md",
    )
    shadow: bool = option(False, "Command nothing; publish what would be.")
    seed: int = option(0, "The simulated robot's first scene.")
    scene: str = option(
        "table", "What the simulated robot's scenes are variants of: table, stands, tableware or sizes."
    )
    record: Path | None = option(None, "Record everything into this new folder, a bag.", page="recording.md")
    black_box: Path | None = option(
        None, "Write the last 30 s into this folder on a fault, a stop or a take-over.", page="recording.md"
    )
    geometry: bool = option(False, "Start the 4D transformer beside the policy, too.", page="geometry.md")
    targets: Path | None = option(
        None, "Start the 4D transformer, too, and write its teacher targets into this folder.", page="geometry.md"
    )
    teleop: str = option(
        "off",
        "Start the node by which a person moves the arm, by a `leader` arm or by a `jog` (`swiftvla teleop`)",
        page="teleoperation.md",
        choices=("off", "leader", "jog"),
    )
    preflight: bool = option(
        False,
        "Start the node that looks at everything before the arm moves, too; so does `control.require_preflight`",
        page="preflight.md",
    )
    panel: bool = option(False, "Serve the operator's page, too.", page="panel.md")
    panel_address: str = option(
        "127.0.0.1:8710",
        "Where the page is served; beyond this machine it asks for a token, which is printed.",
        page="panel.md",
        metavar="IP:PORT",
    )
    monitors: str = option(
        "",
        "Start these nodes, too, which only watch: names with commas. Their end doesn't end the system.",
        metavar="NODES",
    )


@dataclass(frozen=True)
class ReplayOptions:
    """The choices of a bag that is played into the graph."""

    bag: Path = option(MISSING, "Folder of the bag to play.", page="replay.md")
    robot: str = option("", "The robot's contract, for a bag without one: a YAML file, or the name of a shipped one.")
    namespace: str = option("", "ROS namespace of the node, and of the robot that is played of a bag with several.")
    rate: float = option(1.0, "How many times as fast as recorded.")
    loop: bool = option(False, "Play again and again.")
    sensors: str = option("auto", "raw (the drivers' topics), conditioned or auto.")


@dataclass(frozen=True)
class Option:
    """One field of a description, for whoever asks people for its value.

    A ``default`` of None chooses nothing, ``MISSING`` must be given; ``kind`` is the type of a value that is not None,
    ``choices`` are the only values, where there are some.
    """

    name: str
    default: Any
    help: str
    page: str
    metavar: str | None
    kind: type
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """Its name on a command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def default_text(self) -> str | None:
        """The default as people write it; None: it must be given."""
        if self.default is MISSING:
            return None
        return str(self.default).lower() if self.kind is bool else "" if self.default is None else str(self.default)

    def parse(self, text: str) -> Any:
        """Return the value that people wrote as ``text``; empty means nothing for a file."""
        if self.kind is bool:
            return text.lower() in ("true", "1")
        if self.kind is Path:
            return Path(text) if text else None
        try:
            return self.kind(text)
        except ValueError as error:
            raise ValueError(f"{self.name}: '{text}' is no {self.kind.__name__}") from error


def options_of(description: type, only: Collection[str] = ()) -> list[Option]:
    """List the options of a description, or ``only`` some of them, in its order."""
    types_of = get_type_hints(description)
    found = []
    for each in fields(description):
        if not only or each.name in only:
            kind = types_of[each.name]
            kind = get_args(kind)[0] if isinstance(kind, types.UnionType) else kind
            found.append(Option(each.name, each.default, kind=kind, **each.metadata))
    return found


def options_table(description: type) -> str:
    """Write the options as the table of docs/system.md."""
    lines = ["| argument of `policy.launch.py` | option of `swiftvla up` | default | |", "|---|---|---|---|"]
    for each in options_of(description):
        value = "true" if each.kind is bool else each.metavar or ("FOLDER" if each.kind is Path else "")
        default = "off" if each.kind is bool else f"`{each.default_text}`" if each.default_text else ""
        more = f" ([{each.page}]({each.page}))" if each.page else ""
        # A page that is named tells what there is to choose from.
        choices = f": {', '.join(f'`{c}`' for c in each.choices)}" if each.choices and not each.page else ""
        text = each.help.removesuffix(".") + choices + more
        lines.append(f"| `{each.name}:={value}` | `{each.flag}` | {default} | {text} |".replace("|  |", "| |"))
    return "\n".join(lines)


if __name__ == "__main__":
    print(options_table(SystemOptions))
