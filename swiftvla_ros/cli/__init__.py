# SPDX-License-Identifier: Apache-2.0
"""The ``swiftvla`` command: ``main`` registers what lies in ``commands``."""
