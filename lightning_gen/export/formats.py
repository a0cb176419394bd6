"""The file formats of a part: TorchScript, ONNX, and the programs of torch.export (.pt2); written and read back."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.export.parts import Part

GILES = [2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087]  # the highest power first
GILES += [-0.00125372503, -0.00417768164, 0.246640727, 1.50140941]
LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.__trace")
Function = Callable[..., Tensor]  # of the part's inputs, in their order


class Format(NamedTuple):
    """A format: the suffix of its files, and how a part is written to a file and read from one."""

    suffix: str
    write: Callable[[Part, Path], None]
    read: Callable[[Path], Function]


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside, without gradients and without the tracers' warnings, none of which a user can act on."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def program_of(part: Part) -> torch.export.ExportedProgram:
    """The graph of a part, for batches of any size."""
    examples, batch = part.examples(), torch.export.Dim("batch")
    shapes = (tuple({0: batch} for _ in examples),)
    return torch.export.export(part, examples, dynamic_shapes=shapes, strict=False)


def write_pt2(part: Part, path: Path) -> None:
    """Write the graph of a part, which `torch.export.load(path).module()` reads."""
    with _quietly():
        torch.export.save(program_of(part), path)


def write_onnx(part: Part, path: Path) -> None:
    """Write an ONNX model whose inputs and output have the names of the part's."""
    require("onnx", "onnxscript", "onnxruntime")
    names = [port.name for port in part.inputs]
    with _quietly():
        model = torch.onnx.export(
            program_of(part),
            input_names=names,
            output_names=[part.output.name],
            custom_translation_table={torch.ops.prims.erf_inv.default: _inverse_error_function},
            verbose=False,
        )
        assert model is not None
        model.save(str(path))


def _inverse_error_function(x: Any) -> Any:
    """The inverse of erf for |x| < 0.99 in the operators of ONNX, which has none (Giles 2010, table 5, w < 5).

    It draws truncated normal codes, for which |x| is at most erf(2 / sqrt(2)) = 0.954.
    """
    import onnxscript

    op: Any = onnxscript.opset18
    w = op.Sub(op.Neg(op.Log(op.Sub(1.0, op.Mul(x, x)))), 2.5)
    result: Any = GILES[0]
    for coefficient in GILES[1:]:
        result = op.Add(op.Mul(w, result), coefficient)
    return op.Mul(x, result)


def write_torchscript(part: Part, path: Path) -> None:
    """Write a traced module, which `torch.jit.load(path)` reads, in C++ too."""
    with _quietly():
        torch.jit.save(torch.jit.trace(part, part.examples(), check_trace=False), str(path))


def read_pt2(path: Path) -> Function:
    return torch.export.load(path).module()


def read_torchscript(path: Path) -> Function:
    with _quietly():
        return torch.jit.load(str(path))


def read_onnx(path: Path) -> Function:
    """A function that runs the model with onnxruntime, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(*tensors: Tensor) -> Tensor:
        inputs = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, inputs)[0])

    return run


def require(*packages: str) -> None:
    """Raise a UserError if one of these packages of the extra `export` is not installed."""
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(
            f"This export needs {', '.join(missing)}: pip install 'lightning-gen[export]'. "
            "torchscript and pt2 need nothing besides torch."
        )


def largest_difference(part: Part, read: Function, rows: int = 5) -> float:
    """The largest absolute difference between a part and what was read back, on `rows` inputs drawn with a seed."""
    inputs = part.examples(rows, seed=1)
    with torch.no_grad():
        return float((part(*inputs) - read(*inputs)).abs().max())


FORMATS = {
    "torchscript": Format(".pt", write_torchscript, read_torchscript),
    "onnx": Format(".onnx", write_onnx, read_onnx),
    "pt2": Format(".pt2", write_pt2, read_pt2),
}
