import numpy as np
import numpy.typing as npt

BLOCK_BYTES: int
COMMON_BYTES: int
OVERRIDES_MAX: int
NOT_SEEN: int

def changes(
    last_values: npt.NDArray[np.float64],
    last_quality: npt.NDArray[np.uint16],
    values: npt.NDArray[np.float64],
    quality: npt.NDArray[np.uint16],
    deadband: npt.NDArray[np.float64],
    out: npt.NDArray[np.int32],
) -> int: ...

class StoreView:
    n_blocks: int
    n: int
    quality_flags: int
    def __init__(
        self,
        buffer: memoryview | npt.NDArray[np.uint8],
        stale_after_ns: npt.NDArray[np.int64],
        common: memoryview | npt.NDArray[np.uint8] | None = None,
    ) -> None: ...
    def write(
        self,
        ids: npt.NDArray[np.int32],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
        received_mono_ns: int,
    ) -> None: ...
    def read(
        self,
        ids: npt.NDArray[np.int32],
        now_mono_ns: int,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
        received_mono_ns: npt.NDArray[np.int64],
    ) -> None: ...
    def snapshot(
        self,
        now_mono_ns: int,
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
        received_mono_ns: npt.NDArray[np.int64],
        seen: npt.NDArray[np.uint64] | None = None,
        fresh_until: npt.NDArray[np.int64] | None = None,
    ) -> int: ...
    def heal(self, first_block: int, end_block: int) -> None: ...
    def sequence(self, block: int) -> int: ...
    def override(
        self,
        ids: npt.NDArray[np.int32],
        values: npt.NDArray[np.float64],
        quality: npt.NDArray[np.uint16],
        source_utc_ns: npt.NDArray[np.int64],
        received_mono_ns: npt.NDArray[np.int64],
        until_mono_ns: npt.NDArray[np.int64],
    ) -> None: ...
    def overridden(self, now_mono_ns: int, out: npt.NDArray[np.int32]) -> int: ...
    @property
    def override_turns(self) -> int: ...
