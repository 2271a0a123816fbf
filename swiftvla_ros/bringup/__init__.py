# SPDX-License-Identifier: Apache-2.0
"""Which processes make up a running system: one description, read by the launch files and by ``swiftvla up``."""
