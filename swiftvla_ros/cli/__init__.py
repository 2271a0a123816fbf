# SPDX-License-Identifier: Apache-2.0
"""The ``swiftvla`` command: one file per command, registered in :mod:`swiftvla_ros.cli.main`."""
