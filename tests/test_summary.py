"""What `phasetop once` prints."""

from __future__ import annotations

from collectors.model import HOST, Bottleneck, Gap, Interval, Label, Phase, Tick, engine_entity, gpu_entity
from collectors.readings import EngineReading, GpuReading, HostReading
from dashboard.summary import summary

BUSY = Label(
    1,
    HOST,
    Phase("decode", settled=True, prefill_share=0.1, busy_ratio=0.9),
    Bottleneck("memory-bandwidth", "memory-bandwidth", why="DRAM 74 % of peak"),
)


def printed(tick: Tick) -> list[str]:
    return list(summary(tick))


def test_a_summary_has_a_line_for_each_thing_and_leaves_out_what_is_missing() -> None:
    gpu = GpuReading(uuid="GPU-1", index=3, name="H100", dram_active_ratio=0.74, power_watts=512.4)
    engine = EngineReading(
        endpoint="http://e/metrics",
        engine_index="1",
        engine="vllm",
        requests_running=7,
        generation_tokens=2500,
        window_seconds=1.0,
    )
    interval = Interval(
        1,
        0,
        1_000_000_000,
        1.0,
        host=HostReading(name="h", cpu_ratio=0.5),
        gpus={"GPU-1": gpu},
        engines={engine.key: engine},
        gaps=(Gap("gpu", "one is gone"),),
    )
    labels = {HOST: BUSY, gpu_entity("GPU-1"): BUSY, engine_entity(engine.key): BUSY}
    assert printed(Tick(interval, labels))[1:] == [
        "phase     decode, prefill 10 %, bottleneck memory-bandwidth, DRAM 74 % of peak",
        "host      CPU 50 %",
        "gpu 3     H100, DRAM 74 %, 512 W, decode, prefill 10 %, busy 90 %",
        "engine    vllm at http://e/metrics rank 1, 7 running, generated 2.50k tokens/s, decode, prefill 10 %, "
        "busy 90 %",
        "missing   gpu: one is gone",
    ]


def test_gpus_that_could_give_more_say_why_in_one_line_for_each_reason() -> None:
    note = "this GPU has no GPM (Hopper and newer have)"
    gpus = [GpuReading(uuid=f"GPU-{index}", index=index, note=note) for index in range(3)]
    lost = GpuReading(uuid="GPU-3", index=3, state="lost", note="this GPU needs a reset")
    interval = Interval(1, 0, 1_000_000_000, 1.0, gpus={gpu.uuid: gpu for gpu in (*gpus, lost)})
    lines = [line for line in summary(Tick(interval)) if line.startswith("note")]
    assert lines == [f"note      GPUs 0, 1, 2: {note}"]


def test_without_anything_known_a_dash_stands_for_the_phase() -> None:
    assert printed(Tick(Interval(1, 0, 1_000_000_000, 1.0)))[1:] == ["phase     -"]
