"""How things run: devices, threads, memory, processes, atomic files, workers, log and progress bar."""

from histoquilt.runtime._atomic import (
    atomic_file,
    atomic_folder,
    folder_written_to,
    progress_folder,
    refuse_existing,
    refuse_foreign,
)
from histoquilt.runtime._dask import LOCAL, connect
from histoquilt.runtime._device import resolve_device, torch_generator
from histoquilt.runtime._digest import file_sha256
from histoquilt.runtime._log import log_prefix, logger, warn_user
from histoquilt.runtime._memory import available_bytes, in_words, peak_bytes
from histoquilt.runtime._processes import (
    broadcast,
    check_same,
    group_size,
    is_main,
    n_processes,
    n_processes_here,
    others_named,
    rank,
    start_group,
    summed,
)
from histoquilt.runtime._progress_bar import Advance, progress_bar
from histoquilt.runtime._stages import Stages, stage
from histoquilt.runtime._threads import numba_beside_torch, threads_in_use, threads_to_use, use_threads
from histoquilt.runtime._workers import WorkerError, Workers, run_each

__all__ = [
    "LOCAL", "Advance", "Stages", "WorkerError", "Workers", "atomic_file", "atomic_folder", "available_bytes",
    "broadcast", "check_same", "connect", "file_sha256", "folder_written_to", "group_size", "in_words", "is_main",
    "log_prefix", "logger", "n_processes", "n_processes_here", "numba_beside_torch", "others_named", "peak_bytes",
    "progress_bar", "progress_folder", "rank", "refuse_existing", "refuse_foreign", "resolve_device", "run_each",
    "stage", "start_group", "summed", "threads_in_use", "threads_to_use", "torch_generator", "use_threads", "warn_user",
]  # fmt: skip
