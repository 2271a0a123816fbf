# SPDX-License-Identifier: Apache-2.0
"""The ``swiftvla`` command line: registers one function per command, each from a module of its own.

The modules import at their top only what every machine has; torch, rclpy and MuJoCo are imported when a command runs,
so ``swiftvla --help`` and ``swiftvla check-contract`` work where those are missing.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import typer
from typer.core import TyperGroup

from swiftvla_ros.cli.output import bag_warnings, refuse
from swiftvla_ros.errors import UserError
from swiftvla_ros.extras import missing_extra


class _CommandGroup(TyperGroup):
    """Commands that tell people in a sentence what they can't use, or which extra of the installation is missing.

    Where a bag was read of which something is missing, success becomes exit code 1.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with bag_warnings() as told:
            try:
                result = self._run(ctx)
            except typer.Exit as end:
                if end.exit_code or not told.incomplete:
                    raise
                raise typer.Exit(1) from None
        if told.incomplete:
            raise typer.Exit(1)
        return result

    def _run(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            refuse(error)
        except ModuleNotFoundError as error:
            sentence = missing_extra(error)
            if sentence is None:
                raise
            refuse(sentence)


app = typer.Typer(
    cls=_CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="SwiftVLA on ROS 2: cameras, joints and a sentence in; limited, smooth joint motion out.\n\n"
    'Start with: [bold]swiftvla demo "pick up the red block"[/bold]',
)

# In the order in which a newcomer needs them: command → module of this package.
COMMANDS = {
    "demo": "demo",
    "up": "up",
    "tell": "tell",
    "teleop": "teleop",
    "panel": "panel",
    "doctor": "doctor",
    "preflight": "preflight",
    "cameras": "cameras",
    "calibrate": "calibrate",
    "check-contract": "check_contract",
    "check-demonstrations": "check_demonstrations",
    "check-motion": "check_motion",
    "demonstrate": "demonstrate",
    "record": "record",
    "replay": "replay",
    "plot": "plot",
    "view": "view",
    "eval": "evaluate",
    "benchmark": "benchmark",
    "collect": "collect",
    "pretrain-grounding": "pretrain_grounding",
    "train-geometry": "train_geometry",
    "export-lerobot": "export_lerobot",
    "teacher-targets": "teacher_targets",
    "train": "train",
    "fit-envelope": "fit_envelope",
    "fit-words": "fit_words",
    "import-word-vectors": "import_word_vectors",
    "import-smolvla": "import_smolvla",
    "import-lerobot": "import_lerobot",
    "export-lerobot-policy": "export_lerobot_policy",
    "export": "export",
    "check-deploy": "check_deploy",
    "import-geometry": "import_geometry",
    "model-info": "model_info",
}


def _reflow(text: str) -> str:
    """Join the lines of each paragraph, so that a docstring wraps where the terminal ends."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)


for _name, _module in COMMANDS.items():
    _command = importlib.import_module(f"swiftvla_ros.cli.commands.{_module}").command
    app.command(_name, help=_reflow(_command.__doc__))(_command)


if __name__ == "__main__":
    app()
