"""Writes expected.txt: what rapidocr-onnxruntime 1.4.4, the package that the models come from, reads in picture.png with ONNX Runtime. A line per text:
its four corners, clockwise from the top left one, then the text. The picture is not enlarged, and the classifier of upside-down text is left out, as in the example."""

from pathlib import Path

from rapidocr_onnxruntime import RapidOCR

folder = Path(__file__).parent.parent
lines, _ = RapidOCR(det_limit_side_len=480)(str(folder / "picture.png"), use_cls=False)
with open(folder / "expected.txt", "w", encoding="utf-8") as file:
    for corners, text, _ in lines:
        file.write(" ".join(f"{x:g},{y:g}" for x, y in corners) + "\t" + text + "\n")
