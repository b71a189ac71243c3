"""Features of demonstrations on disk, so that each is encoded once over all runs.

`<demos>/features/<trunk>/<layout>/episode_000007.safetensors` holds every camera's crops of one
episode, (records, K, h, w, C) uint16. Its header says what they were made from and how; a file that
does not agree is not used, and is made anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serl.data.demos import Episode
from serl.data.journal import sync_folder
from serl.data.replay import Replay
from serl.pixels import FeatureLayout
from serl.types import canonical_json

log = logging.getLogger(__name__)


class FeatureCache:
    """The features of one folder of demonstrations, for one layout.

    Args:
        folder: '<demos>/features'; made when the first file is written.
    """

    def __init__(self, folder: str | Path, layout: FeatureLayout) -> None:
        self.layout = layout
        self._described = canonical_json(dataclasses.asdict(layout))
        digest = zlib.crc32(self._described.encode())
        self._folder = Path(folder) / layout.trunk / f"{digest:08x}"
        self._pending: deque[tuple[Replay, str, int, str]] = deque()

    @property
    def pending(self) -> int:
        """Episodes that are not on disk yet."""
        return len(self._pending)

    def load(self, replay: Replay, episodes: Iterable[Episode], actor_id: str = "demos") -> int:
        """Give a replay what is on disk for episodes that `load_into` put there.

        The others are written once the replay has all their crops (`write_one`). Returns how many
        were found.
        """
        found = 0
        for episode in episodes:
            key = self._key(episode, actor_id)
            rows = replay.rows_of(actor_id, episode.number)
            if len(rows) != len(episode.records):
                continue
            crops = self._read(episode.number, key, len(rows))
            if crops is None:
                self._pending.append((replay, actor_id, episode.number, key))
                continue
            replay.put_crops(rows, crops)
            found += 1
        return found

    def write_one(self) -> bool:
        """Write one episode that is complete and not on disk; says whether there was one."""
        if not self._pending or self._pending[0][0].backlog:
            return False
        replay, actor_id, number, key = self._pending.popleft()
        crops = replay.crops_of(replay.rows_of(actor_id, number))
        if crops is None:  # evicted meanwhile
            return True
        try:
            self._write(number, key, crops)
        except OSError as error:
            log.warning("%s: %s; demos are encoded again next time", self._folder, error)
            self._pending.clear()
        return True

    def _key(self, episode: Episode, actor_id: str) -> str:
        """Names the frames, and the key that their crops follow from."""
        digest = hashlib.sha256(f"{actor_id} {episode.number} {len(episode.records)}".encode())
        for camera in self.layout.cameras:
            digest.update(np.ascontiguousarray(episode.records[f"obs/{camera}"]).data)
        return digest.hexdigest()

    def _path(self, number: int) -> Path:
        return self._folder / f"episode_{number:06d}.safetensors"

    def _read(self, number: int, key: str, rows: int) -> dict[str, NDArray[np.uint16]] | None:
        """The crops of one episode; None where there are none of these frames and this layout."""
        from safetensors import SafetensorError, safe_open

        path, layout = self._path(number), self.layout
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="np") as file:
                if file.metadata() != {"key": key, "layout": self._described}:
                    log.info("%s: of other frames; made anew", path)
                    return None
                crops = {camera: file.get_tensor(camera) for camera in layout.cameras}
        except (SafetensorError, OSError, ValueError) as error:
            log.warning("%s is damaged (%s); made anew", path, error)
            return None
        shape = (rows, layout.crops, *layout.shape)
        if any(x.shape != shape or x.dtype != np.uint16 for x in crops.values()):
            log.warning("%s: its arrays are not %s uint16; made anew", path, shape)
            return None
        return crops

    def _write(self, number: int, key: str, crops: dict[str, NDArray[np.uint16]]) -> None:
        """One file, whole or not at all."""
        from safetensors.numpy import save

        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with fresh.open("wb") as file:
                file.write(save(crops, {"key": key, "layout": self._described}))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(self._folder)
