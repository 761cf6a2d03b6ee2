"""Histories of callers, and the one checker of them.

A history is what callers asked, when, and what they were told; beside it lies what stands in the end. ``check`` is a
pure function of both: it finds what no correct service can have answered, and names the calls that show it. Nothing of
the service's code is used here: what is asked comes from what the service promises (``docs/promises.md``).

    recorder = Recorder()
    with recorder.call("post_transfer", ledger, key=key, terms=body) as call:
        answer = await client.post(…)
        call.answered(answer.status_code, answer.json(), replayed=…)
    findings = check(recorder.calls, standing)

Times are seconds of one monotonic clock for all callers of a history.
"""

from funds_testing.histories.calls import Call, Ending
from funds_testing.histories.checker import check
from funds_testing.histories.findings import Finding, Kind
from funds_testing.histories.recorder import Recorder
from funds_testing.histories.standing import Account, Decision, Hold, Standing, Transfer

__all__ = [
    "Account",
    "Call",
    "Decision",
    "Ending",
    "Finding",
    "Hold",
    "Kind",
    "Recorder",
    "Standing",
    "Transfer",
    "check",
]
