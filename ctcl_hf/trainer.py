"""The training loop: transformers' Trainer around a pair of students."""

from collections import defaultdict
from pathlib import Path

import torch
from accelerate.utils import broadcast
from huggingface_hub import CommitInfo
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, default_collate
from transformers import AutoModelForSemanticSegmentation, Trainer, TrainerCallback
from transformers.trainer_callback import ProgressCallback
from transformers.trainer_utils import EvalLoopOutput

from .card import RunFacts, record, write_cards
from .checkpoints import OBJECTIVE_FILE, check_checkpoint
from .cpu import prepare_cpu
from .data import collate_for_evaluation
from .held_out import HeldOutCallback
from .inference import class_map
from .losses import cross_entropy_loss, upsample
from .metrics import MeanIoU
from .optim import build_optimizer, build_scheduler, clip_gradients, gradient_norms, learning_rates
from .pair import StudentPair
from .publisher import Publisher
from .report import PairProgress
from .reproducibility import EpochCallback, EpochSampler, seed_micro_batch
from .students import Student
from .training_arguments import CTCLArguments

ARGUMENTS_FILE = "training_args.json"


class CTCLTrainer(Trainer):
    """Trains, evaluates and saves a `StudentPair`; all else is transformers' Trainer.

    What differs: one optimizer per student behind a composite; gradients measured (and clipped, if asked for) per
    student; every term of the objective logged under its name, as a mean over the steps since the last log, over
    accumulation and over processes; evaluation counts pixels per class and keeps no predictions; a checkpoint is one
    `from_pretrained` folder per student.

    Args:
        model: the pair.
        args: how to train it.
        train_dataset: samples {"pixel_values", "labels"}, asked for by (epoch, index): see `SegmentationSamples`.
        eval_dataset: the same, asked for by index; labels at their own size, to which logits are upsampled.
        callbacks: added to Trainer's own.
        facts: what the students' cards may say of this run beyond what the trainer knows.
    """

    model: StudentPair
    args: CTCLArguments

    def __init__(
        self,
        model: StudentPair,
        args: CTCLArguments,
        train_dataset: Dataset | None = None,
        eval_dataset: Dataset | None = None,
        callbacks: list[TrainerCallback] | None = None,
        facts: RunFacts | None = None,
    ):
        args.check_dataset(train_dataset)
        self.facts = facts or RunFacts()
        self.scores: dict[str, dict[str, float]] = {}  # by prefix, of the present weights
        self.publisher = Publisher(args)
        if args.device.type == "cpu":
            prepare_cpu(args.threads())
        super().__init__(
            model,
            args,
            data_collator=default_collate,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=callbacks,
        )
        if self.pop_callback(ProgressCallback) is not None:
            self.add_callback(PairProgress(model.names))
        if train_dataset is not None:
            data_seed = args.seed if args.data_seed is None else args.data_seed
            self.train_sampler = EpochSampler(len(train_dataset), data_seed)
            self.add_callback(EpochCallback(self.train_sampler))
        if model.objective.held_out_images:
            if eval_dataset is None:
                raise ValueError(f"{type(model.objective).__name__} observes held-out images: give an eval_dataset.")
            self.add_callback(HeldOutCallback(model, eval_dataset, args.eval_batch_size, self.accelerator))
        self._term_sums: dict[str, Tensor] = defaultdict(float)
        self._terms_seen = 0
        self._step_facts: dict[str, float] = {}
        self._place = (-1, 0)  # optimizer step and micro-batch within it

    # ---- optimisation ----

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.pair_optimizer = build_optimizer(self.model, self.args.optimizer_settings(self.model))
            self.optimizer = self.pair_optimizer
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        if self.lr_scheduler is None:
            self.lr_scheduler = build_scheduler(
                optimizer or self.optimizer,
                self.pair_optimizer,
                self.args.optimizer_settings(self.model),
                num_training_steps,
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Clips each student on its own: one norm over both would let one student's gradients shrink the other's."""
        self.accelerator.unscale_gradients()
        norms = clip_gradients(self.model, self.args.max_grad_norm)
        return self._record_gradient_norms(norms)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | None = None) -> Tensor | None:
        if grad_norm is None:
            self.accelerator.unscale_gradients()
            grad_norm = self._record_gradient_norms(gradient_norms(self.model))
        return grad_norm

    def _record_gradient_norms(self, norms: dict[str, Tensor]) -> Tensor:
        self._step_facts |= {f"grad_norm_{name}": norm for name, norm in norms.items()}
        return torch.stack(list(norms.values())).norm()

    # ---- data ----

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochSampler:
        return self.train_sampler

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        """This process's own share of the samples, each exactly once: nothing is padded, dropped or repeated."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str):  # Trainer's way to name one of several
            dataset = self.eval_dataset[dataset]
        if dataset is None:
            raise ValueError("Evaluation needs a data set: give CTCLTrainer an eval_dataset, or evaluate(dataset).")
        own = range(self.args.process_index, len(dataset), self.args.world_size)
        return DataLoader(
            Subset(dataset, own),
            batch_size=self.args.eval_batch_size,
            collate_fn=collate_for_evaluation,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        return self.get_eval_dataloader(test_dataset)

    # ---- loss and logging ----

    def training_step(self, model, inputs, num_items_in_batch=None) -> Tensor:
        step = self.state.global_step
        self._place = (step, self._place[1] + 1 if step == self._place[0] else 0)
        self.scores.clear()
        self.model.objective.set_progress(step / self.state.max_steps)
        seed_micro_batch(self.args.seed, *self._place, self.args.process_index)
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        for name, value in outputs["terms"].items():
            self._term_sums[name] += value
        self._terms_seen += 1
        # The rates that this step will use: by the time it is logged, the schedule has moved on.
        self._step_facts |= {f"lr_{name}": rate for name, rate in learning_rates(self.pair_optimizer).items()}
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._terms_seen:  # Trainer's log of training steps, on every process alike
            logs.pop("learning_rate", None)  # of the first student alone, under a name that hides it
            names = list(self._term_sums)
            means = torch.stack([self._term_sums[name] for name in names]) / self._terms_seen
            means = self.accelerator.reduce(means, "mean")
            logs |= dict(zip(names, means.tolist(), strict=True))
            logs |= {name: float(value) for name, value in self._step_facts.items()}
            self._term_sums.clear()
            self._terms_seen = 0
        super().log(logs, start_time)

    # ---- evaluation ----

    @torch.no_grad()
    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ) -> EvalLoopOutput:
        """Both students over the data: `PREFIX_STUDENT_mean_iou`, accuracies, loss and per-class IoU.

        Every process counts its own share; the counts, K x K per student, are summed once at the end.
        """
        self.callback_handler.eval_dataloader = dataloader  # for the progress bar
        pair = self.model.eval()
        self._share_batchnorm_statistics()
        metrics = {name: MeanIoU() for name in pair.names}
        loss_sums = torch.zeros(len(pair.names), dtype=torch.float64)
        images = 0
        for batch in dataloader:
            batch = self._prepare_inputs(batch)
            for i, (name, student) in enumerate(pair.students.items()):
                with self.accelerator.autocast():
                    logits = student.logits(batch["pixel_values"])
                for image_logits, labels in zip(logits, batch["labels"], strict=True):
                    image_logits = upsample(image_logits[None], labels.shape)
                    loss_sums[i] += cross_entropy_loss(image_logits, labels[None], student.ignore_index).item()
                    metrics[name].add_batch(predictions=class_map(image_logits, labels.shape), references=labels[None])
            images += len(batch["labels"])
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

        totals = self.accelerator.reduce(torch.tensor([*loss_sums, images], device=self.args.device), "sum").tolist()
        images = round(totals[-1])
        results = {}
        for (name, student), loss_sum in zip(pair.students.items(), totals, strict=False):
            results |= {f"{name}_{key}": value for key, value in self._scores(student, metrics[name]).items()}
            results[f"{name}_loss"] = loss_sum / max(images, 1)
        self.scores[metric_key_prefix] = results | {"images": images}
        for key in ("mean_iou", "loss"):
            results[key] = sum(results[f"{name}_{key}"] for name in pair.names) / len(pair.names)
        return EvalLoopOutput(
            predictions=None,
            label_ids=None,
            metrics={f"{metric_key_prefix}_{key}": value for key, value in results.items()},
            num_samples=images,
        )

    def _scores(self, student: Student, metric: MeanIoU) -> dict[str, float]:
        """mean_iou, mean_accuracy, overall_accuracy and iou_CLASS over what all processes counted."""
        labels, ignored = student.config.id2label, student.ignore_index
        ids = max(len(labels), ignored + 1)
        counts = torch.zeros(ids, ids, dtype=torch.int64, device=self.args.device)
        own = metric.counts
        counts[: len(own), : len(own)] = own
        metric.reset()
        metric.merge(self.accelerator.reduce(counts, "sum").cpu())
        scores = metric.compute(num_labels=len(labels), ignore_index=ignored)
        named = {f"iou_{labels[i]}": float(iou) for i, iou in enumerate(scores["per_category_iou"])}
        return {key: float(scores[key]) for key in ("mean_iou", "mean_accuracy", "overall_accuracy")} | named

    def _share_batchnorm_statistics(self) -> None:
        """Evaluates the statistics that process 0 saves: without SyncBatchNorm every process has gathered its own."""
        if self.args.world_size > 1:
            for buffer in self.model.buffers():
                buffer.copy_(broadcast(buffer.clone()))

    # ---- saving and loading ----

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """One folder per student with its card, the method's state beside them, and the arguments without any token."""
        if not self.args.should_save:  # every process comes here, one writes
            return
        folder = Path(output_dir or self.args.output_dir)
        for name, student in self.model.students.items():
            student.save_pretrained(str(folder / name))
        self.create_model_card(folder)
        state = {key: value.contiguous() for key, value in self.model.objective.training_state().items()}
        if state:
            save_file(state, folder / OBJECTIVE_FILE)
        (folder / ARGUMENTS_FILE).write_text(self.args.to_json_string())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """The weights of both students and of the method. ValueError names what does not fit this pair."""
        folder = Path(resume_from_checkpoint)
        check_checkpoint(folder, self.model)
        self.scores.clear()
        for name, student in self.model.students.items():
            loaded = AutoModelForSemanticSegmentation.from_pretrained(folder / name)
            student.model.load_state_dict(loaded.state_dict())
        if self.model.objective.training_state():
            weights = load_file(folder / OBJECTIVE_FILE, device=str(self.args.device))
            self.model.objective.load_state_dict(weights, strict=False)  # all there are, teachers apart: checked above

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    # ---- publishing ----

    def create_model_card(self, folder: str | Path | None = None) -> None:
        """Writes README.md into the folder of each student, within `folder` or the output folder."""
        folder = Path(folder or self.args.output_dir)
        recorded = record(self.model, self.args, self.state.global_step, self.scores, self.facts)
        write_cards(folder, recorded, self.publisher.repositories, self.facts.figure)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Decides each student's repository, and makes sure that it can be written to. OSError says what is missing."""
        if self.is_world_process_zero():
            self.publisher.open(dict(self.model.students), token, private)

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
    ) -> dict[str, CommitInfo] | None:
        """Saves both students to the output folder and pushes each to its own repository, in one commit each.

        Returns the commits by student on the main process, None on others. PushError (an OSError) if one failed: the
        other is pushed all the same, everything is in the output folder, and `examples/push.py` finishes it.
        """
        if not self.publisher.repositories:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        return self.publisher.push(commit_message, token, revision)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self.is_world_process_zero():
            self.callback_handler.on_push_begin(self.args, self.state, self.control)
            self.publisher.push_checkpoint(Path(checkpoint_folder), self.state.global_step)

    def _finish_current_push(self) -> None:
        self.publisher.wait()
