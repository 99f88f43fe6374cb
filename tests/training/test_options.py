"""What makes a step faster or smaller changes nothing that is computed, or no more than it says."""

import pytest
import torch
from conftest import make_cnn, make_vit
from helpers.training import assert_equal_weights, make_trainer, training_logs, weights

from ctcl_hf import CTCL, StudentPair


def make_pair(cnn=make_cnn, vit=make_vit):
    torch.manual_seed(0)
    a, b = cnn(), vit()
    return StudentPair({"cnn": a, "vit": b}, CTCL(a, b)).double().train()


def loss_and_gradients(pair):
    torch.manual_seed(1)
    batch = {
        "pixel_values": torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        "labels": torch.randint(0, 3, (2, 64, 64), dtype=torch.uint8),
    }
    loss = pair(**batch).loss
    loss.backward()
    return loss, {name: parameter.grad for name, parameter in pair.named_parameters()}


def assert_close(ours, theirs, tolerance):
    (our_loss, our_gradients), (their_loss, their_gradients) = ours, theirs
    assert abs(our_loss - their_loss) <= tolerance * abs(their_loss)
    largest = max(gradient.abs().max() for gradient in their_gradients.values())
    for name, gradient in our_gradients.items():
        assert (gradient - their_gradients[name]).abs().max() <= tolerance * largest, name


def test_recomputed_activations_train_the_same_weights_bit_for_bit(tmp_path):
    """Dropout and drop-path draw again what they drew; nothing leaks into a borrowed stage;
    BatchNorm counts once.
    """
    runs = []
    for checkpointing in (False, True):
        trainer = make_trainer(
            tmp_path / str(checkpointing), activation_checkpointing=checkpointing
        )
        trainer.train()
        runs.append((weights(trainer), [log["loss"] for log in training_logs(trainer)]))
    assert runs[0][1] == runs[1][1]
    assert_equal_weights(runs[0][0], runs[1][0])


def test_only_layers_without_batchnorm_are_recomputed():
    pair = make_pair()
    pair.activation_checkpointing_enable()
    recomputed = [
        module for module in pair.modules() if getattr(module, "gradient_checkpointing", False)
    ]
    assert recomputed
    for layer in recomputed:
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in layer.modules())


def test_two_cnns_say_that_nothing_can_be_recomputed():
    with pytest.raises(ValueError, match="activation_checkpointing"):
        make_pair(vit=make_cnn).activation_checkpointing_enable()


def test_channels_last_gives_the_same_loss_and_gradients():
    last, first = make_pair(), make_pair()
    first.students["cnn"].model.to(memory_format=torch.contiguous_format)
    assert_close(loss_and_gradients(last), loss_and_gradients(first), 1e-10)


def test_a_compiled_pair_gives_the_same_loss_and_gradients():
    """Through the tracer and its own differentiation; code generation, which takes minutes on a
    CPU, is torch's.
    """
    compiled = make_pair()
    loss, gradients = loss_and_gradients(torch.compile(compiled, backend="aot_eager"))
    gradients = {name.removeprefix("_orig_mod."): gradient for name, gradient in gradients.items()}
    assert_close((loss, gradients), loss_and_gradients(make_pair()), 1e-10)


def test_a_compiled_pair_trains_and_is_saved_as_itself(tmp_path):
    runs = []
    for backend in (None, "eager"):
        trainer = make_trainer(tmp_path / str(backend), torch_compile_backend=backend, max_steps=2)
        trainer.train()
        trainer.save_model()
        runs.append([log["loss"] for log in training_logs(trainer)])
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)
    assert (tmp_path / "eager" / "cnn" / "model.safetensors").is_file()


def test_bfloat16_gives_nearly_the_same_loss_and_gradients_of_the_vit():
    """Of a CNN with random weights, BatchNorm magnifies any rounding on its way to the first
    layers' gradients.
    """
    exact = loss_and_gradients(make_pair().float())
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss_and_gradients(make_pair().float())
    assert abs(rounded[0] - exact[0]) < 0.02 * exact[0]
    ours, theirs = (
        torch.cat(
            [
                gradient.flatten()
                for name, gradient in gradients.items()
                if name.startswith("students.vit")
            ]
        )
        for _, gradients in (rounded, exact)
    )
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.9
