"""The check of the model, in a process of its own: it alone loads the network."""

import multiprocessing
from multiprocessing.connection import Connection

from daemon.config.settings import Config
from daemon.errors import ROOM_ERRORS
from daemon.preflight.result import CheckResult
from daemon.worker.core_dumps import forbid_core_dumps
from daemon.worker.logs.setup import silence_libraries
from daemon.worker.role import exit_reason, interrupts_blocked

MAP_TOLERANCE = 1e-3
"""Greatest difference of mean(map) + bias and the logit that rounding alone can cause."""

_SPAWN = multiprocessing.get_context("spawn")


def check_model(config: Config) -> CheckResult:
    """Check in a child process that the model loads, and that its maps add up to its logits."""
    receiver, sender = _SPAWN.Pipe(duplex=False)
    with receiver:
        with sender, interrupts_blocked():
            child = _SPAWN.Process(target=_answer, args=(config, sender), daemon=True)
            child.start()
        try:
            result: CheckResult = receiver.recv()
        except EOFError:
            child.join()
            reason = exit_reason(child.exitcode)
            return CheckResult(
                "model", False, f"its check ended without an answer ({reason}): is memory short?"
            )
    child.join()
    return result


def _answer(config: Config, sender: "Connection[CheckResult, None]") -> None:
    forbid_core_dumps()
    silence_libraries()
    try:
        result = _self_test(config)
    except ROOM_ERRORS as error:
        result = CheckResult("model", False, str(error))
    sender.send(result)


def _self_test(config: Config) -> CheckResult:
    # Imported here, in the child: the process of the other checks does not load the network.
    from cxr_model.reference_film import reference_sentence
    from daemon.analyse.pipeline import Pipeline

    pipeline = Pipeline.open(config.model)
    model = pipeline.algorithm
    error = pipeline.self_test()
    detail = f"{model.name} {model.version}, sha256 {model.sha256[:12]}…, {pipeline.engine}"
    if not error <= MAP_TOLERANCE:
        return CheckResult(
            "model", False, f"{detail}: its maps differ from its logits by {error:.2g}"
        )
    verified = reference_sentence(pipeline.reference_difference)
    return CheckResult(
        "model",
        True,
        f"{detail}, maps add up to the logits, {verified}, {pipeline.card.calibration_words()}",
    )
