"""Tests in .mlir files for LLVM's lit: every file with a RUN line under lit-tests/, dialects/ and compiler/.

RUN lines use `winze-opt`, `winze-compiler`, `winze`, `FileCheck`, `not`, `split-file` and the other tools of LLVM.
`lit -v FOLDER_OR_FILE...` runs some; `cargo xtask test` runs all; `-Dbuild=release` takes another build than target/debug.
"""
import os
import sys

LLVM_TOOLS = "/usr/lib/llvm-22/bin"

root = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(root, "lit-tests"))
from mlir_format import MlirTest

target = os.path.abspath(os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target")))
build = os.path.join(target, lit_config.params.get("build", "debug"))

config.name = "winze"
config.test_format = MlirTest(execute_external=False)
config.suffixes = [".mlir"]
config.excludes = ["Inputs", "target"]
config.test_source_root = root
config.test_exec_root = os.path.join(target, "lit")
config.environment["PATH"] = os.pathsep.join([build, LLVM_TOOLS, config.environment["PATH"]])
config.environment["FILECHECK_OPTS"] = "--dump-input-filter=annotation-full"
config.substitutions.append((r"\bwinze-opt\b", "winze-compiler opt"))
