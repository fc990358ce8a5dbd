"""Forms of times and files, and published traces as they are published (small look-alikes)."""

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.errors import TraceError
from loadtest.scenario.scenario import TraceFile
from loadtest.tables.table import is_table
from loadtest.traces.trace import Reading, read
from loadtest.traffic.curve import Bins
from loadtest.traffic.recorded import Arrivals


def reading(path: Path, **options: Any) -> Reading:
    return read(path, TraceFile(file=path.name, **options))


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "stamps", "seconds", "said"),
    [
        ("ts", ["2026-11-01T10:00:00Z", "2026-11-01T10:00:01.5Z"], 1.5, "holds dates"),
        # the same instant's zone changes: 11:30+01:00 is 10:30Z
        ("ts", ["2026-11-01T10:00:00+00:00", "2026-11-01T11:30:00+01:00"], 1800.0, "holds dates"),
        ("ts", ["2026-11-01 10:00:00.1234567", "2026-11-01 10:00:00.6234569"], 0.5000002, "dates"),
        ("ts", ["2026-11-01 10:00:00.000000001", "2026-11-01 10:00:00.000000004"], 3e-9, "dates"),
        ("ts", ["2024-02-28", "2024-03-01"], 172_800.0, "dates"),  # 29 February
        ("ts", ["20261101T100000Z", "20261101T100001Z"], 1.0, "dates"),
        ("ts", ["2026/11/01 10:00:00,250", "2026/11/01 10:00:01,000"], 0.75, "dates"),
        ("ts", ["[10/Oct/2000:13:55:36 -0700]", "[10/Oct/2000:13:56:36 -0700]"], 60.0, "dates"),
        ("when", ["2026-11-01T10:00:00Z", "2026-11-01T10:00:05Z"], 5.0, "the only column"),
        ("t", [1764500000, 1764500002], 2.0, "seconds since 1970"),
        ("t", [1764500000123, 1764500000125], 0.002, "milliseconds since 1970"),
        ("t", [1764500000123456, 1764500000123458], 2e-6, "microseconds since 1970"),
        ("t", [1764500000000000000, 1764500002000000000], 2.0, "nanoseconds since 1970"),
        ("elapsed_ms", [0, 1500], 1.5, "milliseconds, by its name"),
        ("time (us)", [5, 1_000_005], 1.0, "microseconds, by its name"),
        ("t", [0, 7], 7.0, "seconds (others with time_scale"),
        ("t", ["1.5e3", "1.6E3"], 100.0, "seconds"),
    ],
)
def test_times_are_read_and_their_unit_is_said(
    tmp_path: Path, name: str, stamps: list[Any], seconds: float, said: str
) -> None:
    lines = [name] + [f'"{stamp}"' for stamp in stamps]
    found = reading(written(tmp_path, "t.csv", "\n".join(lines)))
    assert isinstance(found.shape, Arrivals)
    assert found.shape.times_s.tolist() == pytest.approx([0.0, seconds], rel=1e-6, abs=1e-10)
    assert said in found.said[0]


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("t.jsonl", '{"t": true}\n{"t": 2}\n', {}, "row 1, column 't': True is no number"),
        ("t.jsonl", '{"t": 1}\n{"t": "2"}\n', {}, "row 2, column 't': '2' is no number"),
        ("t.jsonl", '{"t": 1}\n{"t": "2"}\n', {}, "write it without quotes"),
        ("t.jsonl", '{"t": 1, "steps": false}\n{"t": 3, "steps": 9}\n', {}, "False is no number"),
        ("t.jsonl", '{"t": 1' + "0" * 400 + '}\n{"t": 2}\n', {}, "row 1, column 't': 1"),
        ("t.csv", "t\n1_000\n2_000\n", {}, "'1_000' is no number"),
        ("t.csv", "t\n１\n２\n", {}, "is no number"),
        ("t.csv", "t\ntrue\nfalse\n", {}, "'true' is no number"),
        ("t.csv", "t\n0x10\n0x20\n", {}, "'0x10' is no number"),
        ("t.csv", 't,count\n0,"1,250"\n60,"1,310"\n', {}, "without thousands separators"),
        ("t.csv", "t\n11/01/2026 10:00\n11/01/2026 10:01\n", {}, "date such as 2026-11-01T10"),
        ("t.csv", "t\n2026-02-30\n2026-03-01\n", {}, "'2026-02-30' is no number"),
        ("t.csv", "t\n2026-02-03\n5\n", {}, "row 3, column 't': '5' is no date"),
        ("t.csv", "t\n2026-02-03T01:00Z\n2026-02-03T02:00\n", {}, "tells its zone unlike"),
        ("t.csv", "t\n2026-02-03\n2026-02-04\n", {"time_scale": 0.1}, "is of numbers: leave"),
        ("t.csv", "t_s\n1764500000000\n1764500000001\n", {}, "is too far away; see time_scale"),
        ("t.csv", "t\n0\n3600000000\n", {}, "spans 41,667 days; see time_scale"),
        ("t.csv", "t,n\n1.76E+12,5\n1.76E+12,6\n", {}, "a spreadsheet that writes 1.76E+12"),
        ("t.csv", b"t\n\xe9\n", {}, "it is not CSV text in UTF-8"),
        ("t.csv", "t,a\n1,\"x\n2,y\n", {}, "it is not CSV text"),  # a quote that never ends
        ("t.json", "[1, 2]", {}, "no list of JSON objects"),
        ("t.json", "[" * 100_000, {}, "no list of JSON objects"),
        ("t.jsonl", '{"t":' * 100_000, {}, "row 1 is no JSON object"),
    ],
)  # fmt: skip
def test_what_is_no_number_and_no_date_is_refused_with_a_remedy(
    tmp_path: Path, name: str, text: str | bytes, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(TraceError) as caught:
        reading(written(tmp_path, name, text), **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


TEXT = "t_s,count\n0,5\n1,6\n2,7\n"
OBJECTS = [{"t_s": 0, "count": 5}, {"t_s": 1, "count": 6}, {"t_s": 2, "count": 7}]


def tarred(text: bytes, name: str = "rates.csv", extra: str | None = None) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for each in [name, f"._{name}", *([extra] if extra else [])]:
            info = tarfile.TarInfo(each)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))
    return file.getvalue()


def zipped(text: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data/rates.csv", text)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "\ufeff" + TEXT),
        ("a.csv", TEXT.replace("\n", "\r\n")),
        ("a.CSV", TEXT),
        ("a.csv", TEXT.replace(",", ";")),
        ("a.csv", TEXT.replace(",", "\t")),
        ("a.csv", TEXT.replace(",", "|")),
        ("a.tsv", TEXT.replace(",", "\t")),
        ("a.csv", "sep=;\n" + TEXT.replace(",", ";")),
        # a comma is the decimal point where semicolons separate
        ("a.csv", 't_s;count;"mean, ms"\n0,0;5;1,5\n1,0;6,0;2,5\n2,0;7;1,0\n'),
        ("a.jsonl", "\n".join(map(json.dumps, OBJECTS))),
        ("a.json", json.dumps(OBJECTS, indent=2)),
        ("a.json", "\n".join(map(json.dumps, OBJECTS))),
        ("a.csv.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("a.csv", gzip.compress(TEXT.encode(), mtime=0)),  # packed, whatever its name says
        ("a.csv.bz2", bz2.compress(TEXT.encode())),
        ("a.csv.xz", lzma.compress(TEXT.encode())),
        ("a.jsonl.gz", gzip.compress("\n".join(map(json.dumps, OBJECTS)).encode(), mtime=0)),
        ("a.tar.gz", tarred(TEXT.encode())),
        ("a.tgz", tarred(TEXT.encode())),
        ("a.zip", zipped(TEXT.encode())),
    ],
)
def test_files_of_every_form_are_the_same_trace(
    tmp_path: Path, name: str, content: str | bytes
) -> None:
    assert is_table(name)
    found = reading(written(tmp_path, name, content))
    assert isinstance(found.shape, Bins)
    assert found.shape.rates_per_s == (5.0, 6.0, 7.0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv.gz", gzip.compress(TEXT.encode() * 99, mtime=0)[:-20], "damaged or cut short"),
        ("a.csv.bz2", bz2.compress(TEXT.encode() * 99)[:-9], "damaged or cut short"),
        ("a.csv.xz", lzma.compress(TEXT.encode() * 99)[:-9], "damaged or cut short"),
        ("a.zip", b"PK\x03\x04nonsense", "damaged or cut short"),
        ("a.tar.gz", tarred(b"t\n1\n", extra="b.csv"), "holds 2 files"),
    ],
)
def test_packed_files_that_cannot_be_unpacked_are_said(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(TraceError, match=said):
        reading(written(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "<!DOCTYPE html><title>404</title>\n", "is a web page"),
        ("a.csv", "<?xml version='1.0'?><Error>x</Error>\n", "is a web page"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid x\n", "git lfs pull"),
        ("a.csv", "# exported by x\nt_s,steps\n1,2\n2,3\n", "line 1 begins with #"),
        ("a.tsv", "#t_s\tsteps\n1\t2\n", "the # where it is the header"),
        ("a.json", '{"requests": [{"t_s": 1}, {"t_s": 2}]}', "whose 'requests' is a list"),
        ("a.json", '{"t_s": [1, 2, 3], "n": [4, 5, 6]}', "a list of objects"),
    ],
)
def test_what_is_no_table_is_named_as_what_it_is(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(TraceError, match=said):
        reading(written(tmp_path, name, text))


def test_zstandard_is_read_frame_by_frame_and_a_cut_one_is_noticed(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    pack = zstandard.ZstdCompressor().compress
    head, tail = TEXT.encode()[:14], TEXT.encode()[14:]
    found = reading(written(tmp_path, "a.csv.zst", pack(head) + pack(tail)))
    assert isinstance(found.shape, Bins)
    assert found.shape.rates_per_s == (5.0, 6.0, 7.0)
    with pytest.raises(TraceError, match="damaged or cut short"):
        reading(written(tmp_path, "b.csv.zst", pack(TEXT.encode() * 99)[:-5]))


@pytest.mark.parametrize(
    ("name", "content", "module", "said"),
    [
        ("a.csv.zst", b"\x28\xb5\x2f\xfd....", "zstandard", "pip install zstandard, or unpack it"),
        (
            "a.parquet",
            b"PAR1",
            "pyarrow",
            r"pip install 'viralload\[parquet\]', or write it as CSV",
        ),
    ],
)
def test_a_reader_that_is_not_installed_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: bytes,
    module: str,
    said: str,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TraceError, match=said):
        reading(written(tmp_path, name, content))


def test_parquet_is_read_with_its_own_types(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    stamps = pyarrow.array([0, 1_500, 4_000], pyarrow.timestamp("ms", "Europe/Paris"))
    table = pyarrow.table({"ts": stamps, "steps": [20.0, None, 30.0], "flag": [True, False, True]})
    parquet.write_table(table, path)
    found = reading(path)
    assert isinstance(found.shape, Arrivals)
    assert found.shape.times_s.tolist() == [0.0, 1.5, 4.0]
    assert found.shape.asks["steps"].tolist() == [20, 0, 30]
    with pytest.raises(TraceError, match="True is no number"):
        reading(path, steps_column="flag")
    with pytest.raises(TraceError, match="it is no Parquet"):
        reading(written(tmp_path, "b.parquet", b"no"))


# -- published files, in their own form and with numbers of our own ------------------------------

GENTD26 = (
    "gmt_create,predict_type,predict_status,exec_time_seconds,groupId,prompt_length,"
    "negative_prompt_length,num_images_per_prompt,num_inference_steps,"
    "checkpoint_model_version_id,num_lora\n"
    "2030-01-15 16:57:50,TXT_2_IMG,SUCCEED,31.0,G0000,60.0,20.0,1.0,30.0,M0000,0\n"
    "2030-01-15 16:57:50,IMG_2_IMG,SUCCEED,42.0,G0001,90.0,,8.0,40.0,M0001,0\n"
    "2030-01-15 18:17:06,INPAINTING,FAILED,3.0,G0001,,,4.0,,M0001,1\n"
)
AZURE_2023 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2030-11-16 18:15:46.6805900,370,40\n2030-11-16 18:15:50.9951690,390,100\n"
    "2030-11-16 18:15:51.2220000,870,50\n"
)
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2030-05-10 00:00:00+00:00,2000,5\n2030-05-10 00:00:00.009930+00:00,2100,9\n"
    "2030-05-10 00:00:01.5+00:00,300,9\n"
)
AZURE_LMM = (
    "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
    "2030-10-15 12:00:00.1,0,500,40\n2030-10-15 12:00:00.9,3,900,10\n"
    "2030-10-15 12:00:03.1,1,900,10\n"
)
BURSTGPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,400,20,420,Conversation log\n45,ChatGPT,1000,0,1000,Conversation log\n"
    "118,GPT-4,400,500,900,API log\n"
)
MOONCAKE = "".join(
    json.dumps({"timestamp": t, "input_length": 900, "output_length": 5, "hash_ids": [1, 2]}) + "\n"
    for t in (0, 500, 3052)
)
QWEN = "".join(
    json.dumps({"chat_id": 1, "timestamp": t, "input_length": 9, "output_length": 5, "turn": 1})
    + "\n"
    for t in (61.1, 61.6, 64.0)
)
PUBLISHED: list[tuple[str, str, list[float], str]] = [
    ("lora_request_trace.csv", GENTD26, [0.0, 0.0, 4756.0], "1 rows tell nothing in 'num_infer"),
    ("AzureLLMInferenceTrace_code.csv", AZURE_2023, [0.0, 4.314579, 4.54141], "left out"),
    ("AzureLLMInferenceTrace_conv_1week.csv", AZURE_2024, [0.0, 0.00993, 1.5], "dates"),
    ("AzureLMMInferenceTrace_multimodal.csv", AZURE_LMM, [0.0, 0.8, 3.0], "left out: 'NumImages'"),
    ("BurstGPT_1.csv", BURSTGPT, [0.0, 40.0, 113.0], "seconds, as the file is published"),
    ("conversation_trace.jsonl", MOONCAKE, [0.0, 0.5, 3.052], "milliseconds, as the file is publ"),
    ("qwen_traceA.jsonl", QWEN, [0.0, 0.5, 2.9], "seconds, as the file is published"),
]


@pytest.mark.parametrize(("name", "text", "times", "said"), PUBLISHED)
def test_published_requests_are_read_as_they_are(
    tmp_path: Path, name: str, text: str, times: list[float], said: str
) -> None:
    found = reading(written(tmp_path, name, text))
    assert isinstance(found.shape, Arrivals)
    assert found.shape.times_s.tolist() == pytest.approx(times, abs=1e-9)
    assert said in "\n".join(found.said)
    assert ("images" in found.shape.asks) == (text == GENTD26)


def test_gentd26_tells_what_each_request_asked_for(tmp_path: Path) -> None:
    found = reading(written(tmp_path, "lora_request_trace.csv", GENTD26))
    assert isinstance(found.shape, Arrivals)
    told = {name: values.tolist() for name, values in found.shape.asks.items()}
    assert told == {
        "images": [1, 8, 4], "steps": [30, 40, 0], "prompt_chars": [60, 90, 0], "user": [1, 2, 2],
    }  # fmt: skip


def test_servegens_clients_are_rates_without_a_header(tmp_path: Path) -> None:
    text = "0,6.0,0.9,Gamma,2.0,0.05\n600,5.5,0.95,Weibull,2.1,0.05\n1800,7.0,1.1,Gamma,2.1,0.05\n"
    found = reading(written(tmp_path, "chunk-1-trace.csv", text))
    assert isinstance(found.shape, Bins)
    assert found.shape.rates_per_s == (6.0, 5.5, 0.0, 7.0)
    assert found.shape.edges_s == (0.0, 600.0, 1200.0, 1800.0, 2400.0)
    assert "1 of 4 bins have no row" in "\n".join(found.said)


def test_a_metric_of_many_containers_is_not_taken_for_arrivals(tmp_path: Path) -> None:
    text = "timestamp_anon,value,container_ip\n" + "".join(
        f"{1.7e9 + 10.5 * t},{t + 1},{ip}\n" for t in range(5) for ip in "abc"
    )
    path = written(tmp_path, "qps.csv", text)
    with pytest.raises(TraceError, match="'value' may count requests, or anything else"):
        reading(path)
    found = reading(path, rate_column="value")  # its README: sum over all containers
    assert isinstance(found.shape, Bins)
    assert found.shape.rates_per_s == (3.0, 6.0, 9.0, 12.0, 15.0)
    assert "rows of one time (container_ip) are added up" in "\n".join(found.said)


def test_many_rows_of_dates_keep_their_order_and_their_distance(tmp_path: Path) -> None:
    gaps = np.random.default_rng(1).integers(1, 10**7, 20_000)  # in units of 100 ns
    ticks = np.cumsum(gaps)
    lines = [
        f"2026-01-{1 + t // (86_400 * 10**7):02d} {t // (3600 * 10**7) % 24:02d}:"
        f"{t // (60 * 10**7) % 60:02d}:{t // 10**7 % 60:02d}.{t % 10**7:07d}"
        for t in ticks.tolist()
    ]
    found = reading(written(tmp_path, "t.csv", "ts\n" + "\n".join(lines)))
    assert isinstance(found.shape, Arrivals)
    assert np.diff(found.shape.times_s) == pytest.approx(gaps[1:] * 1e-7, abs=2e-9)
