"""The layers of packages: no module imports from a layer above, not even inside a function."""

import ast
from collections.abc import Iterator
from pathlib import Path

from omni_clst.settings import REPOSITORY

PACKAGE = REPOSITORY / "src" / "omni_clst"
FLOORS = (  # modules of the package itself are the ground
    {"data"},
    {"model", "method"},
    {"preparation", "answering", "training", "report", "demo"},
    {"grpo", "scoring"},
    {"export"},
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = path.relative_to(PACKAGE).parent.parts
            base = above[: len(above) - node.level + 1]
            target = ".".join([*base, *(node.module.split(".") if node.module else [])])
            is_package = not target or (PACKAGE / target.replace(".", "/")).is_dir()
            yield from (f"{target}.{alias.name}".strip(".") for alias in node.names) if is_package else [target]
        assert not (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("omni_clst")), path


def floor_of(module: str) -> int:
    package = module.split(".")[0]
    return next((number for number, packages in enumerate(FLOORS, 1) if package in packages), 0)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
IMPORTS = {module_of(path): set(imports_of(path)) for path in FILES}


def test_every_package_has_its_floor():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set().union(*FLOORS)
    assert len(list(PACKAGE.glob("*.py"))) <= 10


def test_no_module_imports_upward_or_from_a_neighbour_of_the_same_floor():
    wrong = [
        f"{module} -> {target}"
        for module, targets in IMPORTS.items()
        for target in targets
        if floor_of(target) > floor_of(module)
        or (0 < floor_of(target) == floor_of(module) and target.split(".")[0] != module.split(".")[0])
    ]
    assert wrong == []


def test_imports_have_no_cycle():
    def below(module: str, seen: set[str]) -> set[str]:
        for target in IMPORTS.get(module, set()) - seen:
            seen.add(target)
            below(target, seen)
        return seen

    assert [module for module in IMPORTS if module in below(module, set())] == []


def test_method_and_ground_floor_need_no_torch():
    """Heavy imports at the top of a module cost every command that touches it seconds."""
    for path in [*PACKAGE.glob("*.py"), *(PACKAGE / "method").glob("*.py")]:
        top = [
            node
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        names = {alias.name.split(".")[0] for node in top for alias in node.names if isinstance(node, ast.Import)}
        names |= {(node.module or "").split(".")[0] for node in top if isinstance(node, ast.ImportFrom) and not node.level}
        assert not names & {"torch", "transformers", "trl", "peft", "accelerate", "deepspeed"}, path


def test_packages_open_with_one_docstring():
    for path in PACKAGE.rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, path
        assert isinstance(body[0], ast.Expr) and isinstance(body[0].value.value, str), path


def test_no_file_is_too_long():
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 350} == {}
