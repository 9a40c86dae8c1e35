"""ONNX's own node cases -> FOLDER/NAME/{model.onnx, input_N.npy, output_N.npy} and FOLDER/cases.txt: `NAME OPERATOR INPUTS OUTPUTS` a line.

Cases whose values are no numeric tensors have -1 inputs. Types that .npy lacks are stored as unsigned integers of their size.
"""
import os
import sys

import numpy
import onnx
from onnx.backend.test.loader import load_model_tests


def stored(value):
    """A value as .npy can hold it, or None."""
    if not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    array = numpy.asarray(value)
    if array.dtype.kind in "OSU":
        return None
    known = array.dtype.kind in "biuf" and array.dtype.isbuiltin == 1
    return array if known else array.view(f"u{array.dtype.itemsize}")


def operator(model, name):
    """The operator that a case is about: the one that its name begins with, else the first."""
    words = name.removeprefix("test_").replace("_", "")
    types = [node.op_type for node in model.graph.node] or ["Identity"]
    named = [op for op in types if words.startswith(op.lower())]
    return max(named, key=len) if named else types[0]


def convert(case, folder):
    """Writes one case; its operator and the number of its inputs and outputs."""
    os.makedirs(folder, exist_ok=True)
    onnx.save(case.model, os.path.join(folder, "model.onnx"))
    counts = []
    for kind, values in zip(("input", "output"), case.data_sets[0]):
        for index, value in enumerate(values):
            array = stored(value)
            if array is None:
                return operator(case.model, case.name), -1, -1
            numpy.save(os.path.join(folder, f"{kind}_{index}.npy"), array)
        counts.append(len(values))
    return operator(case.model, case.name), *counts


def main(folder):
    lines = []
    for case in sorted(load_model_tests(kind="node"), key=lambda case: case.name):
        lines.append(" ".join(map(str, (case.name, *convert(case, os.path.join(folder, case.name))))))
    with open(os.path.join(folder, "cases.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


main(sys.argv[1])
