"""Columns of a Parquet file; the one home of pyarrow, which comes with `viralload[parquet]`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtest.errors import TraceError

BATCH_ROWS = 32_768


def parquet_names(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        TraceError: pyarrow is not installed, or the file is no Parquet.
    """
    return [str(name) for name in _file(path).schema_arrow.names]


def parquet_chunks(path: Path, names: Sequence[str]) -> Iterator[list[list[Any]]]:
    """The named columns, some thousand rows at a time.

    Values are as JSON has them: numbers, words, true and false, None; instants are ISO 8601 words.

    Raises:
        TraceError: pyarrow is not installed, or the file is no Parquet.
    """
    import pyarrow
    from pyarrow import types

    try:
        for batch in _file(path).iter_batches(batch_size=BATCH_ROWS, columns=list(names)):
            columns = []
            for name in names:
                column = batch.column(name)
                if types.is_timestamp(column.type):
                    # an instant's zone is how it is shown; what is stored is UTC
                    stamps = column.cast(pyarrow.timestamp(column.type.unit))
                    nothing = stamps.to_numpy(zero_copy_only=False).astype(str).tolist()
                    columns.append([None if word == "NaT" else word for word in nothing])
                elif types.is_date(column.type) or types.is_dictionary(column.type):
                    columns.append(column.cast(pyarrow.string()).to_pylist())
                elif types.is_decimal(column.type):
                    columns.append(column.cast(pyarrow.float64()).to_pylist())
                else:
                    columns.append(column.to_pylist())
            yield columns
    except pyarrow.ArrowException as err:
        raise TraceError(f"cannot read {path}: {_told(err)}") from err


def _file(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as err:
        raise TraceError(
            f"{path} is Parquet, whose reader is not installed: pip install 'viralload[parquet]', "
            "or write it as CSV or JSONL"
        ) from err
    try:
        return parquet.ParquetFile(path)
    except pyarrow.ArrowException as err:
        raise TraceError(f"cannot read {path}: it is no Parquet ({_told(err)})") from err


def _told(err: Exception) -> str:
    return " ".join(str(err).split())[:200]
