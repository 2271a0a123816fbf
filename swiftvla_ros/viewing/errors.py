# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in showing a run, for people."""

from __future__ import annotations


class ViewerError(Exception):
    """A run can't be shown or written; the message says why, and what to do."""
