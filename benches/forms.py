"""One artifact for all sizes beside one compiled for the same sizes, in turns in one run: least time of all turns.

    python benches/forms.py --winze target/release/winze --cases CASES [--models TEXT] [--threads 1] [--json FILE]
    python benches/forms.py --winze target/release/winze --dim 'N=1,H=224 N=3,H=225' [--keep N=1] MODEL.onnx ...

The first form runs the models with dynamic inputs under CASES (folders with a model.onnx, those of the conformance suite) at sizes that fill tiles and at
awkward ones, as SIZES below has them. The second runs models of your own at the sizes of --dim; names of dims are those that `winze inspect` lists.

Each model is compiled once without --dim and once with it per size. Ratios are general over specialised: above 1 the general form is slower. Floats are
random, integers 1 unless SIZES says otherwise; --keep fixes a dim in both forms. With --folder artifacts stay there, and those that are there already
are measured as they are.
"""

import argparse
import json
import math
import pathlib
import re
import subprocess
import tempfile

import numpy

# Model, values of integer inputs, dims fixed in both forms, sizes that fill tiles, awkward sizes.
SIZES = [
    ("minilm_l6_ts", {}, "", "N=8,T=128", "N=3,T=12 N=1,T=77"),
    ("ppocrv4_rec", {}, "", "p2o.DynamicDimension.0=1,x_dim2=48,p2o.DynamicDimension.1=320",
     "p2o.DynamicDimension.0=1,x_dim2=48,p2o.DynamicDimension.1=203 p2o.DynamicDimension.0=3,x_dim2=48,p2o.DynamicDimension.1=99"),
    ("ppocrv4_det", {}, "", "p2o.DynamicDimension.0=1,p2o.DynamicDimension.1=224,p2o.DynamicDimension.2=480",
     "p2o.DynamicDimension.0=1,p2o.DynamicDimension.1=352,p2o.DynamicDimension.2=288 "
     "p2o.DynamicDimension.0=1,p2o.DynamicDimension.1=160,p2o.DynamicDimension.2=416"),
    ("resnet50_b4", {}, "", "N=4", "N=1 N=3"),
    ("gpt2_kv", {}, "", "s27=64,s62=0", "s27=1,s62=75 s27=24,s62=37"),
    ("lstm_tagger", {}, "", "N=2,T=40", "N=3,T=17 N=1,T=7"),
    ("mtcnn_pnet", {}, "", "N=1,M1=128,M2=128", "N=1,M1=75,M2=101 N=1,M1=150,M2=200"),
    ("silero_vad_v6", {"sr": 16000}, "", "input_dim0=1,input_dim1=576,state_dim1=1",
     "input_dim0=3,input_dim1=576,state_dim1=3 input_dim0=7,input_dim1=576,state_dim1=7"),
    ("silero_vad_half", {}, "", "batch=1,sequence=576", "batch=3,sequence=576 batch=7,sequence=576"),
    ("silero_vad_v4_legacy", {"sr": 16000}, "", "batch=1,sequence=1536", "batch=3,sequence=1536 batch=1,sequence=700"),
    ("dnsmos_sig", {}, "", "N=1", "N=2 N=3"),
]

ELEMENTS = {"f32": "float32", "f64": "float64", "f16": "float16", "i64": "int64", "i32": "int32", "i1": "bool"}


def compile_model(winze, model, out, dims):
    if out.exists():
        return
    words = [word for dim in dims for word in ("--dim", dim)]
    subprocess.run([winze, "compile", model, "-o", out, "--no-cache", "--quiet", *words], check=True)


def save_inputs(winze, program, dims, values, folder):
    """Writes an input file per port of a program, as `winze inspect` lists them, and returns their names."""
    listed = subprocess.run([winze, "inspect", program], check=True, capture_output=True, text=True).stdout
    random = numpy.random.default_rng(1)
    files = []
    for name, element, shape in re.findall(r"^  input  (.+): (\w+)\[(.*)\]$", listed, re.MULTILINE):
        dtype = ELEMENTS[element]
        extents = [dims[dim] if dim in dims else int(dim) for dim in shape.split(" x ") if dim]
        value = random.uniform(-1, 1, extents) if dtype.startswith("float") else numpy.full(extents, values.get(name, 1))
        files.append(folder / f"{len(files)}.npy")
        numpy.save(files[-1], numpy.asarray(value, dtype=dtype))
    return files


def bench(winze, program, files, runs, threads):
    words = [winze, "bench", program, "--json", "--runs", str(runs), "--threads", str(threads)]
    words += [word for file in files for word in ("--input", file)]
    return json.loads(subprocess.run(words, check=True, capture_output=True).stdout)["min_ms"]


def compare(arguments, model, values, keep, sizes, folder):
    """Yields the sizes, the general form's milliseconds and the specialised one's."""
    general = folder.parent / "general.wz"
    compile_model(arguments.winze, model, general, keep)
    for position, size in enumerate(sizes):
        pairs = keep + size.split(",")
        dims = {name: int(value) for name, value in (pair.split("=") for pair in pairs)}
        files = save_inputs(arguments.winze, general, dims, values, folder)
        special = folder / f"special{position}.wz"
        compile_model(arguments.winze, model, special, pairs)
        runs = arguments.runs or max(10, min(1000, int(300 / bench(arguments.winze, special, files, 2, arguments.threads))))
        times = ([], [])
        for _ in range(arguments.turns):
            for program, found in zip((general, special), times):
                found.append(bench(arguments.winze, program, files, runs, arguments.threads))
        yield size, *map(min, times)


def mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="MODEL.onnx")
    parser.add_argument("--winze", default="winze", help="the command to measure")
    parser.add_argument("--cases", type=pathlib.Path, help="folder of the conformance cases")
    parser.add_argument("--models", default="", metavar="TEXT[,TEXT...]", help="of --cases, only models with one of these in their name")
    parser.add_argument("--dim", default="", metavar="'NAME=N,... NAME=N,...'", help="sizes at which models of your own run")
    parser.add_argument("--keep", action="append", default=[], metavar="NAME=N", help="fixed in both forms; may be repeated")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--runs", type=int, default=0, help="runs per turn; without it about 0.3 s of them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=pathlib.Path, help="where artifacts are kept")
    parser.add_argument("--json", type=pathlib.Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    rows = [(pathlib.Path(file), {}, arguments.keep, {"sizes": arguments.dim.split()}) for file in arguments.files]
    if arguments.cases:
        for name, values, keep, tiles, awkward in SIZES:
            if any(text in name for text in arguments.models.split(",")):
                found = sorted(arguments.cases.glob(f"**/{name}/model.onnx"))
                if not found:
                    raise SystemExit(f"{arguments.cases} has no {name}/model.onnx")
                rows.append((found[0], values, keep.split(), {"tiles": tiles.split(), "awkward": awkward.split()}))
    ratios, numbers = {}, []
    for model, values, keep, kinds in rows:
        for kind, sizes in kinds.items():
            name = model.parent.name if model.stem == "model" else model.stem
            with tempfile.TemporaryDirectory() as temporary:
                folder = (arguments.folder or pathlib.Path(temporary)) / name / kind
                folder.mkdir(parents=True, exist_ok=True)
                found = []
                for size, general, special in compare(arguments, model, values, keep, sizes, folder):
                    shown = re.sub(r"[^=,]*=", "", size).replace(",", " x ")
                    times = f"general {general:9.3f} ms, specialised {special:9.3f} ms, ratio {general / special:.2f}"
                    print(f"{name:22} {kind:8} {shown:16} {times}", flush=True)
                    numbers.append({"model": name, "kind": kind, "size": size, "general_ms": general, "specialised_ms": special})
                    found.append(general / special)
                # A model counts once, however many sizes it runs at.
                ratios.setdefault(kind, []).append(mean(found))
    for kind, found in ratios.items():
        print(f"{kind}: geometric mean over {len(found)} models {mean(found):.2f}, greatest {max(found):.2f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(numbers, indent=1))


main()
