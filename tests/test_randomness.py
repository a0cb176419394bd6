"""Random numbers are functions of (seed, stream, step), and no two streams share theirs."""

from lightning_gen.randomness import Stream, mix

MANY = range(5000)  # epochs, steps, chunks


def test_a_seed_is_what_it_was_when_runs_were_recorded():
    """Another function would train other weights from the same seed."""
    assert (mix(0), mix(0, 2), mix(7, 2, 3)) == (4246866556266386882, 9046782042526953026, 56734540380174125)
    assert mix(0, Stream.TRAINING) == mix(0, 2)  # Python 3.10 writes an IntEnum by its name


def test_no_two_streams_share_a_number():
    assert len(set(Stream.__members__.values())) == len(Stream.__members__)


def test_no_two_generators_of_a_seed_are_the_same():
    """Epochs and processes, the streams that seed a generator themselves, and each stream's steps or chunks.

    The seed of a run and the seed of its evaluation are both 0 by default, so that their streams must differ too.
    """
    for seed in (0, 1):
        seeds = [mix(seed), *(mix(seed, epoch) for epoch in MANY)]
        seeds += [mix(seed, stream) for stream in Stream if stream < 0]
        for stream in (Stream.TRAINING, Stream.CODEBOOK, Stream.SUBSET, Stream.SAMPLES, Stream.UNIFORM):
            seeds += [mix(mix(seed, stream), index) for index in MANY]
        seeds += [
            mix(seed, stream, index) for stream in (Stream.RECONSTRUCTION, Stream.LIKELIHOOD_DRAWS) for index in MANY
        ]
        assert len(set(seeds)) == len(seeds)
