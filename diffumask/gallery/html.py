"""Pages of one file: a template, its style and its script, put together and closed to all else."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def style() -> str:
    """Read the style of the gallery, which all pages have."""
    return read("gallery.css")


def read(name: str) -> str:
    """Read a file of the gallery's page."""
    return (files("diffumask.gallery") / "page" / name).read_text("utf-8")


def fill(
    package: str, template: str, style: str, script: str = "", policy: str = "", **values: Any
) -> str:
    """Fill the template of a package, "FOLDER/NAME", with values, its style and its script.

    Whatever the values contain is shown as text: the template escapes it, and JSON has no "<". The
    policy of the page lets it load nothing, and run nothing but that script; `policy` is what it
    allows besides.
    """
    folder, _, name = template.rpartition("/")
    pages = PackageLoader(package, folder)
    environment = Environment(
        loader=pages, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # scores stay in order
    return environment.get_template(name).render(
        style=Markup(style), script=Markup(script), policy=_policy(style, script, policy), **values
    )


def _policy(style: str, script: str, more: str) -> str:
    """Allow pictures out of the page itself and its own style and script, and no network."""
    return (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        f"base-uri 'none'; form-action 'none'{more}"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
