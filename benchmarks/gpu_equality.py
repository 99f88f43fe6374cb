"""Equal to the CPU

What the losses on logits give on the GPU against the same on the CPU, and a whole step of the
paper's pair in CTCL, all in float64: the largest difference of any value or gradient, relative to
the largest of its kind.
"""

import argparse

import torch
from common import bar, header, make_batch, make_pair, row

from ctcl_hf.losses import PixelTeaching, from_each_other, pixel_losses

GROUPS = {
    "all": None,
    "known": (((0,), (1,), (2,), (4,)), ((1,), (3,), (4,))),
    "grouped": (((0, 3), (1,), (2, 4)), ((0,), (1, 2, 3, 4))),
}


def worst(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
    """The largest difference of paired tensors, each relative to the second's largest element."""
    pairs = [(a.cpu().double(), b.cpu().double()) for a, b in zip(ours, theirs, strict=True)]
    return max(((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item() for a, b in pairs)


def losses_on(device: torch.device, classes: int, groups: str, divisor: str) -> list[torch.Tensor]:
    """Values and gradients of both students' terms, drawn from one seed."""
    generator = torch.Generator().manual_seed(classes)
    logits = [
        torch.randn(2, classes, 24, 32, generator=generator, dtype=torch.float64)
        .to(device)
        .requires_grad_()
        for _ in range(2)
    ]
    labels = make_batch(classes, (96, 128), images=2)["labels"].to(device)
    own = GROUPS[groups]
    if own and groups == "grouped":
        own = tuple((*each, tuple(range(5, classes))) if classes > 5 else each for each in own)
    teaching = PixelTeaching(from_each_other(2), selective=True, divisor=divisor, groups=own)
    on_pixels = pixel_losses(logits, labels, 255, teaching)
    terms = [mean.value for mean in (*on_pixels.ce, *on_pixels.pixel)]
    gradients = [
        gradient
        for term in terms
        for gradient in torch.autograd.grad(term, logits, retain_graph=True, allow_unused=True)
        if gradient is not None
    ]
    return [*(term.detach() for term in terms), *gradients]


def step_on(device: torch.device, classes: int, size: tuple[int, int]) -> list[torch.Tensor]:
    """The logged terms of one CTCL step, and every gradient, as one tensor for each student."""
    torch.manual_seed(0)
    pair = make_pair(classes, size, 256).to(device, torch.float64)
    for module in pair.modules():  # drawn on the device
        if "Drop" in type(module).__name__:
            module.eval()
    batch = {name: values.to(device) for name, values in make_batch(classes, size, 2).items()}
    output = pair(**batch)
    output.loss.backward()
    return [
        torch.stack([output.terms[name].cpu().double() for name in sorted(output.terms)]),
        *(
            torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None])
            for student in pair.students.values()
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cpu: to try this script.")
    parser.add_argument("--size", default="192x256", help="HEIGHTxWIDTH of the whole step.")
    arguments = parser.parse_args()
    device, cpu = torch.device(arguments.device), torch.device("cpu")
    size = tuple(int(side) for side in arguments.size.split("x"))
    header("what", "classes", "largest difference")
    largest = 0.0
    for classes in (11, 150):
        for groups in GROUPS:
            for divisor in ("labelled", "taught"):
                difference = worst(
                    losses_on(device, classes, groups, divisor),
                    losses_on(cpu, classes, groups, divisor),
                )
                row(f"losses, {groups} classes, divided by {divisor} pixels", classes, difference)
                largest = max(largest, difference)
    bar(1, "losses and gradients, GPU against CPU, float64", largest, at_most=1e-9)
    step = worst(step_on(device, 11, size), step_on(cpu, 11, size))
    row("a CTCL step of the pair", 11, step)
    bar(1, "terms and gradients of a step, GPU against CPU, float64", step, at_most=1e-6)


if __name__ == "__main__":
    main()
