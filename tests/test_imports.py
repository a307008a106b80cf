import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"diffumask": "diffumask", "cli": "diffumask.cli", "prompts": "diffumask.prompts"}
TORCH = {"torch", "diffusers", "transformers", "accelerate"}
SHARED = {"types", "errors", "seeds", "articles", "extra", "notices", "on_demand", "cores", "heap"}
PROGRAMS = {"cli", "__main__"}  # what a shell calls, which nothing imports
ABOVE = {*PROGRAMS, "api", "diffumask"}  # they may import every room


@cache
def rooms() -> dict[str, tuple[set[str], set[str]]]:
    """What each room may import, and which of its modules torch, by docs/architecture.md."""
    lines = (ROOT / "docs/architecture.md").read_text("utf-8").splitlines()
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:3] == "| `"
    ]
    return {
        name.strip("`"): (set(re.findall(r"[\w.]+", imports)), set(re.findall(r"[\w.]+", torch)))
        for name, _, imports, torch in cells
    }


def module_name(path: Path) -> str:
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *rest]).removesuffix(".__init__")


@cache
def sources() -> dict[str, Path]:
    return {module_name(path): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


@cache
def nodes(module: str) -> list[ast.AST]:
    """The syntax tree of a module, node by node."""
    return list(ast.walk(ast.parse(sources()[module].read_text("utf-8"))))


def names_of_imports(module: str) -> Iterator[str]:
    path = sources()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in nodes(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*parents, *filter(None, [node.module])]) if node.level else node.module
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def imported(module: str) -> set[str]:
    """Everything a module names in an import, wherever the statement stands."""
    return set(names_of_imports(module))


@cache
def our_imports(module: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = {n if n in sources() else n.rpartition(".")[0] for n in imported(module)}
    return {name for name in found if name in sources()} - {module}


def layer(module: str) -> str:
    """The name after `diffumask.`; "cli" and "prompts" for all that is in them."""
    return module.removeprefix("diffumask.").partition(".")[0]


def test_all_three_folders_are_read():
    assert {"diffumask.types", "diffumask.cli.app", "diffumask.prompts.build"} <= set(sources())
    assert "diffumask.types" in our_imports("diffumask.prompts.build")
    assert "diffumask.prompts.vocabulary" in our_imports("diffumask.prompts.build")
    assert "torch" in {name.partition(".")[0] for name in imported("diffumask.sampling.sample")}


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_room_imports_what_its_line_in_the_docs_allows(module):
    room = layer(module)
    used = {layer(name) for name in our_imports(module)} - {"diffumask", room}
    if room in SHARED:
        assert used <= SHARED
    elif room not in ABOVE:
        assert used <= rooms()[room][0] | SHARED
    elif room not in PROGRAMS:
        assert "cli" not in used


def test_each_room_has_its_line_and_uses_what_that_allows():
    used: dict[str, set[str]] = {room: set() for room in rooms()}
    for module in sources():
        if layer(module) not in SHARED | ABOVE:
            used[layer(module)] |= {layer(name) for name in our_imports(module)}
    for room, (allowed, _) in rooms().items():
        assert allowed == used[room] - SHARED - {"diffumask", room}, room


def test_every_folder_of_modules_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    folders = {name for name, path in sources().items() if path.name == "__init__.py"}
    assert folders == set(project["tool"]["setuptools"]["packages"])


def test_rooms_have_an_order():
    TopologicalSorter({room: allowed for room, (allowed, _) in rooms().items()}).prepare()


def test_no_module_imports_itself_round_a_corner():
    graph = {module: our_imports(module) for module in sources()}
    for module in list(graph):  # `from package import module` names the package too
        graph[module] = {name for name in graph[module] if not module.startswith(f"{name}.")}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", sorted(sources()))
def test_what_is_installed_looks_for_no_folder_of_the_checkout(module):
    prose = {node.value for node in nodes(module) if isinstance(node, ast.Expr)}
    names = [node for node in nodes(module) if isinstance(node, ast.Constant)]
    named = {str(node.value) for node in names if node not in prose}
    assert not {name for name in named if name.partition("/")[0] in {"benchmarks", "tests"}}


@pytest.mark.parametrize("module", sorted(sources()))
def test_torch_is_where_the_docs_allow_it(module):
    room, name = layer(module), module.removeprefix("diffumask.").partition(".")[2]
    allowed = {"all"} if room in ABOVE else rooms().get(room, ("", {"none"}))[1]
    if not allowed & {"all", name}:
        assert not {name.partition(".")[0] for name in imported(module)} & TORCH


@pytest.mark.parametrize("module", sorted(sources()))
def test_the_library_has_no_user_interface(module):
    if layer(module) != "cli" and module != "diffumask.api.display":
        assert not {name.partition(".")[0] for name in imported(module)} & {"typer", "rich"}


@pytest.mark.parametrize("module", sorted(sources()))
def test_only_models_loads_checkpoints(module):
    loads = ".from_pretrained(" in sources()[module].read_text("utf-8")
    assert not loads or layer(module) in {"models", "tiny"}


@pytest.mark.parametrize("module", sorted(sources()))
def test_folders_go_by_their_installed_names(module):
    roots = {name.partition(".")[0] for name in imported(module)}
    assert not roots & {"cli", "prompts"}
