# SPDX-License-Identifier: Apache-2.0
"""A person's hand → an operator's chunks: leader arms followed and checked, jogs, gamepads and keys."""
