#!/bin/sh
# Compiles the kernels of the Vulkan tests. The results are checked in: run this only after changing a .comp file.
# Needs glslangValidator (glslang-tools) and spirv-val (spirv-tools).
set -e
cd "$(dirname "$0")"
for source in *.comp; do
    glslangValidator --quiet -V --target-env vulkan1.1 "$source" -o "${source%.comp}.spv"
    spirv-val --target-env vulkan1.1 "${source%.comp}.spv"
done
