"""The errors a user can meet.

    ExplorerError
    ├── PromptError        a prompt that cannot be run
    ├── AnswerError        an answer or distractor that is not one token
    ├── SiteError          an activation that this model does not have
    ├── PairError          a contrast pair whose prompts do not line up
    ├── InterventionError  an intervention that cannot be carried out
    ├── NotFiniteError     an activation that became NaN or infinite
    ├── MemoryBudgetError  work that does not fit in memory
    ├── ModelError         a model that cannot be had
    │   ├── ModelNotFoundError   nothing by that name can be reached
    │   ├── NotDownloadedError   a hub model that is not on this machine, and may not be fetched unasked
    │   ├── UnsafeFileError      weights in a format that can run code
    │   ├── DamagedModelError    files or weights that are broken
    │   ├── BridgeError          work that needs the engine, on a model that the bridge runs
    │   ├── LensError            a tuned lens that is missing, damaged or of another model
    │   └── DictionaryError      a sparse dictionary that is missing, damaged, or of another model or site
    ├── TrainingError      a training that cannot begin or go on
    ├── DescriptionError   a feature's description that cannot be made or scored
    ├── TaskError          a task that is not known, or does not fit a tokenizer
    ├── JobError           a job that cannot be run, kept or read
    ├── ShelfError         presets and history that cannot be kept or read
    └── StateError         an address (URL) or record that cannot be read

Each message says what was wanted, what came, and what to do.  Pages show it in place.
"""


class ExplorerError(Exception):
    """Base of all errors that are a user's to mend."""


class PromptError(ExplorerError):
    """A prompt that cannot be run: empty, too long, or not text."""


class AnswerError(ExplorerError):
    """An answer or distractor that is not exactly one token of the model."""


class SiteError(ExplorerError):
    """An activation that the model does not have: layer, head or position out of range."""


class PairError(ExplorerError):
    """A contrast pair whose prompts have different numbers of tokens, or whose objective does not tell them apart."""


class InterventionError(ExplorerError):
    """An intervention that cannot be carried out on this prompt."""


class NotFiniteError(ExplorerError):
    """An activation that became NaN or infinite during a run; the message names the first."""


class MemoryBudgetError(ExplorerError):
    """Work that does not fit in memory, even in the smallest pieces."""


class ModelError(ExplorerError):
    """A model that cannot be had."""


class ModelNotFoundError(ModelError):
    """No catalog key, directory or reachable hub id by that name."""


class NotDownloadedError(ModelError):
    """A hub model that is not on this machine; fetching it needs the user's word."""


class UnsafeFileError(ModelError):
    """Weights in a format that can run code when it is opened (pickle)."""


class DamagedModelError(ModelError):
    """Files that cannot be read, or weights that are not finite."""


class BridgeError(ModelError):
    """Work that only the engine can do, asked of a model that the bridge runs."""


class LensError(ModelError):
    """A tuned lens that is not there, cannot be read, or belongs to another model."""


class DictionaryError(ModelError):
    """A sparse dictionary that is missing, damaged, or of another model or site."""


class DescriptionError(ExplorerError):
    """A description of a feature that cannot be made or scored: an API that fails, a feature that hardly fires."""


class ShelfError(ExplorerError):
    """Presets and history that cannot be kept or read."""


class JobError(ExplorerError):
    """A job that cannot be run, kept or read."""


class CircuitError(ExplorerError):
    """A circuit that cannot be found, read or judged."""


class FindingError(ExplorerError):
    """A finding that cannot be kept, read or checked; the message says what to do."""


class ConflictError(FindingError):
    """A finding that somebody else changed or deleted meanwhile."""


class ReportError(FindingError):
    """A report that cannot be read, or was altered."""


class AccessError(ExplorerError):
    """A request or a way of serving that the access rules do not allow."""


class LessonError(ExplorerError):
    """A lesson that cannot be read: the message says in which line."""


class StateError(ExplorerError):
    """An address or record that cannot be read."""


class TrainingError(ExplorerError):
    """A training that cannot begin or go on."""


class TaskError(ExplorerError):
    """A task that is not known, or that has too few prompts for a model's tokenizer."""
