"""Protocols against slow implementations of their own, and the properties that make scores
comparable.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from conftest import make_cnn, make_hybrid, make_vit
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from ctcl_hf.scoring.evaluate import evaluate_predictors
from ctcl_hf.scoring.protocols import PROTOCOLS, Protocol


def predict(pixels):
    """Logits at stride 4 of three classes, which depend on a pixel's surroundings."""
    pooled = F.avg_pool2d(F.pad(pixels.float() / 255, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    pooled = F.interpolate(
        pooled, size=[-(-side // 4) for side in pixels.shape[-2:]], mode="bilinear"
    )
    return 6 * pooled - 3


def images(height, width, count=2, seed=0):
    return torch.randint(
        0,
        256,
        (count, 3, height, width),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(seed),
    )


def upsampled(logits, size):
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


# ---- sliding window ----


def slow_sliding(pixels, window, stride):
    """Each pixel's logits, from each window that covers it, added up one by one in float64."""
    height, width = pixels.shape[-2:]

    def starts(side, length, step):
        first = 0
        while first + length < side:
            yield first
            first += step
        yield max(side - length, 0)

    sums = np.zeros((len(pixels), 3, height, width))
    visits = np.zeros((height, width))
    for top in starts(height, window[0], stride[0]):
        for left in starts(width, window[1], stride[1]):
            piece = pixels[..., top : top + window[0], left : left + window[1]]
            logits = upsampled(predict(piece), piece.shape[-2:]).double().numpy()
            for y in range(piece.shape[-2]):
                for x in range(piece.shape[-1]):
                    sums[..., top + y, left + x] += logits[..., y, x]
                    visits[top + y, left + x] += 1
    return sums / visits


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [
        ((48, 80), (32, 32), (20, 24)),
        ((33, 47), (16, 24), None),
        ((20, 70), (32, 32), (32, 32)),
        ((32, 64), (32, 64), None),
    ],
)
def test_a_sliding_window_is_the_mean_of_all_windows_at_each_pixel(size, window, stride):
    protocol = Protocol("sliding", window=window, stride=stride)
    pixels = images(*size)
    assert np.allclose(
        protocol.logits(predict, pixels).numpy(),
        slow_sliding(pixels, window, protocol.stride),
        atol=1e-5,
    )


def test_a_window_that_covers_the_image_is_the_whole_image():
    pixels = images(40, 56)
    whole = upsampled(Protocol().logits(predict, pixels), (40, 56))
    assert torch.equal(Protocol("sliding", window=(64, 64)).logits(predict, pixels), whole)


@pytest.mark.parametrize("size", [(1, 1), (31, 97), (64, 64), (100, 30)])
def test_overlaps_weigh_one_in_sum(size):
    ones = Protocol("sliding", window=(32, 48)).logits(
        lambda pixels: torch.ones_like(pixels[:, :2]).float(), images(*size)
    )
    assert ones.shape == (2, 2, *size)
    assert torch.allclose(ones, torch.ones_like(ones))


def test_only_one_window_is_predicted_at_a_time():
    seen = []

    def watched(pixels):
        seen.append(tuple(pixels.shape))
        return predict(pixels)

    Protocol("sliding", window=(32, 32)).logits(watched, images(64, 96))
    assert set(seen) == {(2, 3, 32, 32)}


# ---- centre crop ----


def slow_centre_crop(image, labels, window):
    scale = max(window[0] / image.shape[1], window[1] / image.shape[2])
    size = [
        max(round(image.shape[1] * scale), window[0]),
        max(round(image.shape[2] * scale), window[1]),
    ]
    image = resize(image, size, InterpolationMode.BILINEAR, antialias=True)
    rows = [int((y + 0.5) * labels.shape[0] / size[0]) for y in range(size[0])]
    columns = [int((x + 0.5) * labels.shape[1] / size[1]) for x in range(size[1])]
    labels = np.array([[int(labels[y, x]) for x in columns] for y in rows])
    top, left = round((size[0] - window[0]) / 2), round((size[1] - window[1]) / 2)
    return image[:, top : top + window[0], left : left + window[1]], labels[
        top : top + window[0], left : left + window[1]
    ]


@pytest.mark.parametrize("size", [(50, 75), (75, 50), (32, 32), (20, 90), (333, 500)])
@pytest.mark.parametrize("window", [(32, 32), (32, 48)])
def test_the_centre_crop_shows_the_middle_of_the_scaled_image_and_of_its_labels(size, window):
    image = images(*size, count=1)[0]
    labels = torch.randint(
        0, 3, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    cropped, scored = Protocol("centre_crop", window=window).transform(image, labels)
    expected, expected_labels = slow_centre_crop(image, labels, window)
    assert torch.equal(cropped, expected)
    assert np.array_equal(scored.numpy(), expected_labels)


def test_whole_and_sliding_leave_the_labels_and_resize_the_image_alone():
    image, labels = images(50, 75, count=1)[0], torch.zeros(50, 75, dtype=torch.uint8)
    for protocol in (Protocol(image_size=(32, 64)), Protocol("sliding", (32, 64), (32, 32))):
        shown, scored = protocol.transform(image, labels)
        assert shown.shape == (3, 32, 64)
        assert scored is labels
    assert Protocol().transform(image, labels)[0] is image


# ---- several scales, mirrored ----


def slow_views(pixels, scales, flip):
    size = pixels.shape[-2:]
    probabilities = []
    for scale in scales:
        view = F.interpolate(
            pixels.float(),
            size=[round(side * scale) for side in size],
            mode="bilinear",
            antialias=True,
        )
        probabilities.append(upsampled(predict(view), size).double().softmax(1))
        if flip:
            mirrored = predict(torch.flip(view, [3]))
            probabilities.append(torch.flip(upsampled(mirrored, size), [3]).double().softmax(1))
    return torch.stack(probabilities).mean(0)


@pytest.mark.parametrize(
    ("scales", "flip"), [((0.5, 1.0, 1.75), True), ((1.0,), True), ((0.75, 1.25), False)]
)
def test_several_views_are_the_mean_of_their_probabilities(scales, flip):
    pixels = images(40, 60)
    logits = Protocol(scales=scales, flip=flip).logits(predict, pixels)
    assert torch.allclose(logits.exp().double(), slow_views(pixels, scales, flip), atol=1e-5)


def test_views_of_a_sliding_window_slide_at_every_scale():
    seen = []

    def watched(pixels):
        seen.append(tuple(pixels.shape[-2:]))
        return predict(pixels)

    logits = Protocol("sliding", window=(32, 32), scales=(0.5, 1.0), flip=True).logits(
        watched, images(64, 64)
    )
    assert logits.shape == (2, 3, 64, 64)
    assert set(seen) == {(32, 32)}
    assert len(seen) == 2 * (1 + 9)


# ---- scores ----


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(image_size=(40, 40)),
        Protocol("sliding", (48, 64), (32, 32)),
        Protocol("centre_crop", None, (32, 32)),
    ],
)
def test_scores_are_those_of_a_slow_count_at_the_labels_own_size(protocol):
    sizes = [(50, 70), (33, 47), (64, 64), (41, 90)]
    truths = [
        torch.randint(0, 3, size, dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        for i, size in enumerate(sizes)
    ]
    for truth in truths:
        truth[:3] = 255
    pairs = [
        protocol.transform(images(*size, count=1, seed=i)[0], truths[i])
        for i, size in enumerate(sizes)
    ]
    batches = [
        {"pixel_values": torch.stack([p for p, _ in two]), "labels": [t for _, t in two]}
        for two in (pairs[:2], pairs[2:])
    ]
    seen = []
    evaluation, counts = evaluate_predictors(
        {"it": predict},
        batches,
        ("a", "b", "c"),
        255,
        protocol,
        Accelerator(cpu=True),
        after_image=lambda name, ids, labels: seen.append((ids.clone(), labels)),
    )
    table = np.zeros((3, 3))
    for pixels, truth in pairs:
        logits = upsampled(protocol.logits(predict, pixels[None]), truth.shape)[0]
        for y in range(truth.shape[0]):
            for x in range(truth.shape[1]):
                if truth[y, x] != 255:
                    table[int(truth[y, x]), int(logits[:, y, x].argmax())] += 1
    iou = np.diag(table) / (table.sum(0) + table.sum(1) - np.diag(table))
    assert evaluation.images == len(counts["it"]) == 4
    assert np.array_equal(counts["it"].dense().sum(0), table)
    scores = evaluation.students["it"]
    assert scores.mean_iou == pytest.approx(iou.mean(), abs=1e-12)
    assert [scores.ious[name] for name in "abc"] == pytest.approx(iou.tolist(), abs=1e-12)
    assert [tuple(ids.shape) for ids, _ in seen] == [tuple(truth.shape) for _, truth in pairs]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_registered_protocol_shows_a_model_the_pixels_whose_labels_it_scores(name):
    """An entry of PROTOCOLS is tested by being registered: a model that reads the classes off the
    pixels is right.
    """
    protocol = Protocol(name, window=(32, 32) if PROTOCOLS[name].takes("window") else None)
    truth = torch.randint(
        0, 3, (32, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    image, labels = protocol.transform((truth * 100).repeat(3, 1, 1), truth)
    assert image.shape[-2:] == labels.shape
    assert not PROTOCOLS[name].KEEPS_IMAGES or labels is truth
    shades = torch.arange(3).view(3, 1, 1) * 100.0
    logits = protocol.logits(lambda pixels: -(pixels[:, :1].float() - shades).abs(), image[None])
    assert torch.equal(logits.argmax(1)[0], labels.long())


def test_each_registered_protocol_is_told_in_words_of_its_own():
    told = [
        str(Protocol(name, window=(32, 32) if PROTOCOLS[name].takes("window") else None))
        for name in PROTOCOLS
    ]
    assert len({*told}) == len(told)


# ---- what is refused, and what is said ----


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "middle"}, "expected one of whole, centre_crop, sliding"),
        ({"name": "sliding"}, "a window is for centre_crop, sliding"),
        ({"name": "whole", "window": (8, 8)}, "a window is for"),
        (
            {"name": "sliding", "window": (32, 32), "stride": (40, 32)},
            "--stride 40x32: each side must be in 1..32x32",
        ),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Protocol(**wrong)


def test_a_protocol_says_what_was_done():
    assert str(Protocol(image_size=(360, 480))) == "whole images at 360x480"
    assert str(Protocol("centre_crop", window=(512, 512))) == (
        "centre crop of 512x512 from images and labels scaled to cover it"
    )
    assert str(Protocol("sliding", window=(512, 512), scales=(0.5, 1.0), flip=True)) == (
        "sliding window of 512x512, stride 342x342, over images at their own size, scales 0.5, 1, "
        "mirrored too"
    )


@pytest.mark.parametrize("make", [make_cnn, make_vit, make_hybrid])
@pytest.mark.parametrize("size", [(45, 67), (65, 100)])
def test_students_take_sizes_that_no_stride_divides(make, size):
    student = make().eval()
    for protocol in (Protocol(scales=(0.75, 1.0), flip=True), Protocol("sliding", window=(41, 39))):
        with torch.no_grad():
            logits = protocol.logits(student.logits, images(*size))
        assert logits.shape == (2, 3, *size)
        assert logits.isfinite().all()
