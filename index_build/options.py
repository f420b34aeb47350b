"""What can be asked of an index, whatever set it is of."""

from dataclasses import dataclass
from typing import Literal, Self

from holdfast.bundle.migrations import FLAT
from holdfast.data.streaming.training import MEMORY_GB
from holdfast.errors import BundleError
from holdfast.index_build.harden import Hardening
from holdfast.index_build.streaming.launch import InProcess, Launcher, Processes
from holdfast.index_build.streaming.ray_launcher import RayActors
from holdfast.model.device_choice import DeviceChoice
from holdfast.model.retrieval.approximate.choice import check_kind

LabelChoice = Literal["given", "audited", "adapted"]
Treatment = Literal["relabel", "drop"]


class IndexBuildError(BundleError):
    """The labelled set and the bundle do not make an index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexOptions:
    """How an index is built.

    Args:
        batch_size: images embedded at once.
        threads: of ONNX Runtime, in all processes together.
        device: where images are embedded and gradients taken; "auto" takes the GPU if it can, and says what it took. The index,
            which is verified, stays on the CPU.
        coverage: the least share of images that the served vote answers, in (0, 1]; by default what was
            asked of the bundle before, else COVERAGE.
        kind: of the index; one of holdfast.model.retrieval.table.RETRIEVERS, or AUTO.
        half: round embeddings to float16: half the file, and similarities that move by less than 5e-4.
        hardening: put attacked images in the place of some exemplars; see `index_build.harden`. It needs gradient.onnx.
        choose_vote: take the number of neighbours and the temperature that do best on the calibration part, clean and
            attacked, instead of the trainer's; see `index_build.choose`. It needs gradient.onnx.
        prior_correction: divide each vote by its class's frequency to this power, in [0, 1]; None leaves the power that the
            bundle's vote has, and takes the frequencies of this index.
        canary: images of the test part, clean and attacked, that are put into the bundle with the answers that it gives; a
            server that loads it tries these first. 0 puts none in.
        labels: of the exemplars: as given; "audited", where neighbours that disagree doubt one; or "adapted", where the
            training does, by the targets that it left; see `index_build.labels`.
        doubted: what becomes of labels that are doubted, unless they are taken as given: changed to what is believed, or left
            out with their images.
        pseudo: make exemplars of images without a label as well, under the class that the classifier trained with the encoder
            gives a probability above this, where the neighbours among the labelled exemplars say the same; None makes none.
        processes: that embed images side by side.
        memory: GB that the decoded images of the encoder's own set may take; a larger one is read as it is embedded.
        ray: whether these are actors of Ray, on whatever machines its cluster has.
        command: what the user typed, for the manifest.
        quiet: no progress bars.

    """

    batch_size: int = 256
    threads: int = 1
    device: DeviceChoice = "cpu"
    coverage: float | None = None
    kind: str = FLAT
    half: bool = False
    hardening: Hardening | None = None
    choose_vote: bool = False
    prior_correction: float | None = None
    canary: int = 0
    labels: LabelChoice = "given"
    doubted: Treatment = "relabel"
    pseudo: float | None = None
    processes: int = 1
    memory: float = MEMORY_GB
    ray: bool = False
    command: str = "index_build.build_index"
    quiet: bool = False

    def checked(self) -> Self:
        """These options. Raises BundleError where they mean nothing, or the index is of a kind that cannot be built."""
        if (self.coverage is not None and not 0 < self.coverage <= 1) or self.batch_size < 1:
            raise IndexBuildError(
                f"coverage must be in (0, 1] and batch size at least 1, not {self.coverage} and {self.batch_size}"
            )
        if self.prior_correction is not None and not 0 <= self.prior_correction <= 1:
            raise IndexBuildError(f"--prior-correction must be in [0, 1], not {self.prior_correction}")
        if self.canary < 0:
            raise IndexBuildError(f"--canary is a number of images, at least 0, not {self.canary}")
        if self.pseudo is not None and not 0 <= self.pseudo < 1:
            raise IndexBuildError(f"--pseudo is a probability in [0, 1), not {self.pseudo}")
        if self.pseudo is not None and self.labels != "given":
            raise IndexBuildError(f"--pseudo and --labels {self.labels} do not go together: take the labels as given")
        if self.processes < 1 or self.threads < 1:
            raise IndexBuildError(f"--processes and --threads must be at least 1, not {self.processes} and {self.threads}")
        if self.doubted == "drop" and self.labels == "given":
            raise IndexBuildError("--doubted drop does nothing with labels as given: say --labels audited or adapted")
        if self.doubted == "drop" and self.hardening is not None:
            raise IndexBuildError("--doubted drop and --harden do not go together: relabel, or do not harden")
        check_kind(self.kind, half=self.half)
        return self

    @property
    def launcher(self) -> Launcher:
        """Where pieces of the set are embedded."""
        if self.ray:
            return RayActors(self.processes)
        return Processes(self.processes) if self.processes > 1 else InProcess()
