"""The trainer of the three networks: refiner, discriminator and task network (paper, sections 3 and 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from monai.engines import Trainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch.utils.data import DataLoader

from ..data.keys import PatchKeys as Keys
from ..handlers.events import TrainingEvents
from ..losses import weighted_mean
from ..networks import from_uint8, to_uint8
from .distributed import rank, share_parameters
from .history import HistoryBuffer
from .keys import NETWORKS, Networks
from .learner import Learner, frozen
from .sampler import ScheduleSampler
from .weighting import ImportanceWeighting

__all__ = ["SynthesisTrainer", "TrainingDiverged"]

Batch = dict[str, torch.Tensor]

_COMPLETED = {
    Networks.REFINER: TrainingEvents.REFINER_COMPLETED,
    Networks.DISCRIMINATOR: TrainingEvents.DISCRIMINATOR_COMPLETED,
    Networks.TASK: TrainingEvents.TASK_COMPLETED,
}


class TrainingDiverged(RuntimeError):
    """A loss is not a number, or so large that going on is pointless; the last checkpoint is from before."""


class SynthesisTrainer(Trainer):
    """Train refiner, discriminator and task network together, on a schedule of phases.

    One iteration is one round of the phase it belongs to: so many steps of each network, each step on examples of its
    own. The whole schedule is one epoch. ``engine.state.output`` is a list of one dictionary with the last loss of each
    network (``task_loss``), their sum as ``loss``, and after a step of the task network its last ``image``, ``label``
    (the targets) and ``pred`` (the logits); with ``decollate``, a list of one dictionary an example.
    ``engine.state.scalars`` holds losses and more as plain numbers, for handlers that log.

    Every part can be left out: without a refiner the initial patches are used as they are, without a discriminator or
    a weighting all weights are 1, without a task network only the synthesis is trained.

    All that is random in an iteration comes from the seed and the number of the iteration, so a training that goes on
    from a checkpoint draws what it would have drawn.

    Args:
        device: where the networks are.
        train_data_loader: of examples as :class:`~nucleosynth.data.keys.PatchKeys` says, with a
            :class:`ScheduleSampler` as its batch sampler, which also holds the schedule.
        refiner: its loss is called with refined and initial images, logits, and the task loss or None, and returns a
            mapping with ``loss`` and its parts (:class:`~nucleosynth.losses.RefinerLoss`).
        discriminator: its loss is called with the logits of real, synthetic and mismatched pairs
            (:class:`~nucleosynth.losses.DiscriminatorLoss`).
        task: its loss is called with logits and targets and returns one value per example
            (:class:`~nucleosynth.losses.SegmentationLoss`).
        history: earlier refined patches, of which discriminator and task network see as many as new ones in each step:
            a discriminator does not forget, and a patch is used more than once. None: only new ones.
        replay: of how many earlier patches for each new one the task network sees, where history holds enough: more
            than one where synthesis is what a training waits for.
        weighting: importance weights of the task network's examples; None weighs all alike.
        augment: called with images in [-1, 1] and a generator before the task network sees them.
        bfloat16: compute forward passes in bfloat16 (automatic mixed precision), on CPU and CUDA alike.
        largest_loss: a loss beyond it ends the training; losses are means over pixels or patches, of the order of 1.
        seed: of all that is drawn here.
        handlers: Ignite handlers.
        postprocessing: applied to batch and output when an iteration is done, as everywhere in MONAI.
        decollate: whether batch and output become lists of single examples first.

    Raises:
        ValueError: the schedule asks for a network that is not given.
    """

    def __init__(
        self,
        device: torch.device | str,
        train_data_loader: DataLoader,
        refiner: Learner | None = None,
        discriminator: Learner | None = None,
        task: Learner | None = None,
        history: HistoryBuffer | None = None,
        replay: int = 1,
        weighting: ImportanceWeighting | None = None,
        augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
        bfloat16: bool = True,
        largest_loss: float = 1000.0,
        seed: int = 0,
        handlers: Sequence[Any] | None = None,
        postprocessing: Callable | None = None,
        decollate: bool = False,
    ) -> None:
        sampler = train_data_loader.batch_sampler
        if not isinstance(sampler, ScheduleSampler):
            raise ValueError(f"the data loader needs a ScheduleSampler as its batch_sampler, got {sampler!r}")
        self.sampler, self.schedule = sampler, sampler.schedule
        given = {Networks.REFINER: refiner, Networks.DISCRIMINATOR: discriminator, Networks.TASK: task}
        self.learners = {name: learner for name, learner in given.items() if learner is not None}
        for name in NETWORKS:
            if self.schedule.steps(name) and name not in self.learners:
                raise ValueError(f"the schedule has steps of the {name}, but there is no {name}")
        if refiner is not None and self.schedule.steps(Networks.REFINER) and discriminator is None:
            raise ValueError("a refiner cannot be trained without a discriminator")
        if replay < 1:
            raise ValueError(f"replay must be at least 1, got {replay}")
        self.history, self.replay = history, replay
        self.weighting, self.augment = weighting, augment
        self.bfloat16, self.largest_loss, self.seed = bfloat16, largest_loss, seed
        self._generator = torch.Generator()
        for learner in self.learners.values():
            learner.network.to(device=torch.device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            share_parameters(learner.network)
        super().__init__(
            device=device,
            max_epochs=1,
            data_loader=train_data_loader,
            epoch_length=self.schedule.iterations,
            handlers=handlers,
            postprocessing=postprocessing,
            decollate=decollate,
            event_names=[TrainingEvents],
        )
        self.state.scalars = {}

    def run(self) -> None:
        """Train to the end of the schedule, from where :attr:`state` says; at the end already, do nothing."""
        if self.state.iteration >= self.schedule.iterations:
            return
        self.sampler.start = self.state.iteration
        try:
            super().run()
        finally:
            self.fire_event(TrainingEvents.ENDED)

    # What the networks do with whole patches, for the steps below and for handlers.

    def autocast(self) -> AbstractContextManager[None]:
        """Automatic mixed precision, as configured."""
        return torch.autocast(self.state.device.type, torch.bfloat16, enabled=self.bfloat16)

    def refine(self, image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Refined patches, without gradient: uint8 in, uint8 out, shape (B, 3, H, W), on the trainer's device.

        By the averaged refiner, if there is one: a refiner that swings around what it should do leaves its own traces.
        Rounding to 8 bits is what real patches went through too; a discriminator could tell by it.
        """
        return self._refine(image, reference).to(self.state.device)

    def _refine(self, image: torch.Tensor, reference: torch.Tensor, averaged: bool = True) -> torch.Tensor:
        learner = self.learners.get(Networks.REFINER)
        # Before its first step a refiner leaves patches nearly as they are, at half the cost of a discriminator's step.
        if learner is None or self.state.iteration <= self.schedule.first(Networks.REFINER):
            return image
        network = learner.trained if averaged else learner.network
        with torch.no_grad(), self.autocast():
            return to_uint8(network(self._floats(image), self._floats(reference)))

    def discriminate(self, image: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        """Logits, shape (B,), float32, without gradient, of uint8 patches and references.

        By the averaged discriminator, if there is one: with each step the one that learns, and the statistics of its
        batch normalisation, swing about what it knows.
        """
        learner = self.learners[Networks.DISCRIMINATOR]
        with torch.no_grad(), frozen(learner), self.autocast():
            return learner.trained(self._floats(image), self._floats(reference)).float()

    def _floats(self, image: torch.Tensor) -> torch.Tensor:
        return from_uint8(image.to(self.state.device, non_blocking=self.non_blocking))

    # One iteration.

    def _iteration(self, engine: Any, batchdata: Batch) -> list[dict[str, Any]]:
        iteration = engine.state.iteration - 1
        phase = self.schedule.phase(iteration)
        self._seed(iteration)
        number = self.schedule.phase_number(iteration)
        if iteration == 0 or number != self.schedule.phase_number(iteration - 1):
            self.fire_event(TrainingEvents.PHASE_STARTED)
        engine.state.scalars = {"phase": float(number)}
        engine.state.output = {}
        # One micro-batch after another, in the order of the steps.
        parts = zip(*(tensor.split(self.sampler.batch_size) for tensor in batchdata.values()), strict=True)
        batches = [dict(zip(batchdata, part, strict=True)) for part in parts]
        for place, name in enumerate(phase.steps):
            each = self.sampler.accumulation
            self._step(name, batches[place * each : (place + 1) * each])
            self.fire_event(_COMPLETED[name])
        losses = [value for key, value in engine.state.output.items() if key.endswith("_loss")]
        engine.state.output[CommonKeys.LOSS] = torch.stack(losses).sum()
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        # MONAI's handlers look for the loss in the first of a list.
        output = engine.state.output
        return output if isinstance(output, list) else [output]

    def _seed(self, iteration: int) -> None:
        words = np.random.SeedSequence([self.seed, iteration, rank()]).generate_state(2, np.uint64)
        self._generator.manual_seed(int(words[0] >> 1))
        torch.manual_seed(int(words[1] >> 1))  # for networks with dropout

    def _step(self, name: str, batches: Sequence[Batch]) -> None:
        """One optimiser step of one network."""
        learner = self.learners[name]
        compute = {
            Networks.REFINER: self._refiner_loss,
            Networks.DISCRIMINATOR: self._discriminator_loss,
            Networks.TASK: self._task_loss,
        }[name]
        others = [other for key, other in self.learners.items() if key != name]
        learner.network.train()
        total = 0.0
        with frozen(*others):
            for batch in batches:
                loss = compute(learner, batch)
                self._check(name, loss)
                (loss / len(batches)).backward()
                total += float(loss.detach()) / len(batches)
        rate, norm = learner.learning_rate, learner.step()
        self._check(name, torch.tensor(norm), "gradient")
        self.state.output[f"{name}_loss"] = torch.tensor(total)
        self.state.scalars |= {f"loss/{name}": total, f"gradient_norm/{name}": norm, f"learning_rate/{name}": rate}

    def _check(self, name: str, value: torch.Tensor, what: str = "loss") -> None:
        number = float(value.detach())
        if not math.isfinite(number) or (what == "loss" and abs(number) > self.largest_loss):
            raise TrainingDiverged(
                f"the {what} of the {name} is {number:g} at iteration {self.state.iteration}: the training "
                "diverged; the last checkpoint is from before. Try a smaller learning rate or max_norm"
            )

    def _refiner_loss(self, learner: Learner, batch: Batch) -> torch.Tensor:
        initial, reference = self._floats(batch[Keys.IMAGE]), self._floats(batch[Keys.REFERENCE])
        task = self.learners.get(Networks.TASK)
        with self.autocast():
            refined = learner.network(initial, reference)
            logits = self.learners[Networks.DISCRIMINATOR].network(refined, reference)
            task_loss = None
            if task is not None and learner.loss.hard > 0:
                target = batch[Keys.TARGET].to(self.state.device).float()
                task_loss = task.loss(task.network(refined), target).mean()
            parts = learner.loss(refined, initial, logits, task_loss)
        self.state.scalars |= {f"refiner/{key}": float(part.detach()) for key, part in parts.items() if key != "loss"}
        return parts["loss"]

    def _discriminator_loss(self, learner: Learner, batch: Batch) -> torch.Tensor:
        # While the refiner moves, what it makes now has to be told from real patches; once it rests, what its average
        # makes, for those are the patches that are weighed.
        moving = self.schedule.phase(self.state.iteration - 1).refiner > 0
        examples = self._examples(batch, averaged=not moving)
        real, beside = self._floats(batch[Keys.REAL]), self._floats(batch[Keys.REAL_REFERENCE])
        patches = [real, self._floats(examples[Keys.IMAGE])]
        references = [beside, self._floats(examples[Keys.REFERENCE])]
        if learner.loss.mismatched > 0:
            # The reference of the next pair, where that is of another type.
            differs = (batch[Keys.REAL_TYPE] != batch[Keys.REAL_TYPE].roll(1)).to(self.state.device)
            patches.append(real[differs])
            references.append(beside.roll(1, 0)[differs])
        with self.autocast():
            logits = learner.network(torch.cat(patches), torch.cat(references))
            parts = logits.split([len(part) for part in patches])
            loss = learner.loss(*parts)
        margin = parts[0].mean() - parts[1].mean()
        self.state.scalars |= {"discriminator/margin": float(margin.detach())}
        return loss

    def _task_loss(self, learner: Learner, batch: Batch) -> torch.Tensor:
        examples = self._examples(batch, replay=self.replay)
        images, targets = self._floats(examples[Keys.IMAGE]), examples[Keys.TARGET].to(self.state.device).float()
        weights = self._weights(examples)
        if Keys.LABELLED_IMAGE in batch:
            images = torch.cat([images, self._floats(batch[Keys.LABELLED_IMAGE])])
            targets = torch.cat([targets, batch[Keys.LABELLED_TARGET].to(self.state.device).float()])
            weights = torch.cat([weights, torch.ones(len(images) - len(weights), device=weights.device)])
        if self.augment is not None:
            images = self.augment(images, self._generator)
        with self.autocast():
            logits = learner.network(images)
            losses = learner.loss(logits, targets)
        self.state.output |= {
            CommonKeys.IMAGE: images.detach(),
            CommonKeys.LABEL: targets,
            CommonKeys.PRED: logits.detach().float(),
        }
        return weighted_mean(losses, weights)

    def _weights(self, examples: Batch) -> torch.Tensor:
        if self.weighting is None or Networks.DISCRIMINATOR not in self.learners:
            return torch.ones(len(examples[Keys.IMAGE]), device=self.state.device)
        weights = self.weighting(self.discriminate(examples[Keys.IMAGE], examples[Keys.REFERENCE]))
        self.state.scalars |= {"weights/mean": float(weights.mean()), "weights/largest": float(weights.max())}
        return weights

    def _examples(self, batch: Batch, averaged: bool = True, replay: int = 1) -> Batch:
        """Refined examples, uint8: the batch, and ``replay`` times as many from history, once it holds enough."""
        fresh = {key: batch[key] for key in (Keys.IMAGE, Keys.TARGET, Keys.REFERENCE) if key in batch}
        if Networks.REFINER in self.learners:
            fresh[Keys.IMAGE] = self._refine(fresh[Keys.IMAGE], fresh[Keys.REFERENCE], averaged).cpu()
        if self.history is None:
            return fresh
        count = replay * len(fresh[Keys.IMAGE])
        old = self.history.sample(count, self._generator) if len(self.history) >= count else {}
        self.history.push(fresh, self._generator)
        return {key: torch.cat([tensor, old[key]]) if old else tensor for key, tensor in fresh.items()}
