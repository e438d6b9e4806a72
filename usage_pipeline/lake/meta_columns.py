"""What each column of the published meta tables means.

Put the words here; the tables are ledger.py's and snapshot.py's.
"""

COVERAGE_COLUMNS = {
    "organization": "Label of the organization.",
    "endpoint": "Endpoint read.",
    "date": "UTC day that is known; a day that is absent here was never read.",
    "bucket_width": "Bucket width the day is held at.",
    "rows": "Rows of the day; 0 is a day known to be empty.",
    "content_hash": "SHA-256 of the day's rows.",
    "changed_at": "When the read began that brought this content, UTC.",
    "versions": "How many different contents the day has had.",
    "checked_at": "When the last read of the day began, UTC.",
    "is_settled": "Whether it was read after as many days as closed buckets were seen to change; else provisional.",
}
SYNC_LOG_COLUMNS = {
    "organization": "Label of the organization.",
    "endpoint": "Endpoint read.",
    "sync_id": "The sync it was read by.",
    "commit_id": "Names the commit; restatements carry it too.",
    "outcome": "replaced (something was new) or unchanged.",
    "window_start": "First moment of the window, UTC, inclusive.",
    "window_end": "Its last moment, UTC, exclusive.",
    "bucket_width": "Bucket width read.",
    "group_by": "Dimensions it was grouped by.",
    "fetched_at": "When the read began, UTC: of two reads of a day the later one is the truth.",
    "committed_at": "When it was stored, UTC.",
    "buckets": "Buckets read.",
    "rows": "Rows read.",
    "inserted": "Rows that were not there before.",
    "updated": "Rows whose values changed.",
    "deleted": "Rows that are gone.",
    "restated": "Changed rows of buckets that were closed when they were last read.",
    "pages": "Pages read.",
    "requests": "Requests made, repeated ones included.",
    "retries": "Requests that were repeated.",
    "bytes": "Bytes of the pages, unpacked.",
    "content_hash": "SHA-256 over the window's days.",
    "notes": "What was noticed while reading.",
    "drift": "What differs from the API as this version knows it.",
    "days": "The days whose content was new: date, rows, content_hash.",
}
RESTATEMENT_COLUMNS = {
    "organization": "Label of the organization.",
    "endpoint": "Endpoint the row is of.",
    "date": "UTC day of the row.",
    "bucket_start": "Start of its bucket, UTC.",
    "bucket_width": "Width of its bucket.",
    "change": "inserted, updated or deleted.",
    "was_provisional": "Whether the bucket was still open when it was last read: then a change is no surprise.",
    "key": "The row's dimensions, as JSON text.",
    "before": "Its values before, as JSON text; null where it was not there.",
    "after": "Its values after, as JSON text; null where it is gone.",
    "recorded_at": "When the change was stored, UTC.",
    "sync_id": "The sync that found it.",
    "commit_id": "The commit in meta.sync_log that made it.",
}
