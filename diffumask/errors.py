"""The one error that is the user's to fix."""

LONGEST_REASON = 200  # characters


class InputError(ValueError):
    """Say in one line what was expected, what came and what to do.

    The command line prints it to stderr and exits with code 2; library callers can
    catch it as a `ValueError`.
    """


def in_one_line(told: object) -> str:
    """Return an error of a library, or its text, as the reason in a line of ours."""
    text = " ".join(str(told).split())
    return text[:LONGEST_REASON].rstrip(".") or type(told).__name__


def reason(error: BaseException) -> str:
    """Return the first line of what a library says went wrong, or of what caused that."""
    text = str(error.__cause__ or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
