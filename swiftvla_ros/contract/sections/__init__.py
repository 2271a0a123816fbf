# SPDX-License-Identifier: Apache-2.0
"""Sections of a contract that not every robot has."""
