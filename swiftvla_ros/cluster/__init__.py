# SPDX-License-Identifier: Apache-2.0
"""Work in items whose results are files: shared out to processes, shards and machines, done once, gone on with."""
