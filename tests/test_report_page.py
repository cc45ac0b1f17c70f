"""The report's page: texts are escaped, it needs nothing else, and in a browser it shows, filters and plays."""

import json
import re
import shutil
import subprocess

import pytest
import soundfile
from tiny_world import write_clips

from omni_clst.report.page import report_page
from omni_clst.report.question_data import put_clip
from omni_clst.report.report import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)> & \u2028"
RULES = ("official", "strict", "extracted")


def write_answers(folder, outputs: list[str], clips: list[str], hostile: bool = False):
    """A scored benchmark of questions about these clips, whose answer is always "dog"."""
    folder.mkdir(parents=True)
    rights = [int(output == "dog") for output in outputs]

    def lines(name: str, rows: list[dict]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    ids = [f"q{number}" for number in range(len(outputs))]
    thought = HOSTILE if hostile else "I hear it"
    lines("questions.jsonl", [
        {"id": key, "question": f"which {HOSTILE if hostile else key} ?", "choices": ["dog", "cat"], "answer": "dog",
         "clips": [clip], "groups": {"task": ["music", "speech"][number % 2]}}
        for number, (key, clip) in enumerate(zip(ids, clips, strict=True))
    ])  # fmt: skip
    lines("predictions.jsonl", [
        {"id": key, "model_output": output, "model_output_raw": output, "think": thought if number % 2 else "",
         "tokens": 5, "parse_failed": not output, "groups": {}}
        for number, (key, output) in enumerate(zip(ids, outputs, strict=True))
    ])  # fmt: skip
    lines("verdicts.jsonl", [{"id": key} | dict.fromkeys(RULES, right) for key, right in zip(ids, rights, strict=True)])
    of_rule = {"accuracy": 100 * sum(rights) / len(rights), "interval": [10.0, 90.0],
               "by": {"task": {"music": {"correct": sum(rights[::2]), "total": len(rights[::2])}}}}  # fmt: skip
    scores = {"benchmark": "mmau-mini", "parse_failed": outputs.count("")} | dict.fromkeys(RULES, of_rule)
    (folder / "scores.json").write_text(json.dumps(scores))
    settings = {"audio": "real", "limit": None, "prompt": {"asks_for_tags": True}}
    (folder / "settings.json").write_text(json.dumps(settings))


@pytest.fixture
def two_models(tmp_path):
    clips = [str(tmp_path / "clips" / name) for name in write_clips(tmp_path / "clips", 3)]
    clips.append(str(tmp_path / "gone.wav"))
    write_answers(tmp_path / "runs" / "base" / "infer" / "mmau-mini", ["dog", "cat", "", "dog"], clips)
    write_answers(tmp_path / "runs" / "sft" / "infer" / "mmau-mini", ["dog", "dog", "cat", "cat"], clips)
    return tmp_path / "runs"


def data_of(page: str) -> dict:
    return json.loads(re.search(r"id=data>(.*?)</script>", page, re.DOTALL)[1])


def test_page_has_every_question_with_both_answers_and_its_clip(two_models, tmp_path):
    write_report(two_models, tmp_path / "out")
    data = data_of((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    (benchmark,) = data["benchmarks"]
    assert [question["id"] for question in benchmark["questions"]] == ["q0", "q1", "q2", "q3"]
    assert [[answer["output"] for answer in result["answers"]] for result in benchmark["results"]] == [
        ["dog", "cat", "", "dog"], ["dog", "dog", "cat", "cat"]
    ]  # fmt: skip
    assert benchmark["results"][0]["answers"][2]["failed"] is True
    first, *_, lost = (question["clips"][0] for question in benchmark["questions"])
    assert soundfile.info(tmp_path / "out" / first).frames > 0
    assert lost is None


def test_clip_beside_the_page_takes_no_second_place_on_the_disk(tmp_path):
    (clip,) = write_clips(tmp_path, 1)
    name = put_clip(tmp_path / clip, tmp_path / "out")
    assert (tmp_path / "out" / name).samefile(tmp_path / clip)
    assert put_clip(tmp_path / clip, tmp_path / "out") == name


def test_question_that_one_model_was_not_asked_is_null_there(two_models, tmp_path):
    folder = two_models / "sft" / "infer" / "mmau-mini"
    for name in ("predictions.jsonl", "verdicts.jsonl"):
        (folder / name).write_text("\n".join((folder / name).read_text().splitlines()[:2]))
    write_report(two_models, tmp_path / "out")
    data = data_of((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert [answer is None for answer in data["benchmarks"][0]["results"][1]["answers"]] == [False, False, True, True]


def test_texts_cannot_leave_their_place(tmp_path):
    data = {"rules": RULES, "benchmarks": [{"name": HOSTILE, "questions": [], "results": []}]}
    page = report_page(HOSTILE, data, [])
    assert page.count("<script") == 2 and "onerror=alert(1)>" not in page
    assert data_of(page)["benchmarks"][0]["name"] == HOSTILE


def test_page_needs_nothing_but_itself_and_its_clips(two_models, tmp_path):
    write_report(two_models, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(|<link|src=[\"']?/", page)
    assert set(re.findall(r'src="([^"]*)"', page)) == {"accuracy.png"}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_browser_shows_the_questions_and_runs_no_text(two_models, tmp_path):
    clips = [str(two_models.parent / "clips" / "clip000.wav")] * 2
    write_answers(two_models / "third" / "infer" / "mmau-mini", ["dog", "cat"], clips, hostile=True)
    write_report(two_models, tmp_path / "out")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"]
    result = subprocess.run([*command, f"file://{tmp_path}/out/index.html"], capture_output=True, text=True, timeout=300)
    dom = result.stdout
    assert "<title>Results under runs</title>" in dom
    assert "4 of 4 questions" in dom and dom.count("<audio") == 3
    assert dom.count('class="side wrong"') + dom.count('class="side right"') >= 4
    assert "[10.0, 90.0]" in dom
