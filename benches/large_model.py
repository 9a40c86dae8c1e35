"""Writes a transformer encoder with random weights, and measures what compiling it takes: peak anonymous memory and time.

    python benches/large_model.py --winze target/release/winze            # 440 MB, weights inside and beside the model; an import of 1,700 nodes
    python benches/large_model.py --write model.onnx [--layers 12] [--hidden 768] [--external]

Memory is the largest RssAnon of the compiling process, read from /proc while it runs, less that of compiling a model of one node. `import` stops
after import, `compile` writes an artifact for x86-64-v3 with one job.
"""

import argparse
import os
import pathlib
import subprocess
import tempfile
import time

import numpy
import onnx
from onnx import TensorProto, helper

VOCABULARY = 30522
SEQUENCE = 128


class Builder:
    """Nodes and weights of a graph in the making."""

    def __init__(self):
        self.nodes, self.weights, self.random = [], [], numpy.random.default_rng(1)

    def weight(self, name, *shape):
        data = self.random.standard_normal(shape, numpy.float32) * numpy.float32(0.02)
        self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, shape, data.tobytes(), raw=True))
        return name

    def ints(self, name, *values):
        self.weights.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def scalar(self, name, value):
        self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
        return name

    def node(self, op, *inputs, **attributes):
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def dense(self, name, x, width_in, width_out):
        product = self.node("MatMul", x, self.weight(f"{name}.weight", width_in, width_out))
        return self.node("Add", product, self.weight(f"{name}.bias", width_out))

    def norm(self, name, x, width):
        return self.node("LayerNormalization", x, self.weight(f"{name}.weight", width), self.weight(f"{name}.bias", width), axis=-1)


def encoder(layers, hidden):
    """An encoder in the spelling that exporters use: heads split by Reshape and Transpose, GELU written out."""
    b, heads = Builder(), max(1, hidden // 64)
    half, one, root = b.scalar("half", 0.5), b.scalar("one", 1.0), b.scalar("root", 2.0**0.5)
    scale, split, join = b.scalar("scale", 0.125), b.ints("split", 1, SEQUENCE, heads, hidden // heads), b.ints("join", 1, SEQUENCE, hidden)
    x = b.norm("embeddings.norm", b.node("Gather", b.weight("embeddings", VOCABULARY, hidden), "ids"), hidden)
    for i in range(layers):
        q, k, v = (b.node("Reshape", b.dense(f"{i}.{part}", x, hidden, hidden), split) for part in ("query", "key", "value"))
        q, v = (b.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
        scores = b.node("Mul", b.node("MatMul", q, b.node("Transpose", k, perm=[0, 2, 3, 1])), scale)
        mixed = b.node("Transpose", b.node("MatMul", b.node("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        x = b.norm(f"{i}.norm1", b.node("Add", x, b.dense(f"{i}.output", b.node("Reshape", mixed, join), hidden, hidden)), hidden)
        wide = b.dense(f"{i}.intermediate", x, hidden, 4 * hidden)
        gate = b.node("Add", b.node("Erf", b.node("Div", wide, root)), one)
        x = b.norm(f"{i}.norm2", b.node("Add", x, b.dense(f"{i}.down", b.node("Mul", b.node("Mul", wide, gate), half), 4 * hidden, hidden)), hidden)
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, SEQUENCE])]
    outputs = [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, SEQUENCE, hidden])]
    graph = helper.make_graph(b.nodes, "encoder", inputs, outputs, b.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def write(path, layers, hidden, external):
    model = encoder(layers, hidden)
    onnx.save(model, path, save_as_external_data=external, location=path.name + ".data")
    return len(model.graph.node)


def anonymous_kilobytes(pid):
    """RssAnon of a process and its children."""
    total = 0
    try:
        for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += anonymous_kilobytes(int(child))
    except (OSError, ValueError):
        pass
    return total


def measure(command):
    """Seconds and peak anonymous MB of a command."""
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, anonymous_kilobytes(process.pid))
            time.sleep(0.001)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {process.stderr.read().decode()[:500]}")
    return time.monotonic() - start, peak / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--winze", default="target/release/winze")
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--external", action="store_true")
    arguments = parser.parse_args()
    if arguments.write:
        print(write(arguments.write, arguments.layers, arguments.hidden, arguments.external), "nodes")
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        imports = lambda model: [arguments.winze, "compile", str(model), "--emit", "import", "-q", "--no-cache"]
        compiles = lambda model: imports(model)[:3] + ["-o", str(folder / "out.wz"), "--target", "cpu=x86-64-v3", "--jobs", "1", "-q", "--no-cache"]
        empty = folder / "empty.onnx"
        value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "empty", [value("x")], [value("y")])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), empty)
        base = {"import": measure(imports(empty))[1], "compile": measure(compiles(empty))[1]}
        print(f"empty: import {base['import']:.1f} MB, compile {base['compile']:.1f} MB anonymous")
        models = [("weights inside", 12, 768, False), ("weights beside", 12, 768, True), ("many nodes", 73, 64, False)]
        for name, layers, hidden, external in models:
            model = folder / "model.onnx"
            nodes = write(model, layers, hidden, external)
            size = sum(os.path.getsize(file) for file in folder.glob("model.onnx*")) / 1e6
            for stage, command in (("import", imports(model)), ("compile", compiles(model))):
                seconds, peak = measure(command)
                print(f"{name}, {nodes} nodes, {size:.0f} MB: {stage} {seconds:.2f} s, {peak - base[stage]:.1f} MB above the empty model")
            for file in folder.glob("model.onnx*"):
                file.unlink()


if __name__ == "__main__":
    main()
