"""Every sentence the presenter says, as templates with named places, so that they can be translated.

Sentences of the server and of the client (what went wrong, why a patch was chosen) come as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace

_translate: Callable[[str], str] = str


def use(translate: Callable[[str], str]) -> None:
    """Have templates translated from now on; what it does not know it gives back unchanged."""
    global _translate
    _translate = translate


def say(template: str, **values: object) -> str:
    """A template in the language of the screen, with its places filled."""
    return _translate(template).format(**values)


def count(number: int, one: str, many: str, **values: object) -> str:
    """One of two templates, by number, which goes into the place `n`."""
    return say(one if number == 1 else many, n=number, **values)


def listed(parts: Iterable[str]) -> str:
    """Parts as one enumeration."""
    *first, last = [*parts]
    return say(LIST_LAST, first=", ".join(first), last=last) if first else last


def duration(seconds: float) -> str:
    """About how long, in words that do not pretend to be exact."""
    if seconds < 50:
        return say(LESS_THAN_A_MINUTE)
    minutes = max(1, round(seconds / 60))
    if minutes < 100:
        return count(minutes, ABOUT_A_MINUTE, ABOUT_MINUTES)
    hours = round(minutes / 60)
    return count(hours, ABOUT_AN_HOUR, ABOUT_HOURS)


def size(octets: float) -> str:
    """An amount of data."""
    if octets < 1e9:
        return say(MEGABYTES, n=f"{octets / 1e6:.0f}" if octets >= 1e6 else f"{octets / 1e6:.1f}")
    return say(GIGABYTES, n=f"{octets / 1e9:.1f}")


def templates() -> tuple[str, ...]:
    """All templates, for whoever makes the files of translations."""
    own = [value for name, value in globals().items() if name.isupper() and isinstance(value, str)]
    groups = [vars(group).values() for group in (STATE, STAGE, LOCAL_STAGE, ACTION, KIND, REASON)]
    return tuple(dict.fromkeys([*own, *(text for group in groups for text in group)]))


LIST_LAST = "{first} and {last}"
LESS_THAN_A_MINUTE = "less than a minute"
ABOUT_A_MINUTE = "about {n} minute"
ABOUT_MINUTES = "about {n} minutes"
ABOUT_AN_HOUR = "about {n} hour"
ABOUT_HOURS = "about {n} hours"
MEGABYTES = "{n} MB"
GIGABYTES = "{n} GB"

# Connection
NOT_CONNECTED = "Not connected."
CONNECTING = "Looking for the server …"
CONNECTED = "Connected to {address} as {name} ({role})."
LOST = "The connection to the server is lost: {what} You can go on; answers are kept here and sent later."
TOKEN_REFUSED = "The server no longer accepts the token. Enter a new one; your answers are kept here."
CONSENT = (
    "The images you choose are sent to {address}. Files go as they are: a DICOM series says who the"
    " patient is. Do you agree?"
)

# The server on this computer
LOCAL_OFF = "No server runs on this computer."
LOCAL_LOOKING = "Looking for a server on this computer …"
LOCAL_NOTHING_HERE = "There is no server on this computer yet."
LOCAL_SETTING_UP = "The server is being set up …"
LOCAL_STARTING = "The server starts …"
LOCAL_RUNNING = "The server runs on this computer."
LOCAL_STOPPING = "The server ends …"
LOCAL_STOPPED = "The server on this computer has ended."
LOCAL_LEFT = "The server on this computer goes on: another Slicer uses it, or a training is just being saved."
LOCAL_ENDED = "The server on this computer has ended by itself; its log says why. Nothing of yours is lost."
LOCAL_CANCELLING = "Stopping …"
LOCAL_CANCELLED = "Stopped. What was downloaded is kept for the next time."
LOCAL_FAILED = "That did not work: {what}"
LOCAL_BUSY = "One moment: the server on this computer is being looked after."
LOCAL_NO_QUESTION = "There is nothing to agree to just now."
LOCAL_NOT_RUNNING = "No server of this Slicer runs on this computer."
LOCAL_DETAIL = "{stage}: {detail}"
LOCAL_DOWNLOAD = "About {size} are downloaded ({source})."
LOCAL_NO_DOWNLOAD = "Nothing is downloaded ({source})."
LOCAL_ROOM = "The server takes about {size} in the folder {folder}; Slicer itself is not changed."
LOCAL_CARD = "It will use the graphics card {name}."
LOCAL_NO_CARD = "No suitable graphics card was found: training works, but slowly."
LOCAL_AGREE = "Images stay on this computer. Shall it be set up?"
LOCAL_NO_ROOM = (
    "The server needs about {size} in {folder}, and only {free} are free. Make room, then try again."
)

# Project
NAME_MISSING = "Give the project a name."
NO_LABELS = "Name at least one structure."
TOO_MANY_LABELS = "At most {n} structures can be told apart."
LABEL_UNNAMED = "Structure {row} has no name."
LABEL_LONG = "The name in row {row} is too long; use at most {n} characters."
LABEL_TWICE = "'{name}' is there twice; each structure needs a name of its own."
LABEL_RESERVED = "'{name}' has a meaning of its own here; choose another name."
COLOUR_WRONG = "The colour of '{name}' is not understood; write it like #ff8000."
COLOUR_TWICE = "'{name}' and '{other}' have the same colour and cannot be told apart."
NO_CHANNELS = "Name at least one image channel, such as CT."
CHANNEL_UNNAMED = "Channel {row} has no name."
CHANNEL_TWICE = "The channel '{name}' is there twice."
TOO_MANY_CHANNELS = "At most {n} channels are possible."
NO_BOXES = "Draw a rough box round a structure of at least one class."
ADMIN_NEEDED = "Making and changing projects needs the role admin; yours is {role}."
BOX_MISSING = "{name} needs one more box"
BOXES_MISSING = "{name} needs {n} more boxes"
BUDGET_MISSING = "For the start, {parts}."
BUDGET_RANDOM = "Every class has its boxes. Add {n} random ones, so that the model also sees the rest."
BUDGET_READY = "There are enough boxes for the start."
BUDGET_OVER = "The start is over: the model proposes the boxes now."

BOX_NOW = "Now: boxes of {voxels} voxels{mm}, {n} in each round."
BOX_SUGGESTED = "Boxes of {voxels} voxels{mm}, {n} in each round, {cycles} rounds."
BOX_MM = " (about {mm} mm)"
BY = "{a} × {b} × {c}"
PROJECT_TITLE = "{name}: {labels}"
CASE_COUNT = "{n} image is in this project."
CASES_COUNT = "{n} images are in this project."
NO_CASES = "No image is in this project yet. Add some."
NO_CASE_SHOWN = "Add an image to the project first."
RANDOM_MISSING = "There is room for {n} of {all} random boxes; more would overlap."
PLACED = "A box for {name} is placed."
NO_PROJECTS = "There is no project on this server yet."
NO_PROJECTS_ADMIN = "There is no project on this server yet. Make one below."
PROJECTS = "Projects on this server:"
PROFILE_QUICK = "Quick: works without a graphics card"
PROFILE_THOROUGH = "Thorough: needs a graphics card"
PROFILE_LONG = "Longest: for a model in use"

# Upload
NO_FILES = "There is no image in the folder {folder} that the server could read."
FILE_UNKNOWN = "The server cannot read {file}."
FILE_KINDS = (
    "It reads NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha) and a DICOM series as .zip; load anything"
    " else in Slicer first."
)
FOLDER_UNREADABLE = "The folder {folder} cannot be read: {what}."
FILE_WITHOUT_CHANNEL = (
    "{file} does not say which of the {n} channels it is; let the names end in _0000, _0001 and so on."
)
CHANNELS_MISSING = "'{name}' has {found} of {n} channels, which are numbered from _0000 on."
UPLOADING = "Sending {name} ({number} of {total}) …"
UPLOAD_DONE = "{n} image was sent."
UPLOADS_DONE = "{n} images were sent."
UPLOAD_STOPPED = "Sending was stopped; what had arrived stays."
UPLOAD_FAILED = "{name} could not be sent: {what}"

# Session
NOTHING_OPEN = "No box is open."
IDLE = "Press Next to begin."
FETCHING = "Asking for the next box …"
LOADING = "Loading {case} …"
KEEPING = "Keeping your answer …"
WAITING = "The next box comes when the server answers again."
ALL_DONE = "All boxes are done."
ALL_DONE_BUT = "All other boxes are done; {n} that you passed over is still open."
ALL_DONE_BUT_SOME = "All other boxes are done; {n} that you passed over are still open."
NOTHING_DRAWN = (
    "Nothing is drawn in this box. Draw, or answer Empty if there is nothing of your structures in it."
)
NOTHING_TO_CONFIRM = "There is no prediction in this box that could be confirmed. Accept what you drew."
CONFIRM_CHANGED = "You changed the prediction. Accept your version, or undo the changes to confirm it."
EMPTY_ASK = "Something is drawn in this box. Shall it be answered as empty, without the drawing?"
SKIP_ASK = "What you drew in this box is not kept when you skip it. Skip it?"
REFER_WHOM = "Say who should look at this box."
BUSY = "One moment: the last answer is being kept."
SOMEBODY_ELSE = "{holder} works on this box now."
SOMEBODY_ELSE_UNNAMED = "Somebody else works on this box now."
LEASE_LOST = "{who} Your answer is kept all the same; if both answer, you are asked which counts."
NOT_KEPT = "Your answer could not be kept: {what} The box stays open."
NOT_LOADED = "This box cannot be shown: {what}"
NOTHING_BEFORE = "This is the first box of this sitting."
STALE = "The colours and the prediction come from an older model."
NOT_SENT_YET = "An answer that has not been sent yet cannot be taken back; correct it instead."
TAKEN_BACK = "The answer was taken back; the box is open again."

# Sending
ALL_SENT = "All answers are sent."
ONE_UNSENT = "{n} answer is not sent yet."
SOME_UNSENT = "{n} answers are not sent yet."
ONE_DECISION = "{n} answer waits for your decision."
SOME_DECISIONS = "{n} answers wait for your decision."
CONFLICT = "{name} answered this box while yours was on its way."
CONFLICT_UNNAMED = "This box was answered meanwhile by somebody else."
REFUSED = "The server did not take your answer: {what}"
ANSWER_LABELLED = "{name}: {parts}"
ANSWER_OTHER = "{name}: {kind}"
VOXELS = "{voxels} voxels of {name}"
YOU = "You"
NOTHING_MARKED = "nothing drawn"

# Work list
UNSENT_MARK = "not sent yet"
DECISION_MARK = "waits for your decision"
OPEN_HERE = "open now"

# Cases
NOT_PREDICTED = "There is no prediction of {case} yet; train once more."

# Training
NO_TRAINING = "No training goes on."
TRAINING = "{stage}: {percent} %, {left} left."
TRAINING_NO_ETA = "{stage}: {percent} %."
TRAINING_STARTS = "The training begins …"
TRAINING_QUEUED = "The training waits for its turn, at place {n}."
TRAINING_CANCELLING = "The training stops at its next checkpoint …"
TRAINING_DONE = "The training is done: new boxes are here."
TRAINING_DONE_FULL = "The training is done. The images have no room for new boxes: add images."
TRAINING_CANCELLED = "The training was stopped. It can go on from where it was."
TRAINING_FAILED = "The training failed: {what} It can go on from its last checkpoint."
TRAINING_INTERRUPTED = "The training was interrupted and goes on by itself."
TRAINING_NOTHING = "Answer some boxes first; the model learns from them."
EARLY_BOXES = (
    "First boxes are here, from the model as far as it is. Better ones take the place of those you have not "
    "answered when the training ends."
)
TRAINING_UNSENT = "{n} answer is still on its way; the training may begin without it."
TRAININGS_UNSENT = "{n} answers are still on their way; the training may begin without them."

# Progress
NOT_ENOUGH = "There is not enough data yet to say whether another round will pay."
LIKELY = "Another round is likely to pay: the last one gained {gain}, more than the {spread} of chance."
UNLIKELY = (
    "Another round is not likely to pay: the last ones gained {gain} each, chance alone makes {spread}."
)
PERHAPS = "Another round may pay: the last ones gained {gain} each, chance alone makes {spread}."
OUTLOOK_GO_ON = "Another round is likely to pay: about {gain} Dice points more ({low} to {high})."
OUTLOOK_STOP = "Another round is not likely to pay: {high} Dice points more at most."
OUTLOOK_NONE = "Another round is not likely to pay: no better agreement is to be expected."
OUTLOOK_OPEN = (
    "There is not enough data yet to say whether another round will pay: {low} to {high} Dice points more."
)
POINTS = "{n} Dice points"
POINT = "{n} Dice point"

# Export
EXPORT_NO_MODEL = "There is no model yet; train first."
EXPORT_PREPARES = "The server gathers the model and the labels …"
EXPORT_ARRIVES = "Saving the model and the labels …"
EXPORT_DONE = "The model and the labels are in {folder}."
EXPORT_STOPPED = "Saving was stopped."
EXPORT_FAILED = "The model and the labels could not be saved: {what}"

STATE = SimpleNamespace(
    open="open",
    answered="answered",
    confirmed="confirmed",
    empty="empty",
    skipped="skipped",
    referred="referred",
    unknown="{state}",
)
STAGE = SimpleNamespace(
    answers="Collecting the answers",
    labels="Reading the answers",
    plan="Looking at the images",
    preprocess="Preparing the images",
    train="Training",
    early="Looking for first boxes",
    predict="Predicting",
    evaluate="Checking the model",
    query="Choosing the next boxes",
    other="Working",
)
LOCAL_STAGE = SimpleNamespace(
    python="Getting Python",
    environment="Making room for the server",
    download="Downloading the server",
    install="Installing the server",
    check="Checking the server",
    start="Starting the server",
)
KIND = SimpleNamespace(
    labelled="drawn",
    confirmed="prediction confirmed",
    empty="empty",
    skipped="skipped",
    referred="referred",
    reopened="taken back",
)
REASON = SimpleNamespace(
    bad_image="The image is too bad",
    cannot_tell="I cannot tell",
    out_of_scope="This does not belong here",
)
ACTION = SimpleNamespace(
    accept="Accept what is drawn, and go on",
    confirm="Confirm the prediction as it is, and go on",
    empty="Nothing of the structures is in this box; go on",
    skip="Skip this box, with a reason",
    refer="Refer this box to a colleague",
    next="Leave this box for later, and go on",
    previous="Back to the box before",
    heat="Show or hide the uncertainty colours",
    unsure="Draw voxels that nobody can tell",
    centre="Centre the views on the box",
)
