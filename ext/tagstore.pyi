import numpy as np
import numpy.typing as npt

BLOCK_BYTES: int

class StoreView:
    n_blocks: int
    n: int
    def __init__(self, buffer: memoryview | npt.NDArray[np.uint8], stale_after_ns: npt.NDArray[np.int64]) -> None: ...
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
    ) -> int: ...
    def heal(self, first_block: int, end_block: int) -> None: ...
    def sequence(self, block: int) -> int: ...
