"""What every method must keep to: an entry of METHODS is tested by being registered."""

import pytest
import torch
from conftest import make_cnn, make_vit
from helpers.accumulation import make_pair
from helpers.losses import IGNORE, random_batch

from ctcl_hf import METHODS, Objective, StudentPair, StudentTerms
from ctcl_hf.figures import history_figure
from ctcl_hf.methods.objective import BadTerms


def step(pair, images, labels):
    torch.manual_seed(7)
    output = pair(images, labels)
    output.loss.backward()
    return output


@pytest.fixture(scope="module")
def alone():
    """One step of the control: its terms, and the gradients of all weights."""
    pair = make_pair("vanilla")
    output = step(pair, *random_batch())
    return output, [parameter.grad for parameter in pair.students.parameters()]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_whose_terms_weigh_nothing_is_vanilla_bit_for_bit(name, alone):
    pair = make_pair(name)
    for weights in pair.objective.weights:
        weights.update({term: 0.0 for term in weights if term not in pair.objective.OWN_TERMS})
    output = step(pair, *random_batch())
    assert torch.equal(output.loss, alone[0].loss)
    for term, value in alone[0].terms.items():
        assert torch.equal(output.terms[term], value), term
    for ours, theirs in zip(pair.students.parameters(), alone[1], strict=True):
        assert torch.equal(ours.grad, theirs)


@pytest.mark.parametrize("name", METHODS)
def test_a_students_terms_move_that_student_and_its_projections_alone(name):
    images, labels = random_batch()
    pair = make_pair(name)
    for learner in (0, 1):
        pair.zero_grad()
        torch.manual_seed(7)
        outputs = [student(images) for student in pair.students.values()]
        terms = pair.objective(outputs, labels, pair.objective.teacher_outputs(images))
        sum(terms[learner].of_batch().losses.values()).backward()
        own, peer = pair.names[learner], pair.names[1 - learner]
        for module in (pair.students[own], pair.projections(own)):
            assert all(parameter.grad is not None for parameter in module.parameters())
        for module in (pair.students[peer], pair.projections(peer), pair.objective.teachers):
            assert all(p.grad is None or not p.grad.any() for p in module.parameters())


class Attracted(Objective):
    """Learns by a distance that moves both students, as who forgets to detach the peer has it."""

    detaches = False

    def __init__(self, *students, **options):
        super().__init__(*students, **options)
        for weights in self.weights:
            weights["distance"] = 1.0

    def forward(self, students, labels, teachers=()):
        peers = [
            student.logits.detach() if self.detaches else student.logits for student in students
        ]
        return [
            StudentTerms(
                self.segmentation_terms(student, labels)
                | {"distance": (student.logits - peer).square().mean()},
                {},
            )
            for student, peer in zip(students, reversed(peers), strict=True)
        ]


def told_of(objective, caplog):
    """What is said of peers in two steps of a pair."""
    caplog.clear()
    students = {"cnn": make_cnn(), "vit": make_vit()}
    pair = StudentPair(students, objective(*students.values()))
    for _ in range(2):
        step(pair, *random_batch())
    return [record.message for record in caplog.records if "are moved as well" in record.message]


def test_a_term_that_moves_its_peer_is_told_once_by_name(caplog):
    """It trained otherwise than was meant, and nothing said so."""
    (told,) = told_of(Attracted, caplog)
    assert told.startswith(
        "Attracted: other students are moved as well by 'distance' of cnn and 'distance' of vit. "
    )
    assert not told_of(type("Detached", (Attracted,), {"detaches": True}), caplog)


@pytest.mark.parametrize("name", METHODS)
def test_no_method_here_is_told_to_move_peers(name, caplog):
    step(make_pair(name), *random_batch())
    assert not [record for record in caplog.records if "has a gradient" in record.message]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda terms: {"cnn": terms[0], "vit": terms[1]}, "returned dict: expected a list with"),
        (lambda terms: None, "returned NoneType: expected a list"),
        (lambda terms: terms[0], "returned StudentTerms: expected a list"),
        (lambda terms: terms[:1], "returned terms of 1: .* for each of 2 students"),
        (lambda terms: [], "returned terms of 0"),
        (lambda terms: [terms[0], terms[1].losses], "returned dict among them"),
        (
            lambda terms: [terms[0], StudentTerms({"ce": torch.ones(2, 3)}, {})],
            r"the term 'ce' as \[2, 3\]: expected a scalar tensor, or a Mean, such as masked_mean",
        ),
        (lambda terms: [terms[0], StudentTerms({"ce": 1.0}, {})], "the term 'ce' as float"),
    ],
)
def test_what_is_no_list_of_terms_is_told_by_the_methods_name(returned, message):
    """It ended in AttributeErrors of the package's own, deep within a step."""

    class Mine(METHODS["vanilla"]):
        def forward(self, *arguments):
            return returned(super().forward(*arguments))

    students = {"cnn": make_cnn(), "vit": make_vit()}
    with pytest.raises(BadTerms, match=f"Mine.*{message}"):
        step(StudentPair(students, Mine(*students.values())), *random_batch())


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_without_labels_is_finite_and_reaches_every_weight(name):
    images, labels = random_batch()
    pair = make_pair(name)
    output = step(pair, images, torch.full_like(labels, IGNORE))
    assert torch.isfinite(output.loss)
    for parameter in [*pair.students.parameters(), *pair.objective.projections.parameters()]:
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_logs_has_a_title_and_what_it_weighs_is_a_term(name):
    pair = make_pair(name)
    method = METHODS[name]
    with torch.no_grad():
        logged = {term.rsplit("_", 1)[0] for term in pair(*random_batch()).terms}
    assert logged <= set(method.titles())
    for weights in pair.objective.weights:
        assert set(weights) <= {*method.OWN_TERMS, *method.TERMS}
    assert len(set(method.titles().values())) == len(method.titles())


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is_and_which_paper_it_is_from(name):
    method = METHODS[name]
    assert method.__doc__ and method.Options.__doc__
    if name != "vanilla":
        assert method.PAPER.bibtex.startswith(f"@{method.PAPER.kind}{{{method.PAPER.key},\n")


class Mutual(Objective):
    TERMS = {"mutual": "KL from the peer (nats)"}  # noqa: RUF012


def test_a_method_of_ones_own_has_curves_under_its_titles():
    """The terms that curves show were a list of the package's own."""
    history = [
        {"step": step, "ce_cnn": 1.0, "mutual_cnn": 2.0 / step, "mutual_vit": 3.0}
        for step in (1, 2)
    ]
    figure = history_figure(history, ["cnn", "vit"], Mutual.titles())
    assert [axes.get_title() for axes in figure.axes if axes.lines] == [
        "cross entropy (nats)",
        "KL from the peer (nats)",
    ]


class Misnamed(Objective):
    WEIGHTS = {"mutual": "mutual_weight"}  # noqa: RUF012


def test_a_weight_that_is_no_option_is_told_of_a_method_of_ones_own():
    assert METHODS.problem(Misnamed) == (
        "WEIGHTS of 'mutual' must name an option, and 'mutual_weight' is none of "
        "MethodOptions, which is its Options"
    )


class Alone(Objective):
    def forward(self, students, labels):
        return []


def test_a_forward_that_takes_no_teachers_is_told_of_a_method_of_ones_own():
    """It ended in a TypeError at the first step, through torch's frames."""
    assert METHODS.problem(Alone) == "its forward must take students, labels and teachers=()"


class Untitled(Objective):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.weights[1]["mutual"] = 1.0


def test_a_term_without_a_title_has_a_curve_under_its_own_name():
    """In a comparison's figure it had none, whose titles were those of the methods' classes
    alone.
    """
    logged = Untitled(make_cnn(), make_vit()).logged()
    assert logged["mutual"] == "mutual" and logged["ce"] == "cross entropy (nats)"


def test_a_term_without_a_weight_is_told_by_name():
    """It ended in KeyError: 'mine'."""
    pair = make_pair("vanilla")
    terms = {"ce": torch.ones(()), "mine": torch.ones(())}
    with pytest.raises(BadTerms, match=r"Vanilla returns the term 'mine' and gives it no weight"):
        pair.objective.loss(0, terms)
    with pytest.raises(BadTerms, match=r"weight of 'cee'\. Did you mean 'ce'\?"):
        pair.objective.loss(0, {"cee": torch.ones(())})
