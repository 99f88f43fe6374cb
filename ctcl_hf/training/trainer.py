"""The training loop: transformers' Trainer around a pair of students."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import logging

from ..arguments.training import CTCLArguments
from ..base.tables import counted
from ..data import BadSample, SegmentationSamples, reason_of
from ..methods.held_out import HeldOutCallback
from ..methods.pair import StudentPair
from ..metrics import Metric, titles_of
from ..metrics.scores import Evaluation, curve
from ..publishing.background import Publisher
from ..scoring.evaluate import NothingToScore, evaluate_pair
from ..scoring.image_counts import ImageCounts
from ..scoring.protocols import Protocol
from .best import check_metric, student_metric
from .classes import ClassWatch
from .cpu import prepare_cpu, threads_of_process
from .early_stopping import EarlyStopping
from .evaluation_batches import KeptBatches, evaluation_loader
from .guards.finite import FiniteGuard, dump, explain, sentence_on_fault, terms_at_fault
from .guards.preemption import EvaluationInterrupted, Preemption
from .guards.processes import wait_for_all
from .guards.trackers import guard_trackers
from .guards.workers import WorkerDeaths, shield_workers
from .loading import PairLoading
from .optim import (
    build_optimizer,
    build_scheduler,
    clip_gradients,
    gradient_norms,
    learning_rates,
    settings_for,
)
from .progress import PairProgress
from .publication import PairPublication
from .record import RecordAtStart, RunFacts, record, record_of_inputs
from .reproducibility import EpochCallback, EpochSampler, seed_micro_batch
from .samples import samples_for
from .saving import PairCheckpoints
from .steps import LoggedMeans, PresentStep
from .unsupported import CONSTRUCTOR, check_kinds, refuse

logger = logging.get_logger(__name__)


def _several(eval_dataset: Any) -> list[Any]:
    """The data sets that are evaluated, where they may be named."""
    return list(eval_dataset.values()) if isinstance(eval_dataset, dict) else [eval_dataset]


class CTCLTrainer(PairCheckpoints, PairLoading, PairPublication, Trainer):
    """Trains, evaluates and saves a `StudentPair`; all else is transformers' Trainer.

    What differs: one optimizer per student behind a composite; gradients measured (and clipped, if
    asked for) per student; every term of the objective logged under its name, as a mean over the
    steps since the last log, over accumulation and over processes; evaluation counts pixels per
    class and keeps no predictions; a checkpoint is one `from_pretrained` folder per student.

    Args:
        model: the pair.
        args: how to train it.
        train_dataset: samples {"pixel_values": RGB in 0..255, "labels": class ids}:
            `SegmentationSamples`, or any data set that has a length and is indexed by number: see
            `CheckedSamples`.
        eval_dataset: the same, or several by name; labels at their own size, to which logits are
            upsampled.
        callbacks: added to Trainer's own.
        facts: what the students' cards may say of this run beyond what the trainer knows.
        protocol: how the students are scored; its `transform` belongs into `eval_dataset`.
        metrics: what is scored beside mean IoU and the accuracies.
    """

    model: StudentPair
    args: CTCLArguments

    def __init__(
        self,
        model: StudentPair,
        args: CTCLArguments,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        callbacks: list[TrainerCallback] | None = None,
        facts: RunFacts | None = None,
        protocol: Protocol | None = None,
        metrics: Sequence[type[Metric]] = (),
        **of_trainer: Any,
    ):
        refuse("CTCLTrainer", of_trainer, CONSTRUCTOR)
        check_kinds(model, args)
        several = _several(eval_dataset)
        for dataset in (train_dataset, *several):
            if dataset is not None:
                samples_for(model, dataset).check_first(to_train=dataset is train_dataset)
        args.check_dataset(train_dataset)
        wait_for_all()  # for the first time, so that one process may work alone later
        self.facts = facts or RunFacts()
        self.protocol = protocol or Protocol()
        self.metrics = tuple(metrics)
        check_metric(
            args.metric_for_best_model,
            model.names,
            next(iter(model.students.values())).class_names,
            titles_of(self.metrics),
            list(eval_dataset) if isinstance(eval_dataset, dict) else (),
            args.early_stopping is not None,
        )
        self.scores: dict[str, Evaluation] = {}  # by prefix, of the present weights
        self.chosen_steps = {}
        self.earlier_lengths = []
        # by student, of this process's share of the last evaluation
        self.image_counts: dict[str, ImageCounts] = {}
        self._kept_batches: dict[int, KeptBatches] = {}  # by the id of the data set
        named = {"cnn": args.cnn_hub_model_id, "vit": args.vit_hub_model_id}
        self.publisher = Publisher(
            Path(args.output_dir),
            ids={name: named.get(name) for name in model.names},
            prefix=args.hub_model_id,
            token=args.hub_token,
            private=args.hub_private_repo,
            revision=args.hub_revision,
            strategy=args.hub_strategy,
            keep_all=args.hub_always_push,
        )
        if args.device.type == "cpu":
            prepare_cpu(threads_of_process(args.cpu_threads))
        elif args.world_size > 1:
            for student in model.students.values():
                student.synchronize_batchnorm()
        super().__init__(
            model,
            args,
            data_collator=default_collate,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=callbacks,
        )
        guard_trackers(self.callback_handler)
        if (
            self.pop_callback(PrinterCallback if args.disable_tqdm else ProgressCallback)
            is not None
        ):
            bars = sys.stderr.isatty() and not args.disable_tqdm
            self.add_callback(PairProgress(model.names, bars, self.scores))
        if train_dataset is not None:
            data_seed = args.seed if args.data_seed is None else args.data_seed
            draw = None
            # it may be streamed, which wants an order of its own
            if isinstance(train_dataset, SegmentationSamples):
                draw = partial(
                    train_dataset.order, processes=args.world_size, batch_size=args.train_batch_size
                )
            self.train_sampler = EpochSampler(len(train_dataset), data_seed, draw)
            self.add_callback(EpochCallback(self.train_sampler))
        if model.objective.held_out_images:
            if eval_dataset is None:
                raise ValueError(
                    f"{type(model.objective).__name__} observes held-out images: give an "
                    "eval_dataset."
                )
            held_out = samples_for(model, several[0])  # of several data sets the first
            self.add_callback(
                HeldOutCallback(model, held_out, args.eval_batch_size, self.accelerator)
            )
        self.add_callback(ClassWatch(model))
        if args.early_stopping is not None:
            metric = student_metric(args.metric_for_best_model)
            greater = args.greater_is_better is not False
            self.add_callback(EarlyStopping(model.names, args.early_stopping, metric, greater))
        self.add_callback(RecordAtStart(self.record))
        self.present = PresentStep()
        self.logged = LoggedMeans()
        self.finite_guard = FiniteGuard(
            model, skip=args.on_nonfinite == "skip", scaled=self.accelerator.scaler is not None
        )
        self.preemption = Preemption(self.accelerator, self._evaluate_and_save)
        self.add_callback(self.preemption)
        self.worker_deaths = WorkerDeaths()

    # ---- optimisation ----

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.pair_optimizer = build_optimizer(self.model, settings_for(self.model, self.args))
            self.optimizer = self.pair_optimizer
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ):
        if self.lr_scheduler is None:
            for name, settings in settings_for(self.model, self.args).items():
                is_long = 3 * settings.warmup_steps > num_training_steps
                if is_long and self.is_world_process_zero():
                    kind = "vit" if settings.momentum is None else "cnn"
                    option = f"--{kind}_warmup_steps" if self.args.warmups is None else "--warmups"
                    logger.warning(
                        f"The learning rate of {name} rises over "
                        f"{counted(settings.warmup_steps, 'step')} of {num_training_steps}: "
                        f"shorten its warm-up ({option}), or train longer."
                    )
            self.lr_scheduler = build_scheduler(
                optimizer or self.optimizer,
                self.pair_optimizer,
                settings_for(self.model, self.args),
                num_training_steps,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clips each student on its own: one norm over both would let one student's gradients
        shrink the other's.
        """
        self.accelerator.unscale_gradients()
        norms = clip_gradients(self.model, self.args.max_grad_norm)
        return self._record_gradient_norms(norms)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | None = None) -> Tensor | None:
        if grad_norm is None:
            self.accelerator.unscale_gradients()
            grad_norm = self._record_gradient_norms(gradient_norms(self.model))
        return grad_norm

    def _record_gradient_norms(self, norms: dict[str, Tensor]) -> Tensor:
        self.logged.latest |= {f"grad_norm_{name}": norm for name, norm in norms.items()}
        self._guard_step(norms)
        return torch.stack(list(norms.values())).norm()

    def _guard_step(self, norms: dict[str, Tensor]) -> None:
        """Lets a step be made only with finite gradients: see `FiniteGuard`."""
        step = self.state.global_step + 1
        try:
            self.finite_guard.check(
                norms, lambda: explain(norms, self.present.terms, step, self._images_of_step())
            )
        except FloatingPointError as error:
            folder = Path(self.args.output_dir) / f"nonfinite-step-{step}"
            if self.is_world_process_zero():
                dump(folder, self.model, self.present.batches, str(error))
            fault = ""
            values = [value for of_batch in self.present.terms for value in of_batch.values()]
            # Several processes could not agree on who goes forward again; a value tells by itself.
            if self.args.world_size == 1 and all(value.isfinite().all() for value in values):
                with suppress(RuntimeError):  # there is no memory for it
                    fault = sentence_on_fault(
                        terms_at_fault(self.model, self.present.batches, self.accelerator.autocast)
                    )
            other = (
                "train in --bf16"
                if self.finite_guard.scaled
                else "leave such steps out (--on_nonfinite skip)"
            )
            raise FloatingPointError(
                f"{error}{fault} Both students as they were, and the main process's batches, are "
                f"in {folder}; the checkpoints before it are good. Lower the learning rates, clip "
                f"(--max_grad_norm), or {other}."
            ) from None

    # ---- data ----

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """Trainer's: all batches of a step before its first forward.

        OSError if they cannot be read.
        """
        try:
            with self.worker_deaths.told_here():
                batches, number = super().get_batch_samples(epoch_iterator, num_batches, device)
        except (BadSample, RuntimeError) as error:  # the latter of a worker that was killed
            if "CUDA" in str(error):  # of the batches' way to the device: not the data's fault
                raise
            raise self._save_before("training", error) from error
        # What each is divided by is counted in all of them.
        self.present.labels = (
            [batch["labels"].to(device) for batch in batches] if len(batches) > 1 else None
        )
        return batches, number

    def _save_before(self, data: str, error: Exception) -> OSError:
        """What to raise where data cannot be read, once all that was trained is saved."""
        saved = ""
        # others could not join in
        if self.is_in_train and self.args.world_size == 1 and self.state.global_step:
            self._save_checkpoint(self.model, None)
            saved = (
                " What was trained is saved: mend it, and go on with --resume_from_checkpoint auto."
            )
        step = self.state.global_step
        return OSError(
            f"The {data} data could not be read after step {step}: {reason_of(error)}.{saved}"
        )

    def _images_of_step(self) -> list[str]:
        """The training images of this process's batches of the present step: files, or numbers
        where they have none.
        """
        samples = samples_for(self.model, self.train_dataset)
        return [
            samples.name(index)
            for batch in self.present.batches
            for index in batch["index"].tolist()
        ]

    def get_train_dataloader(self) -> DataLoader:
        if self.train_dataset is None:
            raise ValueError("Training needs a data set: give CTCLTrainer a train_dataset.")
        loader = self._get_dataloader(
            samples_for(self.model, self.train_dataset),
            description="Training",
            batch_size=self._train_batch_size,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )
        return shield_workers(loader)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochSampler:
        return self.train_sampler

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader | KeptBatches:
        """This process's own share of the samples, each exactly once: see `evaluation_loader`.

        Files that a training evaluates time and again are read once, as far as `KeptBatches` keeps
        them.
        """
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):  # Trainer's way to name one of several
            dataset = self.eval_dataset[dataset]
        if dataset is None:
            raise ValueError(
                "Evaluation needs a data set: give CTCLTrainer an eval_dataset, or "
                "evaluate(dataset)."
            )
        samples = samples_for(self.model, dataset)
        if not len(samples):
            raise ValueError("The evaluation data set has no sample, and nothing has no score.")
        own = {id(each) for each in _several(self.eval_dataset)}
        self._kept_batches = {key: kept for key, kept in self._kept_batches.items() if key in own}
        kept = self._kept_batches.get(id(dataset))
        if kept is None or kept.loader.batch_size != self.args.eval_batch_size:
            loader = evaluation_loader(samples, self.args)
            if id(dataset) not in own or not isinstance(dataset, SegmentationSamples):
                return loader  # others may give other items the next time
            kept = self._kept_batches[id(dataset)] = KeptBatches(loader)
        return kept

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader | KeptBatches:
        return self.get_eval_dataloader(test_dataset)

    # ---- loss and logging ----

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        step = self.state.global_step
        if self.present.begin_micro_batch(step):
            self.finite_guard.begin_step()
        self.scores.clear()
        self.chosen_steps.clear()
        self.model.objective.set_progress(step / self.state.max_steps)
        micro_batch = self.present.micro_batch
        self.model.objective.micro_batch = micro_batch
        seed_micro_batch(self.args.seed, step, micro_batch, self.args.process_index)
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(
            pixel_values=inputs["pixel_values"],
            labels=inputs["labels"],
            step_labels=self.present.labels,
        )
        self.present.terms.append(outputs["terms"])
        self.present.batches.append(inputs)
        self.logged.add(outputs["terms"] | {"loss": outputs["loss"].detach()})
        # The rates that this step will use: by the time it is logged, the schedule has moved on.
        self.logged.latest |= {
            f"lr_{name}": rate for name, rate in learning_rates(self.pair_optimizer).items()
        }
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # Trainer's log of training steps, on every process alike
        if "loss" in logs and self.logged.seen:
            # of the first student alone, under a name that hides it
            logs.pop("learning_rate", None)
            # the loss too, whose sum in Trainer no checkpoint keeps
            logs |= self.logged.take(self.accelerator)
        super().log(logs, start_time)

    # ---- evaluation ----

    def evaluation_loop(
        self,
        dataloader,
        description,
        prediction_loss_only=None,
        ignore_keys=None,
        metric_key_prefix="eval",
    ) -> EvalLoopOutput:
        """Both students over the data: see `evaluate_pair`."""
        self.callback_handler.eval_dataloader = dataloader  # for the progress bar
        batches = map(self._prepare_inputs, dataloader)
        try:
            evaluation, self.image_counts = evaluate_pair(
                self.model,
                batches,
                self.protocol,
                self.accelerator,
                self._after_evaluation_batch,
                self.metrics,
            )
        except NothingToScore:
            if self.is_in_train:
                raise self._save_before(
                    "evaluation", NothingToScore(f"it has no labels ({description})")
                ) from None
            raise
        except BadSample as error:
            self.preemption.owes_evaluation = self.is_in_train
            raise self._save_before("evaluation", error) from error
        self.scores[metric_key_prefix] = evaluation
        return EvalLoopOutput(
            predictions=None,
            label_ids=None,
            metrics=evaluation.metrics(metric_key_prefix),
            num_samples=evaluation.images,
        )

    def _after_evaluation_batch(self) -> None:
        self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        self.preemption.check()

    def _maybe_log_save_evaluate(self, *args, **kwargs) -> None:
        try:
            super()._maybe_log_save_evaluate(*args, **kwargs)
        except EvaluationInterrupted:
            self.preemption.leave_evaluation(self.control)
            # saves; what was logged is not logged again
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Trainer's. An evaluation that does not tell the score by which weights are chosen, of a
        class that neither labels nor predictions hold, is none of the best.
        """
        told = self.args.metric_for_best_model
        if told is not None and f"eval_{student_metric(told)}" not in metrics:
            return False
        return super()._determine_best_metric(metrics, trial)

    def _evaluate_and_save(self) -> None:
        """The evaluation that a run owed when it was stopped, and its checkpoint once more, with
        the scores.
        """
        metrics = self._evaluate(None, None)
        self._determine_best_metric(metrics, None)
        self._save_checkpoint(self.model, None)

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> None:
        """Not for a pair, which has no `model_init` that would draw it anew for each trial."""
        raise NotImplementedError(
            "CTCLTrainer has no hyperparameter_search: each trial needs new students. Build a pair "
            "and a trainer for each in a loop, or let `ctcl-hf compare` run a grid."
        )

    # ---- recording ----

    @cached_property
    def _inputs(self) -> dict[str, Any]:
        return record_of_inputs(self.model, self.train_dataset, self.eval_dataset)

    def record(self) -> dict[str, Any]:
        """What is known of this run, as `run.json` holds it: see `ctcl_hf.training.record`."""
        return record(
            self.model,
            self.args,
            self._inputs,
            self.facts,
            self.state.global_step,
            self.scores,
            self._weights(),
            self.state.max_steps,
            self.earlier_lengths,
        )

    def _weights(self) -> dict[str, dict[str, Any]]:
        """Of each student: the step of its present weights, and how that was chosen, if not as the
        last one.
        """
        names = self.model.names
        metric = student_metric(self.args.metric_for_best_model)
        evaluations = len(curve(self.state.log_history, names[0]))
        chosen = {"by": metric, "evaluations": evaluations}
        return {
            name: {"step": self.chosen_steps[name], "chosen": chosen}
            if name in self.chosen_steps
            else {"step": self.state.global_step, "chosen": None}
            for name in names
        }
