"""Segment an image with what `ctcl-hf export --with_preprocessing --argmax` wrote: run_onnx.py
cnn.onnx street.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession(sys.argv[1])
facts = {
    name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
}
image = Image.open(sys.argv[2]).convert("RGB")
resized = image.resize(facts["size"][::-1], Image.Resampling.BILINEAR)
(class_maps,) = session.run(["class_map"], {"image": np.asarray(resized)[None]})
for number, name in enumerate(facts["classes"]):
    print(f"{name}: {(class_maps[0] == number).mean():.1%}")
Image.fromarray(class_maps[0]).resize(image.size, Image.Resampling.NEAREST).save("classes.png")
