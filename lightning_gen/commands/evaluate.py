"""lightning-gen evaluate: measure the model of a run, from its directory alone."""

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightning_gen.commands.terminal import console, metrics_table
from lightning_gen.config.build import build_data
from lightning_gen.config.compose import compose
from lightning_gen.config.validate import validate
from lightning_gen.data.words import worded
from lightning_gen.errors import UserError, quiet_libraries
from lightning_gen.evaluation.build import build_evaluator
from lightning_gen.evaluation.fitted_priors import attach_prior
from lightning_gen.evaluation.headings import heading
from lightning_gen.files import shortest
from lightning_gen.metrics.overfitting import copying
from lightning_gen.pictures import save_picture
from lightning_gen.progress import progress
from lightning_gen.runs.loading import default_device, load_model
from lightning_gen.runs.run import Run


def evaluate_run(run_dir: Path, overrides: list[str], prior: str | None = None) -> dict[str, Any]:
    """Measure the model of a run, print a table, and add an entry to `evaluations` in summary.json.

    Args:
        run_dir: the run directory.
        overrides: a protocol (`evaluation=standard`), single values (`evaluation.num_samples=5000`,
            `dataset.root=DIR`), and `checkpoint=best|last|PATH`, by default best.
        prior: kind of a fitted density to draw codes from; it is fitted now if it has not been.

    Returns:
        The entry.
    """
    quiet_libraries()
    run = Run.load(run_dir)
    run.read_summary()  # fails now, not after the work, if it cannot be read
    checkpoint = next((o.partition("=")[2] for o in overrides if o.startswith("checkpoint=")), "best")
    set_protocol(run.config, [o for o in overrides if not o.startswith("checkpoint=")])
    validate(run.config)
    device = default_device()
    with progress(None, "setting up data, model and evaluation"):
        data = build_data(run.config)
        model = load_model(run, checkpoint, device)
        model.see_data(data, fresh=False)
        evaluator = build_evaluator(run.config, data, device)
    print(evaluator.note, file=sys.stderr)
    context = {"ema": model.averaged, "checkpoint": checkpoint, "step": model.step_loaded}
    if prior is not None:
        attach_prior(run, model, prior, checkpoint)
        context["prior"] = prior
    report = evaluator(model, **context)
    if prior is None:  # the likelihood is that of the model's own prior
        report.add(evaluator.measure_likelihood(model, **context))
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry: dict[str, Any] = {"evaluation": evaluator.name, "checkpoint": checkpoint, "time": time} | {
        "metrics": report.metrics,
        "protocol": report.protocols,
    }
    console().print(metrics_table(report.metrics, report.protocols, unit=data.unit))
    named = f"{checkpoint}.ckpt" if checkpoint in ("best", "last") else checkpoint
    console().print(f"of {named}, step {model.step_loaded:,}")
    for warning in copying(report.metrics):
        print(f"warning: {worded(warning, data.unit)}", file=sys.stderr)
    try:
        run.add_evaluation(entry)
        for name, picture in report.pictures.items():
            path = run.path / name / f"{evaluator.name}_{Path(checkpoint).stem}.png"
            line = heading(model, data.dataset, model.step_loaded, report.metrics, of=name)
            save_picture(picture.draw(line), path)
            print(f"{name} {shortest(path)}")
    except OSError as error:  # the numbers are printed in any case
        print(f"warning: {run.path} cannot be written ({error.strerror}): numbers are not saved.", file=sys.stderr)
    return entry


def set_protocol(config: DictConfig, overrides: list[str]) -> None:
    """Change the evaluation in a saved config. Groups are composed again, so a protocol means what its file says.

    Raises:
        UserError: an override that does not exist, or of something else than the evaluation or the data set.
    """
    from lightning_gen.config.explain import explain

    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        groups = [o for o in parsed if o.key_or_group == "evaluation" or "/" in o.key_or_group]
        for override in parsed:
            if not override.key_or_group.startswith(("evaluation", "dataset.")):
                raise UserError(
                    f"{override.input_line}: evaluate takes evaluation=..., evaluation....=..., dataset....=... and "
                    f"checkpoint=best|last|PATH."
                )
        composed = compose([str(o.input_line) for o in groups])
        OmegaConf.resolve(composed.evaluation)
        if any(o.key_or_group == "evaluation" for o in groups):
            config.evaluation = composed.evaluation
        else:
            for group in groups:  # evaluation/extractor, evaluation/metric
                key = group.key_or_group.partition("/")[2]
                config.evaluation[key] = composed.evaluation[key]
        OmegaConf.set_struct(config, True)
        for override in (o for o in parsed if o not in groups):
            OmegaConf.update(config, override.key_or_group, override.value())
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
