"""A watch on mode collapse: a generator whose samples are too much alike."""

from lightning_gen.errors import UserError

LEAST_DIVERSITY = 0.2  # of the real images' standard deviation in feature space; healthy runs have 0.8 to 1.1
LEAST_RECALL = 0.01
MOST_VARIATION = 0.5  # between the frequencies of classes: half of the samples are of classes that others lack


def collapse(metrics: dict[str, float], stop: bool) -> list[str]:
    """What the metrics of an evaluation say about mode collapse, as warnings.

    Raises:
        UserError: there is something to say and `stop` is true.
    """
    signs = []
    diversity, recall = metrics.get("eval/diversity", 1.0), metrics.get("eval/recall", 1.0)
    if diversity < LEAST_DIVERSITY:
        signs.append(f"its samples vary {diversity:.2f} times as much as real images")
    if recall < LEAST_RECALL:
        signs.append(f"recall is {recall:.3f}")
    if metrics.get("eval/class_total_variation", 0.0) > MOST_VARIATION:
        signs.append(f"its samples fall into {metrics.get('eval/classes_found', 0):.0f} classes only")
    if metrics.get("eval/modes_lost", 0.0) > metrics.get("eval/modes_found", 0.0):
        signs.append(f"{metrics['eval/modes_found']:.0f} modes are found and {metrics['eval/modes_lost']:.0f} lost")
    if not signs:
        return []
    message = (
        f"the generator has collapsed: {', '.join(signs)}. Try model/penalty=r1 or a heavier one, "
        f"model.d_steps=2 or a lower model.generator_optimizer.lr."
    )
    if stop:
        raise UserError(f"{message} (model.on_collapse=warn goes on.)")
    return [message]
