"""One error vocabulary for all four packages.

RstarError
├── ConfigError         a configuration file or a command-line value is wrong
├── SourceError         a problem file cannot be read (names the file and the row)
├── EngineError         a model gave no usable reply
│   ├── EngineUnavailableError   … but may do so later: the only engine error worth a retry
│   └── EngineStoppedError       … and gives none for the rest of the run: the whole stage ends
├── SandboxError        the sandbox itself is broken (a failing program is data, not an error)
├── GradingError        the answer check itself is broken (an undecided answer is data)
├── CatalogError        the catalog refuses, is missing or disagrees with itself
│   ├── CatalogBusyError         … because others are writing: worth a retry
│   ├── CatalogAwayError         … because its server or store does not answer: worth a retry
│   └── CatalogClaimedError      … because somebody else does this work now
├── ShardTimeoutError   a shard took too long, or nothing came back to it: worth a retry
├── ArtifactError       a checkpoint, log or report cannot be read or written
├── ModelError          a model cannot be found, built or loaded
├── TrainingError       a training run failed
├── ReplayError         a replay log is damaged or belongs to something else
└── SearchError         a driver broke the protocol of requests and replies

Every message is one sentence that says what happened, where, and what to do.
"""


class RstarError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(RstarError):
    """A configuration file or a command-line value is wrong."""


class SourceError(RstarError):
    """A problem source cannot be read."""


class EngineError(RstarError):
    """A model gave no usable reply."""


class EngineUnavailableError(EngineError):
    """A model cannot be reached now but may be later."""


class EngineStoppedError(EngineError):
    """No more requests are sent in this run, so no other shard is begun; somebody has to change something."""


class SandboxError(RstarError):
    """The sandbox itself is broken."""


class GradingError(RstarError):
    """The answer check itself is broken."""


class CatalogError(RstarError):
    """The catalog refuses, is missing or disagrees with itself."""


class CatalogBusyError(CatalogError):
    """The catalog is being written by others; the transaction may be tried again."""


class CatalogAwayError(CatalogError):
    """The server or the store of the catalog does not answer; it may later."""


class CatalogClaimedError(CatalogError):
    """Somebody else does this work now."""


class ReplayError(RstarError):
    """A replay log is damaged or belongs to something else."""


class ShardTimeoutError(RstarError):
    """A shard took longer than it may, or nothing came back to it for too long."""


class ArtifactError(RstarError):
    """An artifact cannot be read or written."""


class ModelError(RstarError):
    """A model cannot be found, built or loaded."""


class TrainingError(RstarError):
    """A training run failed."""


class SearchError(RstarError):
    """A driver broke the protocol of requests and replies."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later without anybody changing anything."""
    ours = EngineUnavailableError | CatalogBusyError | CatalogAwayError | ShardTimeoutError
    return isinstance(error, ours | ConnectionError | TimeoutError)
