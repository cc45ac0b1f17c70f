"""Upload an exported folder to the Hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from ..errors import InputError
from ..model.checkpoints import MARKER


def push(folder: Path, repository: str, private: bool) -> str:
    """Upload a folder to a repository, which is made if there is none; returns the commit's address."""
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(
            folder_path=folder, repo_id=repository, commit_message="Model, card and processor", ignore_patterns=[MARKER]
        )
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"push {repository}: {reason}; the folder {folder} is complete, `hf auth login` logs in") from None
    return commit.commit_url
