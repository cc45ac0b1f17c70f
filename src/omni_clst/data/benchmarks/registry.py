"""All benchmarks by name, found in the modules of this folder."""

import pkgutil
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from .benchmark import Benchmark


def find_benchmarks(folders: Iterable[str]) -> dict[str, Benchmark]:
    """The benchmarks that modules in the package's folders set as `BENCHMARKS`, by name, in the modules' order."""
    package = __name__.rpartition(".")[0]
    names = sorted(f"{package}.{module.name}" for module in pkgutil.iter_modules(folders))
    modules = [import_module(name) for name in names if name != __name__]
    return {benchmark.name: benchmark for module in modules for benchmark in getattr(module, "BENCHMARKS", ())}


BENCHMARKS = find_benchmarks([str(Path(__file__).parent)])
