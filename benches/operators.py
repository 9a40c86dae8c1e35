"""Models of one operator each beside ONNX Runtime: results, and time on one thread.

    python benches/operators.py [--winze target/release/winze] [--check] [--device D] [FILTER]...

Compiles each operator whose name contains a FILTER (all without any), with operands of sizes that models use. Prints the least times of both and ONNX
Runtime"s over ours, slowest last; with --check compares the results instead (rtol 2e-3 plus that share of the largest value), and exits with 1 if any differ.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy
import onnx
import onnxruntime
from onnx import helper, numpy_helper

random = numpy.random.default_rng(0)


def floats(*shape):
    return random.standard_normal(shape).astype("f4")


def below(limit, *shape):
    return random.integers(0, limit, shape).astype("i8")


def cases():
    """(name, inputs, attributes, constants by position, number of outputs, operator set); a name begins with its operator."""
    found = []

    def case(name, inputs, attributes={}, constants={}, outputs=1, opset=21):
        found.append((name, inputs, attributes, constants, outputs, opset))

    matrix = floats(512, 1024)
    image = floats(1, 64, 56, 56)
    batch = floats(8, 128, 1024)
    unary = """
        Relu Sigmoid Tanh Exp Log Sqrt Erf Gelu HardSwish HardSigmoid Elu Selu Softplus Softsign Mish Sin Cos Tan Atan Asin Acos Sinh Cosh Asinh Acosh
        Atanh Floor Ceil Round Abs Neg Sign Reciprocal IsNaN IsInf Not Celu ThresholdedRelu LeakyRelu Identity
    """
    for op in unary.split():
        x = numpy.abs(matrix) + 1.0 if op in ("Log", "Sqrt", "Acosh") else matrix / 6 if op in ("Asin", "Acos", "Atanh") else matrix
        if op == "Not":
            x = matrix > 0
        case(op, [x])
    for op in ["Add", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Greater", "Equal", "PRelu"]:
        a = numpy.abs(matrix) + 0.5 if op == "Pow" else matrix
        case(op, [a, floats(512, 1024)], {"fmod": 1} if op == "Mod" else {})
    case("Add bcast row", [matrix, floats(1024)])
    case("Add bcast col", [matrix, floats(512, 1)])
    case("Mul chan", [image, floats(1, 64, 1, 1)])
    case("Add i64", [below(100, 512, 1024), below(100, 512, 1024)])
    case("Mul i32", [below(100, 512, 1024).astype("i4"), below(100, 512, 1024).astype("i4")])
    case("Div i64", [below(100, 512, 1024), below(100, 512, 1024) + 1])
    case("Mod i64", [below(100, 512, 1024), below(9, 512, 1024) + 1])
    case("BitShift", [below(100, 512, 1024).astype("u4"), below(5, 512, 1024).astype("u4")], {"direction": "LEFT"})
    case("And", [matrix > 0, matrix > 1])
    case("Where", [matrix > 0, matrix, floats(512, 1024)])
    case("Clip", [matrix], {}, {1: numpy.float32(-1), 2: numpy.float32(1)})
    case("Cast f32 f16", [matrix], {"to": 10})
    case("Cast f32 i64", [matrix], {"to": 7})
    case("Cast i64 f32", [below(100, 512, 1024)], {"to": 1})
    case("Cast u8 f32", [below(100, 512, 1024).astype("u1")], {"to": 1})
    case("Cast f32 u8", [numpy.abs(matrix) * 10], {"to": 2})
    for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare", "ReduceLogSum"]:
        x = numpy.abs(matrix) + 0.1
        case(op + " last", [x], {}, {1: numpy.array([1])})
        case(op + " first", [x], {}, {1: numpy.array([0])})
    case("ReduceSum all", [matrix])
    case("ReduceMean hw", [image], {}, {1: numpy.array([2, 3])})
    case("ReduceMean mid", [batch], {}, {1: numpy.array([1])})
    case("ArgMax last", [matrix], {"axis": 1})
    case("ArgMax first", [matrix], {"axis": 0})
    case("ArgMin mid", [batch], {"axis": 1})
    case("Softmax last", [matrix], {"axis": -1})
    case("Softmax ch", [image], {"axis": 1})
    case("LogSoftmax", [matrix], {"axis": -1})
    case("Hardmax", [matrix], {"axis": -1})
    case("LayerNormalization LayerNorm", [matrix], {}, {1: floats(1024), 2: floats(1024)})
    case("InstanceNormalization InstanceNorm", [image], {}, {1: floats(64), 2: floats(64)})
    case("GroupNormalization GroupNorm", [image], {"num_groups": 8}, {1: floats(64), 2: floats(64)})
    case("RMSNormalization RMSNorm", [matrix], {}, {1: floats(1024)}, opset=23)
    case("LRN", [image], {"size": 5})
    case("LpNormalization LpNorm", [matrix], {"axis": -1, "p": 2})
    case("BatchNormalization BatchNorm", [image], {}, {1: floats(64), 2: floats(64), 3: floats(64), 4: numpy.abs(floats(64))})
    case("MeanVarianceNormalization MVN", [image])
    case("Transpose 2d", [matrix], {"perm": [1, 0]})
    case("Transpose 0231", [image], {"perm": [0, 2, 3, 1]})
    case("Transpose 0213", [floats(1, 128, 12, 64)], {"perm": [0, 2, 1, 3]})
    case("Transpose i64", [below(9, 512, 1024)], {"perm": [1, 0]})
    case("Transpose u8", [below(9, 512, 1024).astype("u1")], {"perm": [1, 0]})
    case("Transpose 10", [batch], {"perm": [1, 0, 2]})
    case("Concat 1", [matrix, floats(512, 1024)], {"axis": 1})
    case("Concat 0", [matrix, floats(512, 1024)], {"axis": 0})
    case("Split", [matrix], {"axis": 1, "num_outputs": 4}, outputs=4)
    case("Slice", [matrix], {}, {1: numpy.array([3, 5]), 2: numpy.array([500, 1000]), 3: numpy.array([0, 1])})
    case("Slice step", [matrix], {}, {1: numpy.array([0]), 2: numpy.array([1024]), 3: numpy.array([1]), 4: numpy.array([2])})
    case("Slice neg", [matrix], {}, {1: numpy.array([-1]), 2: numpy.array([-2000]), 3: numpy.array([1]), 4: numpy.array([-1])})
    case("Pad const", [image], {}, {1: numpy.array([0, 0, 1, 1, 0, 0, 1, 1])})
    case("Pad reflect", [image], {"mode": "reflect"}, {1: numpy.array([0, 0, 3, 3, 0, 0, 3, 3])})
    case("Pad edge", [image], {"mode": "edge"}, {1: numpy.array([0, 0, 3, 3, 0, 0, 3, 3])})
    case("Pad wrap", [image], {"mode": "wrap"}, {1: numpy.array([0, 0, 3, 3, 0, 0, 3, 3])})
    case("Tile", [floats(128, 256)], {}, {1: numpy.array([4, 4])})
    case("Expand", [floats(512, 1)], {}, {1: numpy.array([512, 1024])})
    case("Gather rows", [floats(30000, 256), below(30000, 1, 512)], {"axis": 0})
    case("Gather cols", [matrix, below(1024, 512)], {"axis": 1})
    case("GatherElements", [matrix, below(1024, 512, 1024)], {"axis": 1})
    case("GatherElements 0", [matrix, below(512, 512, 1024)], {"axis": 0})
    case("GatherND", [matrix, numpy.stack([below(512, 4096), below(1024, 4096)], 1)])
    case("ScatterND", [matrix, below(512, 128, 1), floats(128, 1024)])
    case("ScatterND el", [matrix, numpy.stack([below(512, 4096), below(1024, 4096)], 1), floats(4096)])
    case("ScatterElements", [matrix, below(1024, 512, 512), floats(512, 512)], {"axis": 1})
    case("ScatterElements add", [matrix, below(512, 256, 1024), floats(256, 1024)], {"axis": 0, "reduction": "add"})
    case("OneHot", [below(100, 4096)], {"axis": -1}, {1: numpy.array([100]), 2: numpy.array([0, 1], "f4")})
    case("Trilu", [floats(1024, 1024)])
    case("CumSum last", [matrix], {}, {1: numpy.array(1)})
    case("CumSum first", [matrix], {}, {1: numpy.array(0)})
    case("CumSum long", [floats(1, 262144)], {}, {1: numpy.array(1)})
    case("TopK 10", [matrix], {"axis": -1}, {1: numpy.array([10])}, outputs=2)
    case("TopK first", [matrix], {"axis": 0}, {1: numpy.array([10])}, outputs=2)
    case("TopK full", [matrix], {"axis": -1}, {1: numpy.array([1024])}, outputs=2)
    case("TopK long", [floats(1, 65536)], {"axis": -1}, {1: numpy.array([100])}, outputs=2)
    case("Unique", [below(1000, 65536).astype("f4")], {"sorted": 1}, outputs=4)
    case("NonZero", [(matrix > 1).astype("f4")])
    case("Compress", [matrix, random.integers(0, 2, 512) > 0], {"axis": 0})
    case(
        "NonMaxSuppression NMS",
        [numpy.concatenate([(p := random.random((1, 2000, 2)).astype("f4")), p + 0.1], 2), random.random((1, 4, 2000)).astype("f4")],
        {},
        {2: numpy.array([50]), 3: numpy.array([0.5], "f4"), 4: numpy.array([0.1], "f4")},
    )
    for m in ["nearest", "linear", "cubic"]:
        case("Resize " + m, [floats(1, 32, 64, 64)], {"mode": m}, {2: numpy.array([1, 1, 2, 2], "f4")})
    case("Resize down", [floats(1, 32, 128, 128)], {"mode": "linear", "antialias": 1}, {2: numpy.array([1, 1, 0.5, 0.5], "f4")})
    case(
        "Resize Upsample lin ac",
        [floats(1, 32, 64, 64)],
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {3: numpy.array([1, 32, 100, 100])},
    )
    case("GridSample", [floats(1, 32, 64, 64), random.uniform(-1, 1, (1, 64, 64, 2)).astype("f4")])
    case(
        "RoiAlign",
        [floats(1, 32, 64, 64), (random.random((20, 4)) * 30 + numpy.array([0, 0, 30, 30])).astype("f4"), numpy.zeros(20, "i8")],
        {"output_height": 7, "output_width": 7, "sampling_ratio": 2},
    )
    case("AffineGrid", [floats(2, 2, 3)], {}, {1: numpy.array([2, 3, 128, 128])}, opset=20)
    case("DepthToSpace", [floats(1, 64, 64, 64)], {"blocksize": 2})
    case("SpaceToDepth", [floats(1, 16, 128, 128)], {"blocksize": 2})
    case("Col2Im", [floats(1, 64 * 9, 56 * 56)], {"pads": [1, 1, 1, 1]}, {1: numpy.array([56, 56]), 2: numpy.array([3, 3])})
    case("ReverseSequence ReverseSeq", [floats(128, 8, 256), below(127, 8) + 1], {"batch_axis": 1, "time_axis": 0})
    case("MaxPool", [image], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})
    case("MaxPool 2", [image], {"kernel_shape": [2, 2], "strides": [2, 2]})
    case("MaxPool idx", [image], {"kernel_shape": [2, 2], "strides": [2, 2]}, outputs=2)
    case("AveragePool AvgPool", [image], {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]})
    case("GlobalAveragePool GlobalAvg", [image])
    case("GlobalMaxPool GlobalMax", [image])
    case("LpPool", [image], {"kernel_shape": [2, 2], "strides": [2, 2]})
    case("MaxPool 1d", [floats(1, 64, 4096)], {"kernel_shape": [3], "strides": [2]})
    case("MaxPool 3d", [floats(1, 16, 16, 32, 32)], {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]})
    case("MaxUnpool", [floats(1, 1, 64, 64), (numpy.arange(4096) * 4).reshape(1, 1, 64, 64)], {"kernel_shape": [2, 2], "strides": [2, 2]})
    case("Conv 3x3", [image], {"pads": [1, 1, 1, 1]}, {1: floats(64, 64, 3, 3)})
    case("Conv 1x1", [image], {}, {1: floats(128, 64, 1, 1)})
    case("Conv dw", [image], {"pads": [1, 1, 1, 1], "group": 64}, {1: floats(64, 1, 3, 3)})
    case("Conv dw5", [image], {"pads": [2, 2, 2, 2], "group": 64}, {1: floats(64, 1, 5, 5)})
    case("Conv s2", [image], {"pads": [1, 1, 1, 1], "strides": [2, 2]}, {1: floats(64, 64, 3, 3)})
    case("Conv g4", [image], {"pads": [1, 1, 1, 1], "group": 4}, {1: floats(64, 16, 3, 3)})
    case("Conv dil", [image], {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, {1: floats(64, 64, 3, 3)})
    case("Conv 1d", [floats(1, 80, 3000)], {"pads": [1, 1]}, {1: floats(256, 80, 3)})
    case("Conv 1d dw", [floats(1, 256, 1000)], {"pads": [15, 15], "group": 256}, {1: floats(256, 1, 31)})
    case("Conv 3d", [floats(1, 8, 16, 32, 32)], {"pads": [1] * 6}, {1: floats(16, 8, 3, 3, 3)})
    case("Conv stem", [floats(1, 3, 224, 224)], {"pads": [3, 3, 3, 3], "strides": [2, 2]}, {1: floats(64, 3, 7, 7)})
    case("Conv rtw", [floats(1, 32, 28, 28), floats(32, 32, 3, 3)], {"pads": [1, 1, 1, 1]})
    case("ConvTranspose ConvT", [floats(1, 64, 28, 28)], {"strides": [2, 2]}, {1: floats(64, 32, 2, 2)})
    case("ConvTranspose ConvT4", [floats(1, 64, 28, 28)], {"strides": [2, 2], "pads": [1, 1, 1, 1]}, {1: floats(64, 32, 4, 4)})
    case("ConvTranspose ConvT dw", [floats(1, 64, 28, 28)], {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 64}, {1: floats(64, 1, 4, 4)})
    case("ConvTranspose ConvT1d", [floats(1, 128, 500)], {"strides": [4], "pads": [2, 2]}, {1: floats(128, 64, 8)})
    case("DeformConv", [floats(1, 16, 28, 28), floats(1, 18, 28, 28)], {"pads": [1, 1, 1, 1]}, {1: floats(16, 16, 3, 3)}, opset=22)
    case("MatMul w", [floats(128, 512)], {}, {1: floats(512, 512)})
    case("MatMul rt", [floats(128, 512), floats(512, 512)])
    case("MatMul b", [floats(12, 128, 64), floats(12, 64, 128)])
    case("MatMul MatVec w", [floats(1, 1024)], {}, {1: floats(1024, 4096)})
    case("MatMul MatVec rt", [floats(1, 1024), floats(1024, 1024)])
    case("Gemm tA", [floats(256, 128), floats(256, 256)], {"transA": 1})
    case("Gemm tB", [floats(128, 256), floats(256, 256)], {"transB": 1})
    case("MatMul f64", [floats(128, 256).astype("f8"), floats(256, 256).astype("f8")])
    case("MatMul f16", [floats(128, 256).astype("f2"), floats(256, 256).astype("f2")])
    case("MatMul vecT", [floats(1024, 1024), floats(1024, 1)])
    case("MatMul i32", [below(9, 128, 256).astype("i4"), below(9, 256, 256).astype("i4")])
    case("Einsum bhqd", [floats(2, 64, 8, 64), floats(2, 64, 8, 64)], {"equation": "bqhd,bkhd->bhqk"})
    case("Einsum ij", [floats(256, 512), floats(512, 128)], {"equation": "ij,jk->ki"})
    case("Det", [floats(64, 16, 16)])
    case("QuantizeLinear QLinear", [matrix], {}, {1: numpy.float32(0.02), 2: numpy.uint8(128)})
    case("DequantizeLinear", [below(255, 512, 1024).astype("u1")], {}, {1: numpy.float32(0.02), 2: numpy.uint8(128)})
    case("DynamicQuantizeLinear DynQuant", [matrix], outputs=3)
    case("MatMulInteger", [below(255, 128, 512).astype("u1")], {}, {1: below(120, 512, 512).astype("i1")})

    def layer(op, gates, size=1, directions=1):
        name = f"{op} of {size}" if directions == 1 else f"{op} both ways"
        case(
            name,
            [floats(100, size, 128)],
            {"hidden_size": 128, "direction": "forward" if directions == 1 else "bidirectional"},
            {1: floats(directions, gates * 128, 128) * 0.1, 2: floats(directions, gates * 128, 128) * 0.1},
            outputs=2,
            opset=14,
        )

    layer("LSTM", 4)
    layer("GRU", 3)
    layer("RNN", 1)
    layer("LSTM", 4, size=16)
    layer("LSTM", 4, directions=2)
    case("Attention", [floats(1, 8, 128, 64), floats(1, 8, 128, 64), floats(1, 8, 128, 64)], opset=23)
    case("Attention causal", [floats(1, 8, 128, 64), floats(1, 8, 128, 64), floats(1, 8, 128, 64)], {"is_causal": 1}, opset=23)
    case("RotaryEmbedding RotaryEmb", [floats(1, 8, 128, 64), floats(128, 32), floats(128, 32), numpy.arange(128)[None]], opset=23)
    case("DFT", [floats(16, 512, 1)], {}, {}, opset=20)
    case("DFT r", [floats(16, 512, 1)], {"onesided": 1}, {}, opset=20)
    case("STFT", [floats(1, 16000, 1)], {}, {1: numpy.array(160), 2: numpy.hanning(400).astype("f4"), 3: numpy.array(400)}, opset=17)
    case("SoftmaxCrossEntropyLoss SCEL", [floats(512, 1000), below(1000, 512)])
    case("Mean 3", [matrix, floats(512, 1024), floats(512, 1024)])
    case("Sum 3", [matrix, floats(512, 1024), floats(512, 1024)])
    case("NonZero i64", [below(2, 65536)])
    case("Equal IsIn eq", [below(5, 512, 1024), below(5, 1024)])
    case("EyeLike", [floats(512, 512)])
    return found


def model_of(name, inputs, attributes, constants, outputs, opset, path):
    """Writes the model; returns what it is fed by name."""
    names, feeds, given = [], {}, iter(inputs)
    for position in range(max([len(inputs) + len(constants) - 1, *constants]) + 1):
        if position in constants:
            names.append(f"c{position}")
        elif (value := next(given, None)) is not None:
            names.append(f"x{position}")
            feeds[names[-1]] = numpy.ascontiguousarray(value)
        else:
            names.append("")
    node = helper.make_node(name.split()[0], names, [f"y{i}" for i in range(outputs)], **attributes)
    ports = [helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape) for key, value in feeds.items()]
    stored = [numpy_helper.from_array(numpy.asarray(value), f"c{position}") for position, value in constants.items()]
    graph = helper.make_graph([node], "one", ports, [], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info}
    model.graph.output.extend(known.get(output) or onnx.ValueInfoProto(name=output) for output in node.output)
    onnx.save(model, path)
    return feeds


def least_time(session, feeds):
    times, end = [], time.perf_counter() + 0.3
    while len(times) < 3 or (len(times) < 200 and time.perf_counter() < end):
        start = time.perf_counter()
        session.run(None, feeds)
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def difference(folder, expected):
    """What is wrong with the results in `folder`, if anything is."""
    files = sorted(folder.glob("*.npy"), key=lambda path: int("".join(filter(str.isdigit, path.stem)) or 0))
    for ours, theirs in zip(map(numpy.load, files), expected, strict=True):
        if ours.shape != theirs.shape:
            return f"shape {ours.shape} instead of {theirs.shape}"
        finite = numpy.abs(theirs[numpy.isfinite(theirs)].astype(float)).max(initial=1e-3)
        close = numpy.isclose(ours.astype(float), theirs.astype(float), rtol=2e-3, atol=2e-3 * finite, equal_nan=True)
        if not close.all():
            return f"{(~close).sum()} of {close.size} elements differ"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--winze", default="target/release/winze")
    parser.add_argument("--check", action="store_true", help="compare results instead of times")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("filter", nargs="*")
    given = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    onnxruntime.set_default_logger_severity(4)
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, *case in cases():
            if given.filter and not any(part in name for part in given.filter):
                continue
            path = folder / "model.onnx"
            feeds = model_of(name, *case, path)
            command = ["--no-cache", "--quiet", "--device", given.device, "--require-device"]
            command += ["--output-dir", folder / "out"] if given.check else ["--json", "--threads", "1", "--runs", "50"]
            command.append("--input")
            for key, value in feeds.items():
                numpy.save(folder / f"{key}.npy", value)
                command.append(folder / f"{key}.npy")
            done = subprocess.run([given.winze, "run" if given.check else "bench", path, *command], capture_output=True, text=True)
            if done.returncode != 0:
                print(f"{name}: exit {done.returncode}: {done.stderr.strip()}", flush=True)
                continue
            try:
                session = onnxruntime.InferenceSession(path, options)
                expected = session.run(None, feeds)
            except Exception as error:  # ONNX Runtime lacks some operators and types.
                print(f"{name}: not in ONNX Runtime: {str(error)[:100]}", flush=True)
                continue
            if given.check:
                if problem := difference(folder / "out", expected):
                    print(f"{name}: {problem}", flush=True)
                    wrong += 1
                for file in (folder / "out").glob("*.npy"):
                    file.unlink()
            else:
                rows.append((least_time(session, feeds), json.loads(done.stdout)["min_ms"], name))
    for theirs, ours, name in sorted(rows, key=lambda row: -row[0] / row[1]):
        print(f"{name:28} {theirs:9.3f} ms {ours:9.3f} ms {theirs / ours:6.2f}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
