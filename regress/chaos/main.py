"""scripts/chaos: see docs/faults.md."""
import argparse
import collections
import dataclasses
import itertools
import pathlib
import shutil
import signal
import sys
import threading
import time
import traceback

import faults_broker  # noqa: F401  (each registers its faults)
import faults_database
import faults_network  # noqa: F401
import faults_process  # noqa: F401
from checker import Checker
from fault import FAULTS
from model import TABLES, TOPICS, Model
from report import Report
from schedule import schedule
from system import System, wait_until
from witness import Witness
from workload import Workload

HERE = pathlib.Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Faults against a running system, and what they may not do.")
    parser.add_argument("--directory", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same schedule (default: 1)")
    parser.add_argument("--minutes", type=float, default=3, help="for how long faults are done (default: 3)")
    parser.add_argument("--longest", type=float, help="seconds that a freeze or a cut lasts at most (default: 60, less in runs below 10 minutes)")
    parser.add_argument("--writers", type=int, default=4, help="concurrent writers (default: 4)")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two transactions of a writer, on average (default: 0.02)")
    parser.add_argument("--only", metavar="WORD", help="only kinds of faults whose name contains it")
    parser.add_argument("--steps", type=int, help="end after so many steps")
    parser.add_argument("--recovery", type=float, default=180, help="seconds until the replica must have what the primary has (default: 180)")
    parser.add_argument("--plan", action="store_true", help="print the schedule's first steps and do nothing")
    parser.add_argument("--keep", action="store_true", help="keep the directory with the logs; kept anyway after a failure")
    options = parser.parse_args()
    if options.longest is None:
        options.longest = 60 if options.minutes >= 10 else 8
    options.kinds = [k for k in FAULTS if not options.only or options.only in k]
    if not options.kinds:
        parser.error(f"no such fault; there are: {', '.join(FAULTS)}")
    return options


class Run:
    """One run: what faults get to work with."""

    def __init__(self, options):
        self.options = options
        self.begin = time.monotonic()
        self.system = System(options.directory, self.say)
        self.model = Model()
        self.checker = Checker(self.system, self.model, options.seed)
        self.disk = None
        self.left_out = set()                    # kinds of faults that this machine does not allow
        self.report = Report()
        self.incidents = collections.Counter()   # by kind of fault
        self._incident_seen = 0
        self._lossy = []                         # lossy faults of the last two steps
        self._required = []                      # (topic, what was lost, last incident before, events that had come again)
        self._epochs_seen = None
        self.steps = 0

    def say(self, text):
        print(f"{time.monotonic() - self.begin:7.1f} {text}", flush=True)

    def note(self, text):
        self.say("        " + text)

    # ---- what was lost on purpose --------------------------------------------------------------
    def last_incident(self):
        return self.system.query("replica", "SELECT coalesce(max(id), 0) FROM cqrs.incidents")[0][0]

    def require_incident(self, topic, what, after):
        """What a fault took away for good must be written down as healed."""
        self._required.append((topic, what, after, self.witness.again_of[topic]))

    def require_incidents(self, what, after):
        """Of every topic: a new epoch. The one that nobody writes to hears of it by heartbeats, so it is the last."""
        for topic in TOPICS + ["parking"]:
            self.require_incident(topic, what, after)

    def check_incidents(self, step):
        """Incidents since the last call belong to this step or the one before, if to any."""
        self._lossy = self._lossy[-1:] + [[p.fault for p in step.faults if p.fault.loses]]
        lossy = list(itertools.chain(*self._lossy))
        for topic, what, after, again in self._required:
            # A relay that lost a connection in the same step sends again what was taken away.
            done = wait_until(lambda: self.witness.again_of[topic] > again or self.system.query(
                "replica", "SELECT what FROM cqrs.incidents WHERE topic = %s AND id > %s AND healed_at IS NOT NULL", topic, after), 30)
            if not done:
                self.checker.fail(f"{what} ({topic}): passed over, no incident tells")
        self._required = []
        rows = self.system.query("replica", "SELECT id, topic, what, from_sequence, to_sequence, healed_at IS NOT NULL, healed_how "
                                 "FROM cqrs.incidents WHERE id > %s ORDER BY id", self._incident_seen)
        for number, topic, what, first, last, healed, how in rows:
            self._incident_seen = number
            self.note(f"incident: {topic}: {what} [{first}, {last}] {how}")
            if topic not in TOPICS + ["parking"]:
                self.checker.fail(f"incident of an unknown topic: {topic}")
            if not healed:
                self.checker.fail(f"incident {number} is not healed: {what}")
            if lossy:
                self.incidents[lossy[-1].kind] += 1
            else:
                self.checker.fail(f"{step}: incident without a loss: {topic}: {what}")
        epochs = self.witness.epochs()
        if len(epochs) > max(1, len(self._epochs_seen or [])) and not any(f.loses == "epoch" for f in lossy):
            self.checker.fail(f"{step}: a new epoch without a reason: {epochs}")
        self._epochs_seen = epochs

    # ---- the run -------------------------------------------------------------------------------
    def set_up(self):
        self.say("starting servers")
        self.system.up()
        for side in ("primary", "replica"):
            self.system.query(side, (HERE / "tables.sql").read_text())
        self.system.query("primary", (HERE / "primary.sql").read_text())
        for topic in TOPICS:
            for table in TABLES[topic] + [f"ledger_{topic}"]:
                prefix = f"{topic}.{'ledger' if table.startswith('ledger') else table}"
                self.system.query("replica", "SELECT cqrs.subscribe(%s, %s)", prefix, f"chaos.{table}")
        disk = faults_database.SmallDisk(self)
        self.disk = disk if disk.mount(self) else None
        if not self.disk:
            self.left_out.add("replica disk full")
            self.say("left out: replica disk full, for that needs the right to mount a file system")
        self.witness = Witness(self.system.broker_url)
        self.witness.start()
        if not self.witness.ready.wait(60):
            raise RuntimeError("the witness has no queue")
        self.system.start_replicator("relay", port=self.system.settings["RELAY_PORT"])
        if not wait_until(lambda: self.system.query("primary", "SELECT 1 FROM cqrs.relay_state"), 60):
            raise RuntimeError("the relay does not start")
        self.system.start_replicator("apply", port=self.system.settings["APPLY_PORT"])
        live = "SELECT 1 FROM cqrs.subscription_status HAVING bool_and(state = 'live')"
        if not wait_until(lambda: self.system.query("replica", live), 60):
            raise RuntimeError("the subscriptions do not become live")
        self.workload = Workload(self.system, self.model, self.options.seed, self.options.writers, self.options.pause)
        self.workload.start()
        self.checker.start()

    def do(self, step):
        self.say(str(step))
        errors = []

        def one(planned):
            time.sleep(planned.after)
            try:
                planned.fault.run(self, **planned.parameters)
            except Exception:
                errors.append(f"{planned}: {traceback.format_exc()}")
        threads = [threading.Thread(target=one, args=(p,), daemon=True) for p in step.faults]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise RuntimeError("the harness failed: " + "\n".join(errors))
        seconds = self.checker.recovery(self.options.recovery)
        if seconds is None:
            self.checker.fail(f"{step}: not recovered after {self.options.recovery:.0f} s")
            self.say("NOT RECOVERED")
            return False
        self.note(f"recovered in {seconds:.1f} s")
        self.report.recovered([p.fault.kind for p in step.faults], seconds)
        self.check_incidents(step)
        return not self.trouble()

    def trouble(self):
        return self.checker.failures + self.witness.failures + self.workload.errors()

    def faults(self):
        end = time.monotonic() + self.options.minutes * 60
        for step in schedule(self.options.seed, self.options.kinds, self.options.longest):
            time.sleep(step.pause)
            if time.monotonic() > end or self.options.steps is not None and step.number > self.options.steps:
                return
            step = dataclasses.replace(step, faults=[p for p in step.faults if p.fault.kind not in self.left_out])
            if step.faults and not self.do(step):
                return
            self.steps += 1

    def finish(self):
        """Writers end; everything that is left must agree. A list of (check, trouble or None)."""
        self.say("writers stop")
        self.workload.stop()
        self.checker.stop()
        seconds = self.checker.recovery(self.options.recovery)
        checks = [("at rest the replica has everything", None if seconds is not None else f"not after {self.options.recovery:.0f} s")]
        if seconds is not None:
            checks += self.checker.final(self.witness)
        self.witness.stop()
        checks.append((f"{self.checker.looks} looks at the replica, {len(self.checker.versions_seen)} versions: all of the history",
                       "; ".join(self.checker.failures) or None))
        checks.append((f"{self.witness.events} events without a hole, {self.witness.again} came again and were the same",
                       "; ".join(self.witness.failures) or None))
        checks.append(("writers", "; ".join(self.workload.errors()) or None))
        return checks


def main():
    options = arguments()
    if options.plan:
        for step in itertools.islice(schedule(options.seed, options.kinds, options.longest), options.steps or 30):
            print(step)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(options)
    passed, failed = 0, 0
    try:
        run.set_up()
        run.faults()
        for check, trouble in run.finish():
            passed, failed = passed + (trouble is None), failed + (trouble is not None)
            print(f"{'ok    ' if trouble is None else 'FAILED'} {check}{'' if trouble is None else ': ' + trouble}")
        model = run.model
        print(f"seed {options.seed}: {run.steps} steps; transactions: {model.committed} committed, {model.rolled_back} rolled back, {model.in_doubt} in doubt; "
              f"{run.witness.events} events in {run.witness.messages} messages, {len(run.witness.epochs())} epochs")
        print(run.report.table(run.incidents))
    except KeyboardInterrupt:
        failed += 1
    except Exception:
        traceback.print_exc()
        failed += 1
    finally:
        run.system.down()
        if run.disk:
            run.disk.unmount()
    if failed or options.keep:
        print(f"logs: {options.directory}")
    else:
        shutil.rmtree(options.directory)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
