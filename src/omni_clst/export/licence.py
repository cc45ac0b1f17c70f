"""What the base says about its licence: in the card of its folder or Hub repository."""

import yaml

from ..files import read_text
from ..model.model_files import base_files

CARD = "README.md"


def licence_of(base: str) -> str | None:
    """The licence in the front matter of the base's card; None without one, or where the Hub cannot be reached."""
    try:
        file = base_files(base, (CARD,)) / CARD
    except OSError:  # no network, or no such repository
        return None
    if not file.is_file():
        return None
    parts = read_text(file).split("---", 2)
    fields = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    if not isinstance(fields, dict):
        return None
    return fields.get("license_name") or fields.get("license")
