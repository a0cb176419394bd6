"""lightning-gen latents: plot the codes of a model."""

from pathlib import Path

from lightning_gen.evaluation.code_pictures import latent_pictures
from lightning_gen.evaluation.headings import heading
from lightning_gen.files import shortest
from lightning_gen.models.use import codes_of
from lightning_gen.pictures import save_picture
from lightning_gen.progress import progress
from lightning_gen.runs.loading import load_encoder_and_data
from lightning_gen.runs.run import Run


def draw_latents(run_dir: Path, checkpoint: str, projection: str) -> str:
    """Plot the codes of the test images into latents/ of the run directory; returns the paths, one per line."""
    run = Run.load(run_dir)
    model, data = load_encoder_and_data(run, checkpoint)
    with progress(None, f"encoding {len(data.test):,} test {data.unit}"):
        codes = codes_of(model, data.test_batches(model.device))
    with progress(None, f"drawing the codes ({projection})"):
        pictures = latent_pictures(model, codes, data.test.classes, projection)
    paths = []
    for name, picture in pictures.items():
        path = run.path / "latents" / f"{Path(checkpoint).stem}_{projection if name == 'latents' else name}.png"
        save_picture(picture.draw(heading(model, data.dataset, model.step_loaded)), path)
        paths.append(shortest(path))
    return "\n".join(paths)
