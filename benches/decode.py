"""A decoder with a key-value cache, one token after another: one general artifact and ONNX Runtime on the same tokens.

    python benches/decode.py --winze target/release/winze MODEL.onnx --bind PRESENT=PAST [--axis A] [--prefill 24 64 200] [--steps 50]

The model has one input of token ids, [1, tokens], and an input PAST whose axis A grows (default: the only symbolic one). For each prefill length P the
artifact reads P tokens from an empty cache, then `--steps` tokens, one run each, with the cache fed back (`winze run --bind --steps`); the outputs of the last
step are compared with ONNX Runtime's. Prints the time of a token of both at every length: ours by `winze bench`, theirs in turns with it, least of all.
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
    parser.add_argument("--axis", type=int)
    parser.add_argument("--prefill", type=int, nargs="+", default=[24, 64, 200])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--vocabulary", type=int, default=16000)
    parser.add_argument("--turns", type=int, default=0, help="measure this often; 0 only compares")
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    present, past = arguments.bind.split("=")
    ports = {port.name: port for port in session.get_inputs()}
    [ids] = [name for name in ports if name != past]
    outputs = [port.name for port in session.get_outputs()]
    axis = arguments.axis or next(i for i, dim in enumerate(ports[past].shape) if isinstance(dim, str))
    empty = [0 if i == axis else dim for i, dim in enumerate(ports[past].shape)]
    random = numpy.random.default_rng(1)
    failed = 0
    with tempfile.TemporaryDirectory() as text:
        folder = pathlib.Path(text)
        program = folder / "model.wz"
        subprocess.run([arguments.winze, "compile", arguments.model, "-o", program], check=True)

        def run(tokens, cache, out, *more):
            numpy.save(folder / "ids.npy", tokens)
            inputs = ["--input", f"{ids}={folder / 'ids.npy'}", f"{past}={cache}"]
            subprocess.run([arguments.winze, "run", program, *inputs, "--output-dir", out, "--quiet", *more], check=True)

        for length in arguments.prefill:
            prompt = random.integers(0, arguments.vocabulary, (1, length))
            tokens = random.integers(0, arguments.vocabulary, (arguments.steps, 1, 1))
            numpy.save(folder / "empty.npy", numpy.zeros(empty, numpy.float32))
            run(prompt, folder / "empty.npy", folder / "prompt")
            cache = folder / "prompt" / f"output_{outputs.index(present)}.npy"
            run(tokens, cache, folder / "steps", "--bind", arguments.bind, "--steps", str(arguments.steps))
            feed = {ids: prompt, past: numpy.zeros(empty, numpy.float32)}
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
            best = [float("inf")] * 2
            for _ in range(arguments.turns):
                numpy.save(folder / "ids.npy", tokens[0])
                numpy.save(folder / "cache.npy", feed[past])
                inputs = ["--input", f"{ids}={folder / 'ids.npy'}", f"{past}={folder / 'cache.npy'}"]
                bench = [arguments.winze, "bench", program, *inputs, "--json", "--runs", "20", "--threads", "1"]
                best[0] = min(best[0], json.loads(subprocess.run(bench, check=True, capture_output=True).stdout)["min_ms"])
                for _ in range(20):
                    started = time.perf_counter()
                    session.run(None, feed)
                    best[1] = min(best[1], (time.perf_counter() - started) * 1e3)
            if arguments.turns:
                at = feed[past].shape[axis]
                print(f"a token at cache length {at}: winze {best[0]:.3f} ms, onnxruntime {best[1]:.3f} ms", flush=True)
    return 1 if failed else 0


sys.exit(main())
