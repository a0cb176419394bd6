"""lightning-gen export: the model of a run as files for other programs."""

from pathlib import Path

import torch

from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.export.folder import write_graphs, write_weights
from lightning_gen.export.formats import FORMATS
from lightning_gen.export.hub import check_login, upload
from lightning_gen.files import shortest
from lightning_gen.runs.loading import load_image_model
from lightning_gen.runs.run import Run


def export_run(run_dir: Path, checkpoint: str, format: str, out: Path | None, repository: str | None = None) -> str:
    """Export the model of a run into a folder, by default export/FORMAT of the run; returns what was written.

    The weights are those that `sample` uses: averaged if the checkpoint has averages.

    Args:
        run_dir: the run directory.
        checkpoint: best, last or a path.
        format: safetensors, hub, or one of FORMATS.
        out: the folder.
        repository: upload to this repository of the Hugging Face hub; only for `hub`.

    Raises:
        UserError: an upload of another format or without a login, a missing package, or a folder that cannot be
            written.
    """
    quiet_libraries()
    if repository is not None:
        if format != "hub":
            raise UserError(f"--upload works with --format hub, not with {format}.")
        check_login()
    run = Run.load(run_dir)
    folder = run.path / "export" / format if out is None else out
    model = load_image_model(run, checkpoint, torch.device("cpu"))
    write = write_graphs if format in FORMATS else write_weights
    try:
        lines = write(run, model, checkpoint, format, folder)
    except OSError as error:
        raise UserError(f"Cannot write to {folder} ({error.strerror}): choose another folder with -o.") from error
    lines += [f"{'config.json':<20} the card", shortest(folder)]
    if repository is not None:
        lines.append(upload(folder, repository))
    return "\n".join(lines)
