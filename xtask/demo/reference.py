"""rnet.onnx -> input_0.npy, output_0.npy, output_1.npy in this folder: `python reference.py PATH/TO/rnet.onnx`.

Needs numpy and onnxruntime==1.31.1. A batch of 3 uniform images in [-1, 1), seed 20, as MTCNN normalises its crops.
"""
import os
import sys

import numpy as np
import onnxruntime

here = os.path.dirname(os.path.abspath(__file__))
images = np.random.default_rng(20).uniform(-1, 1, (3, 24, 24, 3)).astype(np.float32)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
outputs = session.run(None, {session.get_inputs()[0].name: images})
np.save(os.path.join(here, "input_0.npy"), images)
for index, (port, output) in enumerate(zip(session.get_outputs(), outputs)):
    print(port.name, output.dtype, output.shape, output.tolist())
    np.save(os.path.join(here, f"output_{index}.npy"), output)
