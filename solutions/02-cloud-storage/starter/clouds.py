"""The same ingest on any object store that has a URL: s3://, gs:// or az://. Task 7."""

import hashlib

import fsspec
import pyarrow.parquet as pq

from starter.delivery import read_delivery
from starter.ingest import Report, encode_month, month_key, split_valid


def ingest_url(root: str, year: int, month: int, raw: bytes) -> Report:
    """Bring one delivery under `root`, e.g. `gs://bucket/lake`, so that running it again changes nothing.

    The keys under `root`, the rows and the report are those of `ingest`. What `ingest` keeps as metadata of the
    object (`source-sha256`, `delivered`, `stored`, `quarantined`) stands inside the Parquet file, as metadata of its
    schema: every store keeps the bytes of a file, but not every one our metadata.
    Where `ingest` raises ValueError, so does this, and nothing is written.
    The bucket (or container) exists already. Another run may have written since this process last looked. A month that
    is new is only created, never written over another run's: then fsspec's FileExistsError is raised as it is.
    """
    # 1. Which file system is it, and which path there? fsspec finds out from the URL.
    # 2. If the month is there: read the note in its schema. Same source? Then report it, and write nothing.
    # 3. Read, split, encode; then write what is quarantined, and the month last.
    ### BEGIN SOLUTION
    store, base = fsspec.url_to_fs(root)
    store.invalidate_cache()
    digest = hashlib.sha256(raw).hexdigest()
    target = f"{base}/{month_key(year, month)}"
    there = store.exists(target)
    if there:
        with store.open(target, "rb") as file:
            known = {name.decode(): text.decode() for name, text in (pq.read_schema(file).metadata or {}).items()}
        if known.get("source-sha256") == digest:
            counted = {name: int(known[name]) for name in ("delivered", "stored", "quarantined")}
            return {"action": "unchanged", **counted}
    frame = read_delivery(raw)
    stored, quarantined = split_valid(frame, year, month)
    if stored.empty:
        raise ValueError(f"none of {len(frame)} rows is a sound flight of {year}-{month:02d}: nothing was stored")
    counts = {"delivered": len(frame), "stored": len(stored), "quarantined": len(quarantined)}
    note = {"source-sha256": digest} | {name: str(count) for name, count in counts.items()}
    body = encode_month(stored, note)
    if len(quarantined):
        aside = f"{base}/quarantine/year={year:04d}/month={month:02d}/{digest[:16]}.parquet"
        store.pipe_file(aside, quarantined.to_parquet(index=False))
    store.pipe_file(target, body, mode="overwrite" if there else "create")
    return {"action": "replaced" if there else "created", **counts}
    ### END SOLUTION
