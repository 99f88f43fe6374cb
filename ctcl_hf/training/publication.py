"""Cards and pushes of a pair, under the names that Trainer has for those of one model."""

from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo

from ..publishing.background import Publisher
from ..publishing.card import write_cards
from .guards.processes import wait_for_all
from .record import RunFacts
from .unsupported import CARD, refuse


class PairPublication:
    """The part of `CTCLTrainer` that publishes: each student in a repository of its own."""

    facts: RunFacts
    publisher: Publisher

    def create_model_card(self, folder: str | Path | None = None, **of_trainer: Any) -> None:
        """Writes README.md into the folder of each student, within `folder` or the output
        folder.
        """
        refuse("create_model_card", of_trainer, CARD)
        folder = Path(folder or self.args.output_dir)
        write_cards(folder, self.record(), self.publisher.repositories, self.facts.figure)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Decides each student's repository, and makes sure that it can be written to.

        Where the output folder is published already, the Hub is asked only once there is more to
        be: by `open_repositories`. OSError says what is missing.
        """
        if self.is_world_process_zero() and not self.publisher.recall():
            self.publisher.open(token, private)

    def open_repositories(self) -> None:
        """Makes sure, before anything is trained or made, that what is to be pushed can be."""
        if self.args.push_to_hub and self.is_world_process_zero() and not self.publisher.is_open:
            self.publisher.open()

    def push_to_hub(
        self,
        commit_message: str = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **of_trainer: Any,
    ) -> dict[str, CommitInfo] | None:
        """Saves all students to the output folder and pushes each to its own repository, in one
        commit each.

        Returns the commits by student on the main process, None on others. PushError (an OSError)
        if one failed: the other is pushed all the same, everything is in the output folder, and
        `ctcl-hf push` finishes it.
        """
        refuse("push_to_hub", of_trainer, CARD)
        if not blocking:
            raise ValueError(
                "push_to_hub(blocking=False): pushes in the background are those of --hub_strategy."
            )
        if not self.publisher.repositories:
            self.init_hf_repo(token, private)
        self.save_model(_internal_call=True)
        return self.push_saved(commit_message, token, revision)

    def push_saved(
        self,
        commit_message: str = "End of training",
        token: str | None = None,
        revision: str | None = None,
    ) -> dict[str, CommitInfo] | None:
        """As `push_to_hub`, what is saved in the output folder already, and of that what is not
        pushed yet.
        """
        if not self.is_world_process_zero():
            return None
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        return self.publisher.push(commit_message, token, revision)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self.is_world_process_zero():
            self.callback_handler.on_push_begin(self.args, self.state, self.control)
            self.publisher.push_checkpoint(Path(checkpoint_folder), self.state.global_step)

    def _finish_current_push(self) -> None:
        self.publisher.wait()  # the main process's: an upload may take hours
        wait_for_all()
