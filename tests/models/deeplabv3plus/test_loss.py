"""DeepLabV3+'s own loss, and what it is given."""

import pytest
import torch
from helpers.deeplabv3plus import IGNORE, build, images, label_maps


def mean_cross_entropy(logits, labels):
    """-log softmax at the true class, averaged over labelled pixels, in float64."""
    logits = torch.nn.functional.interpolate(
        logits.double(), size=labels.shape[1:], mode="bilinear"
    )
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    per_pixel = -log_p.gather(1, labels.where(labels != IGNORE, 0)[:, None])[:, 0]
    return per_pixel[labels != IGNORE].mean()


def test_evaluation_loss_is_the_mean_cross_entropy_of_labelled_pixels():
    model, labels = build().eval(), label_maps()
    output = model(images(), labels=labels)
    assert output.auxiliary_logits is None
    torch.testing.assert_close(
        output.loss.double(), mean_cross_entropy(output.logits, labels), rtol=1e-5, atol=0
    )


def test_training_loss_adds_the_weighted_auxiliary_cross_entropy():
    model, labels = build(auxiliary_loss_weight=0.3).train(), label_maps()
    output = model(images(), labels=labels)
    assert output.auxiliary_logits.shape == (2, 5, 8, 8)
    auxiliary = mean_cross_entropy(output.auxiliary_logits, labels)
    assert auxiliary > 0.1
    expected = mean_cross_entropy(output.logits, labels) + 0.3 * auxiliary
    torch.testing.assert_close(output.loss.double(), expected, rtol=1e-5, atol=0)


def test_training_without_the_auxiliary_head_has_one_cross_entropy():
    model, labels = build(use_auxiliary_head=False).train(), label_maps()
    output = model(images(), labels=labels)
    assert output.auxiliary_logits is None
    torch.testing.assert_close(
        output.loss.double(), mean_cross_entropy(output.logits, labels), rtol=1e-5, atol=0
    )


def test_labels_of_every_integer_type_give_one_loss():
    model, labels = build().eval(), label_maps()
    losses = {
        model(images(), labels=labels.to(dtype)).loss.item()
        for dtype in (torch.uint8, torch.int32, torch.int64)
    }
    assert len(losses) == 1


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"pixel_values": torch.zeros(2, 3, 64, 64, dtype=torch.uint8)},
            r"normalised images of floats, got torch\.uint8",
        ),
        (
            {"labels": torch.zeros(2, 1, 64, 64, dtype=torch.long)},
            r"shape \(2, height, width\), got torch\.int64 of \(2, 1,",
        ),
        ({"labels": torch.zeros(1, 64, 64, dtype=torch.long)}, r"of \(1, 64, 64\)"),
        ({"labels": torch.zeros(2, 64, 64)}, r"got torch\.float32"),
        (
            {"labels": torch.full((2, 64, 64), 5)},
            rf"0\.\.4 or {IGNORE}, which is left out, got \[5\]",
        ),
        ({"labels": torch.full((2, 64, 64), -1)}, r"got \[-1\]"),
    ],
)
def test_inputs_that_cannot_be_learnt_from_are_told_in_a_sentence(inputs, message):
    """Each failed within a convolution or the cross entropy; on a GPU, foreign ids end the
    process.
    """
    with pytest.raises(ValueError, match=message):
        build().eval()(**{"pixel_values": images(), "labels": label_maps()} | inputs)


def test_a_batch_without_labelled_pixels_gives_zero_loss_and_zero_gradients():
    # F.cross_entropy's own mean is NaN here.
    model = build().train()
    loss = model(images(), labels=torch.full((2, 64, 64), IGNORE)).loss
    loss.backward()
    assert loss.item() == 0
    assert all(
        parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters()
    )


def test_one_training_step_reaches_every_parameter():
    # Otherwise DistributedDataParallel hangs with ddp_find_unused_parameters=False.
    model = build().train()
    model(images(), labels=label_maps()).loss.backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []


def test_return_dict_false_gives_the_tuple_without_empty_fields():
    model, x = build().eval(), images()
    with torch.no_grad():
        output = model(x, labels=label_maps(), output_hidden_states=True)
        loss, logits, hidden_states = model(
            x, labels=label_maps(), output_hidden_states=True, return_dict=False
        )
    assert (
        torch.equal(loss, output.loss)
        and torch.equal(logits, output.logits)
        and len(hidden_states) == 4
    )
    assert len(model(x, return_dict=False)) == 1


def test_one_image_in_training_mode_is_refused_with_the_mend():
    model = build().train()
    with pytest.raises(ValueError, match=r"held 1 image.*dataloader_drop_last=True"):
        model(images(1))
    model.eval()
    assert model(images(1)).logits.shape == (1, 5, 16, 16)


def test_one_image_trains_when_the_pooling_norm_is_frozen():
    model = build().train()
    model.decode_head.aspp.branches[4].eval()
    model(images(1), labels=label_maps(1)).loss.backward()
