"""The table of what thinking is worth: figures worked out by hand."""

from omni_clst.report.scores import Answer, Condition
from omni_clst.report.thinking import groups_of, thinking_sections

DEEP, SHALLOW = ["deep"] * 20, ["shallow"] * 20


def answers(rights: list[int], tokens: int, thinks: bool) -> list[Answer]:
    """Answers to 20 deep and 20 shallow questions about 40 clips."""
    return [
        Answer("b", f"q{n}", {"strict": bool(right)}, thinks, tokens, {"depth": depth, "kind": None}, f"clip{n}")
        for n, (right, depth) in enumerate(zip(rights, DEEP + SHALLOW, strict=True))
    ]


def condition(thought: str = "free", audio: str = "real") -> Condition:
    return Condition("m", audio, thought)


POOLED = {
    condition(): answers([1] * 40, 30, True),
    condition("empty"): answers([1] * 10 + [0] * 10 + [1] * 20, 12, False),
    condition("full"): answers([1] * 20 + [1] * 15 + [0] * 5, 50, True),
    condition(audio="silence"): answers([0] * 30 + [1] * 10, 30, True),
}


def test_gain_of_thinking_stands_beside_its_price_for_every_group():
    (section,) = thinking_sections(POOLED)
    title, *table = section.splitlines()
    assert title.startswith("What thinking is worth to m (gain: ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table if line.startswith("|")]
    header, _, everything, deep, shallow = rows
    assert ", ".join(header) == (
        "questions of, questions, free %, empty %, forced %, think rate %, gain free, gain forced, "
        "tokens free, tokens empty, tokens forced, silence %"
    )
    assert everything[:6] == ["all", "40", "100.0", "75.0", "87.5", "100"]
    assert everything[8:] == ["30.0", "12.0", "50.0", "25.0"]
    assert (deep[0], deep[2:5], deep[-1]) == ("b depth: deep", ["100.0", "50.0", "100.0"], "0.0")
    assert (shallow[0], shallow[2:5], shallow[-1]) == ("b depth: shallow", ["100.0", "100.0", "75.0"], "50.0")
    assert deep[6].startswith("+50.0 [+") and shallow[7].startswith("-25.0 [-") and shallow[6].startswith("+0.0 [-")


def test_small_groups_have_no_row_of_their_own():
    few = answers([1] * 40, 30, True)[: 20 + 19]
    assert groups_of(few) == [(), ("b", "depth: deep")]


def test_model_that_was_never_without_a_thought_has_no_section():
    assert thinking_sections({condition(): POOLED[condition()], condition("full"): POOLED[condition("full")]}) == []
