"""What clips have in common by their sound, whatever their names: the same under several, cut out of one another, alike.

Candidates meet by fingerprints and landmarks; what they have in common is told by their waveforms (`agreement`).
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
    """What a set's clips have in common with each other and with a benchmark's.

    `first_name` has every clip of the set: the name that it goes by, its own unless it is the same as another. `together`
    is the number of its group that splits keep on one side: the same, or cut out of one another. The others have only
    clips that they concern: `in_benchmark` the name that it has there, `contained` clips that it is a part of or that it
    holds, `with_benchmark` those of a benchmark, `alike` those that sound alike and are different.
    """

    first_name: dict[str, str]
    together: dict[str, int]
    in_benchmark: dict[str, str]
    contained: dict[str, list[str]]
    with_benchmark: dict[str, list[str]]
    alike: dict[str, list[str]]


def find_shared_sound(
    own: dict[str, Inspection], theirs: dict[str, Inspection], names: dict[str, str], comparisons: Comparisons
) -> SharedSound:
    """Compare the clips of a set with each other and with `theirs`, which `names` names."""
    found = theirs | own
    of_bytes: dict[str, list[str]] = defaultdict(list)
    for path in (*theirs, *(path for path in own if path not in theirs)):
        if found[path].format:  # else it cannot be decoded
            of_bytes[found[path].sha256].append(path)
    contents = list(of_bytes.values())
    firsts = [found[paths[0]] for paths in contents]
    pairs, alike = _candidates(firsts)
    clips = [Clip(paths[0], one.sha256) for paths, one in zip(contents, firsts, strict=True)]
    relations = dict(zip(pairs, comparisons.relations([(clips[a], clips[b]) for a, b in pairs]), strict=True))
    contained = [pair for pair in pairs if relations[pair] == "contained"]
    same = _groups(len(contents), [pair for pair in pairs if relations[pair] == "same"])
    together = _groups(len(contents), [pair for pair in pairs if relations[pair]])
    of_group: dict[int, list[str]] = defaultdict(list)
    for group, paths in zip(same, contents, strict=True):
        of_group[group] += paths
    first_name, in_benchmark = _names(of_group, own, theirs, names)
    only_alike = [pair for pair in alike if relations[pair] is None]

    def partners(pairs: Pairs, called: Mapping[str, str]) -> dict[str, list[str]]:
        listed = _partners(((same[a], same[b]) for a, b in pairs), of_group, called)
        return {path: others for path, others in listed.items() if path in own}

    return SharedSound(
        first_name,
        {path: group for group, paths in zip(together, contents, strict=True) for path in paths},
        in_benchmark,
        contained=partners(contained, first_name),
        with_benchmark=partners(contained, names),
        alike=partners(only_alike, names | first_name),
    )


def _candidates(clips: list[Inspection]) -> tuple[list[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs to be compared, and those of them that sound alike from their beginnings."""
    telling = [place for place, clip in enumerate(clips) if clip.levels is not None]
    near = find_alike((clips[place].seconds, clips[place].levels) for place in telling)
    alike = {(telling[a], telling[b]) for a, b in near}
    return sorted(alike.union(candidate_pairs([clip.constellations for clip in clips]))), alike


def _groups(count: int, pairs: Pairs) -> list[int]:
    """For every clip the number of its group: what the pairs join, also through others."""
    links: list[list] = [[] for _ in range(count)]
    for pair in pairs:
        for place in pair:
            links[place].append(pair)
    return connected(links)


def _names(
    of_group: dict[int, list[str]], own: Mapping, theirs: Mapping, names: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """For every own clip the first name of its group, and for those that are among `theirs` their name there."""
    first_name, in_benchmark = {path: path for path in own}, {}
    for paths in of_group.values():
        mine = sorted(path for path in paths if path in own)
        first_name |= {path: mine[0] for path in mine}
        their = next((path for path in paths if path in theirs), None)
        if their is not None:
            in_benchmark |= {path: names[their] for path in mine}
    return first_name, in_benchmark


def _partners(pairs: Pairs, of_group: dict[int, list[str]], called: Mapping[str, str]) -> dict[str, list[str]]:
    """For the clips of every group in a pair what the other group's clips are called, if they have a name."""
    groups: dict[int, set[int]] = defaultdict(set)
    for one, other in pairs:
        if one != other:
            groups[one].add(other)
            groups[other].add(one)
    listed = {}
    for group, others in groups.items():
        names = sorted({called[path] for other in others for path in of_group[other] if path in called})
        listed |= {path: names for path in of_group[group] if names}
    return listed
