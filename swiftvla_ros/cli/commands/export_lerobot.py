# SPDX-License-Identifier: Apache-2.0
"""``swiftvla export-lerobot``: recorded episodes as a LeRobotDataset v3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftvla_ros.cli.bags import InstructionOption, NamespaceOption
from swiftvla_ros.cli.output import JsonOption, refuse, write_json
from swiftvla_ros.cli.sharing import ClusterOption, ShardOption, WorkersOption, make_runner
from swiftvla_ros.resources import DEFAULT_ROBOT, model_path

if TYPE_CHECKING:
    from swiftvla_ros.contract import Contract
    from swiftvla_ros.episodes.bags.episode_markers import Outcome
    from swiftvla_ros.episodes.datasets.lerobot_video import Codec
    from swiftvla_ros.training.importers.lerobot_columns import TrainingColumns

_OUTCOMES: tuple[Outcome, ...] = ("succeeded", "failed", "canceled", "unknown")


def command(
    bags: Annotated[
        Path, typer.Argument(help="A bag, a lone file of one, or a folder with bags or `swiftvla collect`'s episodes.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the dataset to write; must not exist yet.")],
    robot: Annotated[str, typer.Option(help="Contract: a shipped name or a YAML file.")] = DEFAULT_ROBOT,
    namespace: NamespaceOption = None,
    instruction: InstructionOption = "",
    outcomes: Annotated[
        str, typer.Option(help=f"How an episode must have ended; any of {','.join(_OUTCOMES)}.")
    ] = "succeeded",
    codec: Annotated[str, typer.Option(help="Of the videos: h264 or av1.")] = "h264",
    crf: Annotated[int, typer.Option(min=0, max=63, help="Loss of the videos; 0 is the least.")] = 18,
    labels_for: Annotated[
        Path | None,
        typer.Option(
            metavar="CHECKPOINT",
            help="Add what training this checkpoint's network reads beside: which rows to imitate, and keypoints.",
        ),
    ] = None,
    teacher_targets: Annotated[
        Path | None,
        typer.Option(
            help="Add the episodes' 4D features (`swiftvla teacher-targets`), for stage 2; with --labels-for."
        ),
    ] = None,
    workers: WorkersOption = 0,
    shard: ShardOption = "1/1",
    cluster: ClusterOption = None,
    json_file: JsonOption = None,
) -> None:
    """Write recorded episodes as a LeRobotDataset v3 that LeRobot loads.

    Frames are at the contract's policy.step_s and show nothing of their future: each has the newest images and joint
    states of its time, as the policy had them, and the position that the executor commanded then. Names and units are
    those of the contract's `lerobot:` section. Episodes that failed are left out, or told apart by the column
    `outcome` of meta/episodes where --outcomes asks for them.

    A bag that can't be read is named at the end; the others are written, and the exit code is 1.

    Training needs no export: swiftvla train BAGS OUT reads the bags themselves. For lerobot-train
    --policy.type=swiftvla, --labels-for adds columns named swiftvla.* (docs/lerobot.md).
    """
    from swiftvla_ros.contract import load_robot
    from swiftvla_ros.episodes.datasets.bag_listing import open_bags
    from swiftvla_ros.episodes.datasets.finder import EpisodeFolder
    from swiftvla_ros.episodes.datasets.lerobot_part import PartWriter
    from swiftvla_ros.episodes.datasets.lerobot_writer import export_lerobot
    from swiftvla_ros.episodes.datasets.sources import EpisodeHandle, StoredEpisode

    wanted: list[Outcome] = [known for known in _OUTCOMES if known in outcomes.split(",")]
    if unknown := sorted(set(outcomes.split(",")) - set(wanted)):
        refuse(f"--outcomes {','.join(unknown)}: write any of {','.join(_OUTCOMES)}")
    encoder: Codec = "av1" if codec == "av1" else "h264"
    if encoder != codec:
        refuse(f"--codec {codec}: write h264 or av1")
    contract = load_robot(robot)
    if out.exists():
        refuse(f"{out}: exists already; choose another folder, datasets are never overwritten")
    if teacher_targets is not None and labels_for is None:
        refuse("--teacher-targets: these are columns of a network's training; write --labels-for with its checkpoint")
    extra = None if labels_for is None else _columns(contract, labels_for, teacher_targets)
    runner = make_runner(workers, shard, cluster, out.parent)
    source = EpisodeFolder(bags, contract, namespace, instruction, tuple(wanted))
    try:
        stored = [StoredEpisode(path, contract) for path in sorted(bags.glob("episode_*.safetensors"))]
        listed = open_bags(bags, contract, wanted, namespace=namespace, instruction=instruction)
        episodes: list[EpisodeHandle] = [*stored, *listed.episodes]
        if not episodes:
            raise listed.none_left(bags, wanted)
        done = export_lerobot(episodes, source, out, PartWriter(contract, encoder, crf, extra), runner)
    except KeyboardInterrupt:
        print(f"interrupted; {out} was not written, and the same command goes on")
        raise typer.Exit(130) from None
    if done is None:
        print(f"part {shard} is done; when all parts are, the same command without --shard writes {out}")
        return
    left_out = [*listed.left_out, *done.left_out]
    for line in left_out:
        print(f"left out: {line}")
    print(f"{out}: {done.episodes} episodes, {done.frames} frames")
    write_json(
        json_file,
        {
            "out": str(out),
            "episodes": done.episodes,
            "frames": done.frames,
            "left_out": left_out,
            "not_read": listed.problems,
        },
    )
    if listed.problems:
        for line in listed.problems:
            typer.secho(f"not read: {line}", fg="red", err=True)
        raise typer.Exit(1)


def _columns(contract: Contract, checkpoint: Path, targets: Path | None) -> TrainingColumns:
    from swiftvla_ros.episodes.teacher.targets import TeacherTargets
    from swiftvla_ros.training.checkpoint_writer import read_config
    from swiftvla_ros.training.importers.lerobot_columns import TrainingColumns

    opened = None if targets is None else TeacherTargets.open(targets)
    return TrainingColumns(contract, read_config(model_path(checkpoint)), opened)
