"""Segments an image with what `ctcl-hf export --with_preprocessing --argmax` wrote, into
classes.png; stands alone, to be copied to where the file is used.

python run_onnx.py cnn.onnx street.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def main(file: str, photo: str) -> None:
    session = onnxruntime.InferenceSession(file)
    facts = {
        name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
    }
    image = Image.open(photo).convert("RGB")
    resized = image.resize(facts["size"][::-1], Image.Resampling.BILINEAR)
    (class_maps,) = session.run(["class_map"], {"image": np.asarray(resized)[None]})
    for number, name in enumerate(facts["classes"]):
        print(f"{name}: {(class_maps[0] == number).mean():.1%}")
    Image.fromarray(class_maps[0]).resize(image.size, Image.Resampling.NEAREST).save("classes.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
