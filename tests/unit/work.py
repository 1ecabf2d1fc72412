"""How much work a function does, whatever the machine."""

import sys


def calls_of(function):
    """How many calls and returns Python makes."""
    count = 0

    def noting(*_):
        nonlocal count
        count += 1

    sys.setprofile(noting)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count
