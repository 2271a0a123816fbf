# SPDX-License-Identifier: Apache-2.0
"""What people gave and can't be used, as one kind of error: whoever talks to people shows it without a traceback."""


class UserError(Exception):
    """The base of what every room raises of its inputs; the text names what is wrong, and what to do instead."""
