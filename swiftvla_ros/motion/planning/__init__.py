# SPDX-License-Identifier: Apache-2.0
"""From a chunk's rows to a path that continues what is being commanded."""
