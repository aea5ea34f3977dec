"""All Prometheus objects of the roles, in one place.

``health.serve`` exposes them; names are part of what dashboards and KEDA rely on, so they change only with the manifests.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

TASKS = Counter("duplexforge_tasks", "Tasks settled by this worker", ["stage", "outcome", "reason"])
TASK_SECONDS = Histogram(
    "duplexforge_task_seconds",
    "Wall time of one task",
    ["stage"],
    buckets=(0.1, 0.5, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200),
)
STAGE_SECONDS = Counter(
    "duplexforge_pipeline_stage_seconds", "Wall seconds spent in a pipeline stage", ["pipeline_stage"]
)
AUDIO_HOURS = Counter("duplexforge_audio_hours", "Hours of audio by where they went", ["outcome"])
LEASES = Gauge("duplexforge_leases", "Leases held by this worker", ["stage"])
READY = Gauge("duplexforge_ready", "1 when models are loaded and the worker is not draining", ["stage"])
PAUSED_SITES = Gauge("duplexforge_paused_sites", "Sites that this worker knows to be left alone for now")
THROTTLES = Counter("duplexforge_throttles", "Items that had to wait for their site", ["reason"])
SPEED = {
    "real_time_factor": Gauge(
        "duplexforge_real_time_factor", "Working seconds of all stages over seconds of audio, last episode"
    ),
    "asr_padding_waste": Gauge(
        "duplexforge_asr_padding_waste", "Share of the recogniser's windows that was padding, last episode"
    ),
    "overlap_ratio": Gauge(
        "duplexforge_overlap_ratio", "Wall time over the time of the busiest stage since the start; 1 is perfect"
    ),
}
"""Gauges by the name of the fact in the manifest that they show."""
AUTOKICK_DECISIONS = Counter("duplexforge_autokick_decisions", "Changes of the scale by what they were", ["decision"])
AUTOKICK_STOPPED = Counter("duplexforge_autokick_stopped", "Replicas that made way")
AUTOKICK_GPU_SECONDS = Counter("duplexforge_autokick_gpu_seconds", "GPU-seconds used by ours, or yielded", ["whose"])
AUTOKICK_REPLICAS = Gauge("duplexforge_autokick_replicas", "Replicas wanted, placed and pending", ["state"])
AUTOKICK_PENDING = Gauge("duplexforge_autokick_pending", "Others' pods that wait, by what is made of them", ["verdict"])
AUTOKICK_LEADING = Gauge("duplexforge_autokick_leading", "1 while this autokicker leads")
AUTOKICK_BLIND = Gauge("duplexforge_autokick_blind", "1 while the cluster cannot be seen and the scale stays as it is")
AUTOKICK_REACTION = Histogram(
    "duplexforge_autokick_reaction_seconds",
    "From a change seen to the scale written",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
SERVE_STEP = Histogram(
    "duplexforge_serve_step_seconds",
    "One step of the model, to be held against the frame's budget",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 1, 5),
)
SERVE_BUDGET = Gauge("duplexforge_serve_budget_seconds", "Seconds of a frame: what a step may take")
SERVE_BATCH = Histogram(
    "duplexforge_serve_batch_slots", "Slots that one step was made of", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
SERVE_SLOTS = Gauge("duplexforge_serve_slots", "Slots of the model by state", ["state"])
SERVE_SECONDS = Counter(
    "duplexforge_serve_seconds", "Seconds of sound heard, said, left out since the model was late", ["what"]
)
SERVE_LATE = Counter("duplexforge_serve_late_frames", "Pieces of answers that came later than they were to be heard")
SERVE_READY = Gauge("duplexforge_serve_ready", "1 while a model is loaded and works")
SERVE_SESSIONS = Gauge("duplexforge_serve_sessions", "Conversations that are open")
SERVE_REFUSED = Counter("duplexforge_serve_refused", "Conversations that found no room, by what was full", ["why"])
SERVE_CLOSED = Counter("duplexforge_serve_closed", "Connections by the code they were closed with", ["code"])
SERVE_ANSWER = Histogram(
    "duplexforge_serve_answer_seconds",
    "From the user's last sound to the first of the answer, as the server sees it",
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10),
)

STATUS = {
    "tasks": ("duplexforge_queue_tasks", "Tasks of a queue by state", ["stage", "state"]),
    "oldest": (
        "duplexforge_queue_oldest_seconds",
        "For how long the oldest task has been in a state",
        ["stage", "state"],
    ),
    "delayed": ("duplexforge_queue_delayed_tasks", "Waiting tasks that may not be claimed yet", ["stage"]),
    "failures": ("duplexforge_queue_failures", "Failed tasks by reason", ["stage", "reason"]),
    "leases": ("duplexforge_queue_leases", "Leases that no outcome has ended: live or expired", ["stage", "state"]),
    "workers": ("duplexforge_queue_workers", "Worker processes that hold a lease", []),
    "episodes": ("duplexforge_processed_episodes", "Processed episodes by outcome", ["outcome"]),
    "hours": ("duplexforge_processed_hours", "Hours of processed audio by language", ["language"]),
    "recent": ("duplexforge_processed_recent_hours", "Hours of audio processed in the last hour or day", ["window"]),
    "computing": ("duplexforge_processed_stage_seconds", "Computing seconds in the manifests", ["pipeline_stage"]),
    "cost": ("duplexforge_dollars_per_1000_hours", "Dollars for 1,000 hours of audio at GPU_PRICE_PER_HOUR", []),
    "gpu": ("duplexforge_autokick_gpu_hours", "GPU-hours as the autokicker's Lease tells: used, yielded", ["whose"]),
    "leader": ("duplexforge_autokick_seen", "1 when the autokicker's Lease was read and somebody leads", []),
    "unread": ("duplexforge_unreadable_manifests", "Manifests that cannot be read", []),
    "age": ("duplexforge_status_age_seconds", "Since the last look that went well", []),
    "spent": ("duplexforge_status_look_seconds", "What the last look took", []),
}
"""Name, meaning and labels of the gauges that ``status --serve`` fills from one look."""
