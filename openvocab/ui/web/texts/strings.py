"""All texts of the page that Python writes, in one place; another language replaces this file.

Texts of the scripts are in strings.js beside this file, canvas/strings.js and strip/strings.js, and those of the
templates in canvas/canvas.html and strip/strip.html. Errors are sentences of the library, the same in Python, on the
command line and in the API, but for remedies that name Python's arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from openvocab.errors import counted

# --- the page

HEADLINE = "Words in; tags, boxes and masks out. Correct the results and download them."
THEME = "Switch between light and dark"
WORKSPACE, TAG, BATCH, ABOUT = "Workspace", "Tag", "Batch", "About the models"
RUN, STOP, REFRESH, DOWNLOAD, FORMAT = "Run", "Stop", "Refresh", "Download", "Format"
FAILED = "This failed because of an error on the server, which is in its log; try another image or label."


REMEDIES: Mapping[str, str] = {
    r"load one with (?:tagger|detector|segmenter)=SPEC": "choose another preset under “Models”",
    r"load a segmenter, or take crops\(\)": "choose another preset under “Models”",
    r"\b(try|give) dtype='?(\w+)'?": r"\1 openvocab serve --dtype \2",
    r", or overwrite=True to start again": "",
    r"overwrite=True starts again": "serve the folder with another --out",
}
"""Remedies of the library that name Python's arguments, as patterns, and what a visitor can do instead.

The thresholds and limits of a call have the library's names, so they stay as they are.
"""

# --- labels and models

LABELS, LABEL_SET, MODELS = "Labels", "Label set", "Models"
OWN_LABELS, LABELS_FROM_FILE = "own labels", "Labels from a file"
EXAMPLE_LABELS = "apple, dog, guitar"
EXAMPLE_LABELS_ENTER = "apple, dog (Enter runs, Shift+Enter: new line)"
SEPARATE = "Separate labels with commas, semicolons or newlines."


def label_set(name: str, size: int) -> str:
    """Return the title of a label set."""
    return f"{name} ({size} labels)"


def knows(preset: str, count: int) -> str:
    """Return what a preset of drawn objects knows."""
    return f"{preset} knows {count} drawn objects, no photographs."


def labels(count: int) -> str:
    """Return the number of labels."""
    return counted(count, "label")


def unknown_labels(count: int, preset: str, named: Sequence[str], more: int) -> str:
    """Return the number of labels, and those that a preset does not know."""
    others = f" and {more} more" if more else ""
    return f"{labels(count)}. {preset} does not know {', '.join(named)}{others}."


# --- the workspace

IMAGE, CHOSEN_IMAGE = "Image", "the chosen image"
SEVERAL_IMAGES = "Several images or a zip"
SLIDERS: Mapping[str, str] = {
    "tag_threshold": "Tags ≥",
    "box_threshold": "Boxes ≥",
    "mask_threshold": "Masks ≥",
    "nms_iou": "NMS IoU ≤",
}
STAGES: Mapping[str, str] = {"tags": "Tags", "boxes": "Boxes", "masks": "Masks"}
RUNNING, CACHED = "Running …", "cached"
PRESS_RUN = "Press Run to process this image."
PRESS_RUN_OR_CLICK = "Press Run, or click an object in the image."
TYPE_OR_CLICK = "Type words and press Run, or click an object in the image."
RENAMED, RENAMED_ALL = "Renamed the object.", "Renamed all."
DELETED = "Deleted the object; press U to undo."
RESTORED = "Brought the box back; press U to undo."
UNDID, REPEATED = "Undid the last change.", "Repeated the change."
MASK_CHANGED, MASK_CLEANED = "Changed the mask.", "Removed specks and small holes."
BOX_CHANGED = "Changed the box; its mask is new."
NO_OBJECT = "No label was found as an object; try other words."


def seconds(value: float) -> str:
    """Return the time of a stage."""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def added(label: str) -> str:
    """Return that an object was added."""
    return f"Added {label}."


def _or_no(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def found(tags: int | None, detections: int | None, source: str, width: int, height: int) -> str:
    """Return what was found in an image; None where a stage did not run."""
    counts = [(tags, "tag"), (detections, "detection")]
    parts = [_or_no(number, noun) for number, noun in counts if number is not None]
    return f"{' and '.join(parts)} in {source}, {width} × {height} pixels."


def stored_objects(count: int, source: str) -> str:
    """Return the number of objects in an image that the models have not seen since."""
    return f"{_or_no(count, 'object')} in {source}. Press Run to use the sliders."


def undrawn(letters: str) -> str:
    """Return that letters are not drawn."""
    return f"No font on the server has {letters}; the image shows “?” instead."


def best_tag(label: str, score: float) -> str:
    """Return the advice where no tag passes its threshold."""
    return f"No label was found; the best is “{label}” with {score:.2f}. Lower Tags, or try other words."


def best_box(label: str, score: float) -> str:
    """Return the advice where no box passes its threshold."""
    return f"No label was found as an object; the best box is “{label}” with {score:.2f}. Lower Boxes below it."


def all_rejected(count: int) -> str:
    """Return the advice where verification rejected every box."""
    boxes = "the only box" if count == 1 else f"all {count} boxes"
    return f"Verification rejected {boxes}; the list below the objects has the reasons and brings them back."


# --- downloads

FILE_TYPES: Mapping[str, str] = {
    "coco": "COCO JSON",
    "yolo": "YOLO",
    "mask": "Mask PNG",
    "image": "Annotated image",
    "cutouts": "Cutouts",
    "json": "JSON",
}
FORMATS: Mapping[str, str] = {
    "parquet": "Parquet run folder: all columns",
    "coco": "COCO JSON: boxes, masks, tags",
    "yolo": "YOLO: boxes",
    "yolo-seg": "YOLO: polygons",
    "voc": "Pascal VOC: boxes",
    "labelme": "LabelMe",
    "cvat": "CVAT for images",
    "label-studio": "Label Studio",
    "instance-masks": "Mask PNGs: one value per detection",
    "semantic-masks": "Mask PNGs: one value per label",
    "csv": "CSV: one row per tag or detection",
    "jsonl": "JSON Lines: one line per image",
}

# --- a folder

DOWNLOAD_FOLDER = "Download the folder, with corrections"
WHOLE_FOLDER = "Images, answers and corrections, to go on later"


def unopened(files: int, refused: int) -> str:
    """Return how many files of an upload cannot be opened."""
    return f"{refused} of {counted(files, 'file')} cannot be opened."


def unfit(count: int) -> str:
    """Return how many corrections of an upload do not fit its images."""
    return f"{counted(count, 'correction does', 'corrections do')} not fit the images and cannot be used."


# --- prompt files

PROMPT_FILES = "Prompt file: words, exemplars and what is not meant"
LOAD_PROMPT, SAVE_PROMPT = "Load a prompt file", "Save as a prompt file"
NOT_MEANT, NOT_MEANT_EXAMPLE = "Not meant", "handbag, croissant"
AS_MARKS = "Save objects as marks of this image"
PROMPT_HELP = (
    "A saved file holds the words, and the objects that you added or changed as exemplars; those that you deleted are "
    "not meant."
)


def loaded_prompt(file: str, exemplars: int, negatives: int, marks: int) -> str:
    """Return what a loaded prompt file holds."""
    kinds = (exemplars, "exemplar"), (negatives, "negative exemplar"), (marks, "mark")
    counts = [counted(number, noun) for number, noun in kinds if number]
    return f"{file}: {', '.join(counts) or 'words alone'}. Press Run."


# --- the tab Tag

IMAGES, SCORE, TEMPLATE = "Images", "Score", "Template"
EXAMPLE_TEMPLATE = "This is a photo of a {label}"
TEMPLATE_HELP = "{label} is replaced by the label. Several templates, one per line, are averaged."
NONE_HELP = "Adds a label of this name. Models were not trained on it; its score is only a hint."
SOFTMAX = (
    "The scores of an image sum to 1 over the labels (the model was trained with a softmax): they rank the labels, but "
    "do not tell whether any applies."
)


def also_score(label: str) -> str:
    """Return the title of the choice that adds a label."""
    return f"Also score “{label}”"


def independent(threshold: float) -> str:
    """Return how independent scores are read."""
    return (
        "Scores are independent (the model was trained with a sigmoid): several labels may apply, or none. "
        f"Colored bars reach the model's threshold of {threshold:.2f}."
    )


def none_reaches(threshold: float) -> str:
    """Return that no label reaches the threshold."""
    return f"None of these: no label scores {threshold:.2f} or more."


def more_labels(count: int) -> str:
    """Return how many labels are not listed."""
    return f"and {counted(count, 'label')} with lower scores"


# --- the tab Batch

TASK, DRAW, GET_ZIP = "Task", "Also write annotated images", "Download the zip"
TASKS: Mapping[str, str] = {"annotate": "Boxes and masks", "tag": "Tags of whole images"}
PROMPT_INSTEAD, PROMPT_FILE = "Prompt file, in place of labels", "Prompt file"


def batch_files(megabytes: float, files: int) -> str:
    """Return the title of the files of a batch."""
    return f"Images, zip or tar files, {megabytes:.0f} MB each, {files} images at most"


# --- the tab About the models

LOADED, PRESETS = "Loaded", "Presets"
NONE_LOADED = "None; the first run loads the models."
LOADED_COLUMNS = ("stage", "model", "device", "dtype", "sha256 of the weights")
PRESET_COLUMNS = ("name", "description", "size", "license", "status")
IS_LOADED, IS_OFFERED, UNKNOWN = "loaded", "available on this page", "unknown"


def embedded_models(count: int) -> str:
    """Return what the embedded models know, as HTML."""
    return (
        f"The embedded models (<b>pocket</b>) know <b>drawn objects only</b>: the {count} labels of the label set "
        "<code>pocket</code>, in the style of emoji and icons. On photographs, and for other labels, their scores are "
        "meaningless. For photographs download a larger preset:"
    )


def licensed(preset: str, license_name: str) -> str:
    """Return the title of a loaded preset."""
    return f"{preset}, license {license_name}"
