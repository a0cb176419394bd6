"""Detection of mode collapse: a generator whose samples are too similar to each other."""

from lightning_gen.errors import UserError

LEAST_DIVERSITY = 0.2  # relative to the standard deviation of real images' features; normal runs have 0.8 to 1.1
LEAST_RECALL = 0.01
MOST_VARIATION = 0.5  # total variation distance between the class frequencies of generated and of real images


def collapse(metrics: dict[str, float], stop: bool, d_steps: int = 1) -> list[str]:
    """Warnings about mode collapse, from the metrics of an evaluation of a model with that many `d_steps`.

    Raises:
        UserError: the generator has collapsed and `stop` is true.
    """
    signs = []
    diversity, recall = metrics.get("eval/diversity", 1.0), metrics.get("eval/recall", 1.0)
    if diversity < LEAST_DIVERSITY:
        signs.append(f"its samples vary only {diversity:.2f} times as much as real images")
    if recall < LEAST_RECALL:
        signs.append(f"recall is {recall:.3f}")
    if metrics.get("eval/class_total_variation", 0.0) > MOST_VARIATION:
        signs.append(f"its samples are of only {metrics.get('eval/classes_found', 0):.0f} classes")
    if metrics.get("eval/modes_lost", 0.0) > metrics.get("eval/modes_found", 0.0):
        signs.append(f"it finds {metrics['eval/modes_found']:.0f} modes and misses {metrics['eval/modes_lost']:.0f}")
    if not signs:
        return []
    message = (
        f"the generator has collapsed: {', '.join(signs)}. Try model/penalty=r1 or a larger weight of the penalty, "
        f"model.d_steps={d_steps + 1}, or a lower model.generator_optimizer.lr."
    )
    if stop:
        raise UserError(f"{message} (To continue such a run, set model.on_collapse=warn.)")
    return [message]
