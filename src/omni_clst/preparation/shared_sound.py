"""Find clips that share sound, whatever their names: the same clip, one cut from another, or similar ones.

Candidate pairs come from fingerprints and landmarks; the comparison of their waveforms (`agreement`) decides.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .clips import Inspection
from .comparisons import Clip, Comparisons
from .fingerprints import find_alike
from .landmarks import candidate_pairs
from .splits import connected

Pairs = Iterable[tuple[int, int]]


@dataclass(frozen=True)
class SharedSound:
    """The sound that a set's clips share with each other and with clips of benchmarks; all dicts are by path.

    `first_name` has every clip of the set: the first path among equal clips, which replaces it. `together` is the number of
    the group that must be in one split: equal clips, and clips cut from one another. The others have only the clips
    concerned: `in_benchmark` the benchmark's row with the same clip, `contained` clips that it is a part of or contains,
    `with_benchmark` such clips of a benchmark, `alike` clips that sound alike but differ.
    """

    first_name: dict[str, str]
    together: dict[str, int]
    in_benchmark: dict[str, str]
    contained: dict[str, list[str]]
    with_benchmark: dict[str, list[str]]
    alike: dict[str, list[str]]


def find_shared_sound(
    clips: dict[str, Inspection],
    benchmark_clips: dict[str, Inspection],
    benchmark_names: dict[str, str],
    comparisons: Comparisons,
) -> SharedSound:
    """Compare the clips of a set with each other and with those of benchmarks; `benchmark_names` has the latter's rows."""
    inspections = benchmark_clips | clips
    paths_of_hash: dict[str, list[str]] = defaultdict(list)
    for path in (*benchmark_clips, *(path for path in clips if path not in benchmark_clips)):
        if inspections[path].format:  # else it cannot be decoded
            paths_of_hash[inspections[path].sha256].append(path)
    contents = list(paths_of_hash.values())
    firsts = [inspections[paths[0]] for paths in contents]
    pairs, alike = _candidates(firsts)
    files = [Clip(paths[0], first.sha256) for paths, first in zip(contents, firsts, strict=True)]
    relations = dict(zip(pairs, comparisons.relations([(files[a], files[b]) for a, b in pairs]), strict=True))
    contained = [pair for pair in pairs if relations[pair] == "contained"]
    same = _groups(len(contents), [pair for pair in pairs if relations[pair] == "same"])
    together = _groups(len(contents), [pair for pair in pairs if relations[pair]])
    of_group: dict[int, list[str]] = defaultdict(list)
    for group, paths in zip(same, contents, strict=True):
        of_group[group] += paths
    first_name, in_benchmark = _names(of_group, clips, benchmark_clips, benchmark_names)
    only_alike = [pair for pair in alike if relations[pair] is None]

    def partners(pairs: Pairs, names: Mapping[str, str]) -> dict[str, list[str]]:
        listed = _partners(((same[a], same[b]) for a, b in pairs), of_group, names)
        return {path: others for path, others in listed.items() if path in clips}

    return SharedSound(
        first_name,
        {path: group for group, paths in zip(together, contents, strict=True) for path in paths},
        in_benchmark,
        contained=partners(contained, first_name),
        with_benchmark=partners(contained, benchmark_names),
        alike=partners(only_alike, benchmark_names | first_name),
    )


def _candidates(clips: list[Inspection]) -> tuple[list[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs to compare, and those of them whose fingerprints are alike."""
    levels = {index: clip.levels for index, clip in enumerate(clips)}
    indices = [index for index, of_clip in levels.items() if of_clip is not None]
    near = find_alike((clips[index].seconds, levels[index]) for index in indices)
    alike = {(indices[a], indices[b]) for a, b in near}
    return sorted(alike.union(candidate_pairs([clip.constellations for clip in clips]))), alike


def _groups(count: int, pairs: Pairs) -> list[int]:
    """For every clip the number of its group: the connected components of the pairs."""
    links: list[list] = [[] for _ in range(count)]
    for pair in pairs:
        for index in pair:
            links[index].append(pair)
    return connected(links)


def _names(
    of_group: dict[int, list[str]], clips: Mapping, benchmark_clips: Mapping, benchmark_names: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """For every clip of the set the first path of its group, and for those that are in a benchmark the row there."""
    first_name, in_benchmark = {path: path for path in clips}, {}
    for paths in of_group.values():
        of_set = sorted(path for path in paths if path in clips)
        first_name |= {path: of_set[0] for path in of_set}
        of_benchmark = next((path for path in paths if path in benchmark_clips), None)
        if of_benchmark is not None:
            in_benchmark |= {path: benchmark_names[of_benchmark] for path in of_set}
    return first_name, in_benchmark


def _partners(pairs: Pairs, of_group: dict[int, list[str]], names: Mapping[str, str]) -> dict[str, list[str]]:
    """For the clips of every group in a pair the names of the other group's clips, if they have one."""
    partners: dict[int, set[int]] = defaultdict(set)
    for first, second in pairs:
        if first != second:
            partners[first].add(second)
            partners[second].add(first)
    listed = {}
    for group, others in partners.items():
        of_others = sorted({names[path] for other in others for path in of_group[other] if path in names})
        listed |= {path: of_others for path in of_group[group] if of_others}
    return listed
