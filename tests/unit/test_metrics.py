import json

from streamer.metrics import Metrics, prometheus_text


def test_a_snapshot_survives_json_and_becomes_prometheus_text():
    metrics = Metrics()
    metrics.events.add(2, "door", "appear")
    metrics.events.add(1, "door", "appear")
    metrics.fps.set(12.5, 'a"b\\')
    for seconds in (0.004, 0.012, 9.0):
        metrics.latency.observe(seconds, "door")
    text = prometheus_text(json.loads(json.dumps(metrics.snapshot())))
    assert 'sightline_events_total{stream="door",kind="appear"} 3\n' in text
    assert 'sightline_stream_fps{stream="a\\"b\\\\"} 12.5\n' in text
    assert 'sightline_latency_seconds_bucket{stream="door",le="0.005"} 1\n' in text
    assert 'sightline_latency_seconds_bucket{stream="door",le="0.02"} 2\n' in text
    assert 'sightline_latency_seconds_bucket{stream="door",le="5"} 2\n' in text
    assert 'sightline_latency_seconds_bucket{stream="door",le="+Inf"} 3\n' in text
    assert 'sightline_latency_seconds_count{stream="door"} 3\n' in text
    assert "sightline_batch_size" not in text
    assert text.count("# TYPE sightline_latency_seconds histogram") == 1


def test_the_text_is_what_a_prometheus_parser_reads():
    from prometheus_client.parser import text_string_to_metric_families

    metrics = Metrics()
    metrics.frames.set(1_234_567_890, "door", "dropped:overflow")
    metrics.batch.observe(3, "street-nano")
    families = {f.name: f for f in text_string_to_metric_families(prometheus_text(metrics.snapshot()))}
    (sample,) = families["sightline_frames"].samples
    assert sample.value == 1_234_567_890 and sample.labels == {"stream": "door", "end": "dropped:overflow"}
    buckets = [s for s in families["sightline_batch_size"].samples if s.name.endswith("_bucket")]
    assert [s.value for s in buckets if s.labels["le"] in ("2", "3", "+Inf")] == [0, 1, 1]


def test_nothing_counted_is_no_text():
    assert prometheus_text(Metrics().snapshot()) == ""
