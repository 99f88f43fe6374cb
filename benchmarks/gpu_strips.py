"""Phases and strips on a GPU

The losses on both students' stride-4 logits with all gradients, batch 8, upsampled whole or phase
by phase in strips of so many elements; all classes compared, and groups of them. What the package
chooses is marked.
"""

import math
import statistics

import torch
from common import header, make_batch, row
from gpu_steps import in_turn, parser_of

from ctcl_hf.losses import PixelTeaching, from_each_other, pixel_losses
from ctcl_hf.losses.fused import phases, strips


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--strips", nargs="+", type=int, default=[22, 24, 26], help="Powers of 2.")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    height, width = (int(side) for side in arguments.size.split("x"))
    chosen = phases.STRIP_ELEMENTS_ACCELERATOR
    header("classes", "compared", "upsampled; elements of a strip", "ms", "peak (GiB)")
    for classes in (11, 150):
        labels = make_batch(classes, (height, width), arguments.images)["labels"].to(device)
        logits = [
            torch.randn(
                arguments.images,
                classes,
                height // 4,
                width // 4,
                device=device,
                requires_grad=True,
            )
            for _ in range(2)
        ]
        groups = ((*((i,) for i in range(classes - 3)), tuple(range(classes - 3, classes))),) * 2
        for compared, own in (("all", None), ("grouped", groups)):
            teaching = PixelTeaching(from_each_other(2), selective=True, groups=own)

            def step(teaching=teaching, logits=logits, labels=labels) -> None:
                on_pixels = pixel_losses(logits, labels, 255, teaching)
                means = (*on_pixels.ce, *on_pixels.pixel)
                sum(mean.value for mean in means).backward()
                for each in logits:
                    each.grad = None

            whole = strips.largest_factor(device, labels.numel() * classes) == 1
            for power in (None, *arguments.strips):  # None: upsampled whole
                strips.STRIP_ELEMENTS_ACCELERATOR = math.inf if power is None else 0
                phases.STRIP_ELEMENTS_ACCELERATOR = chosen if power is None else 2**power
                measured = in_turn(device, {"losses": step}, arguments.repeats)["losses"]
                strips.STRIP_ELEMENTS_ACCELERATOR = phases.STRIP_ELEMENTS_ACCELERATOR = chosen
                is_chosen = whole if power is None else not whole and 2**power == chosen
                row(
                    classes,
                    compared,
                    ("whole" if power is None else f"phases, 2^{power}")
                    + (" (chosen)" if is_chosen else ""),
                    f"{statistics.median(took for took, _ in measured):.2f}",
                    f"{max(peak for _, peak in measured):.2f}",
                )


if __name__ == "__main__":
    main()
