"""How people lay out images and masks in folders, and what lies there that is not taken."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..pairs import LeftOut, Unpaired, image_files, listed, paired_rows, read_list
from .refusals import check_ending, check_holds_images, check_is_there, hint_of_annotations
from .splits import SPLITS

if TYPE_CHECKING:
    import datasets

# Names of folders, in any case.
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = (
    *("masks", "labels", "annotations", "mask", "label", "annotation", "gt", "segmentationclass"),
    "segmentationclasspng",
)
# Of a folder of masks beside a split's own: train/ and train_labels/, or trainannot/.
MASK_FOLDER_ENDINGS = (
    "_labels",
    "_label",
    "_masks",
    "_mask",
    "_annotations",
    "_annot",
    "annot",
    "_gt",
)
# in the ending of a mask that lies beside its image
MASK_WORDS = ("mask", "label", "annot", "seg", "gt")
# of VOC, and of tools that export as it does: a file of names for each split
LISTS = Path("ImageSets", "Segmentation")
SPLIT_FOLDERS = {name for names in SPLITS.values() for name in names}
Pairs = TypeVar("Pairs")


class Layout:
    """The splits of a folder of images and masks, and what was left out of them.

    Args:
        folder: with the splits.
        image_folder, mask_folder, mask_ending: names of the folders, and what a mask's name has
            beyond its image's. Default: found.
        parquet: files of another kind that lie below, and are left out if there are images and
            masks.
        skip_unpaired: leave out images without a mask and masks without an image, which are
            `problems` otherwise.

    Attributes:
        problems: what does not pair, of all splits.
    """

    def __init__(
        self,
        folder: Path,
        image_folder: str | None = None,
        mask_folder: str | None = None,
        mask_ending: str | None = None,
        parquet: Iterable[Path] = (),
        skip_unpaired: bool = False,
    ):
        self.folder = folder
        self.named = {"--image_folder": image_folder, "--mask_folder": mask_folder}
        self.image_folders = (image_folder.lower(),) if image_folder else IMAGE_FOLDERS
        self.mask_folders = (mask_folder.lower(),) if mask_folder else MASK_FOLDERS
        self.mask_ending = mask_ending
        self.parquet = list(parquet)
        self.left_out = LeftOut(folder)
        self.unpaired = self.left_out if skip_unpaired else None
        self.problems: list[Unpaired] = []
        self.endings: set[str] = set()  # of masks that were found

    def __str__(self) -> str:
        """What is to be known of it, but for what was left out."""
        return f", masks end in {', '.join(sorted(self.endings))}" if self.endings else ""

    def splits(self) -> dict[str, "datasets.Dataset"]:
        """Rows by the splits' own names; none if there are no images and masks.

        ValueError names a split in which nothing pairs, and what an option names that is not there.
        """
        self._check_named()
        found = (
            self._listed()
            or self._in_split_folders()
            or self._beside_each_other()
            or self._in_one_folder()
        )
        if found:
            for path in self.parquet:
                self.left_out.add("Parquet", path)
        return found

    def _check_named(self) -> None:
        """Of what is Parquet alone nothing is said here."""
        if any(self.named.values()) and image_files(self.folder, below=True, unique=False):
            top = self._folders(self.folder)
            there = [*top, *(path for folder in top for path in self._folders(folder))]
            for option, name in self.named.items():
                check_is_there(option, name, self.folder, there)

    def _listed(self) -> dict[str, "datasets.Dataset"]:
        """JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/*.txt."""
        lists = sorted((self.folder / LISTS).glob("*.txt"))
        images, masks = self._first(self.folder, self.image_folders), self._masks_of(self.folder)
        if not lists or images is None or masks is None:
            return {}
        names = {path: own for path in lists if (own := read_list(path))}
        if {"train", "val"} <= {path.stem.lower() for path in names}:
            names = {path: own for path, own in names.items() if path.stem.lower() != "trainval"}
        image_paths, mask_paths = self._images_and_masks(images, masks, "all")
        for name in sorted(image_paths.keys() - {name for own in names.values() for name in own}):
            self.left_out.add("in no list", Path(image_paths[name]))
        found = {}
        for path, own in names.items():
            # what has one of the two is told as such
            there = self._pairing(partial(listed, own, {**mask_paths, **image_paths}, path))
            pair = (
                {name: of[name] for name in there if name in of} for of in (image_paths, mask_paths)
            )
            found[path.stem] = self._rows(*pair, f"{path.stem} of {self.folder}")
        if len(found) == 1:  # "default", or "trainval"
            return {"train": next(iter(found.values()))}
        return found

    def _in_split_folders(self) -> dict[str, "datasets.Dataset"]:
        """SPLIT/images/ and SPLIT/masks/; images/SPLIT/ and masks/SPLIT/; or images/ and masks/."""
        found: dict[str, datasets.Dataset] = {}
        whole = [
            str(path)
            for path in self._folders(self.folder)
            if path.name.lower() not in SPLIT_FOLDERS
            and any((path / LISTS).glob("*.txt"))
            and self._first(path, self.image_folders) is not None
        ]
        if whole:
            raise ValueError(
                f"{self.folder} is no data set, but holds {' and '.join(whole)}, with lists of "
                f"splits: give {'that folder' if len(whole) == 1 else 'one of them'}."
            )
        for path in self._folders(self.folder):
            images = self._first(path, self.image_folders)
            if images is not None:
                self._pair(found, path.name, images, self._masks_of(path), path)
            elif path.name.lower() in self.image_folders:
                masks, splits = self._masks_of(self.folder), self._folders(path)
                if splits and not image_files(path, unique=False):
                    for split in splits:
                        self._pair(
                            found, split.name, split, masks and masks / split.name, self.folder
                        )
                elif self.folder.name in ("train", "training"):
                    raise ValueError(
                        f"{self.folder} is one split of a data set: give the folder above it."
                    )
                else:
                    self._pair(found, "train", path, masks, self.folder)
        return found

    def _beside_each_other(self) -> dict[str, "datasets.Dataset"]:
        """SPLIT/ and SPLIT_labels/."""
        found = {}
        for path in self._folders(self.folder):
            masks = next(
                (
                    m
                    for end in MASK_FOLDER_ENDINGS
                    if (m := path.with_name(path.name + end)).is_dir()
                ),
                None,
            )
            if masks is not None:
                self._pair(found, path.name, path, masks, self.folder)
        return found

    def _in_one_folder(self) -> dict[str, "datasets.Dataset"]:
        """NAME.jpg and NAME_mask.png together, in a folder for each split or in one."""
        found = {}
        for path in (self.folder, *self._folders(self.folder)):
            pair = self._images_and_masks_by_suffix(path) or self._images_and_masks_by_ending(path)
            if pair is not None:
                split = "train" if path == self.folder else path.name
                found[split] = self._rows(*pair, f"{path}")
        return found

    def _images_and_masks_by_ending(
        self, folder: Path
    ) -> tuple[dict[str, str], dict[str, str]] | None:
        """NAME.jpg and NAME_mask.png."""
        files = image_files(folder, left_out=self.left_out, unique=not self.mask_ending)
        ending = self.mask_ending or ending_within(files)
        if ending is None or not any(name.endswith(ending) for name in files):
            return None
        files = image_files(folder)
        masks = {
            name.removesuffix(ending): file for name, file in files.items() if name.endswith(ending)
        }
        self.endings.add(ending)
        return {name: file for name, file in files.items() if not name.endswith(ending)}, masks

    def _images_and_masks_by_suffix(
        self, folder: Path
    ) -> tuple[dict[str, str], dict[str, str]] | None:
        """NAME.jpg and NAME.png: photos are JPEG, and masks cannot be."""
        if self.mask_ending:
            return None
        by_kind: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and not path.name.startswith("."):
                by_kind[path.suffix.lower() == ".png"][path.stem] = str(path)
        shared = by_kind[True].keys() & by_kind[False]
        either = by_kind[True].keys() | by_kind[False]
        is_layout = shared == either if self.unpaired is None else 2 * len(shared) > len(either)
        return (by_kind[False], by_kind[True]) if shared and is_layout else None

    def _pair(
        self, found: dict, split: str, images: Path, masks: Path | None, beside: Path
    ) -> None:
        if masks is None or not masks.is_dir():
            if self.parquet:  # pictures of a card, beside the data
                self.left_out.add("without masks", images)
                return
            expected = ", ".join(str(beside / name) for name in self.mask_folders)
            raise ValueError(
                f"{images} has no masks beside it: expected one of {expected}."
                f"{hint_of_annotations(self.folder)}"
            )
        pair = self._images_and_masks(images, masks, split)
        found[split] = self._rows(*pair, f"{images} and {masks}")

    def _rows(
        self, images: Mapping[str, str], masks: Mapping[str, str], what: str
    ) -> "datasets.Dataset":
        return self._pairing(partial(paired_rows, images, masks, what))

    def _pairing(self, pair: Callable[[LeftOut | None], Pairs]) -> Pairs:
        """What pairs. What does not is left out, and is a problem if that was not asked for."""
        try:
            return pair(self.unpaired)
        except Unpaired as error:
            self.problems.append(Unpaired(f"{error} Leave them out with --skip_bad."))
            return pair(LeftOut(self.folder))

    def _images_and_masks(
        self, images: Path, masks: Path, split: str
    ) -> tuple[dict[str, str], dict[str, str]]:
        """The files of a folder of images and of one of masks, both by the images' names."""
        image_paths = image_files(images, below=True, left_out=self.left_out)
        mask_paths = image_files(masks, below=True, left_out=self.left_out)
        check_holds_images(image_paths, images, "images", split)
        check_holds_images(mask_paths, masks, "masks", split)
        ending = self.mask_ending or _ending_between(image_paths, mask_paths)
        if not ending:
            return image_paths, mask_paths
        check_ending(ending, mask_paths, masks)
        self.endings.add(ending)
        return image_paths, {name.removesuffix(ending): path for name, path in mask_paths.items()}

    def _folders(self, folder: Path) -> list[Path]:
        return sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )

    def _named(self, folder: Path, names: Sequence[str]) -> list[Path]:
        """The folders in a folder that have one of the names, in their order."""
        there = [path for path in self._folders(folder) if path.name.lower() in names]
        return sorted(there, key=lambda path: names.index(path.name.lower()))

    def _first(self, folder: Path, names: Sequence[str]) -> Path | None:
        return next(iter(self._named(folder, names)), None)

    def _masks_of(self, folder: Path) -> Path | None:
        """The folder of masks in a folder. ValueError if several hold some."""
        there = self._named(folder, self.mask_folders)
        holding = [path for path in there if image_files(path, below=True, unique=False)]
        if len(holding) > 1:
            raise ValueError(
                f"{' and '.join(map(str, holding))} hold images: which are the masks? Give "
                f"--mask_folder {holding[0].name} or --mask_folder {holding[1].name}."
            )
        return next(iter(holding or there), None)


def _ending_between(images: Mapping[str, str], masks: Mapping[str, str]) -> str:
    """What most masks' names have beyond their images', such as "_mask"; nothing if some are
    equal.
    """
    if images.keys() & masks.keys():
        return ""
    endings: Counter[str] = Counter()
    for mask in masks:
        cut = next((cut for cut in range(len(mask) - 1, 0, -1) if mask[:cut] in images), None)
        if cut is not None:
            endings[mask[cut:]] += 1
    ending, count = endings.most_common(1)[0] if endings else ("", 0)
    return ending if 2 * count > len(masks) else ""


def ending_within(names: Collection[str]) -> str | None:
    """The ending of masks that lie among their images: of about half of all names, which without it
    are others.
    """
    endings = Counter(
        name[cut:]
        for name in names
        for cut in range(1, len(name))
        if name[cut] in "_-. " and name[:cut] in names
    )
    ending, count = endings.most_common(1)[0] if endings else (None, 0)
    return ending if count and 3 * count >= len(names) else None
