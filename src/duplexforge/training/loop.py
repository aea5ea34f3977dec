"""The one loop: steps of several phases, accumulation, evaluation, checkpoints, resuming, and an orderly end on SIGTERM.

It knows nothing of what is trained; the five verbs are the trainer's (:mod:`duplexforge.training.trainers`). Nothing random
is carried from one step to the next: torch's generator is set from (seed, step) before each, so that a run which was killed
after any step and resumed from any checkpoint ends with the weights of an unbroken one, bit for bit on the same machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from duplexforge import log
from duplexforge.errors import ConfigError, InputError
from duplexforge.training import checkpoints, distributed
from duplexforge.training.recipe import Recipe
from duplexforge.training.remote import Remote
from duplexforge.training.trackers import Trackers
from duplexforge.training.trainers import Part, Place, Trainer

__all__ = ["Ended", "Run"]

_log = log.get("train")
# What a resumed run may do otherwise than the one that wrote the checkpoint.
_FREE = {
    "output",
    "data.folder",  # where the data lie is this machine's affair
    "loop.epochs",
    "loop.save_every",
    "loop.keep",
    "loop.patience",
    "loop.threads",
    "loop.evaluate_every",
}


@dataclass(frozen=True)
class Ended:
    """How a run ended: ``reason`` is ``done``, ``plateau`` or ``stopped``; ``figures`` are the last evaluation's."""

    reason: str
    step: int
    figures: Mapping[str, float] = field(default_factory=dict)
    exported: tuple[Path, ...] = ()


@dataclass
class _Progress:
    """Where the run stands; it is saved with the weights."""

    step: int = 0
    best: float = -math.inf
    waiting: int = 0
    figures: dict[str, float] = field(default_factory=dict)


class Run:
    """One run of ``recipe``. ``stop`` is asked after each step whether to save and end.

    ``remote`` is where the first process sends what it saves, and looks for what no disk has any more.
    """

    def __init__(
        self,
        recipe: Recipe,
        trainer: Trainer,
        place: Place,
        trackers: Trackers | None,
        *,
        stop: Callable[[], bool],
        remote: Remote | None = None,
    ) -> None:
        self._recipe, self._trainer, self._place = recipe, trainer, place
        self._trackers, self._stop, self._remote = trackers, stop, remote
        self._folder = recipe.output / "checkpoints"
        self._progress = _Progress()
        self._parts: dict[str, Part] = {}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}

    def go(self, resume: str | None = None) -> Ended:
        """Run to the end. ``resume``: ``auto`` goes on from the newest checkpoint if there is one, a path from that one."""
        self._prepare(resume)
        per_epoch = self._trainer.steps_per_epoch()
        total = per_epoch * self._recipe.loop.epochs
        reason = "done"
        while self._progress.step < total and reason == "done":
            self._one_step(total, per_epoch)
            reason = self._after_step(per_epoch)
        if reason == "stopped":
            return Ended(reason, self._progress.step, self._progress.figures)
        exported = self._export()
        return Ended(reason, self._progress.step, self._progress.figures, exported)

    # -- beginning -----------------------------------------------------------------------------------------------------

    def _prepare(self, resume: str | None) -> None:
        if self._recipe.loop.threads:
            torch.set_num_threads(self._recipe.loop.threads)
        torch.manual_seed(self._recipe.seed)
        settings = self._recipe.optimizer
        for part in self._trainer.build():
            self._parts[part.name] = part
            self._optimizers[part.name] = torch.optim.AdamW(
                part.module.parameters(), settings.learning_rate, settings.betas, weight_decay=settings.weight_decay
            )
        state = self._saved(resume)
        if state is not None:
            self._restore(state)
            _log.info("resumed", step=self._progress.step)
        else:
            # Every process would find the same start, but only as long as all are alike; the first one's counts.
            self._trainer.start()
        for part in self._parts.values():
            distributed.take_first(part.module, self._place.size)

    def _saved(self, resume: str | None) -> dict[str, Any] | None:
        """The state to go on from. The first process chooses, and gives it to the others: only its disk need have one."""
        device = self._place.device if self._place.size == 1 else "cpu"
        state = self._chosen(resume, device) if self._place.rank == 0 else None
        found: dict[str, Any] | None = distributed.first_says(state, self._place.size)
        return found

    def _chosen(self, resume: str | None, device: str) -> dict[str, Any] | None:
        if resume is None:
            for name, steps in self._known().items():
                if steps:
                    raise ConfigError(
                        f"{name} holds checkpoints of an earlier run: --resume auto goes on with it, "
                        "--resume none starts over and removes them"
                    )
            return None
        if resume == "none":
            checkpoints.fresh(self._folder)
            if self._remote:
                self._remote.fresh()
            return None
        if resume != "auto":
            return checkpoints.load(Path(resume), device)
        found = checkpoints.newest(self._folder, device, self._remote)
        return found[1] if found else None

    def _known(self) -> dict[str, list[int]]:
        far = {self._remote.name: self._remote.steps()} if self._remote else {}
        return {str(self._folder): checkpoints.found(self._folder), **far}

    def _restore(self, state: dict[str, Any]) -> None:
        _same_recipe(state.get("recipe", {}), self._recipe)
        try:
            for name, part in self._parts.items():
                part.module.load_state_dict(state["parts"][name])
                self._optimizers[name].load_state_dict(state["optimizers"][name])
            self._progress = _Progress(**state["progress"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"the checkpoint is of another model than the recipe's: {error}") from error

    # -- one step ------------------------------------------------------------------------------------------------------

    def _one_step(self, total: int, per_epoch: int) -> None:
        step = self._progress.step
        began = time.monotonic()
        figures: dict[str, float] = {}
        batches = self._trainer.batches(0 if self._recipe.loop.overfit else step)
        for phase in self._trainer.phases(step // per_epoch):
            # Each process draws its own numbers: the same ones would make its share of the batch alike.
            torch.manual_seed((self._recipe.seed * 1_000_003 + step) * 1_009 + self._place.rank)
            figures |= self._phase(phase, batches, step, total)
        if self._trainer.settle(step):
            for part in self._parts.values():
                distributed.take_first(part.module, self._place.size)
        self._progress.step = step + 1
        if self._trackers and (step % 10 == 0 or step + 1 == total):
            self._trackers.write(step + 1, figures | {"seconds_per_step": time.monotonic() - began})

    def _phase(self, phase: str, batches: Any, step: int, total: int) -> dict[str, float]:
        optimizer = self._optimizers[phase]
        rate = _rate(self._recipe, step, total)
        for group in optimizer.param_groups:
            group["lr"] = rate
        for each in self._optimizers.values():
            each.zero_grad(set_to_none=True)
        figures: dict[str, float] = {}
        for batch in batches:
            with torch.autocast(
                self._place.device.split(":")[0], torch.bfloat16, enabled=self._recipe.loop.precision == "bf16"
            ):
                loss, found = self._trainer.step(phase, batch, step)
            (loss / len(batches)).backward()
            for name, value in found.items():
                figures[name] = figures.get(name, 0.0) + value / len(batches)
        parameters = [one for group in optimizer.param_groups for one in group["params"]]
        distributed.average_gradients(parameters, self._place.size)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._recipe.optimizer.clip)
        if torch.isfinite(norm):
            optimizer.step()
        else:
            # One bad batch must not end in weights that are no numbers; skipped on every process alike, and seen.
            _log.warning("a step had no finite gradient and was left out", step=step, phase=phase)
        return figures | {f"gradient/{phase}": float(norm), "learning_rate": rate}

    # -- between steps -------------------------------------------------------------------------------------------------

    def _after_step(self, per_epoch: int) -> str:
        loop, step = self._recipe.loop, self._progress.step
        if distributed.any_says(self._stop(), self._place.size, self._place.device):
            self._save()
            return "stopped"
        ended = step % per_epoch == 0
        last = step == per_epoch * loop.epochs
        plateau = False
        if ended and ((step // per_epoch) % loop.evaluate_every == 0 or last):
            plateau = self._evaluate()
        if ended or step % loop.save_every == 0:
            self._save()
        return "plateau" if plateau and not last else "done"

    def _evaluate(self) -> bool:
        """Score what was held out; True when there was no progress for as long as the recipe's patience."""
        for part in self._parts.values():
            part.module.eval()
        mine = self._place.rank == 0 or any(part.together for part in self._parts.values())
        with torch.no_grad():
            figures = distributed.first_says(dict(self._trainer.evaluate()) if mine else {}, self._place.size)
        for part in self._parts.values():
            part.module.train()
        progress, loop = self._progress, self._recipe.loop
        better = figures["score"] > progress.best + loop.least_gain
        progress.best = max(progress.best, figures["score"]) if better else progress.best
        progress.waiting = 0 if better else progress.waiting + 1
        progress.figures = figures
        if self._trackers:
            self._trackers.write(progress.step, {f"evaluation/{name}": value for name, value in figures.items()})
        if self._place.rank == 0:
            _log.info("evaluated", step=progress.step, **{name: round(value, 4) for name, value in figures.items()})
        return bool(loop.patience and progress.waiting >= loop.patience)

    def _save(self) -> None:
        if self._place.rank:
            return
        state = {
            "parts": {name: part.module.state_dict() for name, part in self._parts.items()},
            "optimizers": {name: one.state_dict() for name, one in self._optimizers.items()},
            "progress": vars(self._progress),
            "recipe": self._recipe.model_dump(mode="json"),
        }
        if self._remote:
            self._remote.settle()  # what is on its way may be what is removed now
        keep, step = self._recipe.loop.keep, self._progress.step
        path = checkpoints.save(self._folder, step, state, keep=keep)
        if self._remote:
            self._remote.take(step, path, keep=keep)

    def _export(self) -> tuple[Path, ...]:
        if self._place.rank:
            return ()
        exported = tuple(self._trainer.export(self._recipe.output))
        if self._remote:
            facts = {"figures": self._progress.figures, "recipe": self._recipe.model_dump(mode="json")}
            self._remote.export(self._progress.step, self._recipe.output, exported, facts)
        return exported


def _rate(recipe: Recipe, step: int, total: int) -> float:
    """The learning rate of ``step``: a linear warm-up, then a cosine down to the final share."""
    settings = recipe.optimizer
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    share = 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))
    return settings.learning_rate * warm * (settings.final + (1 - settings.final) * share)


def _same_recipe(old: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse to go on with another recipe: half a run each of two is neither."""
    was, now = _flat(old), _flat(recipe.model_dump(mode="json"))
    other = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name) and name not in _FREE)
    if other:
        raise ConfigError(f"the checkpoint was made with another {', '.join(other)}: --resume none starts over")


def _flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found
