from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.gpu.peaks import PeakBook, Peaks, peaks

# Names as NVML and exporters give them, with GB/s and dense BF16 Tflop/s.
KNOWN = [
    ("NVIDIA GB300", 8000, 2500),
    ("NVIDIA GB200", 8000, 2500),
    ("NVIDIA B300 SXM6 AC", 7750, 2250),
    ("NVIDIA B200", 7700, 2250),
    ("NVIDIA GH200 480GB", 4000, 989),
    ("NVIDIA GH200 144G HBM3e", 4800, 989),
    ("NVIDIA H200", 4800, 989),
    ("NVIDIA H200 NVL", 4800, 835),
    ("NVIDIA H100 80GB HBM3", 3350, 989),
    ("NVIDIA H100 PCIe", 2000, 756),
    ("NVIDIA H100 NVL", 3900, 835),
    ("NVIDIA H800", 3350, 989),
    ("NVIDIA H20", 4000, 148),
    ("NVIDIA A100-SXM4-80GB", 2039, 312),
    ("NVIDIA A100 80GB PCIe", 1935, 312),
    ("NVIDIA A100-SXM4-40GB", 1555, 312),
    ("A100-SXM4-40GB", 1555, 312),
    ("NVIDIA A100-PCIE-40GB", 1555, 312),
    ("NVIDIA A40", 696, 149.7),
    ("NVIDIA A30", 933, 165),
    ("NVIDIA A10G", 600, 70),
    ("NVIDIA A10", 600, 125),
    ("NVIDIA L40S", 864, 362),
    ("NVIDIA L40", 864, 181),
    ("NVIDIA L4", 300, 121),
    ("Tesla T4", 320, 65),
    ("NVIDIA Tesla T4", 320, 65),
    ("Tesla V100-SXM2-16GB", 900, 125),
    ("Tesla V100-SXM2-32GB", 900, 125),
    ("Tesla V100-PCIE-32GB", 900, 112),
    ("Tesla V100S-PCIE-32GB", 1134, 130),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 1792, 504),
    ("NVIDIA RTX 6000 Ada Generation", 960, 364),
    ("NVIDIA RTX A6000", 768, 154.8),
    ("NVIDIA GeForce RTX 5090", 1792, 209.5),
    ("NVIDIA GeForce RTX 4090", 1008, 165),
    ("NVIDIA GeForce RTX 3090", 936, 71),
    ("AMD Instinct MI300X OAM", 5300, 1307),
]


@pytest.mark.parametrize(("name", "gigabytes", "teraflops"), KNOWN)
def test_a_known_card_has_its_own_peaks(name: str, gigabytes: float, teraflops: float) -> None:
    assert peaks(name) == Peaks(dram=gigabytes * 1e9, tensor=teraflops * 1e12, source="table")


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA H20-3e",
        "NVIDIA H100 SXM 64GB",
        "NVIDIA H800 PCIe",
        "NVIDIA A100-SXM-64GB",
        "NVIDIA A10M",
        "NVIDIA A16",
        "NVIDIA L40G",
        "NVIDIA L20",
        "NVIDIA T400",
        "Tesla V100-SXM3-32GB",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 5090 D",
        "NVIDIA RTX 6000 Something Else",
        "NVIDIA Thor",
        "NVIDIA H100",
    ],
)
def test_a_sibling_that_is_not_listed_gets_nobody_elses_peaks(name: str) -> None:
    assert peaks(name) == Peaks()


def test_a_card_known_by_its_memory_alone_has_no_compute_peak() -> None:
    found = peaks("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition")
    assert (found.dram, found.tensor, found.source) == (1792e9, None, "table")


def test_a_mig_instance_does_not_have_the_peaks_of_the_whole_gpu() -> None:
    assert peaks("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 1215e6, 5120) == Peaks()


@pytest.mark.parametrize(
    ("name", "megahertz", "bits"),
    [
        ("NVIDIA H100 80GB HBM3", 2619, 5120),
        ("NVIDIA H200", 3201, 6144),
        ("NVIDIA A100-SXM4-80GB", 1593, 5120),
        ("NVIDIA L40S", 9001, 384),
        ("NVIDIA GeForce RTX 4090", 10501, 384),
        ("NVIDIA GeForce RTX 5090", 14001, 512),
        ("Tesla T4", 5001, 256),
        ("Tesla V100-SXM2-16GB", 877, 4096),
    ],
)
def test_the_estimate_of_an_unknown_card_would_be_right_for_the_known_ones(
    name: str, megahertz: float, bits: float
) -> None:
    estimate = peaks("some new card", megahertz * 1e6, bits)
    assert estimate.source == "estimate"
    assert estimate.tensor is None
    assert estimate.dram == pytest.approx(peaks(name).dram, rel=0.03)


@given(st.text(max_size=60), st.one_of(st.none(), st.floats(0, 1e11)), st.one_of(st.none(), st.floats(0, 1e5)))
def test_any_name_gives_peaks_with_their_source_or_none(name: str, clock: float | None, bits: float | None) -> None:
    found = peaks(name, clock, bits)
    assert (found.dram is None) == (found.source is None)
    if found.source == "estimate":
        assert found.tensor is None
        assert found.dram == pytest.approx((clock or 0) * (bits or 0) / 4)


@given(st.sampled_from(KNOWN), st.text(alphabet="ABCXYZabcxyz0123456789", min_size=1, max_size=3))
def test_a_longer_word_is_another_card(known: tuple[str, float, float], tail: str) -> None:
    name, _, _ = known
    longer = name + tail
    if longer not in {other for other, _, _ in KNOWN}:
        assert peaks(longer) == Peaks()


def test_what_the_user_knows_better_comes_before_the_table() -> None:
    book = PeakBook({"H100 PCIe": Peaks(dram=2.04e12), "cmp 170hx": Peaks(1.5e12, 200e12)})
    assert book.of("NVIDIA H100 PCIe") == Peaks(2.04e12, 756e12, "configuration")
    assert book.of("NVIDIA CMP 170HX") == Peaks(1.5e12, 200e12, "configuration")
    assert book.of("NVIDIA H200") == peaks("NVIDIA H200")


def test_an_instance_has_its_share_of_what_the_whole_gpu_could_do_and_nothing_where_the_share_is_unknown() -> None:
    book = PeakBook({"NVIDIA H20": Peaks(dram=8e12)})
    assert book.of("NVIDIA H20 MIG 1g.12gb", memory_share=0.125) == Peaks(1e12, None, "configuration")
    assert PeakBook().of("NVIDIA H200 MIG 7g.141gb", memory_share=1.0, compute_share=0.5) == Peaks(
        4.8e12, 494.5e12, "table"
    )
    assert PeakBook().of("NVIDIA H200 MIG 7g.141gb") == Peaks()
