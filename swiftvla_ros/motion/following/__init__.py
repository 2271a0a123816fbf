# SPDX-License-Identifier: Apache-2.0
"""Along a path, inside limits, tick by tick, and to a stop."""
