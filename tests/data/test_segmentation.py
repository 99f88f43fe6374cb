"""Samples: decoding, label maps, keyed augmentation, and bad files."""

import numpy as np
import PIL.Image
import pytest
import torch
from datasets import Dataset, DatasetDict, Features, Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from ctcl_hf import EvaluationTransform, SegmentationData, TrainingTransform
from ctcl_hf.data import SegmentationSamples, collate_for_evaluation
from ctcl_hf.training.reproducibility import EpochSampler

FEATURES = Features(image=Image(), label=Image())


def write(tmp_path, image=None, mask=None, name="a"):
    """One image and mask on disk; arrays or bytes."""
    files = {}
    for kind, pixels in (("image", image), ("label", mask)):
        path = tmp_path / f"{name}-{kind}.png"
        if isinstance(pixels, bytes):
            path.write_bytes(pixels)
        else:
            PIL.Image.fromarray(pixels).save(path)
        files[kind] = str(path)
    return files


def samples_of(*files, transform=lambda image, labels: (image, labels), num_classes=3, **options):
    rows = Dataset.from_dict(
        {key: [f[key] for f in files] for key in ("image", "label")}, features=FEATURES
    )
    return SegmentationSamples(rows, num_classes, transform, **options)


GREY = np.full((8, 10, 3), 90, dtype=np.uint8)
ZEROS = np.zeros((8, 10), dtype=np.uint8)


def test_a_sample_holds_uint8_pixels_and_uint8_labels(tmp_path):
    mask = ZEROS.copy()
    mask[0], mask[1], mask[2] = 1, 255, 7
    sample = samples_of(write(tmp_path, GREY, mask), label_map={7: 255})[0]
    assert sample["pixel_values"].dtype == torch.uint8
    assert sample["pixel_values"].shape == (3, 8, 10)
    assert sample["labels"].dtype == torch.uint8
    assert sample["labels"][:4, 0].tolist() == [1, 255, 255, 0]
    assert type(sample["pixel_values"]) is type(sample["labels"]) is torch.Tensor


def test_palette_masks_are_read_as_class_ids_and_grey_images_as_rgb(tmp_path):
    files = write(tmp_path, GREY[..., 0], ZEROS)
    palette = PIL.Image.fromarray(np.full((8, 10), 2, dtype=np.uint8), mode="P")
    palette.putpalette([9, 9, 9] * 256)
    palette.save(files["label"])
    sample = samples_of(files)[0]
    assert sample["pixel_values"].shape == (3, 8, 10)
    assert (sample["labels"] == 2).all()


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        (GREY, ZEROS[:, :9], r"a-image.png and .*a-label.png\): .*mask 8x9 and image 8x10"),
        (GREY, ZEROS + 5, r"a-label.png\): .*class ids 0\.\.2 or 255 .* got \[5\]"),
        (GREY, GREY, r"a-label.png\): .*mode RGB.* --palette"),
        (b"\x89PNG\r\n\x1a\n truncated", ZEROS, r"Cannot read sample 0 \(.*a-image.png"),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path, image, mask, message):
    with pytest.raises(ValueError, match=message):
        samples_of(write(tmp_path, image, mask))[0]


def test_a_truncated_jpeg_is_named(tmp_path):
    files = write(tmp_path, GREY, ZEROS)
    path = tmp_path / "cut.jpg"
    PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    ).save(path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"Cannot read sample 0 \(.*cut.jpg"):
        samples_of(files | {"image": str(path)})[0]


def checked(splits):
    """What `check` says of files by split, which are (image, mask) of three classes."""
    rows = {
        split: Dataset.from_dict(
            {key: [f[key] for f in files] for key in ("image", "label")}, features=FEATURES
        )
        for split, files in splits.items()
    }
    data = SegmentationData(
        "made up", DatasetDict(rows), ("a", "b", "c"), ((0, 0, 0),) * 3, (8, 10)
    )
    with pytest.raises(ValueError) as raised:
        data.check()
    return str(raised.value).splitlines()


def test_check_says_a_cause_once_with_its_files_and_all_that_they_hold(tmp_path):
    """Of masks of colours each split had the same sentence, and `prepare` each file."""
    good, bad, worse, small = (
        write(tmp_path, GREY, mask, name)
        for mask, name in (
            (ZEROS, "good"),
            (ZEROS + 5, "bad"),
            (ZEROS + 6, "worse"),
            (ZEROS[:, :9], "small"),
        )
    )
    first, second = checked(
        {"train": [good, bad, worse, small], "validation": [good], "test": [worse]}
    )
    assert "Bad mask of 3 samples, 2 of train and 1 of test (" in first
    assert first.index("bad-label.png") < first.index("worse-label.png")
    # One file held 5, and the sentence read as if all three did.
    assert first.endswith(
        "): Masks must hold class ids 0..2 or 255 (ignored), got [5 (in "
        f"{tmp_path / 'bad-label.png'}), 6 (in 2)]."
    )
    assert "Bad mask of sample 3 (" in second and "small-label.png" in second


def test_check_names_some_files_of_a_cause_and_counts_them_all(tmp_path):
    bad = [write(tmp_path, GREY, GREY, f"rgb{i}") for i in range(12)]
    (told,) = checked({"train": bad})
    assert told.startswith("Bad mask of 12 samples, 12 of train (")
    assert told.count("-label.png") == 5 and ", ...)" in told
    assert told.count("--palette") == 1


def test_augmentation_depends_on_seed_epoch_and_index_alone(halves):
    transform = TrainingTransform((64, 96), (32, 64), photometric=True)
    samples = halves.samples("train", transform)
    first = samples[(5, 2, 3)]
    samples[(5, 2, 4)], torch.rand(7)
    state = torch.get_rng_state()
    again = samples[(5, 2, 3)]
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    for other in (samples[(5, 3, 3)], samples[(6, 2, 3)]):
        assert not torch.equal(first["pixel_values"], other["pixel_values"])


def test_the_order_of_an_epoch_is_a_permutation_drawn_from_seed_and_epoch():
    sampler = EpochSampler(10, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        sampler.epoch = epoch
        orders.append(list(sampler))
        assert sorted(index for _, _, index in orders[-1]) == list(range(10))
        assert {key[:2] for key in orders[-1]} == {(1, epoch)}
    assert orders[0] == orders[2]
    assert [key[2] for key in orders[0]] != [key[2] for key in orders[1]]


def test_padding_is_the_mean_colour_in_the_image_and_ignored_in_the_labels():
    image, labels = torch.zeros(3, 32, 32, dtype=torch.uint8), torch.ones(32, 32, dtype=torch.uint8)
    image, labels = TrainingTransform((32, 32), (64, 64), scale_range=(1.0, 1.0))(image, labels)
    assert image.shape == (3, 64, 64)
    padded = labels == 255
    assert padded.sum() == 64 * 64 - 32 * 32
    assert torch.equal(
        image.permute(1, 2, 0)[padded].unique(dim=0),
        torch.tensor([[124, 116, 104]], dtype=torch.uint8),
    )
    assert (image[:, ~padded] == 0).all()


def test_image_and_labels_are_scaled_cropped_and_flipped_together():
    pattern = ((torch.arange(64)[:, None] // 16 + torch.arange(96) // 16) % 3).to(torch.uint8)
    image = (pattern * 100).expand(3, -1, -1)
    for seed in range(5):
        torch.manual_seed(seed)
        pixels, labels = TrainingTransform((64, 96), (64, 64))(image, pattern)
        inside = labels != 255
        agree = ((pixels[0].long() - labels.long() * 100).abs() < 50)[inside]
        assert agree.float().mean() > 0.8


def test_scale_one_means_the_image_size_whatever_the_aspect_ratio():
    """torchvision's ScaleJitter takes the height for the width: of 64x96 at scale 1 it makes
    42x64.
    """
    image = torch.randint(0, 256, (3, 128, 192), dtype=torch.uint8)
    labels = torch.randint(0, 11, (128, 192), dtype=torch.uint8)
    for image_size, expected in (
        ((64, 96), (64, 96)),
        ((128, 96), (64, 96)),
        ((64, 300), (64, 96)),
    ):
        _, placed = TrainingTransform(image_size, (256, 256), scale_range=(1.0, 1.0))(image, labels)
        rows, columns = (placed != 255).any(1).sum().item(), (placed != 255).any(0).sum().item()
        assert (rows, columns) == expected


def test_the_whole_image_is_resized_as_torchvision_resizes_it():
    image = torch.randint(0, 256, (3, 90, 120), dtype=torch.uint8)
    labels = torch.randint(0, 11, (90, 120), dtype=torch.uint8)
    for scale in (0.4, 1.0, 1.7):
        size = [round(90 * scale), round(120 * scale)]
        ours = TrainingTransform((90, 120), size, scale_range=(scale, scale))(image, labels)
        resized = (
            resize(image, size, antialias=True),
            resize(labels[None], size, InterpolationMode.NEAREST_EXACT)[0],
        )
        flipped = [values.flip(-1) for values in resized]
        assert any(all(map(torch.equal, ours, both)) for both in (resized, flipped))


def test_a_crop_of_a_larger_scale_is_a_resized_piece_of_the_image():
    # its columns tell where they were
    image = torch.arange(48).mul(5).to(torch.uint8).expand(3, 64, -1)
    labels = torch.arange(64)[:, None].expand(-1, 48).to(torch.uint8)  # its rows as well
    starts = set()
    for _ in range(40):
        pixels, rows = TrainingTransform((64, 48), (64, 32), scale_range=(2.0, 2.0))(image, labels)
        # 32 of 64 rows, each twice
        assert torch.equal(rows[:, 0], rows[0, 0] + torch.arange(64) // 2)
        columns = pixels[0, 0, 1:-1:2].float() / 5
        assert (columns.diff().abs() - 1).abs().max() < 0.3  # 16 of 48 columns
        starts.add(rows[0, 0].item())
    assert min(starts) < 8 and max(starts) > 24


def test_reading_samples_leaves_nothing_behind(halves):
    """torch.manual_seed queues a call with its traceback for a GPU that is never opened: a leak in
    every worker.
    """
    samples = halves.samples("train", TrainingTransform((64, 96), (32, 64)))
    samples[(0, 0, 0)]
    queued = len(torch.cuda._queued_calls)
    samples[(0, 0, 1)]
    assert len(torch.cuda._queued_calls) == queued


def test_evaluation_resizes_the_image_and_leaves_the_labels(halves):
    samples = halves.samples("validation", EvaluationTransform((32, 48)))
    batch = collate_for_evaluation([samples[0], samples[1]])
    assert batch["pixel_values"].shape == (2, 3, 32, 48)
    assert [labels.shape for labels in batch["labels"]] == [(64, 96)] * 2


def test_a_part_is_spread_over_the_split_and_others_stay_whole(halves):
    part = halves.part({"train": 3, "validation": 10**6})
    numbers = range(len(halves.splits["train"]))
    expected = [numbers[i * len(numbers) // 3] for i in range(3)]
    assert [part.splits["train"][i]["image"].tobytes() for i in range(3)] == [
        halves.splits["train"][number]["image"].tobytes() for number in expected
    ]
    assert len(part.splits["train"]) == 3 and len(part.splits["validation"]) == len(
        halves.splits["validation"]
    )


def test_the_command_line_uses_as_many_images_as_it_is_told():
    from ctcl_hf.arguments.data import DataArguments

    data = DataArguments(
        dataset="synthetic", crop_size=[32], max_train_samples=5, max_eval_samples=2
    ).load()
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 5,
        "validation": 2,
    }


def test_the_share_of_padding_is_what_crops_hold():
    transform = TrainingTransform((32, 48), (64, 64))
    image, labels = (
        torch.zeros(3, 32, 48, dtype=torch.uint8),
        torch.zeros(32, 48, dtype=torch.uint8),
    )
    torch.manual_seed(0)
    drawn = [(transform(image, labels)[1] == 255).float().mean() for _ in range(400)]
    assert transform.padded_share() == pytest.approx(torch.stack(drawn).mean().item(), abs=0.03)
    assert TrainingTransform((64, 64), (32, 32), scale_range=(0.5, 2.0)).padded_share() == 0
