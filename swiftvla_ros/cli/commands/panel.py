# SPDX-License-Identifier: Apache-2.0
"""``swiftvla panel``: the operator's page beside a running system."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from swiftvla_ros.bringup.system_options import SystemOptions
from swiftvla_ros.cli.output import refuse
from swiftvla_ros.cli.system_flags import with_system_flags
from swiftvla_ros.extras import need
from swiftvla_ros.panel.access import PageAddress, read_token


@with_system_flags("robot", "namespace", "panel_address")
def command(
    token_file: Annotated[
        Path | None, typer.Option(help="File (mode 600) with the token that a browser must show, instead of a new one.")
    ] = None,
    **system: Any,
) -> None:
    """Serve the operator's page of a running system: see, command and stop it from a browser.

    It is served to this machine alone, http://127.0.0.1:8710. For a phone or another machine name an address of this
    one: then a token is asked for, which is printed once with the page's URL.

    One page at a time holds the controls; the emergency stop works from every page. Ctrl-C ends the page, not the
    system. `swiftvla up --panel` starts both.

    Example: swiftvla panel --robot my_arm.yaml --panel-address 0.0.0.0:8710
    """
    from swiftvla_ros.bringup.processes import describe_panel, transport_environment
    from swiftvla_ros.bringup.supervisor import Supervisor

    need("aiohttp", "rclpy")
    try:
        PageAddress.parse(system["panel_address"])
        if token_file is not None:
            read_token(token_file)
    except (ValueError, OSError) as error:
        refuse(error)
    page = describe_panel(SystemOptions(**system), token_file)
    supervisor = Supervisor([page], environment=transport_environment())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.request_stop())
    raise typer.Exit(supervisor.run())
