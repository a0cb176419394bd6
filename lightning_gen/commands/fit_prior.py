"""lightning-gen fit-prior: fit a density to the codes of a model."""

from pathlib import Path

import torch

from lightning_gen.evaluation.fitted_priors import attach_prior, check_codes, fit_and_keep
from lightning_gen.evaluation.headings import heading
from lightning_gen.files import shortest
from lightning_gen.pictures import Grid, save_picture
from lightning_gen.runs.loading import load_encoder_and_data
from lightning_gen.runs.run import Run

ROWS, COLUMNS = 4, 8  # samples of each prior in the picture


def fit_prior(run_dir: Path, checkpoint: str, kind: str, components: int) -> str:
    """Fit a density to the codes of all training images (Ghosh et al. 2020, sec. 4).

    It is saved as priors/<kind>.pt in the run directory, beside a picture of samples from the model's own prior and
    from the density. `sample` and `evaluate` use it with `--prior <kind>`. Works for every model that encodes and
    decodes; of rows of a table there is no picture. Returns lines that say where they are.
    """
    run = Run.load(run_dir)
    model, data = load_encoder_and_data(run, checkpoint)
    check_codes(run, model)
    own = model.sample(ROWS * COLUMNS, model.fixed_generator())
    record = fit_and_keep(run, model, data, kind, components, checkpoint)
    path = run.path / "priors" / f"{kind}.pt"
    of = f" of {components} components" if kind == "gmm" else ""
    fitted_to = f"{kind}{of}, fitted to {record['codes']:,} codes in {record['seconds']:.0f} s, in {shortest(path)}"
    if model.table is not None:
        return fitted_to
    line = heading(model, data.dataset, model.step_loaded)
    attach_prior(run, model, kind, checkpoint)
    fitted = model.sample(ROWS * COLUMNS, model.fixed_generator())
    names = ["own prior"] * ROWS + [f"fitted: {kind}"] * ROWS
    title = "Samples with codes from the model's own prior, and from a density fitted to the codes of training images"
    picture = Grid(torch.cat([own, fitted]), COLUMNS, title, row_names=names, row_breaks=[ROWS])
    save_picture(picture.draw(line), path.with_suffix(".png"))
    return f"{fitted_to}\nsamples of the model's own prior and of this one in {shortest(path.with_suffix('.png'))}"
