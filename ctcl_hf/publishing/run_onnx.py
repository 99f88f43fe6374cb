"""Segments an image with a file that `ctcl-hf export --with_preprocessing --argmax` wrote; stands
alone, to be copied to where the file is used.

python run_onnx.py cnn.onnx street.jpg
"""

import json
import sys
from pathlib import Path

try:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageOps
except ImportError as error:
    sys.exit(f"run_onnx.py: error: {error}: pip install numpy onnxruntime pillow")

USAGE = "usage: run_onnx.py FILE.onnx IMAGE"


def main(file: str, photo: str) -> None:
    """Prints the share of each class, and saves the class ids at the image's own size, with the
    classes' colours as palette, in the current folder.
    """
    session = load(file)
    facts = {
        name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()
    }
    image = read(photo)
    resized = image.resize(facts["size"][::-1], Image.Resampling.BILINEAR)
    (class_maps,) = session.run(["class_map"], {"image": np.asarray(resized)[None]})
    for number, name in enumerate(facts["classes"]):
        print(f"{name}: {(class_maps[0] == number).mean():.1%}")
    picture = Image.fromarray(class_maps[0]).resize(image.size, Image.Resampling.NEAREST)
    picture.putpalette(np.array(facts["palette"], dtype=np.uint8).tobytes())
    target = f"{Path(photo).stem}-classes.png"
    picture.save(target)
    print(target)


def load(file: str) -> onnxruntime.InferenceSession:
    """ValueError for any other file."""
    if not Path(file).is_file():
        raise ValueError(f"{file}: there is no such file.")
    try:
        session = onnxruntime.InferenceSession(file)
    except Exception as error:  # of onnxruntime's, which have no name in common
        raise ValueError(f"{file} is no ONNX file that can be read: {error}") from error
    given, returned = (
        [value.name for value in values] for values in (session.get_inputs(), session.get_outputs())
    )
    if (given, returned) != (["image"], ["class_map"]):
        raise ValueError(
            f"{file} takes {', '.join(given)} and gives {', '.join(returned)}. Expected a file "
            "that `ctcl-hf export --with_preprocessing --argmax` wrote."
        )
    return session


def read(photo: str) -> Image.Image:
    """The image as RGB, turned as its EXIF tag says.

    OSError for what is no image, ValueError for what 8-bit RGB cannot hold.
    """
    image = ImageOps.exif_transpose(Image.open(photo))
    is_deep = image.mode.startswith(("I", "F"))
    if is_deep or image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise ValueError(
            f"{photo}: expected 8 bits per channel, and no transparency, got mode {image.mode}."
        )
    return image.convert("RGB")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(USAGE)
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as problem:
        sys.exit(f"run_onnx.py: error: {problem}")
