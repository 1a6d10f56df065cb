"""What stands on the Prometheus page, and what must not."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from collectors.model import BOTTLENECK_NAMES, PHASE_LABELS, Gap, GpuProcess
from collectors.pods import Pod
from collectors.readings import EngineReading, GpuReading, HostReading, field_specs
from exporters.families import families
from exporters.health import CollectorHealth
from exporters.prometheus import PrometheusSink
from tests.patience import PATIENCE
from tests.prometheus_support import (
    ENDPOINT,
    LATENCY,
    START,
    engine,
    full,
    gpu,
    interval,
    names,
    read,
    settle_all,
    sink,
    tick,
    value,
)

PHASES = {"prefill", "decode", "idle", "waiting", "unknown"}


def full_interval(sequence=1):
    # The second is partitioned: its time is that of its instances.
    gpus = [full(GpuReading, uuid=f"GPU-{index}", index=index, instances=2.0 if index else None) for index in range(2)]
    engines = [full(EngineReading, endpoint=ENDPOINT, engine_index="0", engine="vllm")]
    return interval(sequence, gpus, engines, full(HostReading))


def in_pod(pid: int, name: str | None, container: str = "server") -> GpuProcess:
    return GpuProcess(pid, pod=Pod("c" * 64, "the-uid", name, name and "team", name and container))


def full_sink() -> PrometheusSink:
    exporter = sink()
    exporter.put(settle_all(full_interval()))
    return exporter


def promtool_says(page: bytes) -> str:
    """Everything `promtool check metrics` prints about a page."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt install prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, timeout=2 * PATIENCE, check=False
    )
    return (done.stdout + done.stderr).decode()


def test_every_gauge_amount_and_histogram_of_a_full_reading_is_on_the_page():
    on_page = names(read(full_sink()))
    for scope, reading in (("host", HostReading), ("gpu", GpuReading), ("engine", EngineReading)):
        for spec in field_specs(reading):
            if spec.kind in ("text", "list") or spec.name == "index":
                continue
            name = f"phasetop_{scope}_{spec.name}"
            expected = {"gauge": name, "amount": f"{name}_total", "histogram": f"{name}_seconds_bucket"}[spec.kind]
            assert expected in on_page


def test_the_page_has_only_families_of_the_catalogue_and_all_of_them():
    health = [CollectorHealth("host", "", True, 0.01, 1.0)]
    exporter = sink(health=lambda: health, pods=True)
    exporter.put(settle_all(replace(full_interval(), gpu_processes={"GPU-0": (in_pod(7, "vllm-0"),)})))
    on_page = {family.name for family in parse_openmetrics(exporter.page(True, False).decode())}
    assert on_page == {family.name for family in families()}


def test_every_family_has_help_and_type_and_the_labels_the_catalogue_says():
    catalogue = {family.name: family for family in families()}
    for family in parse_openmetrics(full_sink().page(True, False).decode()):
        assert family.documentation
        assert family.type == catalogue[family.name].kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(catalogue[family.name].labels)


def test_values_on_the_page_are_those_of_the_reading():
    samples = read(full_sink())
    reading = full(GpuReading, uuid="GPU-1", index=1)
    assert value(samples, "phasetop_gpu_dram_active_ratio", gpu="1", uuid="GPU-1") == reading.dram_active_ratio
    assert value(samples, "phasetop_gpu_energy_joules_total", gpu="1") == reading.energy_joules
    assert value(samples, "phasetop_host_cpu_ratio") == full(HostReading).cpu_ratio


def test_text_fields_stand_in_the_info_families_only():
    samples = read(full_sink())
    info = next(dict(labels) for name, labels in samples if name == "phasetop_engine_info")
    assert info["model"] == "some model"
    assert info["gpus"] == "GPU-0"
    for name, labels in samples:
        if not name.endswith("_info"):
            assert not any("some" in text for _, text in labels)


def test_what_was_not_measured_has_no_series():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(power_watts=300.0)], [engine()], HostReading(name="h"))))
    on_page = names(read(exporter))
    assert "phasetop_gpu_power_watts" in on_page
    assert "phasetop_gpu_sm_active_ratio" not in on_page
    assert "phasetop_gpu_energy_joules_total" not in on_page
    assert "phasetop_engine_ttft_seconds_count" not in on_page
    assert "phasetop_engine_phase_tokens_total" not in on_page
    assert "phasetop_gpu_phase_joules_total" not in on_page
    assert "phasetop_host_cpu_ratio" not in on_page


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_missing(number):
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(power_watts=number, energy_joules=number)])))
    assert not names(read(exporter)) & {"phasetop_gpu_power_watts", "phasetop_gpu_energy_joules_total"}


def test_a_zero_that_was_measured_has_a_series():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(power_watts=0.0, energy_joules=0)])))
    samples = read(exporter)
    assert value(samples, "phasetop_gpu_power_watts") == 0.0
    assert value(samples, "phasetop_gpu_energy_joules_total") == 0.0


def test_before_the_first_interval_the_page_says_what_serves_it_and_the_host_phases_stand_at_zero():
    exporter = sink()
    samples = read(exporter)
    assert not exporter.ready()
    assert value(samples, "phasetop_build_info", version="1.2.3") == 1.0
    for phase in PHASES:
        assert value(samples, "phasetop_host_phase_seconds_total", phase=phase) == 0.0
    assert "phasetop_settled_timestamp_seconds" not in names(samples)


@pytest.mark.parametrize("scope", ["host", "gpu", "engine"])
def test_every_phase_label_and_bottleneck_is_present_at_zero_before_anything_settled(scope):
    exporter = sink()
    exporter.put(tick(interval(1, [gpu()], [engine()])))
    samples = read(exporter)
    for family, key, expected in (
        ("phase_seconds", "phase", PHASES),
        ("phase_label_seconds", "label", set(PHASE_LABELS)),
        ("bottleneck_seconds", "bottleneck", set(BOTTLENECK_NAMES)),
    ):
        found = {
            dict(labels)[key]: number
            for (name, labels), number in samples.items()
            if name == f"phasetop_{scope}_{family}_total"
        }
        assert found == dict.fromkeys(expected, 0.0)


@pytest.mark.parametrize(
    "state", ["no tick", "no GPU", "full", "GPU lost", "engine down", "several engines", "sources reported"]
)
def test_promtool_has_nothing_to_say(state):
    health = [CollectorHealth("host", "", True, 0.01, 1.0), CollectorHealth("engine", ENDPOINT, False)]
    exporter = sink(health=lambda: health) if state == "sources reported" else sink()
    whole = full_interval()
    lost = replace(whole.gpus["GPU-1"], state="lost")
    ticks = {
        "no GPU": [interval(1, host=full(HostReading), gaps=(Gap("gpu", "libnvidia-ml.so.1 not found"),))],
        "full": [whole],
        "sources reported": [whole],
        "GPU lost": [whole, interval(2, [whole.gpus["GPU-0"], lost], host=whole.host)],
        "engine down": [whole, interval(2, engines=[engine(state="down")])],
        "several engines": [interval(1, engines=[engine("0"), engine("1", engine="sglang", steps=2.0)])],
    }
    for one in ticks.get(state, []):
        exporter.put(settle_all(one))
    assert promtool_says(exporter.page(False, False)) == ""


def test_openmetrics_ends_with_eof_and_the_text_format_does_not():
    exporter = full_sink()
    assert exporter.page(True, False).endswith(b"\n# EOF\n")
    assert exporter.page(True, False).count(b"# EOF") == 1
    text = exporter.page(False, False)
    assert b"# EOF" not in text
    assert text.endswith(b"\n")
    assert not text.endswith(b"\n\n")


def test_latencies_are_cumulative_histograms_with_the_engine_s_own_buckets():
    samples = read(full_sink())
    buckets = {
        dict(labels)["le"]: number
        for (name, labels), number in samples.items()
        if name == "phasetop_engine_ttft_seconds_bucket"
    }
    assert buckets == {"0.05": 3.0, "0.5": 5.0, "1.0": 5.0, "+Inf": 6.0}
    assert value(samples, "phasetop_engine_ttft_seconds_count") == LATENCY.count
    assert value(samples, "phasetop_engine_ttft_seconds_sum") == LATENCY.sum


def test_a_histogram_accumulates_and_starts_anew_when_its_bounds_change():
    exporter = sink()
    exporter.put(tick(interval(1, engines=[engine(ttft=LATENCY)])))
    exporter.put(tick(interval(2, engines=[engine(ttft=LATENCY)])))
    assert value(read(exporter), "phasetop_engine_ttft_seconds_count") == 2 * LATENCY.count
    other = replace(LATENCY, bounds=(0.1, 1.0, 2.0))
    exporter.put(tick(interval(3, engines=[engine(ttft=other)])))
    samples = read(exporter)
    assert value(samples, "phasetop_engine_ttft_seconds_count") == LATENCY.count
    assert value(samples, "phasetop_engine_ttft_seconds_bucket", le="2.0") == 5.0


@given(st.text(max_size=40), st.text(max_size=40))
def test_hostile_label_values_come_back_as_they_were(model, uuid):
    exporter = sink()
    exporter.put(tick(interval(1, [replace(gpu(), uuid=uuid)], [engine(model=model)])))
    for parse, openmetrics in ((parse_text, False), (parse_openmetrics, True)):
        page = exporter.page(openmetrics, False).decode()
        labels = {family.name: family.samples[0].labels for family in parse(page)}
        assert labels["phasetop_gpu_state"]["uuid"] == uuid.encode("utf-8", "replace").decode()
        info = labels["phasetop_engine" if openmetrics else "phasetop_engine_info"]
        assert info["model"] == model.encode("utf-8", "replace").decode()


def test_a_label_value_cannot_add_a_line():
    hostile = 'x"} 1\nphasetop_evil_total 1\n# EOF\n\\'
    exporter = sink()
    exporter.put(tick(interval(1, engines=[engine(model=hostile)])))
    assert "phasetop_evil_total" not in names(read(exporter))
    assert not any(line.startswith(b"phasetop_evil") for line in exporter.page(False, False).splitlines())


def test_a_page_is_rendered_once_an_interval_and_format():
    asked = []
    exporter = sink(health=lambda: asked.append(1) or ())
    exporter.put(tick(full_interval()))
    first = exporter.page(False, False)
    assert exporter.page(False, False) is first
    assert gzip.decompress(exporter.page(False, True)) == first
    assert exporter.page(False, True) is exporter.page(False, True)
    exporter.put(tick(full_interval(2)))
    assert exporter.page(False, False) != first


def test_sources_are_judged_by_the_ticks_when_nobody_reports_on_them():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu()], [engine()], HostReading(name="h"))))
    down = interval(2, [gpu(state="lost")], [engine(state="down")], None)
    exporter.put(tick(down))
    samples = read(exporter)
    for collector, endpoint in (("host", ""), ("gpu", ""), ("engine", ENDPOINT)):
        source = {"collector": collector, "endpoint": endpoint}
        assert value(samples, "phasetop_collector_success", **source) == 0.0
        last = value(samples, "phasetop_collector_last_sample_timestamp_seconds", **source)
        assert last == START / 1e9 + 1
    assert "phasetop_collector_duration_seconds" not in names(samples)


def test_the_last_sample_of_a_source_is_as_old_as_its_youngest_reading():
    exporter = sink()
    exporter.put(tick(interval(1, [gpu(0, age_seconds=0.75), gpu(1, age_seconds=0.25), gpu(2, state="lost")])))
    last = value(read(exporter), "phasetop_collector_last_sample_timestamp_seconds", collector="gpu")
    assert last == START / 1e9 + 1 - 0.25


def test_a_machine_without_gpus_has_no_gpu_source_unless_a_gap_says_why():
    exporter = sink()
    exporter.put(tick(interval(1, host=HostReading(name="h"))))
    assert value(read(exporter), "phasetop_collector_success", collector="gpu") is None
    exporter.put(tick(interval(2, host=HostReading(name="h"), gaps=(Gap("gpu", "no driver"),))))
    assert value(read(exporter), "phasetop_collector_success", collector="gpu") == 0.0


def test_when_ticks_stop_coming_readings_vanish_and_sources_fail():
    now = [0.0]
    exporter = sink(clock=lambda: now[0])
    exporter.put(settle_all(full_interval()))
    fresh = exporter.page(False, False)
    now[0] = 9.0
    assert exporter.page(False, False) is fresh
    now[0] = 11.0
    samples = read(exporter)
    assert "phasetop_gpu_power_watts" not in names(samples)
    assert "phasetop_engine_phase_seconds_total" not in names(samples)
    assert value(samples, "phasetop_collector_success", collector="host") == 0.0
    assert value(samples, "phasetop_gpu_state", gpu="0", state="stale") == 1.0
    exporter.put(settle_all(full_interval(2)))
    assert "phasetop_gpu_power_watts" in names(read(exporter))


def pods_on(exporter: PrometheusSink) -> list[dict[str, str]]:
    return [dict(labels) for name, labels in read(exporter) if name == "phasetop_gpu_pod_info"]


def test_pods_are_told_where_that_is_asked_for_and_each_once():
    processes = {"GPU-0": (in_pod(7, "vllm-0"), in_pod(8, "vllm-0"), GpuProcess(9)), "GPU-9": (in_pod(7, "gone"),)}
    taken = settle_all(replace(interval(1, [gpu(0)]), gpu_processes=processes))
    quiet, asked = sink(), sink(pods=True)
    quiet.put(taken)
    asked.put(taken)
    assert pods_on(quiet) == []
    assert pods_on(asked) == [
        {"gpu": "0", "uuid": "GPU-0", "namespace": "team", "pod": "vllm-0", "container": "server", "pod_uid": "the-uid"}
    ]


def test_a_pod_without_names_has_its_uid_and_the_number_of_pods_is_bounded():
    nameless = settle_all(replace(interval(1, [gpu(0)]), gpu_processes={"GPU-0": (in_pod(7, None),)}))
    exporter = sink(pods=True)
    exporter.put(nameless)
    assert [(one["pod"], one["pod_uid"]) for one in pods_on(exporter)] == [("", "the-uid")]
    many = tuple(in_pod(number, f"pod-{number}") for number in range(1000))
    exporter.put(settle_all(replace(interval(2, [gpu(0)]), gpu_processes={"GPU-0": many})))
    assert len(pods_on(exporter)) == 256


def test_the_page_of_a_large_machine_stays_as_large_as_that_of_a_small_one():
    def samples(cpus: int) -> int:
        per_cpu = {spec.name: tuple([0.5] * cpus) for spec in field_specs(HostReading) if spec.kind == "list"}
        assert per_cpu
        exporter = sink()
        gpus = [full(GpuReading, uuid=f"GPU-{index}", index=index) for index in range(8)]
        exporter.put(settle_all(interval(1, gpus, [], replace(full(HostReading), **per_cpu))))
        return len(read(exporter))

    assert samples(256) == samples(2)
    assert samples(256) < 1000
