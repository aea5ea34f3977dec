"""The scenarios: every row of the design's table, every trap that was measured, and the faults of demand."""

from __future__ import annotations

from tests.cluster.scenario import STOP, Scenario, Step, comes, ours, steps
from tests.servers.kube.kinds import Object
from tests.servers.kube.objects import NAMESPACE, deployment, guest, node, pod_group

RUN = {"run": 10.0, "stop": 0.0}


def _retained(**changes: object) -> Object:
    """A change of our Deployment by somebody else."""
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "emiliapipe", "namespace": NAMESPACE},
            **changes}  # fmt: skip


WANTED = tuple(
    Scenario(
        f"{gpus}-gpus", f"A guest wants {gpus} GPUs of one node: as many of ours stop, all on that node.",
        kills=(gpus, gpus), one_node=True, steps=comes(2, guest("guest", gpus=gpus, sim=RUN)), ran=("guest",), busy=16,
    )
    for gpus in (1, 4, 8)
)  # fmt: skip

RANKS = (
    Scenario(
        "lower-priority", "A guest whose priority is below ours: ours yield all the same.", kills=(1, 1),
        steps=comes(2, guest("guest", sim=RUN, priority=-100)), ran=("guest",), busy=16,
    ),
    Scenario(
        "never-preempts", "A guest that may preempt nobody.", kills=(1, 1),
        steps=comes(2, guest("guest", sim=RUN, preemptionPolicy="Never")), ran=("guest",), busy=16,
    ),
    Scenario(
        "nominated", "The scheduler makes room by itself: nobody stops besides its victim.", kills=(1, 1),
        steps=comes(2, guest("guest", sim=RUN, priority=100)), ran=("guest",), busy=16,
    ),
)  # fmt: skip

GANGS = (
    Scenario(
        "gang-too-large", "Three times a whole node where there are two: nobody stops.", kills=(0, 0),
        more=(pod_group("gang", 3),), never=("member-0", "member-1", "member-2"), busy=16,
        steps=comes(2, *(guest(f"member-{n}", gpus=8, group="gang", size=3, sim=RUN) for n in range(3))),
    ),
    Scenario(
        "gang-that-fits", "Two whole nodes at once: all of ours stop, for both together.", kills=(16, 16),
        more=(pod_group("gang", 2),), ran=("member-0", "member-1"), busy=16,
        steps=comes(2, *(guest(f"member-{n}", gpus=8, group="gang", size=2, sim=RUN) for n in range(2))),
    ),
    Scenario(
        "gang-half-there", "One of two members has come: nobody stops before the other one has.", kills=(0, 0),
        more=(pod_group("gang", 2),), never=("member-0",), busy=16,
        steps=comes(2, guest("member-0", gpus=8, group="gang", size=2, sim=RUN)),
    ),
)  # fmt: skip

SHORT = (
    Scenario(
        "ten-short-pods", "Ten pods of 5 s, one every 10 s: what was given up for the first serves the others.",
        kills=(1, 5), length=140, ran=tuple(f"short-{n}" for n in range(10)), busy=16,
        steps=steps(*(comes(2 + 10 * n, guest(f"short-{n}", sim={"run": 5.0})) for n in range(10))),
    ),
    Scenario(
        "flapping", "Two GPUs wanted for a second, every 5 s: one round of kills in a quiet time.", kills=(2, 6),
        length=80, ran=tuple(f"flap-{n}" for n in range(10)), busy=16,
        steps=steps(*(comes(2 + 5 * n, guest(f"flap-{n}", gpus=2, sim={"run": 1.0})) for n in range(10))),
    ),
    Scenario(
        "leaves-again", "A guest that is deleted while our pods still stop for it: they are not stopped twice.",
        kills=(4, 4), steps=(*comes(2, guest("guest", gpus=4)), Step(3, "delete", guest("guest"))), busy=16,
    ),
)  # fmt: skip


def _nobody(name: str, story: str, thing: Object, **changes: object) -> Scenario:
    """A guest for whom nobody has to stop."""
    given: dict[str, object] = {
        "kills": (0, 0),
        "steps": comes(2, thing),
        "never": ("guest",),
        "busy": 16,
        "length": 30,
    }
    return Scenario(name, story, **{**given, **changes})  # type: ignore[arg-type]


BLOCKED = (
    _nobody("nine-gpus", "More GPUs than any node has.", guest("guest", gpus=9)),
    _nobody("wrong-selector", "A node selector that no node has.", guest("guest", nodeSelector={"gpu": "a100"})),
    _nobody(
        "missing-volume", "A volume that does not exist.",
        guest("guest", volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]),
    ),
    _nobody("gated", "A scheduling gate that nobody has lifted.", guest("guest", schedulingGates=[{"name": "wait"}])),
    _nobody("many-cpus", "More CPUs than any node has, and a GPU.", guest("guest", cpu="200")),
    _nobody("cpu-only", "CPUs of which ours hold some, and no GPU.", guest("guest", gpus=0, cpu="60")),
    _nobody(
        "image-missing", "A guest that has its node and cannot start there.", guest("guest", sim={"image": "missing"}),
        never=(), ran=("guest",), ours=ours(12), settings={"MAX_REPLICAS": 12}, busy=12, probe=False,
    ),
    _nobody(
        "free-gpu", "There is room already.", guest("guest", gpus=2, sim={"run": 5.0}), never=(), ran=("guest",),
        ours=ours(12), settings={"MAX_REPLICAS": 12}, busy=12, probe=False,
    ),
    _nobody(
        "own-blocked-pod", "Pods of ours, and of our kin, that fit nowhere.",
        deployment("kin", replicas=2, gpus=9), never=(), settles_in=60.0,
    ),
    _nobody(
        "tainted", "GPUs of another team's nodes, which the guest does not tolerate ours to lend.",
        guest("guest", nodeSelector={"team": "b"}), nodes=(
            node("node-a"), node("node-b"),
            node("node-c", labels={"team": "b"}, taints=[{"key": "team", "value": "b", "effect": "NoSchedule"}]),
        ),
    ),
)  # fmt: skip

TRAPS = (
    Scenario(
        "least-lost-work", "The four of one node that lose least.", kills=(4, 4), one_node=True, cheapest=True,
        lost=tuple(float(17 * n % 97) for n in range(17)), steps=comes(2, guest("guest", gpus=4, sim=RUN)),
        ran=("guest",), busy=16,
    ),
    Scenario(
        "forty-replicas", "40 replicas for 16 GPUs: 23 of those that wait are taken back.", kills=(0, 0),
        ours=ours(40), length=20, busy=16,
    ),
    Scenario(
        "four-pending", "20 replicas, four without a node: a pod that runs must stop, not one that waits.",
        kills=(1, 1), ours=ours(20), steps=comes(2, guest("guest", sim=RUN)), ran=("guest",), busy=16,
    ),
    Scenario(
        "partly-free", "Two GPUs of node-a are free: two pods there stop for four GPUs, not four elsewhere.",
        kills=(2, 2), one_node=True, ours=ours(12), more=(guest("sitter", gpus=2, nodeSelector={
            "kubernetes.io/hostname": "node-b"}),), settings={"MAX_REPLICAS": 12}, length=40, probe=False,
        steps=comes(2, guest("guest", gpus=4, sim=RUN)), ran=("guest",),
    ),
    Scenario(
        "hidden-volume", "The guest's volume is on a node that nothing of it shows: step by step ours make way there.",
        kills=(1, 16), yields_in=4 * (STOP + 8.0), length=120, ran=("guest",), busy=15,
        steps=comes(2, guest("guest", gpus=1, sim={"run": 30.0, "volume-on": "node-b"})), free_rein=True,
    ),
    Scenario(
        "rolling-update", "Our own new pods wait while the old ones go: nobody yields to them.", kills=(1, 17),
        length=60, busy=16, least=16, free_rein=True, settles_in=30.0, probe=False,
        steps=(Step(5, "patch", _retained(spec={"template": {"metadata": {"labels": {"version": "2"}}}})),),
    ),
    Scenario(
        "empty-cluster", "16 free GPUs: all of them are used, and one pod waits.", kills=(0, 0), ours=ours(0), busy=16,
        length=60,
    ),
    Scenario(
        "same-namespace", "A guest beside us, in our own namespace.", kills=(2, 2), one_node=True, ran=("guest",),
        steps=comes(2, guest("guest", gpus=2, namespace=NAMESPACE, sim=RUN)), busy=16,
    ),
    Scenario(
        "policy-all", "The original's policy: one waits, so all of ours go.", kills=(16, 16), ran=("guest",), busy=15,
        settings={"POLICY": "all"}, steps=comes(2, guest("guest", sim={"run": 100.0})), probe=False,
    ),
    Scenario(
        "queue-empty", "An empty queue is no reason to grow.", kills=(0, 0), ours=ours(4), open_tasks=0, length=30,
        probe=False, busy=4,
    ),
    Scenario(
        "queue-short", "Six tasks are worth six replicas.", kills=(0, 0), ours=ours(0), open_tasks=6, length=30,
        probe=False, busy=6,
    ),
)  # fmt: skip

SCENARIOS = (*WANTED, *RANKS, *GANGS, *SHORT, *BLOCKED, *TRAPS)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
