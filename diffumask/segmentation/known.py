"""Which networks there are to train, told without torch."""

from diffumask.errors import InputError

KNOWN = ("upernet-tiny", "segformer-tiny", "segformer-b0", "mask2former-tiny", "mask2former")


def check_network(model: str) -> None:
    """Raise InputError for what is no known network, nor the folder or hub id of one."""
    from diffumask.models import check_place

    if model in KNOWN:
        return
    try:
        check_place(model)
    except InputError:
        raise InputError(
            f"expected one of {', '.join(KNOWN)}, a folder with config.json or a hub id like "
            f"owner/name, got {model!r}"
        ) from None
