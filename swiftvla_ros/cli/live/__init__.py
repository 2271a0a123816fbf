# SPDX-License-Identifier: Apache-2.0
"""Commands' side of a live graph."""
