"""Which classes a peer is blind to, what they are merged with, and probabilities of groups."""

import pytest
import reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctcl_hf.losses import ClassGroups, Distribution, groups_of, spread_over_classes

K = 4  # Road, Fence, Tree, Sky


def confusion(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def counts_of(peer, learner=None):
    """Of a learner (place 0) and its peer (place 1)."""
    return torch.stack([peer if learner is None else learner, peer]).long()


def grouped(**settings):
    return ClassGroups(K, peers=(1, 0), **{"compared": "grouped"} | settings)


def feed(groups, counts):
    """A step that counts this, and the beginning of the next, as in training, where a first step
    knows nothing.
    """
    if not groups.confusion.any():
        groups.advance()
    groups.count(counts)
    groups.advance()


KNOWS = confusion([90, 0, 10, 0], [0, 90, 10, 0], [0, 10, 90, 0], [0, 0, 0, 100])
NO_FENCE = confusion([90, 0, 10, 0], [30, 0, 70, 0], [0, 0, 100, 0], [0, 0, 0, 100])


@st.composite
def partitions(draw):
    num_classes = draw(st.integers(1, 7))
    blind = draw(st.sets(st.integers(0, num_classes - 1)))
    counts = draw(
        st.lists(
            st.lists(st.integers(0, 3), min_size=num_classes, max_size=num_classes),
            min_size=num_classes,
            max_size=num_classes,
        )
    )
    return sorted(blind), counts


@given(partitions())
def test_groups_are_the_connected_classes_of_the_slow_reference(case):
    blind, counts = case
    found = groups_of(blind, torch.tensor(counts))
    if not any(map(any, counts)):
        assert found == (tuple(range(len(counts))),)
        return
    assert {frozenset(group) for group in found} == reference.connected_classes(blind, counts)
    assert sorted(label for group in found for label in group) == list(range(len(counts)))


def softened_groups(log_p, groups, temperature):
    """softmax(log P / T) of groups' probabilities P, which are sums."""
    sums = torch.stack([log_p[:, list(members)].exp().sum(1) for members in groups], dim=1)
    return torch.softmax(sums.log() / temperature, dim=1)


@given(partitions(), st.sampled_from([1.0, 0.5, 3.0]), st.integers(0, 2))
def test_groups_spread_over_classes_have_their_sums_in_the_learners_shares(case, T, left_out):
    groups = groups_of(case[0], torch.tensor(case[1]))
    groups = groups[: max(len(groups) - left_out, 1)]
    learner, peer = (
        Distribution.of(3 * torch.randn(2, len(case[1]), 3, 2, dtype=torch.float64))
        for _ in range(2)
    )
    before = [values.clone() for values in (*learner, *peer)]
    spread = spread_over_classes(learner, peer, groups, T)
    assert all(map(torch.equal, before, (*learner, *peer)))  # not written to
    for given_groups, own in zip((learner, peer), spread, strict=True):
        expected = softened_groups(given_groups.log_p, groups, T)
        assert torch.allclose(own.log_p.exp(), own.p, atol=1e-12)
        assert torch.allclose(own.p.sum(1), torch.ones(2, 3, 2, dtype=torch.float64), atol=1e-12)
        for place, members in enumerate(groups):
            of_group, members = expected[:, place], list(members)
            shares = torch.softmax(learner.log_p[:, members], dim=1)
            assert torch.allclose(own.p[:, members], shares * of_group.unsqueeze(1), atol=1e-12)


def test_a_class_alone_keeps_its_probability_bit_for_bit_and_vanishing_ones_stay_finite():
    learner, peer = (
        Distribution.of(torch.tensor([values]))
        for values in ([0.0, -300.0, -400.0], [-1.0, 0.0, -700.0])
    )
    same, spread = spread_over_classes(learner, peer, ((0,), (1, 2)))
    assert same is learner
    assert torch.equal(spread.log_p[:, 0], peer.log_p[:, 0])
    assert torch.equal(spread.p[:, 0], peer.p[:, 0])
    assert torch.isfinite(spread.log_p).all() and torch.isfinite(spread.p).all()
    # though float32 has none of the learner's own probability of that group
    assert spread.p[0, 1] == pytest.approx(float(peer.p[0, 1]))


def test_a_blind_class_is_merged_with_what_the_peer_says_instead():
    groups = grouped()
    feed(groups, counts_of(NO_FENCE, KNOWS))
    assert groups.blind_classes(0) == [1]
    assert groups.of_lesson(0) == ((0,), (1, 2), (3,))
    # The learner knows all that its peer does: as its peer's peer it is blind to nothing.
    assert groups.of_lesson(1) == ((0,), (1,), (2,), (3,))


def test_nothing_is_taught_before_the_first_step():
    assert grouped().of_lesson(0) == ((0, 1, 2, 3),)


def test_known_classes_are_those_that_were_seen_and_that_the_peer_is_not_blind_to():
    groups = grouped(compared="known")
    assert groups.of_lesson(0) == ()  # before the first step
    feed(groups, counts_of(NO_FENCE, KNOWS))
    assert groups.of_lesson(0) == ((0,), (2,), (3,))
    assert groups.of_lesson(1) == ((0,), (1,), (2,), (3,))
    unseen = confusion([90, 0, 10, 0], [0, 0, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100])
    groups = grouped(compared="known")
    feed(groups, counts_of(unseen))
    assert groups.of_lesson(0) == ((0,), (2,), (3,))


def test_a_class_that_was_never_seen_is_neither_blind_nor_merged():
    unseen = confusion([90, 0, 10, 0], [0, 0, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100])
    groups = grouped()
    feed(groups, counts_of(unseen))
    assert groups.blind_classes(0) == []
    assert groups.of_lesson(0) == ((0,), (1,), (2,), (3,))


@pytest.mark.parametrize(("known", "blind"), [(3, True), (6, False)])
def test_a_peer_is_blind_below_a_twentieth_even_where_the_learner_knows_no_more(known, blind):
    peer = confusion([100, 0, 0, 0], [100 - known, known, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100])
    groups = grouped()
    feed(groups, counts_of(peer))
    assert (groups.blind_classes(0) == [1]) == blind


def test_a_blind_class_recovers_above_the_bound_at_which_it_went_blind():
    def peer(found):
        return confusion([100, 0, 0, 0], [100 - found, found, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100])

    learner = peer(100)
    groups = grouped(memory=0.0)
    seen = []
    # IoU of the class in percent; blind below 50, no longer from 70
    for found in (60, 45, 60, 75, 60, 45):
        feed(groups, counts_of(peer(found), learner))
        seen.append(bool(groups.blind[0, 1]))
    assert seen == [False, True, True, False, False, True]


def test_what_a_step_counts_decides_from_the_next_one_on():
    groups = grouped()
    groups.count(counts_of(NO_FENCE, KNOWS))
    groups.count(counts_of(NO_FENCE, KNOWS))
    assert groups.of_lesson(0) == ((0, 1, 2, 3),)
    groups.advance()
    assert groups.of_lesson(0) == ((0,), (1, 2), (3,))
    assert torch.equal(groups.confusion[1], 2 * NO_FENCE) and not groups.counted.any()


def test_counts_are_forgotten_at_the_pace_of_the_memory():
    groups = grouped(memory=0.9)
    feed(groups, counts_of(KNOWS))
    feed(groups, counts_of(NO_FENCE))
    assert torch.allclose(groups.confusion[1], 0.9 * KNOWS + NO_FENCE)


def test_its_state_is_what_its_groups_depend_on():
    first, second = grouped(), grouped()
    feed(first, counts_of(NO_FENCE, KNOWS))
    second.load_state_dict(first.state_dict())
    first.count(counts_of(KNOWS))
    second.load_state_dict(first.state_dict())
    for groups in (first, second):
        groups.advance()
    assert torch.equal(first.confusion, second.confusion) and torch.equal(first.blind, second.blind)


def test_a_student_that_learns_from_several_is_compared_with_each_on_what_that_one_knows():
    """Two students, and a teacher of both that never says class 1."""
    groups = ClassGroups(3, (1, 0, 2, 2), learners=(0, 1, 0, 1))
    knows, blind = 90.0 * torch.eye(3), torch.diag(torch.tensor([90.0, 0.0, 90.0]))
    blind[1, 2] = 90
    groups.count(torch.stack([knows, knows, blind]))
    groups.advance()
    assert [groups.blind_classes(i) for i in range(4)] == [[], [], [1], [1]]
    assert groups.of_lesson(0) == ((0,), (1,), (2,)) and groups.of_lesson(2) == ((0,), (2,))
