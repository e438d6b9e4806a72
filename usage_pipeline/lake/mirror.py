"""The data folder as a working copy of a lake at a URL, which is the truth.

Logs of tables are brought up to date each time a table is opened, data files and raw files fetched once, for they never
change: all that reads files reads those here. Commits go to the URL, where a conditional put lets one of two writers
win; raw files go there before the commit that stands on them. Put what has to be where and when here; objects as such
are objects.py's, what delta-rs does at the URL writing.py's.
"""

import json
import os
import re
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from deltalake import DeltaTable

from usage_pipeline.errors import FixConfig, LakeDamaged
from usage_pipeline.lake.formats import FORMAT, newer
from usage_pipeline.lake.links import refuse_linked_path
from usage_pipeline.lake.objects import Objects
from usage_pipeline.lake.seals import LAST_CHECKPOINT, LOG, checkpoint_version, table_folders

RECORD = "usage_pipeline.json"  # at the URL: which lake this is, and its format; in the data folder a copy of it
_HERE = ".mirror.json"
_AT_ONCE = 16  # objects fetched at the same time
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*parquet")


def mirror_of(data_dir: Path, url: str) -> "Mirror":
    """The one working copy of the URL in this data folder: what was looked at once is not looked at again."""
    return _mirror(os.getpid(), data_dir, url)


@cache
def _mirror(_pid: int, data_dir: Path, url: str) -> "Mirror":
    """A forked process makes its own: connections are not shared."""
    return Mirror(data_dir, url)


def refuse_copy(data_dir: Path) -> None:
    """Write nothing into a working copy as if it were the lake.

    Raises:
        FixConfig: the folder is one, and no URL is set.
    """
    path = data_dir / _HERE
    if path.exists():
        url = json.loads(path.read_bytes()).get("url")
        raise FixConfig(
            f"{data_dir} is a working copy of the lake at {url}: set USAGE_PIPELINE_LAKE_URL to that, or "
            "USAGE_PIPELINE_DATA_DIR to another folder. Nothing was written."
        )


class Mirror:
    """A data folder and the URL it copies. Safe to use from several threads, and several processes of one host."""

    def __init__(self, data_dir: Path, url: str) -> None:
        self.data_dir = data_dir
        self.url = url
        self.objects = Objects(url)
        # Tables at the URL as this process's last commits left them: to open one is to read its log there.
        self.opened: dict[Path, DeltaTable] = {}
        self._lock = threading.RLock()
        self._locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._record: Mapping[str, object] | None = None
        self._is_tried = False

    def begin(self) -> None:
        """Look, once, whether the folder is a copy of what is at the URL; a URL without a lake is an empty one.

        Raises:
            FixConfig: the folder holds another lake, or the store refuses.
            NewerFormat: a newer version wrote the lake.
            LakeDamaged: the lake that was copied is at the URL no more.
            RetryLater: the URL is out of reach.
        """
        with self._lock:
            if self._record is not None:
                return
            here = self._here()
            if here is None and any(table_folders(self.data_dir / "lake")):
                raise FixConfig(
                    f"{self.data_dir} holds a lake of its own: set USAGE_PIPELINE_DATA_DIR to an empty folder, which "
                    f"becomes a working copy of {self.url}; to bring a lake there see the operators' page."
                )
            if here is not None and here["url"] != self.url:
                raise FixConfig(
                    f"{self.data_dir} is a working copy of the lake at {here['url']}, and USAGE_PIPELINE_LAKE_URL is "
                    f"{self.url}: set USAGE_PIPELINE_DATA_DIR to another folder for it."
                )
            told = self.objects.get(RECORD)
            if told is None:
                if here is not None:
                    raise self._other_lake("is gone")
                self._refuse_unnamed()
                return
            record = json.loads(told)
            if record["format"] > FORMAT:
                raise newer(Path(self.url), record["format"])
            if here is not None and here["lake"] != record["lake"]:
                raise self._other_lake("is another one")
            if here is None:
                self._place(self.data_dir / _HERE, json.dumps({**record, "url": self.url}).encode())
            self._record = record

    def _refuse_unnamed(self) -> None:
        """What is copied to a URL by hand becomes a lake there once it has a record: half of it is none."""
        if self.objects.sizes("lake"):
            record = json.dumps({"format": FORMAT, "lake": uuid.uuid4().hex})
            raise FixConfig(
                f"{self.url} holds a folder lake/ and no {RECORD}: once all of lake/ and raw/ is there, put a file of "
                f"that name beside them that says {record}. Nothing was written."
            )

    def begin_writing(self) -> None:
        """Make sure, once, that there is a lake to write to, and that the store refuses the second of two puts.

        Raises:
            FixConfig: it does not: several writers would overwrite each other's commits. Or as `begin`.
        """
        self.begin()
        with self._lock:
            if self._is_tried:
                return
            record = self._record or {"format": FORMAT, "lake": uuid.uuid4().hex}
            body = json.dumps(record).encode()
            if self.objects.put_new(RECORD, body) and self.objects.put_new(RECORD, body):
                raise FixConfig(
                    f"{self.url}: this store overwrites where it is asked to write what is not there yet, so two "
                    "writers would lose each other's work: use one that honours `If-None-Match: *`. Nothing was stored."
                )
            self.begin()
            self._is_tried = True

    def _here(self) -> dict[str, str] | None:
        try:
            found: dict[str, str] = json.loads((self.data_dir / _HERE).read_bytes())
        except FileNotFoundError:
            return None
        return found

    def _other_lake(self, problem: str) -> LakeDamaged:
        return LakeDamaged(
            f"the lake at {self.url} {problem} since {self.data_dir} was copied from it: where that is meant, remove "
            f"the copy (rm -r {self.data_dir / 'lake'} {self.data_dir / 'raw'} {self.data_dir / _HERE}) and run again."
        )

    def key(self, path: Path) -> str:
        """The key of a file of the data folder."""
        return path.relative_to(self.data_dir).as_posix()

    def take_log(self, table: Path) -> None:
        """Bring a table's log up to date: entries in order, then the newest checkpoint and the pointer to it.

        An entry that is here with another length (a loss of power tore it) is fetched again.

        Raises:
            LakeDamaged: entries that are here are gone from the URL. Or as `begin`.
        """
        self.begin()
        if self._record is None:
            return
        log = table / LOG
        with self._locks[table]:
            since = checkpoint_version(log / LAST_CHECKPOINT)
            after = f"{self.key(log)}/{since:020d}.checkpoint.z" if since is not None else ""
            found = self.objects.sizes(self.key(log), after=after)
            names = {Path(key).name: size for key, size in found.items()}
            entries = [name for name in names if _ENTRY.fullmatch(name)]
            newest = max((path.name for path in log.glob("[0-9]*.json")), default="")
            if newest > max(entries, default=""):
                raise self._other_lake(f"has no entry {newest} of {table.name}'s log")
            wanted = [name for name in entries if _size(log / name) != names[name]]
            checkpoints = [name for name in names if _CHECKPOINT.fullmatch(name)]
            newest_point = max(checkpoints, default="")[:20]
            points = [one for one in checkpoints if one[:20] == newest_point and not (log / one).exists()]
            if not wanted and not points:
                return
            refuse_linked_path(self.data_dir, log)
            log.mkdir(parents=True, exist_ok=True)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for name, content in zip(wanted, pool.map(lambda one: self._content(log / one), wanted), strict=True):
                    self._place(log / name, content)
            for name in points:
                self._place(log / name, self._content(log / name))
            pointer = self.objects.get(self.key(log / LAST_CHECKPOINT)) if points else None
            if pointer is not None and json.loads(pointer)["version"] == int(newest_point):
                self._place(log / LAST_CHECKPOINT, pointer)

    def _content(self, path: Path) -> bytes:
        content = self.objects.get(self.key(path))
        if content is None:
            raise self._gone(path)
        return content

    def _gone(self, path: Path) -> LakeDamaged:
        return LakeDamaged(
            f"{self.url}/{self.key(path)} is gone, though the lake names it: restore it there. Nothing was changed."
        )

    def unreadable(self, table: Path) -> LakeDamaged:
        """The error for a table that would be put aside and made anew, were it not others' too."""
        return LakeDamaged(
            f"{self.url}/{self.key(table)} cannot be read whole: `usage-pipeline doctor` fetches again what differs on "
            "this host alone; what to do where it is damaged there is on the operators' page. Nothing was changed."
        )

    def take_files(self, files: Mapping[Path, int]) -> None:
        """Fetch the files that are not here with the length in bytes they are to have.

        Raises:
            LakeDamaged: one is not at the URL, or has another length there. Or as `begin`.
        """
        wanted = [path for path, size in files.items() if _size(path) != size]
        if wanted:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda path: self.fetch(path, files[path]), wanted))

    def fetch(self, path: Path, size: int) -> None:
        """Fetch one file, whatever is here under its name."""
        refuse_linked_path(self.data_dir, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        try:
            if not self.objects.fetch(self.key(path), temporary):
                raise self._gone(path)
            if (found := temporary.stat().st_size) != size:
                raise LakeDamaged(
                    f"{self.url}/{self.key(path)} is not what was written ({found} bytes, {size} written): restore it "
                    "there from a version or a backup. Nothing was changed."
                )
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove files at the URL."""
        self.objects.delete([self.key(path) for path in paths])

    def create_log(self, table: Path, entry: bytes) -> None:
        """Put the first entry of a table's log; where another writer was first, that one's counts."""
        self.begin_writing()
        self.objects.put_new(self.key(table / LOG / f"{0:020d}.json"), entry)

    def take_raw(self) -> None:
        """Fetch every raw file that is not here; one that is here, whatever it is like, stays."""
        self.begin()
        there = {self.data_dir / key: size for key, size in self.objects.sizes("raw").items()}
        self.take_files({path: size for path, size in there.items() if not path.exists()})

    def sizes(self, names: Iterable[str] = ("lake", "raw")) -> dict[str, int]:
        """Everything at the URL in these folders: by path in the data folder the size in bytes."""
        return {key: size for name in names for key, size in self.objects.sizes(name).items()}

    def take_written(self, names: Iterable[str]) -> None:
        """Bring files that people write (budgets.csv) from the URL: they count for every host, so they lie there.

        Raises:
            FixConfig: one is in the data folder alone.
        """
        self.begin()
        for name in names:
            path = self.data_dir / name
            content = self.objects.get(name)
            if content is None and path.exists():
                raise FixConfig(
                    f"{path} lies on this host alone, and every host has to read the same: put it to {self.url}/{name} "
                    "(and remove it here where it was removed there)."
                )
            if content is not None and (not path.exists() or path.read_bytes() != content):
                self._place(path, content)

    def _place(self, path: Path, content: bytes) -> None:
        """Write a file whole; where several processes do, all write the same."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.{os.getpid()}.tmp")  # as leftovers.py knows them


def _size(path: Path) -> int:
    """A file's length; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1
