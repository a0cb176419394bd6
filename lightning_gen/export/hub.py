"""Upload of an export to the Hugging Face hub, only when asked."""

from pathlib import Path

from lightning_gen.errors import UserError, one_line
from lightning_gen.export.formats import require


def check_login() -> None:
    """Raise a UserError if huggingface_hub is missing, or nobody is logged in."""
    require("huggingface_hub")
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError(
            "--upload needs a login to the Hugging Face hub: run `hf auth login`, or set HF_TOKEN. Without --upload, "
            "nothing leaves this machine."
        )


def upload(folder: Path, name: str) -> str:
    """Upload the files of a folder to the model repository `name` (USER/NAME), which is made if needed.

    Returns its address.

    Raises:
        UserError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        repository = api.create_repo(name, repo_type="model", exist_ok=True)
        api.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="Export of lightning-gen")
    except Exception as error:  # of the network, the hub, the name: each a kind of its own
        raise UserError(f"The upload to {name} failed: {one_line(error)}. The files are in {folder}.") from error
    return str(repository)
