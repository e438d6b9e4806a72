"""Content hashes of Arrow tables: equal content gives an equal hash, however it was stored or sliced.

Put logical hashing here; file checksums belong to whoever writes the file.
"""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc


def content_hash(table: pa.Table) -> str:
    """SHA-256 (hex) of the rows in their given order.

    Columns that are null throughout do not count, so a column added by a newer version changes no hash.
    """
    digest = hashlib.sha256()
    digest.update(str(table.num_rows).encode())
    for name in sorted(table.column_names):
        column = table[name].combine_chunks()
        if column.null_count == len(column):
            continue
        digest.update(f"|{name}:{column.type}".encode())
        _feed(digest, column)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", column: pa.Array) -> None:
    """Feed validity, then values with every null slot set to zero: bytes under a null are not content."""
    digest.update(_values(pc.is_valid(column).cast(pa.uint8())))
    if pa.types.is_string(column.type):
        filled = pc.fill_null(column, "")
        digest.update(_values(pc.binary_length(filled)))
        offsets = memoryview(filled.buffers()[1]).cast("i")[filled.offset : filled.offset + len(filled) + 1]
        if filled.buffers()[2] is not None:
            digest.update(memoryview(filled.buffers()[2])[offsets[0] : offsets[-1]])
        return
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    digest.update(_values(pc.fill_null(column, pa.scalar(0, column.type))))


def _values(column: pa.Array) -> memoryview:
    """The value bytes of a fixed-width array, without what lies outside its slice."""
    width = column.type.bit_width // 8
    return memoryview(column.buffers()[1])[column.offset * width : (column.offset + len(column)) * width]
