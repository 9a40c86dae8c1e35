"""Whole models, ours and ONNX Runtime in turns in one run: least time of all turns.

    python benches/whole_models.py --winze target/release/winze --threads 1 --threads 2 MODEL.onnx[:INPUT.npy...] ...

Compiles each model (for the dims given with --dim and the shapes of the input files), then in every turn runs `winze bench --json` and ONNX
Runtime on the same inputs, per number of threads. It prints both times and ORT's over ours (above 1 we are faster), loading beside ORT's creation of a
session, and the peak memory of a process that loads and runs.

Without files floats are random, integers 1, and dims that nothing fixes 1.
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


def inputs_of(session, files, dims):
    if files:
        return {port.name: numpy.load(file) for port, file in zip(session.get_inputs(), files, strict=True)}
    random = numpy.random.default_rng(1)
    made = {}
    for port in session.get_inputs():
        shape = [dim if isinstance(dim, int) else dims.get(dim, 1) for dim in port.shape]
        if port.type == "tensor(float)":
            made[port.name] = random.uniform(-1, 1, shape).astype(numpy.float32)
        elif port.type in ("tensor(int64)", "tensor(int32)"):
            made[port.name] = numpy.ones(shape, port.type[7:-1])
        else:
            raise SystemExit(f"input {port.name} is a {port.type}; give a file for it")
    return made


def session_of(model, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session, (time.perf_counter() - started) * 1e3


def compile_model(winze, model, out, words):
    started = time.perf_counter()
    subprocess.run([winze, "compile", model, "-o", out, "--no-cache", *words], check=True)
    return time.perf_counter() - started


def bench(winze, program, files, runs, threads):
    words = [winze, "bench", program, "--json", "--runs", str(runs), "--threads", str(threads)]
    for file in files:
        words += ["--input", file]
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)


def save_inputs(inputs, folder):
    files = [folder / f"{position}.npy" for position in range(len(inputs))]
    for file, value in zip(files, inputs.values()):
        numpy.save(file, value)
    return files


def beside_onnxruntime(arguments, model, given, folder):
    dims = dict(pair.split("=") for pair in arguments.dim)
    inputs = inputs_of(session_of(model, 1)[0], given, {name: int(value) for name, value in dims.items()})
    files = save_inputs(inputs, folder)
    program = folder / "model.wz"
    words = [word for pair in arguments.dim for word in ("--dim", pair)] + [word for file in files for word in ("--input", file)]
    compiled = compile_model(arguments.winze, model, program, words)
    print(f"{model}: compiled in {compiled:.1f} s")
    for threads in arguments.threads:
        session, created = session_of(model, threads)
        ours, theirs = [], []
        for _ in range(arguments.turns):
            ours.append(bench(arguments.winze, program, files, arguments.runs, threads))
            session.run(None, inputs)
            for _ in range(arguments.runs):
                started = time.perf_counter()
                session.run(None, inputs)
                theirs.append((time.perf_counter() - started) * 1e3)
        least = lambda key: min(run[key] for run in ours)
        ratio = min(theirs) / least("min_ms")
        memory = max(run["peak_rss_mb"] for run in ours)
        print(
            f"  {threads} threads: winze {least('min_ms'):.3f} ms, onnxruntime {min(theirs):.3f} ms, ratio {ratio:.2f}; "
            f"load {least('load_ms'):.1f} ms, session {created:.1f} ms; {memory:.0f} MB",
            flush=True,
        )
        yield threads, ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.onnx[:INPUT.npy...]")
    parser.add_argument("--winze", default="winze", help="the command to measure")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--runs", type=int, default=10, help="runs per turn")
    parser.add_argument("--threads", type=int, action="append", help="may be repeated; 1 without it")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=N", help="may be repeated")
    arguments = parser.parse_args()
    arguments.threads = arguments.threads or [1]
    ratios = {}
    for entry in arguments.models:
        model, *files = entry.split(":")
        with tempfile.TemporaryDirectory() as folder:
            for threads, ratio in beside_onnxruntime(arguments, model, files, pathlib.Path(folder)):
                ratios.setdefault(threads, []).append(ratio)
    for threads, found in ratios.items():
        mean = math.exp(sum(map(math.log, found)) / len(found))
        print(f"{threads} threads: geometric mean {mean:.2f}, least {min(found):.2f}, greatest {max(found):.2f}")


main()
