import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"diffumask": "diffumask", "cli": "diffumask.cli", "prompts": "diffumask.prompts"}
TORCH = {"torch", "diffusers", "transformers", "accelerate"}
ARRAYS_ONLY = {
    "articles",
    "aside",
    "atomic",
    "augment.blur",
    "augment.compose",
    "augment.copy_paste",
    "augment.folder",
    "augment.occlude",
    "augment.pairs",
    "augment.perspective",
    "augment.source",
    "augment.splice",
    "calibration.cases",
    "calibration.file",
    "calibration.fit",
    "calibration.plot",
    "calibration.references",
    "checksums",
    "components",
    "cost",
    "draw",
    "errors",
    "evaluation.compare",
    "evaluation.counts",
    "evaluation.figure",
    "evaluation.file",
    "evaluation.report",
    "extra",
    "formats",
    "gallery",
    "inside",
    "item_check",
    "item_record",
    "json_kinds",
    "labelled",
    "left_out",
    "lock",
    "lora.captioned",
    "lora.file",
    "maps",
    "masks",
    "merge",
    "metrics",
    "noise.admission",
    "noise.by_hand",
    "noise.cutoffs",
    "noise.folds",
    "noise.gates",
    "noise.items",
    "noise.page",
    "noise.quality",
    "noise.trial",
    "noise.verdicts",
    "noise.view",
    "partial",
    "parts",
    "picture_files",
    "plan",
    "records",
    "remote",
    "run_record",
    "scenes",
    "scores",
    "seeds",
    "segmentator.labels",
    "shards",
    "source_name",
    "sources",
    "store",
    "thresholds",
    "types",
    "unary",
    "verify",
}


def module_name(path: Path) -> str:
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *rest]).removesuffix(".__init__")


@cache
def sources() -> dict[str, Path]:
    return {module_name(path): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def imported(module: str) -> Iterator[str]:
    """Everything a module names in an import, wherever the statement stands."""
    path = sources()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join([*parents, *filter(None, [node.module])]) if node.level else node.module
            yield from (f"{base}.{alias.name}" for alias in node.names)


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
    assert "torch" in {name.partition(".")[0] for name in imported("diffumask.sample")}


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_point_one_way(module):
    used = {layer(name) for name in our_imports(module)} - {"diffumask"}
    if layer(module) == "prompts":
        assert used <= {"prompts", "types", "errors", "articles"}
    elif layer(module) != "cli":
        assert not used & {"prompts", "cli"}
    if layer(module) not in {"pipeline", "cluster", "cli"}:
        assert "pipeline" not in used
    if layer(module) in {"types", "errors", "seeds"}:
        assert not used


def test_no_module_imports_itself_round_a_corner():
    graph = {module: our_imports(module) for module in sources()}
    for module in list(graph):  # `from package import module` names the package too
        graph[module] = {name for name in graph[module] if not module.startswith(f"{name}.")}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("module", sorted(sources()))
def test_what_is_installed_looks_for_no_folder_of_the_checkout(module):
    tree = ast.parse(sources()[module].read_text("utf-8"))
    prose = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    named = {str(node.value) for node in names if node not in prose}
    assert not {name for name in named if name.partition("/")[0] in {"benchmarks", "tests"}}


@pytest.mark.parametrize("module", sorted(sources()))
def test_array_modules_know_no_torch(module):
    names = {layer(module), module.removeprefix("diffumask.")}
    if names & {*ARRAYS_ONLY, "prompts"}:
        assert not {name.partition(".")[0] for name in imported(module)} & TORCH


@pytest.mark.parametrize("module", sorted(sources()))
def test_the_library_has_no_user_interface(module):
    if layer(module) != "cli":
        assert not {name.partition(".")[0] for name in imported(module)} & {"typer", "rich"}


@pytest.mark.parametrize("module", sorted(sources()))
def test_only_models_loads_checkpoints(module):
    loads = ".from_pretrained(" in sources()[module].read_text("utf-8")
    assert not loads or layer(module) in {"models", "tiny"}


@pytest.mark.parametrize("module", sorted(sources()))
def test_folders_go_by_their_installed_names(module):
    roots = {name.partition(".")[0] for name in imported(module)}
    assert not roots & {"cli", "prompts"}
