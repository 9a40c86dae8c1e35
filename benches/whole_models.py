"""Whole models, ours and ONNX Runtime in turns in one run: one thread, least time of all turns.

    python benches/whole_models.py --winze target/release/winze MODEL.onnx[:INPUT.npy...] ...

Each model is compiled once; then every turn runs `winze bench --json` and ONNX Runtime on the same inputs. Prints both times and ORT's over ours (above 1 we
are faster), and the geometric mean. Without inputs, dims that the model leaves open are 1 and floats are random.
"""

import argparse
import json
import math
import pathlib
import subprocess
import tempfile
import time

import numpy
import onnxruntime


def random_inputs(session):
    random = numpy.random.default_rng(1)
    for port in session.get_inputs():
        shape = [dim if isinstance(dim, int) else 1 for dim in port.shape]
        if port.type == "tensor(float)":
            yield port.name, random.uniform(-1, 1, shape).astype(numpy.float32)
        elif port.type in ("tensor(int64)", "tensor(int32)"):
            yield port.name, numpy.ones(shape, port.type[7:-1])
        else:
            raise SystemExit(f"input {port.name} is a {port.type}; give a file for it")


def measure(winze, model, files, turns, runs, threads, folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]
    inputs = dict(zip(names, map(numpy.load, files))) if files else dict(random_inputs(session))
    paths = []
    for position, name in enumerate(names):
        paths.append(folder / f"{position}.npy")
        numpy.save(paths[-1], inputs[name])
    program = folder / "model.wz"
    started = time.perf_counter()
    subprocess.run([winze, "compile", model, "-o", program], check=True)
    compiled = time.perf_counter() - started
    bench = [winze, "bench", program, "--json", "--runs", str(runs), "--threads", str(threads)]
    for path in paths:
        bench += ["--input", path]
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(json.loads(subprocess.run(bench, check=True, capture_output=True).stdout)["min_ms"])
        session.run(None, inputs)
        for _ in range(runs):
            started = time.perf_counter()
            session.run(None, inputs)
            theirs.append((time.perf_counter() - started) * 1e3)
    return compiled, min(ours), min(theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx[:INPUT.npy...]")
    parser.add_argument("--winze", default="winze", help="the command to measure")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--runs", type=int, default=10, help="runs per turn")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    ratios = []
    for entry in arguments.models:
        model, *files = entry.split(":")
        with tempfile.TemporaryDirectory() as folder:
            compiled, ours, theirs = measure(
                arguments.winze, model, files, arguments.turns, arguments.runs, arguments.threads, pathlib.Path(folder)
            )
        ratios.append(theirs / ours)
        print(f"{model}: compile {compiled:.1f} s, winze {ours:.3f} ms, onnxruntime {theirs:.3f} ms, ratio {theirs / ours:.2f}", flush=True)
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean {mean:.2f}, least {min(ratios):.2f}")


main()
