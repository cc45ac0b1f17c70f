"""The report's page: figures, tables that sort, and a browser of single questions with their clips.

One HTML file with its styles, script and data, and the clips in a folder beside it; it needs no network and no server.
"""

import json
from pathlib import Path

import jinja2

TEMPLATE = Path(__file__).with_name("index.html.j2")


def report_page(title: str, data: dict, pictures: list[str]) -> str:
    """The page for `question_data.page_data`; `pictures` are paths relative to it.

    Every text of the data goes into the page as JSON, and from there into text nodes alone.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":  # none of them can end the script element or a line of it
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=title, data=text, pictures=pictures)
