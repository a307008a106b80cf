"""The one error that is the user's to fix."""


class InputError(ValueError):
    """Say in one line what was expected, what came and what to do.

    The command line prints it to stderr and exits with code 2; library callers can
    catch it as a `ValueError`.
    """
