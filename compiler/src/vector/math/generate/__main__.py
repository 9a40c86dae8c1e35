"""python3 generate: writes ../<family>.mlir for every family (needs mpmath). The .mlir files are what the compiler reads."""

import importlib
import os

FAMILIES = ["exp", "log", "hyperbolic", "trig", "inverse_trig", "erf", "power", "remainder", "convert"]

for family in FAMILIES:
    module = importlib.import_module(family)
    doc = " ".join(module.__doc__.split())
    text = f"// {family}: {doc}\n// Written by generate/{family}.py; change it there.\n\n"
    text += "\n".join(f.text() for f in module.functions())
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", f"{family}.mlir")
    with open(path, "w") as out:
        out.write(text)
    print(family, text.count("\n"))
