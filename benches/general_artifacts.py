"""One artifact for any size: a model compiled without --dim, run over its data sets and other sizes, against ONNX Runtime.

    python benches/general_artifacts.py --winze target/debug/winze MODEL.onnx [--below NAME=N]... [--fill NAME=N]... [DIM=N,DIM=N ...]

Each DIM=N list is one more size; dims of inputs that the model leaves open are named as in the model (`winze inspect` lists them), INPUT_dimAXIS where
it has no name. Data sets are the folders test_data_set_* beside the model (input_0.npy, ...). Random inputs: floats in [-1, 1), integers from 0 to the
--below of their input (default 2); --fill makes all elements of an input N. Prints one line per run with the largest difference; exit 1 if any is beyond rtol 1e-3 plus 1e-5 of the largest value.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy
import onnxruntime


def random_inputs(session, dims, below, fill, seed):
    random = numpy.random.default_rng(seed)
    for port in session.get_inputs():
        named = lambda axis, dim: dims.get(dim) if isinstance(dim, str) and dim in dims else dims.get(f"{port.name}_dim{axis}", 1)
        shape = [dim if isinstance(dim, int) and dim >= 0 else named(axis, dim) for axis, dim in enumerate(port.shape)]
        if port.name in fill:
            yield numpy.full(shape, fill[port.name], port.type[7:-1].replace("float", "float32"))
        elif port.type == "tensor(float)":
            yield random.uniform(-1, 1, shape).astype(numpy.float32)
        elif port.type in ("tensor(int64)", "tensor(int32)"):
            yield random.integers(0, below.get(port.name, 2), shape).astype(port.type[7:-1])
        else:
            raise SystemExit(f"input {port.name} is a {port.type}, of which no random values are made")


def run(winze, program, inputs, folder):
    for position, value in enumerate(inputs):
        numpy.save(folder / f"in_{position}.npy", value)
    command = [winze, "run", program, "--output-dir", folder / "out", "--quiet"]
    for position in range(len(inputs)):
        command += ["--input", folder / f"in_{position}.npy"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return done.stderr.strip()
    files = sorted((folder / "out").glob("*.npy"), key=lambda path: int(re.sub(r"\D", "", path.stem)))
    return [numpy.load(path) for path in files]


def verdict(got, expected):
    if isinstance(got, str):
        return False, got
    worst = 0.0
    for ours, theirs in zip(got, expected, strict=True):
        if ours.shape != theirs.shape:
            return False, f"shape {ours.shape} instead of {theirs.shape}"
        scale = float(numpy.abs(theirs.astype(float)).max(initial=1))
        if not numpy.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * scale, equal_nan=True):
            return False, f"differs by {numpy.abs(ours.astype(float) - theirs).max():.3g}"
        worst = max(worst, float(numpy.abs(ours.astype(float) - theirs).max(initial=0)))
    return True, f"largest difference {worst:.2g}"


def pairs(text):
    return {name: int(value) for name, value in (entry.rsplit("=", 1) for entry in text.split(","))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("sizes", nargs="*", type=pairs, metavar="DIM=N,...")
    parser.add_argument("--winze", default="winze", help="the command to check")
    parser.add_argument("--below", action="append", default=[], type=pairs, metavar="INPUT=N")
    parser.add_argument("--fill", action="append", default=[], type=pairs, metavar="INPUT=N")
    arguments = parser.parse_intermixed_args()
    below, fill = ({name: value for entry in entries for name, value in entry.items()} for entries in (arguments.below, arguments.fill))
    session = onnxruntime.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    runs = []
    for folder in sorted(arguments.model.parent.glob("test_data_set_*")):
        runs.append((folder.name, [numpy.load(folder / f"input_{i}.npy") for i in range(len(names))]))
    for seed, dims in enumerate(arguments.sizes):
        runs.append((",".join(f"{k}={v}" for k, v in dims.items()), list(random_inputs(session, dims, below, fill, seed))))
    failed = 0
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        subprocess.run([arguments.winze, "compile", arguments.model, "-o", folder / "model.wz"], check=True)
        for what, inputs in runs:
            expected = session.run(None, dict(zip(names, inputs)))
            good, message = verdict(run(arguments.winze, folder / "model.wz", inputs, folder), expected)
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {what}: {message}", flush=True)
    print(f"{len(runs) - failed} of {len(runs)} runs of one artifact as ONNX Runtime: {arguments.model.parent.name}")
    return 1 if failed else 0


sys.exit(main())
