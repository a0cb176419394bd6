"""lightning-gen fit-prior: fit a density to the codes of a model."""

from pathlib import Path

from lightning_gen.evaluation.fitted_priors import check_codes, fit_and_keep
from lightning_gen.files import shortest
from lightning_gen.runs.loading import load_encoder_and_data
from lightning_gen.runs.run import Run


def fit_prior(run_dir: Path, checkpoint: str, kind: str, components: int) -> str:
    """Fit a density to the codes of all training images (Ghosh et al. 2020, sec. 4).

    It is saved as priors/<kind>.pt in the run directory. `sample` and `evaluate` use it with `--prior <kind>`. Works
    for every model that encodes and decodes. Returns a line that says where it is.
    """
    run = Run.load(run_dir)
    model, data = load_encoder_and_data(run, checkpoint)
    check_codes(run, model)
    record = fit_and_keep(run, model, data, kind, components, checkpoint)
    path = run.path / "priors" / f"{kind}.pt"
    of = f" of {components} components" if kind == "gmm" else ""
    return f"{kind}{of}, fitted to {record['codes']:,} codes in {record['seconds']:.0f} s, in {shortest(path)}"
