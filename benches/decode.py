"""A decoder with a key-value cache, one token after another: one general artifact and ONNX Runtime on the same tokens.

    python benches/decode.py --winze target/release/winze MODEL.onnx --bind PRESENT=PAST [--device vulkan] [--capacity 1024] [--prefill 24 64 200] [--steps 50]

The model has one input of token ids, [1, tokens], and an input PAST with one symbolic axis, along which it grows. It is compiled once, with PAST as a state
of that capacity. For each prefill length P it reads P tokens into an empty state, then `--steps` tokens, one run each (`winze run --steps`); the outputs of
the last step are compared with ONNX Runtime's. With `--turns T` prints the time of a token of both at every length that results and at `--lengths`: ours by
`winze bench`, theirs in turns with it, with one thread each, least of all; and what `winze inspect` says about copies.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import onnxruntime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--winze", default="winze")
    parser.add_argument("--bind", required=True, metavar="PRESENT=PAST")
    parser.add_argument("--device", default="cpu", help="where ours runs; theirs runs on the CPU")
    parser.add_argument("--capacity", type=int, default=1024)
    parser.add_argument("--lengths", type=int, nargs="*", default=[], help="measure at these lengths of the state too")
    parser.add_argument("--prefill", type=int, nargs="+", default=[24, 64, 200])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--vocabulary", type=int, default=16000)
    parser.add_argument("--options", nargs="*", default=[], help="more options of winze compile, after --")
    parser.add_argument("--turns", type=int, default=0, help="measure this often; 0 only compares")
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    present, past = arguments.bind.split("=")
    ports = {port.name: port for port in session.get_inputs()}
    [ids] = [name for name in ports if name != past]
    outputs = [port.name for port in session.get_outputs()]
    axis, symbol = next((i, dim) for i, dim in enumerate(ports[past].shape) if isinstance(dim, str))
    shape = lambda length: [length if i == axis else dim for i, dim in enumerate(ports[past].shape)]
    random = numpy.random.default_rng(1)
    failed = 0
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        program = folder / "model.wz"
        bound = ["--target", arguments.device.split(":")[0], "--bind", arguments.bind, "--dim", f"{symbol}<={arguments.capacity}"]
        device = ["--device", arguments.device, "--require-device"]
        subprocess.run([arguments.winze, "compile", arguments.model, "-o", program, *bound, *arguments.options], check=True)
        inspected = subprocess.run([arguments.winze, "inspect", program], check=True, capture_output=True, text=True).stdout
        print("\n".join(line.strip() for line in inspected.splitlines() if line.strip().startswith(("state", "copied"))), flush=True)

        def run(tokens, out, *more):
            numpy.save(folder / "ids.npy", tokens)
            words = ["--input", f"{ids}={folder / 'ids.npy'}", *more]
            subprocess.run([arguments.winze, "run", program, *device, *words, "--output-dir", out, "--quiet"], check=True)

        def measure(cache):
            numpy.save(folder / "ids.npy", random.integers(0, arguments.vocabulary, (1, 1)))
            numpy.save(folder / "cache.npy", cache)
            feed = {ids: numpy.load(folder / "ids.npy"), past: cache}
            inputs = ["--input", f"{ids}={folder / 'ids.npy'}", f"{past}={folder / 'cache.npy'}"]
            bench = [arguments.winze, "bench", program, *device, *inputs, "--json", "--runs", "20", "--threads", "1"]
            best = [float("inf")] * 2
            for _ in range(arguments.turns):
                best[0] = min(best[0], json.loads(subprocess.run(bench, check=True, capture_output=True).stdout)["min_ms"])
                for _ in range(20):
                    started = time.perf_counter()
                    session.run(None, feed)
                    best[1] = min(best[1], (time.perf_counter() - started) * 1e3)
            if arguments.turns:
                ratio = best[0] / best[1]
                print(f"a token at length {cache.shape[axis]}: winze {best[0]:.3f} ms, onnxruntime {best[1]:.3f} ms, {ratio:.2f}", flush=True)

        for length in arguments.prefill:
            prompt = random.integers(0, arguments.vocabulary, (1, length))
            tokens = random.integers(0, arguments.vocabulary, (arguments.steps, 1, 1))
            run(prompt, folder / "prompt")
            cache = folder / "prompt" / f"output_{outputs.index(present)}.npy"
            run(tokens, folder / "steps", "--input", f"{past}={cache}", "--steps", str(arguments.steps))
            feed = {ids: prompt, past: numpy.zeros(shape(0), numpy.float32)}
            expected = session.run(None, feed)
            for token in tokens:
                feed = {ids: token, past: expected[outputs.index(present)]}
                expected = session.run(None, feed)
            worst = 0.0
            for i, theirs in enumerate(expected):
                ours = numpy.load(folder / "steps" / f"output_{i}.npy")
                good = ours.shape == theirs.shape and numpy.allclose(ours, theirs, rtol=1e-3, atol=1e-4)
                failed += not good
                worst = max(worst, float(numpy.abs(ours - theirs).max())) if ours.shape == theirs.shape else float("inf")
            print(f"prefill {length}, {arguments.steps} steps: largest difference {worst:.2g}", flush=True)
            measure(feed[past])
        for length in arguments.lengths:
            measure(random.standard_normal(shape(length), numpy.float32))
    return 1 if failed else 0


sys.exit(main())
